// An empty qcow2 image, written by ourselves: `qemu-img create` is a process, 10 ms on an idle machine and 50 to 120 ms
// on a busy one, and every launch and every capture needs an image per disk before anything else can start.
//
// Layout, in clusters of 64 KiB: header, refcount table, refcount block, the LUKS header of an encrypted one, L1 table.
// Everything else is absent, so it reads as zeroes or as what lies beneath. Checked by `qemu-img check` in the test; the
// format is QEMU's docs/interop/qcow2.txt, version 3.
import { open } from "node:fs/promises";
import { KIB } from "../base/units.ts";
import { writeFully } from "../base/write-fully.ts";
import { LUKS_BYTES } from "./luks.ts";

const CLUSTER_BYTES = 64 * KIB;
const HEADER_BYTES = 112;
/** Incompatible feature: 32 subclusters of 2 KiB per cluster, in L2 entries of 16 bytes. */
const EXTENDED_L2 = 1n << 4n;
/** `crypt_method`: LUKS. */
export const CRYPT_LUKS = 2;
/** Header extension: where the LUKS header lies. */
const FULL_DISK_ENCRYPTION_HEADER = 0x0537be77;
/** Bytes that one L2 table, and so one L1 entry, stands for. */
const L1_ENTRY_BYTES = (CLUSTER_BYTES / 16) * CLUSTER_BYTES;
/** QEMU takes L1 tables up to 32 MiB. */
const L1_ENTRIES_MAX = (32 * 1024 * KIB) / 8;

/**
 * The bytes of an empty image of `bytes`; what follows to the end of the last cluster is zero.
 * @param luks  the first bytes of its LUKS header, the rest of which is zero; `null`: not encrypted
 */
export function emptyQcow2(
  bytes: number,
  luks: Buffer | null = null,
): { readonly head: Buffer; readonly fileBytes: number } {
  if (!Number.isSafeInteger(bytes) || bytes <= 0) throw new Error(`a disk has no ${bytes} bytes`);
  const l1Entries = Math.ceil(bytes / L1_ENTRY_BYTES);
  if (l1Entries > L1_ENTRIES_MAX) throw new Error(`a disk of ${bytes} bytes is larger than qcow2 takes`);
  const luksClusters = luks === null ? 0 : Math.ceil(LUKS_BYTES / CLUSTER_BYTES);
  const clusters = 3 + luksClusters + Math.ceil((l1Entries * 8) / CLUSTER_BYTES);
  const head = Buffer.alloc(3 * CLUSTER_BYTES + (luks?.length ?? 0));
  head.write("QFI\xfb", 0, "latin1");
  head.writeUInt32BE(3, 4);
  // 8: no backing file name
  head.writeUInt32BE(Math.log2(CLUSTER_BYTES), 20);
  head.writeBigUInt64BE(BigInt(bytes), 24);
  head.writeUInt32BE(luks === null ? 0 : CRYPT_LUKS, 32);
  head.writeUInt32BE(l1Entries, 36);
  head.writeBigUInt64BE(BigInt((3 + luksClusters) * CLUSTER_BYTES), 40);
  head.writeBigUInt64BE(BigInt(CLUSTER_BYTES), 48);
  head.writeUInt32BE(1, 56); // clusters of the refcount table
  // 60: no internal snapshots
  head.writeBigUInt64BE(EXTENDED_L2, 72);
  head.writeUInt32BE(4, 96); // refcounts of 1 << 4 bits
  head.writeUInt32BE(HEADER_BYTES, 100);
  if (luks !== null) {
    head.writeUInt32BE(FULL_DISK_ENCRYPTION_HEADER, HEADER_BYTES);
    head.writeUInt32BE(16, HEADER_BYTES + 4);
    head.writeBigUInt64BE(BigInt(3 * CLUSTER_BYTES), HEADER_BYTES + 8);
    head.writeBigUInt64BE(BigInt(LUKS_BYTES), HEADER_BYTES + 16);
    luks.copy(head, 3 * CLUSTER_BYTES);
  }
  head.writeBigUInt64BE(BigInt(2 * CLUSTER_BYTES), CLUSTER_BYTES);
  for (let n = 0; n < clusters; n++) head.writeUInt16BE(1, 2 * CLUSTER_BYTES + n * 2);
  return { head, fileBytes: clusters * CLUSTER_BYTES };
}

/**
 * Writes an empty image to a new file, durably. @param luks  as for `emptyQcow2`
 * @throws Error `EEXIST` as cause when there is one
 */
export async function createQcow2(path: string, bytes: number, luks: Buffer | null = null): Promise<void> {
  const { head, fileBytes } = emptyQcow2(bytes, luks);
  const file = await open(path, "wx", 0o600);
  try {
    await writeFully(file, head);
    await file.truncate(fileBytes);
    await file.datasync();
  } finally {
    await file.close();
  }
}
