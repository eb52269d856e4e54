// Many packages as one tree, the way an installed system has them.
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Entry, FileTree } from "./file-tree.ts";
import { type Package, packageFiles } from "./packages.ts";

/** Distributions have moved `/bin`, `/sbin` and `/lib` into `/usr`; their packages have not, all of them. */
export const mergedPath = (path: string): string => path.replace(/^(bin|sbin|lib|lib64)(?=\/|$)/, "usr/$1");

/** What no image and no build reads, and what makes up half of the packages. */
const UNWANTED = /^usr\/(share\/(doc|man|locale|info|lintian|bash-completion|zsh)|lib\/debug)\//;

/** Reads packages into memory. `modified` is the newest time in them: the time of an image made of them. */
export async function unpack(
  packages: readonly Package[],
  wanted: (packageName: string, path: string) => boolean,
  onPackage: (index: number) => void,
  signal?: AbortSignal,
): Promise<{ readonly tree: FileTree; readonly modified: number }> {
  const tree = new FileTree(0);
  let modified = 1;
  for (const [index, { name, path }] of packages.entries()) {
    onPackage(index);
    const want = (file: string): boolean => !UNWANTED.test(file) && wanted(name, mergedPath(file));
    for await (const file of packageFiles(path, want, signal)) {
      if (file.entry.kind === "directory") continue;
      modified = Math.max(modified, file.entry.modified);
      tree.set(mergedPath(file.path), merged(file.entry));
    }
  }
  return { tree, modified };
}

const merged = (entry: Entry): Entry =>
  entry.kind === "hardlink" ? { ...entry, target: mergedPath(entry.target) } : entry;

/** Writes files of a tree to a directory of this machine, for programs here that read them. */
export async function writeOut(tree: FileTree, directory: string, wanted: (path: string) => boolean): Promise<void> {
  for (const [path, entry] of tree) {
    if (entry.kind !== "file" || !Buffer.isBuffer(entry.content) || !wanted(path)) continue;
    const target = join(directory, path);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, entry.content, { mode: entry.mode & 0o755 });
  }
}
