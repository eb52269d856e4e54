// Foreign disk files, looked at before QEMU opens them. A file from outside may name other files (a backing file, a data
// file, extents, a parent), and QEMU would open those with our rights: so whatever names one is refused here, by our own
// reading of its header.
import { type FileHandle, open } from "node:fs/promises";
import { KIB, MIB } from "../base/units.ts";

/** What can be imported. `vpc` is QEMU's word for VHD. */
export const DISK_FORMATS = ["raw", "qcow2", "vmdk", "vhd", "vhdx", "ova"] as const;
export type DiskFormat = (typeof DISK_FORMATS)[number];

/** The file can't be imported, for a reason that its owner should hear. */
export class DiskFormatError extends Error {
  override readonly name = "DiskFormatError";
}

async function readAt(file: FileHandle, offset: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes);
  const { bytesRead } = await file.read(buffer, 0, bytes, offset);
  return buffer.subarray(0, bytesRead);
}

/** @throws DiskFormatError when the file is not of this format, or reaches beyond itself */
export async function checkDiskFile(path: string, format: Exclude<DiskFormat, "ova">): Promise<void> {
  const file = await open(path, "r");
  try {
    switch (format) {
      case "raw":
        return;
      case "qcow2":
        return await checkQcow2(file);
      case "vmdk":
        return await checkVmdk(file);
      case "vhd":
        return await checkVhd(file);
      case "vhdx":
        return await checkVhdx(file);
    }
  } finally {
    await file.close();
  }
}

async function checkQcow2(file: FileHandle): Promise<void> {
  const head = await readAt(file, 0, 104);
  if (head.length < 72 || head.readUInt32BE(0) !== 0x514649fb) throw new DiskFormatError("not a qcow2 file");
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3) throw new DiskFormatError(`qcow2 version ${version} is not known`);
  if (head.readBigUInt64BE(8) !== 0n) {
    const length = Math.min(head.readUInt32BE(16), 1023);
    const offset = Number(head.readBigUInt64BE(8));
    const name = Number.isSafeInteger(offset) ? (await readAt(file, offset, length)).toString("utf8") : "";
    throw new DiskFormatError(
      `the qcow2 file names a backing file ("${printable(name)}"): a disk must be whole to be imported`,
    );
  }
  if (head.readUInt32BE(32) !== 0) throw new DiskFormatError("the qcow2 file is encrypted");
  // Incompatible feature bit 2: the data is in another file.
  if (version === 3 && head.length >= 80 && (head.readBigUInt64BE(72) & 4n) !== 0n) {
    throw new DiskFormatError("the qcow2 file keeps its data in another file: a disk must be whole to be imported");
  }
}

async function checkVmdk(file: FileHandle): Promise<void> {
  const head = await readAt(file, 0, 512);
  if (head.length < 512 || head.toString("latin1", 0, 4) !== "KDMV") {
    throw new DiskFormatError(
      "only VMDK files that hold their data themselves are imported (sparse or stream-optimized)",
    );
  }
  const offset = Number(head.readBigUInt64LE(28)) * 512;
  const bytes = Number(head.readBigUInt64LE(36)) * 512;
  if (offset === 0 || bytes === 0 || bytes > MIB) throw new DiskFormatError("the VMDK file has no descriptor");
  const descriptor = (await readAt(file, offset, bytes)).toString("latin1").split("\0")[0]!;
  const type = /^createType\s*=\s*"([^"]*)"/im.exec(descriptor)?.[1] ?? "";
  if (!/^(monolithicSparse|streamOptimized)$/i.test(type)) {
    throw new DiskFormatError(
      `a VMDK of type "${printable(type)}" names other files: a disk must be whole to be imported`,
    );
  }
  if (/^parentFileNameHint\s*=/im.test(descriptor)) throw new DiskFormatError("the VMDK file names a parent disk");
  const extents = descriptor.split(/\r?\n/).filter((line) => /^\s*(RW|RDONLY|NOACCESS)\s/i.test(line));
  // Its one extent is the file itself, whatever name stands there; QEMU takes no other from an embedded descriptor.
  if (extents.length !== 1 || !/^\s*RW\s+\d+\s+SPARSE\s+"[^"/\\]*"\s*$/i.test(extents[0]!)) {
    throw new DiskFormatError("the VMDK file names other files: a disk must be whole to be imported");
  }
}

async function checkVhd(file: FileHandle): Promise<void> {
  const { size } = await file.stat();
  const footer = await readAt(file, Math.max(0, size - 512), 512);
  const head = await readAt(file, 0, 512);
  const at = footer.toString("latin1", 0, 8) === "conectix" ? footer : head;
  if (at.length < 512 || at.toString("latin1", 0, 8) !== "conectix") throw new DiskFormatError("not a VHD file");
  const type = at.readUInt32BE(60);
  if (type === 4) throw new DiskFormatError("the VHD file names a parent disk");
  if (type !== 2 && type !== 3) throw new DiskFormatError(`a VHD of type ${type} is not known`);
}

async function checkVhdx(file: FileHandle): Promise<void> {
  if ((await readAt(file, 0, 8)).toString("latin1") !== "vhdxfile") throw new DiskFormatError("not a VHDX file");
  // A parent is named in the metadata region, which QEMU reads and refuses by itself ("has_parent").
}

// --- ova: a tar file of an OVF description and its disks ---

export interface OvaDisk {
  readonly name: string;
  readonly offset: number;
  readonly bytes: number;
}

const MAX_OVA_ENTRIES = 256;

/** The first disk that the OVF description names. @throws DiskFormatError */
export async function findOvaDisk(path: string): Promise<OvaDisk> {
  const file = await open(path, "r");
  try {
    const entries: OvaDisk[] = [];
    const { size } = await file.stat();
    for (let offset = 0; offset + 512 <= size && entries.length < MAX_OVA_ENTRIES; ) {
      const head = await readAt(file, offset, 512);
      if (head.every((byte) => byte === 0)) break;
      if (head.toString("latin1", 257, 262) !== "ustar") throw new DiskFormatError("not an OVA file (a tar archive)");
      const bytes = tarSize(head.subarray(124, 136));
      const name = head.toString("utf8", 0, 100).split("\0")[0]!;
      if (offset + 512 + bytes > size) throw new DiskFormatError("the OVA file is cut short");
      if (head[156] === 0x30 || head[156] === 0) entries.push({ name, offset: offset + 512, bytes });
      offset += 512 + Math.ceil(bytes / 512) * 512;
    }
    const description = entries.find(({ name }) => name.toLowerCase().endsWith(".ovf"));
    if (description === undefined) throw new DiskFormatError("the OVA file has no OVF description");
    if (description.bytes > 4 * MIB) throw new DiskFormatError("the OVF description is too long");
    const xml = (await readAt(file, description.offset, description.bytes)).toString("utf8");
    // Only two attributes matter, and a name must be one of the archive's: no XML parser meets a stranger's document.
    const files = new Map<string, string>();
    for (const [element] of xml.matchAll(/<(?:\w+:)?File\b[^>]*>/g)) {
      const id = attribute(element, "id");
      const href = attribute(element, "href");
      if (id !== null && href !== null) files.set(id, href);
    }
    const disk = /<(?:\w+:)?Disk\b[^>]*>/.exec(xml)?.[0];
    const href = disk === undefined ? null : files.get(attribute(disk, "fileRef") ?? "");
    const entry = entries.find(({ name }) => name === href);
    if (entry === undefined) throw new DiskFormatError("the OVF description names no disk that is in the OVA file");
    return entry;
  } finally {
    await file.close();
  }
}

const attribute = (element: string, name: string): string | null =>
  new RegExp(`\\s(?:\\w+:)?${name}\\s*=\\s*"([^"]*)"`).exec(element)?.[1] ?? null;

/** Octal text, or a big number behind a set top bit (files above 8 GiB). */
function tarSize(field: Buffer): number {
  if ((field[0]! & 0x80) === 0) {
    const size = Number.parseInt(field.toString("latin1").replaceAll("\0", " ").trim() || "0", 8);
    if (Number.isSafeInteger(size) && size >= 0) return size;
  } else {
    const size = Number(field.readBigUInt64BE(4));
    if (Number.isSafeInteger(size)) return size;
  }
  throw new DiskFormatError("the OVA file has an entry whose size makes no sense");
}

/** What a stranger's file says, fit for a message. */
const printable = (text: string): string => text.replace(/[^\x20-\x7e]/g, "?").slice(0, 200);

/** How much of a file is copied at a time. */
export const COPY_BYTES = 1024 * KIB;
