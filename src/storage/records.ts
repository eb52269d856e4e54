// Snapshot records (FORMAT.md §5): who exists, and what its top is.
import { isId, type SnapshotId, type VolumeId } from "../base/ids.ts";
import type { Backend } from "./backend.ts";
import { sha256Hex } from "./encryption.ts";
import { DamageError, snapshotDigest } from "./format.ts";

/** Who may hold a disk's content: a snapshot, or a volume that was made from one and may outlive it. */
export type HolderId = SnapshotId | VolumeId;

export const isHolderId = (text: string): text is HolderId => isId("snapshot", text) || isId("volume", text);

export interface SnapshotRecord {
  readonly version: 1;
  readonly id: HolderId;
  /** Virtual size. */
  readonly bytes: number;
  /** Hex; `null`: all zero. */
  readonly top: string | null;
  /** Hex Merkle root. */
  readonly digest: string;
  readonly domain: string | null;
  /** Non-zero bytes, in whole 4 KiB blocks. */
  readonly allocatedBytes: number;
  /** Bytes that its capture added to packs. */
  readonly newBytes: number;
  readonly epoch: number;
  readonly createdAt: string;
}

export const recordName = (id: HolderId): string => `snapshots/${id}`;

export function encodeRecord(record: SnapshotRecord): Buffer {
  const line = JSON.stringify(record);
  return Buffer.from(`${line}\n${sha256Hex(line)}\n`);
}

/** @throws DamageError when it is not what was written for this id */
export function decodeRecord(id: string, bytes: Buffer): SnapshotRecord {
  const [line = "", sum] = bytes.toString("utf8").split("\n");
  if (sha256Hex(line) !== sum) throw new DamageError(`the record of ${id} is damaged`);
  const record = JSON.parse(line) as SnapshotRecord;
  if (record.version !== 1) throw new Error(`record format ${record.version} is newer than this program`);
  if (record.id !== id || snapshotDigest(record.bytes, topOf(record)) !== record.digest) {
    throw new DamageError(`the record of ${id} does not belong to it`);
  }
  return record;
}

export const topOf = (record: { readonly top: string | null }): Buffer | null =>
  record.top === null ? null : Buffer.from(record.top, "hex");

/** undefined: nobody of this name. @throws DamageError */
export async function readRecord(backend: Backend, id: HolderId): Promise<SnapshotRecord | undefined> {
  const bytes = await backend.read(recordName(id));
  return bytes === null ? undefined : decodeRecord(id, bytes);
}
