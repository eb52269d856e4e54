// What storage and compute say to each other about a volume's bytes. They never meet otherwise: `main.ts` wires them.
import type { SnapshotId, VolumeId } from "../base/ids.ts";

/** A snapshot's blocks, served read-only over NBD on a unix socket, for the bottom of a volume's overlay. */
export interface BlockExport {
  /** Path of the unix socket. */
  readonly socket: string;
  /** NBD export name. */
  readonly name: string;
  /** Size of the snapshot. A volume may be larger: the rest reads as zeroes. */
  readonly bytes: number;
}

/** What a capture reads. Both kinds answer for one instant only, however long the reading takes. */
export type CaptureSource =
  /** A raw file or a block device that nobody writes meanwhile. Holes are skipped where the filesystem tells. */
  | { readonly kind: "file"; readonly path: string }
  /**
   * An NBD export (a live machine's frozen view, or a stopped machine's overlay opened read-only).
   * `changed` names the meta context whose extents may differ from the base snapshot; `null`: anything may.
   *   `qemu:dirty-bitmap:NAME`  bit 0 set = changed
   *   `qemu:allocation-depth`   1 or 2 = changed; 3 and more, or 0 = as in the base (0 without base: zeroes)
   */
  | { readonly kind: "nbd"; readonly socket: string; readonly exportName: string; readonly changed: string | null };

export interface CaptureProgress {
  /** Bytes looked at and bytes to look at; both only grow. */
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** One disk to capture. */
export interface CaptureSpec {
  readonly snapshotId: SnapshotId;
  /** Virtual size in bytes. */
  readonly bytes: number;
  /** What the bytes that `source` does not list are equal to; `null`: zeroes. */
  readonly base: SnapshotId | null;
  readonly source: CaptureSource;
}

/** One volume as a machine sees it. */
export interface MachineDisk {
  readonly volumeId: VolumeId;
  /** EC2's name for it: `/dev/xvda`, `/dev/sdf`. */
  readonly deviceName: string;
  /** Virtual size in bytes. */
  readonly bytes: number;
  /** The local qcow2 overlay that takes the writes; made when absent. */
  readonly overlayPath: string;
  /** What lies beneath; `null` for a volume that was made empty. */
  readonly base: BlockExport | null;
  readonly root: boolean;
}

/** A disk, or anything that reads like one. */
export interface DiskReader {
  readonly bytes: number;
  /** @throws RangeError past its end */
  read(offset: number, bytes: number): Promise<Buffer>;
}

/** Bytes of a disk. */
export interface DiskRange {
  readonly offset: number;
  readonly bytes: number;
}
