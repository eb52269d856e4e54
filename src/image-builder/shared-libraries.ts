// Which libraries a program of some unpacked packages needs, and where in those packages they are.
import { basename } from "node:path";
import { isElf, neededLibraries } from "./elf.ts";
import { bytesOf, type FileTree } from "./file-tree.ts";

export interface SharedLibraries {
  /** By the name that programs ask for, the path in the tree. */
  readonly libraries: ReadonlyMap<string, string>;
  /** The dynamic linker, as the program names it (`/lib64/…`), and its path in the tree; none for static programs. */
  readonly linker: { readonly name: string; readonly path: string } | undefined;
}

/** @throws Error when the packages lack one */
export function sharedLibraries(tree: FileTree, program: string): SharedLibraries {
  const there = new Map<string, string>();
  for (const path of tree.paths()) {
    if (/^usr\/lib(64)?\/([^/]+-linux-gnu\/)?[^/]+\.so(\.|$)/.test(path)) there.set(basename(path), path);
  }
  const libraries = new Map<string, string>();
  let linker: SharedLibraries["linker"];
  const visit = (path: string): void => {
    const bytes = bytesOf(tree, path);
    if (!isElf(bytes)) return;
    const needed = neededLibraries(bytes);
    if (needed.interpreter !== undefined) {
      const name = basename(needed.interpreter);
      const place = there.get(name);
      if (place === undefined) throw new Error(`${path} needs ${name}, which no package has`);
      linker = { name: needed.interpreter, path: place };
    }
    for (const name of needed.libraries) {
      if (libraries.has(name)) continue;
      const place = there.get(name);
      if (place === undefined) throw new Error(`${path} needs ${name}, which no package has`);
      libraries.set(name, place);
      visit(place);
    }
  };
  visit(program);
  return { libraries, linker };
}
