// How snapshots are kept. Reading one is free to all; writing asks for the grant.
import type { Region, SnapshotId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { Grant } from "./access.ts";
import { settingOf } from "./settings.ts";
import {
  type CreateVolumePermission,
  canRead,
  type DirectUpload,
  notSnapshotOwner,
  type Snapshot,
  type SnapshotLock,
  snapshotNotFound,
  uploadOf,
} from "./snapshot.ts";

export const snapshotOf = (row: { id: string }): Snapshot => row as Snapshot;

export async function findSnapshot(db: Db, region: Region, id: SnapshotId): Promise<Snapshot | undefined> {
  const row = await db
    .selectFrom("snapshots")
    .selectAll()
    .where("id", "=", id)
    .where("region", "=", region)
    .executeTakeFirst();
  return row === undefined ? undefined : snapshotOf(row);
}

/** By id; those that are not there are absent. */
export async function findSnapshots(
  db: Db,
  region: Region,
  ids: readonly SnapshotId[],
): Promise<Map<SnapshotId, Snapshot>> {
  if (ids.length === 0) return new Map();
  const rows = await db
    .selectFrom("snapshots")
    .selectAll()
    .where("id", "in", [...ids])
    .where("region", "=", region)
    .execute();
  return new Map(rows.map((row) => [row.id as SnapshotId, snapshotOf(row)]));
}

export const createVolumePermissionsOf = (db: Db, id: SnapshotId): Promise<CreateVolumePermission[]> =>
  db
    .selectFrom("snapshot_permissions")
    .select(["kind", "value"])
    .where("snapshot_id", "=", id)
    .orderBy("kind")
    .orderBy("value")
    .execute();

/**
 * A snapshot that the account may make volumes of and read.
 * @throws ApiError `InvalidSnapshot.NotFound`, for foreign private ones too: their existence is nobody's business
 */
export async function readableSnapshot(db: Db, accountId: string, region: Region, id: SnapshotId): Promise<Snapshot> {
  const snapshot = await findSnapshot(db, region, id);
  if (snapshot === undefined || !(await mayRead(db, snapshot, accountId))) throw snapshotNotFound(region, id);
  return snapshot;
}

/** May the account make volumes of it and read its blocks, as far as its owner is concerned? */
export async function mayRead(db: Db, snapshot: Snapshot, accountId: string): Promise<boolean> {
  if (snapshot.account_id === accountId) return true;
  const permissions = await createVolumePermissionsOf(db, snapshot.id);
  if (!canRead(snapshot, permissions, accountId)) return false;
  if (permissions.some(({ kind, value }) => kind === "user" && value === accountId)) return true;
  // Only public: its owner may have blocked even what was public before.
  const owner = { accountId: snapshot.account_id, region: snapshot.region };
  return (await settingOf(db, owner, "snapshot-block-public-access")) !== "block-all-sharing";
}

/** @throws ApiError `InvalidSnapshot.NotFound`, `AuthFailure` when it is only shared with the account */
export async function ownSnapshot(db: Db, accountId: string, region: Region, id: SnapshotId): Promise<Snapshot> {
  const snapshot = await readableSnapshot(db, accountId, region, id);
  if (snapshot.account_id !== accountId) throw notSnapshotOwner(region, id);
  return snapshot;
}

type CreatingAction =
  | "ec2:CreateSnapshot"
  | "ec2:CreateSnapshots"
  | "ec2:CreateImage"
  | "ec2:CopySnapshot"
  | "ec2:CopyImage"
  | "ec2:CreateRestoreImageTask"
  | "ebs:StartSnapshot";

/** @param by  the client's grant, or `ingot` for what the platform itself brings along */
export async function insertSnapshots(
  _by: Grant<CreatingAction> | "ingot",
  tx: Db,
  snapshots: readonly Snapshot[],
): Promise<void> {
  if (snapshots.length > 0) {
    await tx
      .insertInto("snapshots")
      .values([...snapshots])
      .execute();
  }
}

/** A pending snapshot with everything that its makers have in common. */
export const newSnapshot = (
  snapshot: Pick<
    Snapshot,
    "id" | "account_id" | "region" | "volume_id" | "description" | "size_gib" | "size_bytes" | "started_at" | "origin"
  > &
    Partial<Pick<Snapshot, "source_snapshot_id" | "capture_group" | "direct">>,
): Snapshot => ({
  state: "pending",
  state_message: null,
  progress: 0,
  completed_at: null,
  digest: null,
  allocated_bytes: null,
  source_snapshot_id: null,
  capture_group: snapshot.id,
  direct: null,
  lock: null,
  ...snapshot,
});

/** The row goes; what the store holds of it is swept later, when no volume reads it any more. */
export async function deleteSnapshotRows(
  _grant: Grant<"ec2:DeleteSnapshot" | "ec2:DeregisterImage">,
  tx: Db,
  ids: readonly SnapshotId[],
): Promise<void> {
  if (ids.length === 0) return;
  await tx
    .deleteFrom("snapshot_permissions")
    .where("snapshot_id", "in", [...ids])
    .execute();
  await tx
    .deleteFrom("snapshots")
    .where("id", "in", [...ids])
    .execute();
}

type SharingAction = "ec2:ModifySnapshotAttribute" | "ec2:ResetSnapshotAttribute";

/** Adding what is there and removing what is not are no errors, as in EC2. */
export async function changeCreateVolumePermissions(
  _grant: Grant<SharingAction>,
  tx: Db,
  id: SnapshotId,
  change: { readonly add?: readonly CreateVolumePermission[]; readonly remove?: readonly CreateVolumePermission[] },
): Promise<void> {
  const { add = [], remove = [] } = change;
  for (const { kind, value } of remove) {
    await tx
      .deleteFrom("snapshot_permissions")
      .where("snapshot_id", "=", id)
      .where("kind", "=", kind)
      .where("value", "=", value)
      .execute();
  }
  if (add.length > 0) {
    await tx
      .insertInto("snapshot_permissions")
      .values(add.map(({ kind, value }) => ({ snapshot_id: id, kind, value })))
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
}

export async function dropCreateVolumePermissions(
  _grant: Grant<"ec2:ResetSnapshotAttribute">,
  tx: Db,
  id: SnapshotId,
): Promise<void> {
  await tx.deleteFrom("snapshot_permissions").where("snapshot_id", "=", id).execute();
}

export async function setSnapshotLock(
  _grant: Grant<"ec2:LockSnapshot" | "ec2:UnlockSnapshot">,
  tx: Db,
  id: SnapshotId,
  lock: SnapshotLock | null,
): Promise<void> {
  await tx
    .updateTable("snapshots")
    .set({ lock: lock === null ? null : JSON.stringify(lock) })
    .where("id", "=", id)
    .execute();
}

/** EBS direct: a block has arrived. */
export const touchUpload = (_grant: Grant<"ebs:PutSnapshotBlock">, tx: Db, id: SnapshotId, at: Date): Promise<void> =>
  changeUpload(tx, id, { activeAt: at.toISOString() });

/** EBS direct: no more blocks; the host makes a snapshot of those that are there. */
export const sealUpload = (_grant: Grant<"ebs:CompleteSnapshot">, tx: Db, id: SnapshotId): Promise<void> =>
  changeUpload(tx, id, { sealed: true });

/** Reads what it changes in the same transaction: a late block must not open again what was sealed meanwhile. */
async function changeUpload(tx: Db, id: SnapshotId, change: Partial<DirectUpload>): Promise<void> {
  const row = await tx.selectFrom("snapshots").select("direct").where("id", "=", id).executeTakeFirst();
  const upload = row === undefined ? null : uploadOf(row);
  if (upload === null) return;
  await tx
    .updateTable("snapshots")
    .set({ direct: JSON.stringify({ ...upload, ...change }) })
    .where("id", "=", id)
    .where("state", "=", "pending")
    .execute();
}

// Transitions that follow from what the host or the store has done: nobody asks for these, so nobody's grant is needed.
// Each only moves a pending snapshot, so that a late report about one that was deleted or has failed changes nothing.

export interface SnapshotContent {
  /** Merkle root, hex. */
  readonly digest: string;
  /** Bytes that are not zero. */
  readonly allocatedBytes: number;
  readonly at: Date;
}

/**
 * Its content is durable. The next capture of its volume reads only what has changed since.
 * Returns false when it was no longer pending. `settleImages` goes into the same transaction.
 */
export async function snapshotCompleted(tx: Db, id: SnapshotId, content: SnapshotContent): Promise<boolean> {
  const row = await tx
    .updateTable("snapshots")
    .set({
      state: "completed",
      state_message: null,
      progress: 100,
      digest: content.digest,
      allocated_bytes: content.allocatedBytes,
      completed_at: content.at.toISOString(),
    })
    .where("id", "=", id)
    .where("state", "=", "pending")
    .returning(["volume_id", "origin"])
    .executeTakeFirst();
  if (row === undefined) return false;
  if (row.origin === "volume" && row.volume_id !== null) {
    await tx.updateTable("volumes").set({ captured_as: id }).where("id", "=", row.volume_id).execute();
  }
  return true;
}

/** @param percent  0 to 100; never goes back, and 100 is kept for the completed */
export async function snapshotProgress(tx: Db, id: SnapshotId, percent: number): Promise<void> {
  const progress = Math.max(0, Math.min(99, Math.floor(percent)));
  await tx
    .updateTable("snapshots")
    .set({ progress })
    .where("id", "=", id)
    .where("state", "=", "pending")
    .where("progress", "<", progress)
    .execute();
}

/** Returns false when it was no longer pending. `settleImages` goes into the same transaction. */
export async function snapshotFailed(tx: Db, id: SnapshotId, message: string): Promise<boolean> {
  const row = await tx
    .updateTable("snapshots")
    .set({ state: "error", state_message: message })
    .where("id", "=", id)
    .where("state", "=", "pending")
    .returning("id")
    .executeTakeFirst();
  return row !== undefined;
}

/** Pending captures of one instant, and the volumes that they are of. */
export interface CaptureGroup {
  readonly group: string;
  readonly snapshots: readonly Snapshot[];
}

/** Everything that the host still has to capture, oldest first. */
export async function capturesDue(db: Db): Promise<CaptureGroup[]> {
  const rows = await db
    .selectFrom("snapshots")
    .selectAll()
    .where("state", "=", "pending")
    .where("origin", "=", "volume")
    .orderBy("started_at")
    .orderBy("id")
    .execute();
  const groups = new Map<string, Snapshot[]>();
  for (const row of rows) {
    const group = groups.get(row.capture_group);
    if (group === undefined) groups.set(row.capture_group, [snapshotOf(row)]);
    else group.push(snapshotOf(row));
  }
  return [...groups].map(([group, snapshots]) => ({ group, snapshots }));
}

/** Copies that the store still has to make, oldest first. */
export async function copiesDue(db: Db): Promise<{ readonly id: SnapshotId; readonly from: SnapshotId }[]> {
  const rows = await db
    .selectFrom("snapshots")
    .select(["id", "source_snapshot_id"])
    .where("state", "=", "pending")
    .where("origin", "=", "copy")
    .orderBy("started_at")
    .execute();
  return rows.flatMap((row) =>
    row.source_snapshot_id === null ? [] : [{ id: row.id as SnapshotId, from: row.source_snapshot_id as SnapshotId }],
  );
}

/**
 * Snapshots whose content must stay in the store: those with a row, and those that a living volume is based on or will be
 * compared with. What the store holds besides may go.
 */
export async function snapshotsToKeep(db: Db): Promise<Set<SnapshotId>> {
  const rows = await db.selectFrom("snapshots").select("id").execute();
  const volumes = await db
    .selectFrom("volumes")
    .select(["snapshot_id", "captured_as"])
    .where("state", "<>", "deleted")
    .execute();
  // What a task brings in has no row before it is complete, and what one takes out may lose its row meanwhile.
  const tasks = await db
    .selectFrom("transfer_tasks")
    .select("holds")
    .where("state", "in", ["active", "cancelling"])
    .execute();
  // A copy that is still to be made needs what it copies, even if that is deleted meanwhile.
  const sources = await copiesDue(db);
  const keep = new Set(rows.map((row) => row.id as SnapshotId));
  for (const volume of volumes) {
    if (volume.snapshot_id !== null) keep.add(volume.snapshot_id as SnapshotId);
    if (volume.captured_as !== null) keep.add(volume.captured_as as SnapshotId);
  }
  for (const { from } of sources) keep.add(from);
  for (const { holds } of tasks) for (const id of JSON.parse(holds) as SnapshotId[]) keep.add(id);
  return keep;
}

/** EBS direct uploads that are not yet snapshots: those whose client has gone silent (`uploadTimedOut`) are to be ended. */
export async function uploadsDue(db: Db): Promise<Snapshot[]> {
  const rows = await db
    .selectFrom("snapshots")
    .selectAll()
    .where("state", "=", "pending")
    .where("origin", "=", "direct")
    .execute();
  return rows.map(snapshotOf);
}

/** EBS direct uploads that their client has completed, and that the store is still to make snapshots of. */
export async function sealedUploads(db: Db): Promise<SnapshotId[]> {
  return (await uploadsDue(db)).filter((snapshot) => uploadOf(snapshot)?.sealed === true).map(({ id }) => id);
}
