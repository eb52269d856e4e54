// A cpio archive in the "newc" format: what the kernel unpacks as its first root filesystem.
import { type Entry, FileTree } from "./file-tree.ts";

const TYPE = {
  directory: 0o040000,
  file: 0o100000,
  symlink: 0o120000,
  character: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
} as const;

/** Uncompressed: a kernel unpacks it as fast as it copies, and a store compresses it anyway. @throws Error on a hard link */
export function cpioArchive(tree: FileTree): Buffer {
  const parts: Buffer[] = [];
  let inode = 0;
  const add = (name: string, entry: Entry): void => {
    if (entry.kind === "hardlink") throw new Error(`${name}: an archive for the kernel has no hard links`);
    const content = contentOf(name, entry);
    const [major, minor] = entry.kind === "character" || entry.kind === "block" ? [entry.major, entry.minor] : [0, 0];
    const fields = [
      ++inode,
      TYPE[entry.kind] | entry.mode,
      entry.uid,
      entry.gid,
      entry.kind === "directory" ? 2 : 1,
      entry.modified,
      content.length,
      0,
      0,
      major,
      minor,
      Buffer.byteLength(name) + 1,
      0,
    ];
    const head = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}${name}\0`;
    parts.push(padded(Buffer.from(head)), padded(content));
  };
  for (const [name, entry] of tree) add(name, entry);
  // The archive's end.
  const end = new FileTree(0);
  end.file("TRAILER!!!", "", 0);
  for (const [name, entry] of end) add(name, entry);
  return Buffer.concat(parts);
}

function contentOf(name: string, entry: Entry): Buffer {
  if (entry.kind === "symlink") return Buffer.from(entry.target);
  if (entry.kind !== "file") return Buffer.alloc(0);
  if (!Buffer.isBuffer(entry.content)) throw new Error(`${name} is not in memory`);
  return entry.content;
}

/** To the next multiple of four, as every header and every content is. */
const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
