// What transfers reach: `main.ts` hands it over.
import type { Readable } from "node:stream";
import type { Clock } from "../base/clock.ts";
import type { AccountId, SnapshotId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { Database } from "../database/database.ts";
import type { CaptureProgress } from "../model/disk.ts";
import type { ObjectStore } from "../model/object-store.ts";
import type { DiskFileFormat } from "../model/transfer-task.ts";

/** The store's content of one snapshot. */
export interface StoredDisk {
  /** Hex Merkle root. */
  readonly digest: string;
  readonly bytes: number;
  /** Non-zero bytes. */
  readonly allocatedBytes: number;
}

/** A snapshot, open for reading. */
export interface DiskReader {
  readonly bytes: number;
  /** Runs of blocks that are not zero, ascending. */
  extents(): AsyncIterable<{ readonly offset: number; readonly bytes: number }>;
  read(offset: number, bytes: number): Promise<Buffer>;
}

export interface TransferOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: CaptureProgress) => void;
}

export interface TransferStorage {
  /** undefined: nothing is kept under that id. */
  describe(id: SnapshotId): Promise<StoredDisk | undefined>;
  /** @throws Error whose message is for the file's owner when the file is not what it is said to be */
  importDisk(
    disk: {
      readonly path: string;
      readonly format: DiskFileFormat;
      readonly snapshotId: SnapshotId;
      readonly owner: AccountId;
    },
    options: TransferOptions,
  ): Promise<StoredDisk>;
  /** The same content under another id. */
  copy(id: SnapshotId, from: SnapshotId): Promise<StoredDisk>;
  open(id: SnapshotId): Promise<DiskReader>;
  /** Writes a new file. @param onProgress  of 0 to 1 */
  exportDisk(
    id: SnapshotId,
    path: string,
    options: {
      readonly format: "raw" | "vmdk" | "vhd";
      readonly signal: AbortSignal;
      readonly onProgress: (fraction: number) => void;
    },
  ): Promise<void>;
}

/** Buckets, for objects of any size. */
export interface TransferObjects extends Pick<ObjectStore, "get"> {
  /**
   * Writes an object, in parts where it is long: nobody sees it before it is whole, and what a kill leaves of an earlier
   * try of the same task is removed first.
   * @throws ApiError `NoSuchBucket`
   */
  write(
    to: { readonly bucket: string; readonly key: string; readonly task: string },
    description: {
      readonly metadata: Readonly<Record<string, string>>;
      readonly tags: Readonly<Record<string, string>>;
    },
    content: Readable,
  ): Promise<void>;
}

export interface TransferParts {
  readonly database: Database;
  readonly objects: TransferObjects;
  readonly storage: TransferStorage;
  readonly clock: Clock;
  readonly log: Log;
  /** Files on their way; emptied at the start. */
  readonly directory: string;
}

/** One task under way, as its own code sees it. */
export interface TransferRun extends TransferParts {
  readonly signal: AbortSignal;
  /** A directory of its own, gone when it ends. */
  readonly scratch: string;
  /** @param fraction  of the whole, 0 to 1 */
  progress(stage: string, fraction: number): void;
}
