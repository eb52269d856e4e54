// Builds a machine image from a recipe: the distribution's packages in, a raw disk out. Root is not needed.
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEBIAN_12, debianTools, installDebian, prepareDebian } from "./debian.ts";
import { writeDisk } from "./disk.ts";
import { type Distribution, hostDistribution } from "./distribution.ts";
import type { FileTree } from "./file-tree.ts";
import { layOutGrub } from "./grub.ts";
import { fetchedPackages, fetchPackages, isPackageName, type Package, type PackageRequest } from "./packages.ts";
import { addRecipeFiles, recipeDirectory } from "./recipe-files.ts";
import { TINY, tinyPackages, tinySystem } from "./tiny.ts";
import { unpack } from "./unpack.ts";

const RECIPES = ["tiny", "debian-12"] as const;
export type RecipeName = (typeof RECIPES)[number];
export const isRecipe = (name: string): name is RecipeName => RECIPES.some((recipe) => recipe === name);

export interface BuildOptions {
  /** Made when absent. Gets `disk.raw` and, where the recipe gives them, `vmlinuz`, `cmdline` and `initrd`. */
  readonly outputDirectory: string;
  /** Downloaded packages, kept for the next build: with them there, a build needs no network. */
  readonly cacheDirectory: string;
  /** More of the distribution's packages, besides the recipe's own; for `debian-12`. */
  readonly packages?: readonly string[] | undefined;
  /** Whose packages `tiny` is made of; this machine's if absent. */
  readonly distribution?: Distribution;
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
  /** For those who boot without firmware: `-kernel`, `-append` and, where the kernel needs one, `-initrd`. */
  readonly kernelPath?: string;
  readonly kernelCommandLine?: string;
  readonly initrdPath?: string;
}

/**
 * Downloads what a recipe is made of, as far as it is known beforehand: all of `tiny`, so that `buildImage` needs no
 * network afterwards; of `debian-12` only the boot loader.
 */
export async function fetchRecipe(recipe: RecipeName, options: Omit<BuildOptions, "outputDirectory">): Promise<void> {
  const tiny = tinyPackages(options.distribution ?? (await hostDistribution()));
  const request = recipe === "tiny" ? tiny : debianTools;
  await recipePackages(request, options);
}

/**
 * Builds a recipe's disk. The same packages give the same bytes.
 * `tiny` takes some seconds and 200 MB of memory; `debian-12` some minutes, its mirror, and 600 MB below the system's
 * temporary directory.
 */
export async function buildImage(recipe: RecipeName, options: BuildOptions): Promise<BuiltImage> {
  const scratchDirectory = await mkdtemp(join(tmpdir(), "ingot-image-"));
  try {
    const { packages = [] } = options;
    if (recipe === "tiny" && packages.length > 0) throw new Error("it has room for no other packages: take debian-12");
    for (const name of packages) if (!isPackageName(name)) throw new Error(`${name} is not a package's name`);
    await mkdir(options.outputDirectory, { recursive: true });
    return await (recipe === "tiny" ? buildTiny : buildDebian)(options, scratchDirectory);
  } catch (cause) {
    throw new Error(`build the image ${recipe}`, { cause });
  } finally {
    await rm(scratchDirectory, { recursive: true, force: true });
  }
}

async function recipePackages(
  request: PackageRequest,
  { cacheDirectory, onProgress, signal }: Omit<BuildOptions, "outputDirectory">,
): Promise<readonly Package[]> {
  const directory = join(cacheDirectory, "packages");
  return (
    (await fetchedPackages(request, directory)) ?? (await fetchPackages(request, { directory, onProgress, signal }))
  );
}

async function buildTiny(options: BuildOptions, scratchDirectory: string): Promise<BuiltImage> {
  const { outputDirectory, signal } = options;
  const system = options.distribution ?? (await hostDistribution());
  const { tree: unpacked, modified } = await unpackedPackages(tinyPackages(system), options);
  const overlay = await recipeDirectory("tiny/root");
  const built = await tinySystem(unpacked, overlay, { modified, scratchDirectory, system: system.prettyName });
  const finish = await writeImage(TINY, { ...built, modified }, unpacked, options, scratchDirectory);
  const kernelPath = join(outputDirectory, "vmlinuz");
  await writeFile(kernelPath, built.kernel);
  await writeFile(join(outputDirectory, "cmdline"), `${built.commandLine}\n`);
  const initrdPath = join(outputDirectory, "initrd");
  if (built.initrd === undefined) await rm(initrdPath, { force: true });
  else await writeFile(initrdPath, built.initrd);
  signal?.throwIfAborted();
  const image = { ...(await finish()), kernelPath, kernelCommandLine: built.commandLine };
  return built.initrd === undefined ? image : { ...image, initrdPath };
}

async function buildDebian(options: BuildOptions, scratchDirectory: string): Promise<BuiltImage> {
  const { packages, onProgress, signal } = options;
  const { tree: tools } = await unpackedPackages(debianTools, options);
  const system = await installDebian({ scratchDirectory, packages, onProgress, signal });
  const { tree } = prepareDebian(system);
  await addRecipeFiles(tree, await recipeDirectory("debian-12/root"));
  const finish = await writeImage(DEBIAN_12, { ...system, tree }, tools, options, scratchDirectory);
  return await finish();
}

async function unpackedPackages(request: PackageRequest, options: BuildOptions) {
  const packages = await recipePackages(request, options);
  const progress = (done: number): void => options.onProgress?.("unpack packages", done, packages.length);
  return await unpack(packages, progress, options.signal);
}

interface System {
  readonly tree: FileTree;
  readonly modified: number;
  readonly xattrs?: ReadonlyMap<string, ReadonlyMap<string, Buffer>>;
}

/** Writes the disk beside its name. The function that it gives puts it there: call it when all else is there. */
async function writeImage(
  recipe: typeof TINY | typeof DEBIAN_12,
  { tree, modified, xattrs }: System,
  toolPackages: FileTree,
  { outputDirectory, onProgress, signal }: BuildOptions,
  scratchDirectory: string,
): Promise<() => Promise<BuiltImage>> {
  onProgress?.("write the disk");
  const diskPath = join(outputDirectory, "disk.raw");
  const unfinished = `${diskPath}.unfinished`;
  await writeDisk(tree, {
    path: unfinished,
    bytes: recipe.bytes,
    efiBytes: recipe.efiBytes,
    identity: recipe.identity,
    label: recipe.name.replace("/", "-"),
    created: modified,
    grub: await layOutGrub(toolPackages, join(scratchDirectory, "grub")),
    scratchDirectory,
    signal,
    ...(xattrs === undefined ? {} : { xattrs }),
  });
  return async () => {
    await rename(unfinished, diskPath);
    return {
      diskPath,
      bytes: recipe.bytes,
      architecture: "x86_64",
      name: recipe.name,
      description: recipe.description,
      rootDeviceName: "/dev/xvda",
      bootMode: "uefi-preferred",
    };
  };
}
