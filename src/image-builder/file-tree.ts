// What a filesystem is to hold, in memory, before a filesystem exists: no mount, no root, no owner on this machine.
import { join } from "node:path";

/** Where a file's bytes are: here, or in a file on this machine that lives until the disk is written. */
export type Content = Buffer | { readonly path: string };

interface Common {
  /** Permission bits with set-uid, set-gid and sticky: 0o7777 at most. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly modified: number;
}
export type Entry =
  | (Common & { readonly kind: "directory" })
  | (Common & { readonly kind: "file"; readonly content: Content })
  | (Common & { readonly kind: "symlink"; readonly target: string })
  | (Common & { readonly kind: "hardlink"; readonly target: string })
  | (Common & { readonly kind: "character" | "block"; readonly major: number; readonly minor: number })
  | (Common & { readonly kind: "fifo" });

/** `usr/lib/x` whatever way it was written: `./usr/lib/x`, `/usr/lib/x/`. The root itself is the empty string. */
export function treePath(path: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw new Error(`a path that leaves the tree: ${path}`);
  return parts.join("/");
}

/** Distributions have moved `/bin`, `/sbin` and `/lib` into `/usr`; their packages have not, all of them. */
export const mergedPath = (path: string): string => path.replace(/^(bin|sbin|lib|lib64)(?=\/|$)/, "usr/$1");

/** Files by path. Sorted when read, so that the order of adding never shows in an image. */
export class FileTree {
  readonly #entries = new Map<string, Entry>();
  #modified: number;

  /** @param modified  time stamp, in seconds, of whatever is added without one */
  constructor(modified: number) {
    this.#modified = modified;
  }

  /** From here on, what is added without a time stamp gets this one. */
  at(modified: number): void {
    this.#modified = modified;
  }

  /** All paths there are, in no order that anyone may rely on; the tree may be changed while they are looked at. */
  paths(): string[] {
    return [...this.#entries.keys()];
  }

  /** Puts an entry, in the place of one that was there, and makes the directories above it. */
  set(path: string, entry: Entry): void {
    const name = treePath(path);
    this.#makeParents(name);
    this.#entries.set(name, entry);
  }

  get(path: string): Entry | undefined {
    return this.#entries.get(treePath(path));
  }

  /** Takes an entry away, with all that is in it. */
  delete(path: string): void {
    const name = treePath(path);
    const isDirectory = this.#entries.get(name)?.kind === "directory";
    this.#entries.delete(name);
    if (!isDirectory) return;
    for (const key of this.#entries.keys()) {
      if (key.startsWith(`${name}/`)) this.#entries.delete(key);
    }
  }

  directory(path: string, mode = 0o755, owner = 0): void {
    this.set(path, { kind: "directory", mode, uid: owner, gid: owner, modified: this.#modified });
  }

  file(path: string, content: Content | string, mode = 0o644): void {
    const bytes = typeof content === "string" ? Buffer.from(content) : content;
    this.set(path, { kind: "file", mode, uid: 0, gid: 0, modified: this.#modified, content: bytes });
  }

  symlink(path: string, target: string): void {
    this.set(path, { kind: "symlink", mode: 0o777, uid: 0, gid: 0, modified: this.#modified, target });
  }

  /** Every entry but the root, a directory before what it holds, in the order of the bytes of its path. */
  *[Symbol.iterator](): Generator<[string, Entry]> {
    const names = [...this.#entries.keys()].filter((name) => name !== "");
    names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    for (const name of names) yield [name, this.#entries.get(name)!];
  }

  #makeParents(name: string): void {
    const parts = name.split("/");
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join("/");
      const there = this.#entries.get(parent);
      if (there === undefined) this.directory(parent);
      else if (there.kind !== "directory") throw new Error(`${name}: ${parent} is not a directory`);
    }
  }
}

/** The bytes of a file that is in memory, through symbolic links. @throws Error when there is none */
export function bytesOf(tree: FileTree, path: string): Buffer {
  const entry = tree.get(path);
  if (entry?.kind === "symlink") {
    const target = entry.target.startsWith("/") ? entry.target : join("/", path, "..", entry.target);
    return bytesOf(tree, mergedPath(treePath(target)));
  }
  if (entry?.kind !== "file" || !Buffer.isBuffer(entry.content)) throw new Error(`the packages hold no ${path}`);
  return entry.content;
}
