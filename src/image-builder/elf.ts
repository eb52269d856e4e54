// The two questions that an image asks of an ELF file: which libraries it needs, and (a kernel module) which modules.
import { readFile, writeFile } from "node:fs/promises";
import { zstdDecompressSync } from "node:zlib";
import { run } from "./program.ts";

const DT_NEEDED = 1n;
const DT_STRTAB = 5n;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;

export const isElf = (bytes: Buffer): boolean => bytes.length > 64 && bytes.readUInt32BE(0) === 0x7f454c46;

/** Names in DT_NEEDED, then the path of the interpreter, if it has one. Empty for a static program. 64-bit only. */
export function neededLibraries(bytes: Buffer): {
  readonly libraries: string[];
  readonly interpreter: string | undefined;
} {
  if (!isElf(bytes) || bytes[4] !== 2 || bytes[5] !== 1) throw new Error("not a 64-bit little-endian ELF file");
  const start = Number(bytes.readBigUInt64LE(32));
  const size = bytes.readUInt16LE(54);
  const segments = Array.from({ length: bytes.readUInt16LE(56) }, (_, i) => {
    const at = start + i * size;
    const field = (offset: number) => Number(bytes.readBigUInt64LE(at + offset));
    return { type: bytes.readUInt32LE(at), offset: field(8), address: field(16), bytes: field(32) };
  });
  const interp = segments.find((segment) => segment.type === PT_INTERP);
  const dynamic = segments.find((segment) => segment.type === PT_DYNAMIC);
  const interpreter = interp === undefined ? undefined : text(bytes, interp.offset);
  if (dynamic === undefined) return { libraries: [], interpreter };

  const needed: number[] = [];
  let strings = 0;
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.bytes; at += 16) {
    const tag = bytes.readBigUInt64LE(at);
    const value = Number(bytes.readBigUInt64LE(at + 8));
    if (tag === DT_NEEDED) needed.push(value);
    if (tag === DT_STRTAB) strings = value;
  }
  const home = segments.find((s) => s.type === PT_LOAD && strings >= s.address && strings < s.address + s.bytes);
  if (home === undefined) throw new Error("an ELF file without its string table");
  const table = strings - home.address + home.offset;
  return { libraries: needed.map((offset) => text(bytes, table + offset)), interpreter };
}

function text(bytes: Buffer, at: number): string {
  return bytes.subarray(at, bytes.indexOf(0, at)).toString("latin1");
}

/** What a kernel module says that it depends on, `-` written as `_`. */
export function moduleDependencies(module: Buffer): string[] {
  const at = module.indexOf("\0depends=");
  if (at < 0) return [];
  const list = text(module, at + "\0depends=".length);
  return list === "" ? [] : list.split(",").map((name) => name.replaceAll("-", "_"));
}

/** A module as `insmod` wants it, whatever the distribution compressed it with. */
export async function plainModule(path: string, bytes: Buffer, scratchFile: string): Promise<Buffer> {
  if (path.endsWith(".ko")) return bytes;
  if (path.endsWith(".ko.zst")) return zstdDecompressSync(bytes);
  if (path.endsWith(".ko.xz")) {
    await writeFile(`${scratchFile}.xz`, bytes);
    await run("xz", ["--decompress", "--force", `${scratchFile}.xz`]);
    return await readFile(scratchFile);
  }
  throw new Error(`not a kernel module: ${path}`);
}
