// A GUID partition table, as bytes. Pure: the same layout gives the same bytes.
// UEFI specification 2.10, chapter 5. All sectors have 512 bytes.
import { crc32 } from "node:zlib";

export const SECTOR = 512;
/** Partitions start on this boundary: SSD pages, RAID stripes and our own chunks all divide it. */
const ALIGNMENT_SECTORS = 2048;
const ENTRIES = 128;
const ENTRY_BYTES = 128;
/** The entries' own sectors, and the header before (or, in the backup, behind) them. */
const TABLE_SECTORS = (ENTRIES * ENTRY_BYTES) / SECTOR + 1;

/** Kinds of partition, by the GUID that names them. */
export const PARTITION_TYPE = {
  biosBoot: "21686148-6449-6e6f-744e-656564454649",
  efiSystem: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
  linuxRootX86_64: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
} as const;

export interface PartitionRequest {
  /** 1..128: its place in the table and so its name in the guest (`nvme0n1p1`), whatever its place on the disk. */
  readonly number: number;
  readonly type: string;
  readonly guid: string;
  readonly name: string;
  /** A multiple of 1 MiB; `"rest"`: up to the disk's end, for the last one only, so that it can grow with the disk. */
  readonly bytes: number | "rest";
}
export interface Partition extends Omit<PartitionRequest, "bytes"> {
  readonly firstSector: number;
  readonly sectors: number;
}

/** Lays partitions out one behind another, in the order given. @throws Error when they do not fit */
export function layOut(diskBytes: number, requests: readonly PartitionRequest[]): Partition[] {
  if (diskBytes % SECTOR !== 0) throw new Error(`a disk of ${diskBytes} bytes does not end on a sector`);
  const end = Math.floor((diskBytes / SECTOR - TABLE_SECTORS) / ALIGNMENT_SECTORS) * ALIGNMENT_SECTORS;
  let next = ALIGNMENT_SECTORS;
  return requests.map(({ bytes, ...request }, index) => {
    if (bytes === "rest" && index !== requests.length - 1) throw new Error("only the last partition takes the rest");
    const sectors = bytes === "rest" ? end - next : bytes / SECTOR;
    if (sectors % ALIGNMENT_SECTORS !== 0) throw new Error(`partition ${request.number} is not a multiple of 1 MiB`);
    if (sectors <= 0 || next + sectors > end) throw new Error(`partition ${request.number} does not fit the disk`);
    const partition = { ...request, firstSector: next, sectors };
    next += sectors;
    return partition;
  });
}

/** The table's bytes: `primary` goes to the disk's start, `backup` to its end. Sector 0's boot code is left zero. */
export function partitionTable(diskBytes: number, diskGuid: string, partitions: readonly Partition[]) {
  const diskSectors = diskBytes / SECTOR;
  const entries = Buffer.alloc(ENTRIES * ENTRY_BYTES);
  for (const partition of partitions) {
    const at = (partition.number - 1) * ENTRY_BYTES;
    guidBytes(partition.type).copy(entries, at);
    guidBytes(partition.guid).copy(entries, at + 16);
    entries.writeBigUInt64LE(BigInt(partition.firstSector), at + 32);
    entries.writeBigUInt64LE(BigInt(partition.firstSector + partition.sectors - 1), at + 40);
    entries.write(partition.name, at + 56, 72, "utf16le");
  }
  const header = (self: number, other: number, entriesAt: number): Buffer => {
    const block = Buffer.alloc(SECTOR);
    block.write("EFI PART", 0, "latin1");
    block.writeUInt32LE(0x10000, 8);
    block.writeUInt32LE(92, 12);
    block.writeBigUInt64LE(BigInt(self), 24);
    block.writeBigUInt64LE(BigInt(other), 32);
    block.writeBigUInt64LE(BigInt(TABLE_SECTORS + 1), 40);
    block.writeBigUInt64LE(BigInt(diskSectors - TABLE_SECTORS - 1), 48);
    guidBytes(diskGuid).copy(block, 56);
    block.writeBigUInt64LE(BigInt(entriesAt), 72);
    block.writeUInt32LE(ENTRIES, 80);
    block.writeUInt32LE(ENTRY_BYTES, 84);
    block.writeUInt32LE(crc32(entries), 88);
    block.writeUInt32LE(crc32(block.subarray(0, 92)), 16);
    return block;
  };
  const last = diskSectors - 1;
  return {
    primary: Buffer.concat([protectiveMbr(diskSectors), header(1, last, 2), entries]),
    backup: Buffer.concat([entries, header(last, 1, last - TABLE_SECTORS + 1)]),
  };
}

/** Says "taken" to programs that know only the old table. */
function protectiveMbr(diskSectors: number): Buffer {
  const sector = Buffer.alloc(SECTOR);
  const at = 446;
  // Some BIOSes boot no disk whose table has no active entry; GPT firmware must ignore the flag.
  sector.writeUInt8(0x80, at);
  sector.set([0x00, 0x02, 0x00], at + 1);
  sector.writeUInt8(0xee, at + 4);
  sector.set([0xff, 0xff, 0xff], at + 5);
  sector.writeUInt32LE(1, at + 8);
  sector.writeUInt32LE(Math.min(diskSectors - 1, 0xffff_ffff), at + 12);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

/** A GUID's bytes on disk: the first three fields are little-endian, the others are not. */
export function guidBytes(guid: string): Buffer {
  const bytes = Buffer.from(guid.replaceAll("-", ""), "hex");
  if (bytes.length !== 16) throw new Error(`not a GUID: ${guid}`);
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return bytes;
}
