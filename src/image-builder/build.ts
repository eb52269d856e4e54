// Builds a machine image from a recipe: the distribution's packages in, a raw disk out. Root is not needed.
import { access, mkdir, mkdtemp, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { writeDisk } from "./disk.ts";
import { type Distribution, hostDistribution } from "./distribution.ts";
import { fetchedPackages, fetchPackages, type Package, type PackageRequest } from "./packages.ts";
import { TINY, tinyPackages, tinySystem } from "./tiny.ts";
import { unpack, writeOut } from "./unpack.ts";

const RECIPES = ["tiny"] as const;
export type RecipeName = (typeof RECIPES)[number];
export const isRecipe = (name: string): name is RecipeName => RECIPES.some((recipe) => recipe === name);

export interface BuildOptions {
  /** Made when absent. Gets `disk.raw` and, where the recipe gives them, `vmlinuz` and `cmdline`. */
  readonly outputDirectory: string;
  /** Downloaded packages, kept for the next build: with them there, a build needs no network. */
  readonly cacheDirectory: string;
  readonly onProgress?: ((step: string, done?: number, total?: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What is needed to register the disk as an image. */
export interface BuiltImage {
  /** A sparse raw disk. */
  readonly diskPath: string;
  /** Its virtual size. */
  readonly bytes: number;
  readonly architecture: "x86_64";
  readonly name: string;
  readonly description: string;
  readonly rootDeviceName: string;
  readonly bootMode: "legacy-bios" | "uefi" | "uefi-preferred";
  /** For those who boot without firmware: `-kernel` and `-append`. */
  readonly kernelPath?: string;
  readonly kernelCommandLine?: string;
}

/** Downloads all that a recipe is made of, so that `buildImage` needs no network afterwards. */
export async function fetchRecipe(recipe: RecipeName, options: Omit<BuildOptions, "outputDirectory">): Promise<void> {
  await recipePackages(packageRequest(recipe, await hostDistribution()), options);
}

/**
 * Builds a recipe's disk. The same packages give the same bytes.
 * Costs a few seconds and the disk's used bytes in memory for `tiny`.
 */
export async function buildImage(recipe: RecipeName, options: BuildOptions): Promise<BuiltImage> {
  try {
    return await buildTiny(await hostDistribution(), options);
  } catch (cause) {
    throw new Error(`build the image ${recipe}`, { cause });
  }
}

const packageRequest = (_recipe: RecipeName, system: Distribution): PackageRequest => tinyPackages(system);

async function recipePackages(
  request: PackageRequest,
  { cacheDirectory, onProgress, signal }: Omit<BuildOptions, "outputDirectory">,
): Promise<readonly Package[]> {
  const directory = join(cacheDirectory, "packages");
  return (
    (await fetchedPackages(request, directory)) ?? (await fetchPackages(request, { directory, onProgress, signal }))
  );
}

async function buildTiny(system: Distribution, options: BuildOptions): Promise<BuiltImage> {
  const { outputDirectory, onProgress, signal } = options;
  const packages = await recipePackages(tinyPackages(system), options);
  await mkdir(outputDirectory, { recursive: true });
  const scratchDirectory = await mkdtemp(join(tmpdir(), "ingot-tiny-"));
  try {
    const progress = (done: number): void => onProgress?.("unpack packages", done, packages.length);
    const { tree: unpacked, modified } = await unpack(packages, progress, signal);
    const overlay = await recipeDirectory("tiny/root");
    const built = await tinySystem(unpacked, overlay, { modified, scratchDirectory, system: system.prettyName });
    const tools = join(scratchDirectory, "tools");
    await writeOut(unpacked, tools, (path) => /^usr\/(bin\/grub-mkimage$|lib\/grub\/)/.test(path));

    onProgress?.("write the disk");
    const diskPath = join(outputDirectory, "disk.raw");
    const unfinished = `${diskPath}.unfinished`;
    await writeDisk(built.tree, {
      path: unfinished,
      bytes: TINY.bytes,
      efiBytes: TINY.efiBytes,
      identity: TINY.identity,
      label: "ingot-tiny",
      created: modified,
      grub: { root: tools, libraryPath: join(tools, "usr/lib") },
      scratchDirectory,
      signal,
    });
    const kernelPath = join(outputDirectory, "vmlinuz");
    await writeFile(kernelPath, built.kernel);
    await writeFile(join(outputDirectory, "cmdline"), `${built.commandLine}\n`);
    await rename(unfinished, diskPath);
    return {
      diskPath,
      bytes: (await stat(diskPath)).size,
      architecture: "x86_64",
      name: TINY.name,
      description: TINY.description,
      rootDeviceName: "/dev/xvda",
      bootMode: "uefi-preferred",
      kernelPath,
      kernelCommandLine: built.commandLine,
    };
  } finally {
    await rm(scratchDirectory, { recursive: true, force: true });
  }
}

/** A directory below `images/`, which lies beside `src` and beside the bundled program alike. */
async function recipeDirectory(name: string): Promise<string> {
  for (let directory = import.meta.dirname; ; directory = dirname(directory)) {
    const candidate = join(directory, "images", name);
    const found = await access(candidate).then(
      () => true,
      () => false,
    );
    if (found) return candidate;
    if (dirname(directory) === directory) throw new Error(`no images/${name} above ${import.meta.dirname}`);
  }
}
