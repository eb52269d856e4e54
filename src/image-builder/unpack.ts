// Many packages as one tree, the way an installed system has them.
import { mkdir, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { bytesOf, type Entry, FileTree, mergedPath } from "./file-tree.ts";
import { type Package, packageFiles } from "./packages.ts";

/** What no image and no build reads, and what makes up half of the packages. */
const UNWANTED = /^usr\/(share\/(doc|man|locale|info|lintian|bash-completion|zsh)|lib\/debug)\//;

/** dpkg-deb decompresses in a thread of its own process; more of them than this only take memory. */
const AT_ONCE = 2;

/** Reads packages into memory. `modified` is the newest time in them: the time of an image made of them. */
export async function unpack(
  packages: readonly Package[],
  onProgress: (done: number) => void,
  signal?: AbortSignal,
): Promise<{ readonly tree: FileTree; readonly modified: number }> {
  const contents = packages.map((): [string, Entry][] => []);
  // The largest first, so that none of them is what all wait for at the end.
  const sizes = await Promise.all(packages.map(async ({ path }) => (await stat(path)).size));
  const queue = [...packages.keys()].sort((a, b) => sizes[b]! - sizes[a]!);
  let done = 0;
  const work = async (): Promise<void> => {
    for (let index = queue.shift(); index !== undefined; index = queue.shift()) {
      const wanted = (path: string): boolean => !UNWANTED.test(path);
      for await (const { path, entry } of packageFiles(packages[index]!.path, wanted, signal)) {
        if (entry.kind !== "directory") contents[index]!.push([mergedPath(path), merged(entry)]);
      }
      onProgress(++done);
    }
  };
  onProgress(0);
  await Promise.all(Array.from({ length: AT_ONCE }, work));

  const tree = new FileTree(0);
  let modified = 1;
  for (const [path, entry] of contents.flat()) {
    modified = Math.max(modified, entry.modified);
    tree.set(path, entry);
  }
  return { tree, modified };
}

const merged = (entry: Entry): Entry =>
  entry.kind === "hardlink" ? { ...entry, target: mergedPath(entry.target) } : entry;

/** Writes some of a tree's files below a directory of this machine, for programs here that read them. */
export async function writeOut(tree: FileTree, directory: string, paths: ReadonlyMap<string, string>): Promise<void> {
  for (const [path, place] of paths) {
    const target = join(directory, place);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, bytesOf(tree, path), { mode: 0o755 });
  }
}
