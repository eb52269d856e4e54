// What a snapshot is: a disk's content at one instant, which never changes once `completed`.
//
//   CreateSnapshot(s), CreateImage  origin volume   pending → completed | error   the host captures
//   CopySnapshot, CopyImage         origin copy     pending → completed | error   the store shares the blocks
//   StartSnapshot … CompleteSnapshot  origin direct  pending → completed | error   the client writes blocks
//   CreateRestoreImageTask          origin import   pending → completed | error   a transfer task brings it
//   ImportSnapshot, ImportImage     origin import   completed: it is there when the task is
//
// Volumes made from a snapshot go on reading its blocks after it is deleted: the row goes, what the store holds of it
// stays until the last volume that refers to it is gone.
import { ApiError } from "../base/api-error.ts";
import type { Region, SnapshotId, VolumeId } from "../base/ids.ts";
import type { SnapshotPermissionsTable, SnapshotsTable } from "../database/tables/ec2.ts";
import type { ConditionKeys } from "./access.ts";
import { ec2Arn, snapshotArn } from "./arn.ts";
import { resourceTagKeys, type Tag } from "./tags.ts";

export type Snapshot = Readonly<Omit<SnapshotsTable, "id" | "region" | "volume_id" | "source_snapshot_id">> & {
  readonly id: SnapshotId;
  readonly region: Region;
  readonly volume_id: VolumeId | null;
  readonly source_snapshot_id: SnapshotId | null;
};
export type SnapshotState = Snapshot["state"];

export type CreateVolumePermission = Pick<SnapshotPermissionsTable, "kind" | "value">;
export const ANY_ACCOUNT: CreateVolumePermission = { kind: "group", value: "all" };

/** The volume id that EC2 shows for snapshots which come from no volume of the account. */
export const NO_VOLUME = "vol-ffffffff" as VolumeId;

/** May `accountId` make volumes of it and read its blocks, as far as its owner is concerned? */
export const canRead = (
  snapshot: Pick<Snapshot, "account_id">,
  permissions: readonly CreateVolumePermission[],
  accountId: string,
): boolean =>
  snapshot.account_id === accountId ||
  permissions.some(({ kind, value }) => (kind === "group" ? value === ANY_ACCOUNT.value : value === accountId));

/** What policies may ask of a snapshot. `tags` are those that the caller's own account has put on it. */
export function snapshotKeys(
  snapshot: Pick<Snapshot, "id" | "region" | "account_id" | "volume_id" | "size_gib" | "started_at">,
  tags: readonly Tag[],
): ConditionKeys {
  const { region, account_id: account } = snapshot;
  return {
    "ec2:SnapshotID": snapshot.id,
    "ec2:Owner": account,
    "ec2:ParentVolume": ec2Arn(region, account, "volume", snapshot.volume_id ?? NO_VOLUME),
    "ec2:VolumeSize": String(snapshot.size_gib),
    "ec2:SnapshotTime": snapshot.started_at,
    "ec2:Encrypted": "false",
    "ec2:Region": region,
    ...resourceTagKeys(tags),
  };
}

// Refusals. Each names the snapshot's ARN, so that the pipeline can first ask the policies about it.

export const snapshotNotFound = (region: Region, id: SnapshotId): ApiError =>
  new ApiError("InvalidSnapshot.NotFound", `The snapshot '${id}' does not exist.`, {
    resourceArn: snapshotArn(region, id),
  });

/** For one that the account may read, and therefore knows of, but does not own. */
export const notSnapshotOwner = (region: Region, id: SnapshotId): ApiError =>
  new ApiError("AuthFailure", `You do not own the snapshot '${id}'.`, { resourceArn: snapshotArn(region, id) });

/** @throws ApiError `IncorrectState` unless its content is there */
export function mustBeCompleted(snapshot: Snapshot): void {
  if (snapshot.state === "completed") return;
  throw new ApiError("IncorrectState", `Snapshot is in invalid state - ${snapshot.state}`, {
    resourceArn: snapshotArn(snapshot.region, snapshot.id),
  });
}

/** What LockSnapshot has set, as `snapshots.lock` keeps it. Times are ISO 8601. */
export interface SnapshotLock {
  readonly mode: "governance" | "compliance";
  readonly createdAt: string;
  /** Compliance mode: until then the lock may still be changed. */
  readonly coolOffUntil: string | null;
  readonly coolOffHours: number | null;
  readonly durationDays: number;
  /** When the duration began to count. */
  readonly startedAt: string;
  readonly expiresAt: string;
}

export const lockOf = (snapshot: Pick<Snapshot, "lock">): SnapshotLock | null =>
  snapshot.lock === null ? null : (JSON.parse(snapshot.lock) as SnapshotLock);

/** EC2's `LockState`. */
export function lockState(
  lock: SnapshotLock,
  now: Date,
): "compliance" | "governance" | "compliance-cooloff" | "expired" {
  const at = now.toISOString();
  if (lock.expiresAt <= at) return "expired";
  if (lock.mode === "governance") return "governance";
  return lock.coolOffUntil !== null && at < lock.coolOffUntil ? "compliance-cooloff" : "compliance";
}

/** What StartSnapshot was told, as `snapshots.direct` keeps it. */
export interface DirectUpload {
  readonly parent: SnapshotId | null;
  /** Without a block for so long, the upload ends in `error`. */
  readonly timeoutMinutes: number;
  /** About the last StartSnapshot or PutSnapshotBlock; ISO 8601. */
  readonly activeAt: string;
  /** CompleteSnapshot has been called: no more blocks, and the host makes a snapshot of them. */
  readonly sealed: boolean;
}

export const uploadOf = (snapshot: Pick<Snapshot, "direct">): DirectUpload | null =>
  snapshot.direct === null ? null : (JSON.parse(snapshot.direct) as DirectUpload);

/** Has the client been silent for longer than it said it would be? */
export const uploadTimedOut = (upload: DirectUpload, now: Date): boolean =>
  !upload.sealed && Date.parse(upload.activeAt) + upload.timeoutMinutes * 60_000 < now.getTime();
