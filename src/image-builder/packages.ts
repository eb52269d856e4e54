// Gets the distribution's own packages, verified by its package manager, and reads what is in them.
// Nothing is installed: packages are downloaded into a directory of ours, and read from there.
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Entry } from "./file-tree.ts";
import { run, stream } from "./program.ts";
import { readTar } from "./tar.ts";

/** As Debian's policy has it; nothing that a package manager would take for an option or a list. */
export const isPackageName = (text: string): boolean => /^[a-z0-9][a-z0-9+.-]+$/.test(text);

/** What a recipe is built from. */
export interface PackageRequest {
  /** By name; of each, all that it depends on comes along. */
  readonly packages: readonly string[];
  /** A package that stands for the newest kernel of its kind, such as `linux-image-cloud-amd64`. */
  readonly kernel?: string;
}

export interface Package {
  readonly name: string;
  /** Path of the downloaded .deb. */
  readonly path: string;
  /** As the distribution's signed index gives it: `SHA256:…`. */
  readonly hash: string;
}

export interface FetchOptions {
  readonly directory: string;
  readonly onProgress?: ((step: string, done?: number, total?: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One file per request, written last: with it there, all that it names is there. */
const listPath = (request: PackageRequest, directory: string): string => {
  const key = createHash("sha256").update(JSON.stringify(request)).digest("hex").slice(0, 16);
  return join(directory, `packages-${key}.json`);
};

/** The packages of an earlier `fetchPackages`, without asking anyone; undefined when they are not (all) there. */
export async function fetchedPackages(
  request: PackageRequest,
  directory: string,
): Promise<readonly Package[] | undefined> {
  let names: { name: string; file: string; hash: string; bytes: number }[];
  try {
    names = JSON.parse(await readFile(listPath(request, directory), "utf8"));
  } catch {
    return undefined;
  }
  const packages: Package[] = [];
  for (const { name, file, hash, bytes } of names) {
    const path = join(directory, file);
    const there = await stat(path).catch(() => undefined);
    if (there?.size !== bytes) return undefined;
    packages.push({ name, path, hash });
  }
  return packages;
}

/**
 * Downloads the newest version of every package that is asked for, as far as it is not there yet.
 * Needs the package manager's lists (`apt-get update`), no root.
 */
export async function fetchPackages(request: PackageRequest, options: FetchOptions): Promise<readonly Package[]> {
  const { directory, signal, onProgress } = options;
  await mkdir(directory, { recursive: true });
  const names = await closure(request, signal);
  const apt = ["-o", "APT::Sandbox::User=root", "-o", "Dpkg::Use-Pty=0"];
  const offered = parseUris(await run("apt-get", [...apt, "--print-uris", "download", ...names], { signal }));
  const have = new Set(await readdir(directory));
  const missing = offered.filter(({ file }) => !have.has(file));
  if (missing.length > 0) {
    // Into a directory of its own, then moved: a name in `directory` is a whole, verified package.
    const arriving = join(directory, `arriving-${process.pid}`);
    await mkdir(arriving, { recursive: true });
    try {
      onProgress?.("download packages", 0, missing.length);
      const argv = [...apt, "-q", "download", ...missing.map(({ name }) => name)];
      const download = stream("apt-get", argv, { cwd: arriving, signal });
      for await (const line of createInterface({ input: download.stdout })) {
        const started = /^Get:(\d+) /.exec(line);
        if (started !== null) onProgress?.("download packages", Number(started[1]) - 1, missing.length);
      }
      await download.finished;
      for (const file of await readdir(arriving)) await rename(join(arriving, file), join(directory, file));
    } finally {
      await rm(arriving, { recursive: true, force: true });
    }
  }
  onProgress?.("download packages", missing.length, missing.length);
  await rename(await writeList(request, directory, offered), listPath(request, directory));
  const packages = await fetchedPackages(request, directory);
  if (packages === undefined) throw new Error(`packages vanished from ${directory} while they were being fetched`);
  return packages;
}

async function writeList(request: PackageRequest, directory: string, offered: readonly Offer[]): Promise<string> {
  const fresh = `${listPath(request, directory)}.${process.pid}`;
  await writeFile(fresh, `${JSON.stringify(offered, null, 1)}\n`);
  return fresh;
}

interface Offer {
  readonly name: string;
  readonly file: string;
  readonly bytes: number;
  readonly hash: string;
}

/** Lines of `apt-get --print-uris`: `'uri' name_version_arch.deb bytes SHA256:…`. Sorted by name. */
export function parseUris(printed: string): Offer[] {
  const offers: Offer[] = [];
  for (const line of printed.split("\n")) {
    const match = /^'[^']*' (([a-z0-9][a-z0-9+.-]*)_[^/ ]+\.deb) (\d+) (\S+)$/.exec(line.trim());
    if (match !== null) offers.push({ name: match[2]!, file: match[1]!, bytes: Number(match[3]), hash: match[4]! });
  }
  return offers.sort((a, b) => (a.name < b.name ? -1 : 1));
}

const LIBRARY = /^lib/;
const KERNEL_PART = /^linux-(image|modules)-\d/;

/** The packages themselves, the libraries beneath them, and the kernel that the kernel's package stands for today. */
async function closure({ packages, kernel }: PackageRequest, signal: AbortSignal | undefined): Promise<string[]> {
  const beneath = async (names: readonly string[]): Promise<string[]> => {
    const no = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"].map((what) => `--no-${what}`);
    const printed = await run("apt-cache", ["depends", "--recurse", ...no, ...names], { signal });
    return [...new Set(printed.split("\n").filter((line) => /^[a-z0-9]/.test(line)))];
  };
  const below = (await beneath(packages)).filter((name) => LIBRARY.test(name) || name === "zlib1g");
  const kernels = kernel === undefined ? [] : (await beneath([kernel])).filter((name) => KERNEL_PART.test(name));
  if (kernel !== undefined && !kernels.some((name) => name.startsWith("linux-image-"))) {
    throw new Error(`${kernel} names no kernel`);
  }
  return [...new Set([...packages, ...below, ...kernels])].sort();
}

/** Reads a package's files. `wanted` gets paths without a leading slash. */
export async function* packageFiles(
  path: string,
  wanted: (path: string) => boolean,
  signal?: AbortSignal,
): AsyncGenerator<{ path: string; entry: Entry }> {
  const archive = stream("dpkg-deb", ["--fsys-tarfile", path], { signal });
  for await (const { path: name, entry } of readTar(archive.stdout, { wanted })) yield { path: name, entry };
  await archive.finished;
}
