// The files of a recipe's own, kept in `images/` as they will lie in the image.
import { access, readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { FileTree } from "./file-tree.ts";

/** Puts them into the tree. Scripts are executable, whatever a checkout made of their mode. */
export async function addRecipeFiles(tree: FileTree, directory: string): Promise<void> {
  for (const name of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!name.isFile()) continue;
    const source = join(name.parentPath, name.name);
    const content = await readFile(source);
    const executable = content.subarray(0, 2).toString() === "#!";
    tree.file(source.slice(directory.length), content, executable ? 0o755 : 0o644);
  }
}

/** A directory below `images/`, which lies beside `src` and beside the bundled program alike. */
export async function recipeDirectory(name: string): Promise<string> {
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
