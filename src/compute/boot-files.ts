// What firmware starts from a disk that is made as Ingot makes them: GRUB in a BIOS boot partition, and an ext4 root whose
// /boot/grub/grub.cfg starts one kernel and asks nothing. Two disks that agree in all of it boot alike, whatever else
// they hold.
import { isDeepStrictEqual } from "node:util";
import type { DiskRange, DiskReader } from "../model/disk.ts";
import { type DiskFile, Ext4Reader, Unreadable } from "./ext4-reader.ts";

export interface BootFiles {
  /** The code in sector 0; the partition table after it grows with the disk. */
  readonly bootCode: Buffer;
  /** GRUB's configuration. */
  readonly config: string;
  readonly loader: DiskRange;
  /** The kernel and, if there is one, its RAM disk. */
  readonly started: readonly DiskFile[];
}

const SECTOR = 512;
const BOOT_CODE_BYTES = 440;
const ENTRIES_AT = 2 * SECTOR;
const ENTRY_BYTES = 128;
const ENTRIES = 128;
const BIOS_BOOT = Buffer.from("4861682149646f6e744e656564454649", "hex");
const MAX_LOADER_BYTES = 16 << 20;
const MAX_CONFIG_BYTES = 16 << 10;
/** Anything else that a configuration may say makes it one that is not understood. */
const CONFIG = /^linux (\/[^\s]+) [^\n]*\n(?:initrd (\/[^\s]+)\n)?boot\n$/;

interface Partition extends DiskRange {
  readonly number: number;
  readonly type: Buffer;
}

/** `null`: the disk is made in another way. Reads some 100 KiB. @throws what reading throws */
export async function readBootFiles(disk: DiskReader): Promise<BootFiles | null> {
  try {
    return await read(disk);
  } catch (error) {
    // A place outside of the disk, too, is only a disk that makes no sense.
    if (error instanceof Unreadable || error instanceof RangeError) return null;
    throw error;
  }
}

async function read(disk: DiskReader): Promise<BootFiles> {
  const head = await disk.read(0, ENTRIES_AT + ENTRIES * ENTRY_BYTES);
  const partitions = partitionsOf(head);
  const loader = partitions.find(({ type }) => type.equals(BIOS_BOOT));
  const root = partitions.find(({ number }) => number === 1);
  if (loader === undefined || root === undefined || loader.bytes > MAX_LOADER_BYTES) throw new Unreadable("partitions");
  const files = await Ext4Reader.open(disk, root.offset);
  const configFile = await files.file("/boot/grub/grub.cfg");
  if (configFile.bytes > MAX_CONFIG_BYTES) throw new Unreadable("a long configuration");
  const content = Buffer.alloc(configFile.bytes);
  for (const { at, offset, bytes } of configFile.pieces) (await disk.read(offset, bytes)).copy(content, at);
  const config = content.toString("latin1");
  const [, kernel, initrd] = CONFIG.exec(config) ?? [];
  if (kernel === undefined) throw new Unreadable("another configuration");
  const started = await Promise.all(
    [kernel, ...(initrd === undefined ? [] : [initrd])].map((path) => files.file(path)),
  );
  return {
    bootCode: head.subarray(0, BOOT_CODE_BYTES),
    config,
    loader: { offset: loader.offset, bytes: loader.bytes },
    started,
  };
}

function partitionsOf(head: Buffer): Partition[] {
  if (head.toString("latin1", SECTOR, SECTOR + 8) !== "EFI PART") throw new Unreadable("no GPT");
  // Where every program puts them, and how large.
  if (head.readBigUInt64LE(SECTOR + 72) !== 2n || head.readUInt32LE(SECTOR + 84) !== ENTRY_BYTES) {
    throw new Unreadable("an unusual GPT");
  }
  const partitions: Partition[] = [];
  for (let number = 1; number <= ENTRIES; number++) {
    const at = ENTRIES_AT + (number - 1) * ENTRY_BYTES;
    const first = Number(head.readBigUInt64LE(at + 32));
    const last = Number(head.readBigUInt64LE(at + 40));
    if (first === 0 || last < first) continue;
    const type = head.subarray(at, at + 16);
    partitions.push({ number, type, offset: first * SECTOR, bytes: (last - first + 1) * SECTOR });
  }
  return partitions;
}

/**
 * Does firmware start the same from both? @param same  whether both disks hold the same bytes there
 */
export async function bootsAlike(
  a: BootFiles,
  b: BootFiles,
  same: (range: DiskRange) => Promise<boolean>,
): Promise<boolean> {
  if (!isDeepStrictEqual(a, b)) return false;
  for (const range of [a.loader, ...a.started.flatMap(({ pieces }) => pieces)]) {
    if (!(await same(range))) return false;
  }
  return true;
}
