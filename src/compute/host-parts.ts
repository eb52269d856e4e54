// What the host's reconciler needs of the other parts. Storage and network are compute's siblings: `main.ts` hands them in.
import type { Clock } from "../base/clock.ts";
import type { AccountId, InstanceId, SnapshotId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { Database } from "../database/database.ts";
import type { BlockExport, CaptureProgress, CaptureSpec, DiskRange, DiskReader } from "../model/disk.ts";
import type { Nic, NicAttachment, SecurityGroupRules } from "../model/nic.ts";
import type { Accelerator } from "./accelerator.ts";

export interface CapturedContent {
  /** Merkle root, hex. */
  readonly digest: string;
  /** Bytes that are not zero. */
  readonly allocatedBytes: number;
}

/** Storage, as far as the host uses it. */
export interface HostStorage {
  capture(
    spec: CaptureSpec,
    options: {
      /** Whose content it is: it is encrypted under this account's key. */
      readonly owner: AccountId;
      readonly signal: AbortSignal;
      readonly onProgress: (progress: CaptureProgress) => void;
    },
  ): Promise<CapturedContent>;
  /** The same content under a second id. */
  copy(id: SnapshotId, from: SnapshotId): Promise<CapturedContent>;
  /** What an account's disk files outside of the store are encrypted with, as text; `null`: nothing is encrypted here. */
  diskSecret(owner: AccountId): Promise<string | null>;
  has(id: SnapshotId): Promise<boolean>;
  /** A snapshot's bytes. */
  open(id: SnapshotId): Promise<DiskReader>;
  /** Do two snapshots hold the same bytes there? Cheap where they share them. */
  same(a: SnapshotId, b: SnapshotId, range: DiskRange): Promise<boolean>;
  list(): Promise<readonly SnapshotId[]>;
  delete(id: SnapshotId): Promise<void>;
  /** Makes a snapshot of an upload; again, the same one. */
  completeUpload(id: SnapshotId): Promise<CapturedContent>;
  dropUpload(id: SnapshotId): Promise<void>;
  /** Where the snapshot's blocks are served; the block server runs when this resolves. */
  export(id: SnapshotId): Promise<BlockExport>;
}

/** The network, as far as the host uses it. */
export interface HostNetwork {
  addInstance(nic: Nic): Promise<NicAttachment>;
  removeInstance(id: InstanceId): Promise<void>;
  setRules(groups: readonly SecurityGroupRules[], nics: readonly Nic[]): Promise<void>;
  sync(nics: readonly Nic[], groups: readonly SecurityGroupRules[]): Promise<void>;
}

export interface HostParts {
  readonly database: Database;
  readonly storage: HostStorage;
  readonly network: HostNetwork;
  readonly accelerator: Accelerator["kind"];
  /** User that QEMU runs as, where the server is root. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
  readonly clock: Clock;
  readonly log: Log;
  /** Holds a directory per instance (`machines/i-…`) and the volumes' overlays (`volumes/vol-….qcow2`). */
  readonly directory: string;
}
