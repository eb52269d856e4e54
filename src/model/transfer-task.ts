// Tasks that bring disks from a bucket into the store, or from the store into a bucket. They go on after a restart.
//
//   active → completed | failed
//     └→ cancelling → cancelled           imports only
//
// An import makes nothing that anybody sees before it is complete: its snapshots' content is kept in the store for the
// task (`holds`), and their rows come with the image's and the task's end, in one transaction. A restored image has its
// rows from the start, as on EC2, and fails where it cannot be finished.
import type { Region, SnapshotId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { TransferTasksTable } from "../database/tables/ec2.ts";
import type { Grant } from "./access.ts";
import type { Owner } from "./vpc.ts";

export type TransferKind = TransferTasksTable["kind"];

/** One disk on its way into the store. */
export interface IncomingDisk {
  /** What it will be. */
  readonly snapshotId: SnapshotId;
  readonly from:
    | { readonly bucket: string; readonly key: string; readonly format: DiskFileFormat }
    | { readonly snapshotId: SnapshotId };
  readonly deviceName: string | null;
  readonly description: string;
}

/** Of files that come in. */
export type DiskFileFormat = "raw" | "vmdk" | "vhd" | "vhdx" | "ova";

/** What an imported image is to be, besides its disks. */
export interface ImportedImage {
  readonly description: string;
  readonly architecture: "x86_64" | "i386" | "arm64";
  readonly bootMode: "legacy-bios" | "uefi" | "uefi-preferred" | null;
}

/** What is to be done, by kind of task. */
export interface TransferWork {
  "import-snapshot": { readonly disk: IncomingDisk };
  "import-image": { readonly disks: readonly IncomingDisk[]; readonly image: ImportedImage };
  "export-image": { readonly snapshotId: SnapshotId; readonly format: "raw" | "vmdk" | "vhd"; readonly key: string };
  "store-image": {
    readonly key: string;
    /** Of the object. */
    readonly tags: Readonly<Record<string, string>>;
    /** What the archive's head says: transfers/image-archive.ts. */
    readonly head: unknown;
    readonly snapshots: readonly SnapshotId[];
  };
  "restore-image": { readonly key: string; readonly etag: string; readonly snapshots: readonly SnapshotId[] };
}

/** A row with its JSON read. */
export type TransferTask<K extends TransferKind = TransferKind> = {
  [Kind in K]: Omit<TransferTasksTable, "kind" | "region" | "shown" | "work" | "holds"> & {
    readonly kind: Kind;
    readonly region: Region;
    readonly shown: Readonly<Record<string, unknown>>;
    readonly work: TransferWork[Kind];
    readonly holds: readonly SnapshotId[];
  };
}[K];

export type NewTransferTask<K extends TransferKind> = Pick<
  TransferTask<K>,
  "id" | "kind" | "shown" | "work" | "holds" | "image_id" | "bucket"
>;

type StartingAction =
  | "ec2:ImportImage"
  | "ec2:ImportSnapshot"
  | "ec2:ExportImage"
  | "ec2:CreateStoreImageTask"
  | "ec2:CreateRestoreImageTask";

export async function insertTransferTask<K extends TransferKind>(
  _grant: Grant<StartingAction>,
  tx: Db,
  owner: Owner,
  task: NewTransferTask<K>,
  at: Date,
): Promise<void> {
  await tx
    .insertInto("transfer_tasks")
    .values({
      id: task.id,
      kind: task.kind,
      account_id: owner.accountId,
      region: owner.region,
      state: "active",
      stage: "pending",
      progress: 0,
      failure: null,
      shown: JSON.stringify(task.shown),
      work: JSON.stringify(task.work),
      holds: JSON.stringify(task.holds),
      image_id: task.image_id,
      bucket: task.bucket,
      created_at: at.toISOString(),
      ended_at: null,
    })
    .execute();
}

const taskOf = (row: TransferTasksTable): TransferTask =>
  ({
    ...row,
    shown: JSON.parse(row.shown) as unknown,
    work: JSON.parse(row.work) as unknown,
    holds: JSON.parse(row.holds) as unknown,
  }) as unknown as TransferTask;

/** The owner's tasks of a kind, oldest first. */
export async function transferTasksOf<K extends TransferKind>(
  db: Db,
  owner: Owner,
  kind: K,
): Promise<TransferTask<K>[]> {
  const rows = await db
    .selectFrom("transfer_tasks")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("kind", "=", kind)
    .orderBy("created_at")
    .orderBy("id")
    .execute();
  return rows.map((row) => taskOf(row) as TransferTask<K>);
}

export async function findTransferTask(db: Db, id: string): Promise<TransferTask | undefined> {
  const row = await db.selectFrom("transfer_tasks").selectAll().where("id", "=", id).executeTakeFirst();
  return row === undefined ? undefined : taskOf(row);
}

/** Everything that is not at its end, oldest first. */
export async function openTransferTasks(db: Db): Promise<TransferTask[]> {
  const rows = await db
    .selectFrom("transfer_tasks")
    .selectAll()
    .where("state", "in", ["active", "cancelling"])
    .orderBy("created_at")
    .orderBy("id")
    .execute();
  return rows.map(taskOf);
}

/** @returns whether it was active */
export async function cancelTransferTask(_grant: Grant<"ec2:CancelImportTask">, tx: Db, id: string): Promise<boolean> {
  const row = await tx
    .updateTable("transfer_tasks")
    .set({ state: "cancelling" })
    .where("id", "=", id)
    .where("state", "=", "active")
    .returning("id")
    .executeTakeFirst();
  return row !== undefined;
}

// What follows from the work itself. Each moves an open task only, so that a late report changes nothing.

/** @param percent  0 to 100; never goes back, and 100 is kept for the end */
export async function transferProgress(tx: Db, id: string, stage: string, percent: number): Promise<void> {
  const progress = Math.max(0, Math.min(99, Math.floor(percent)));
  await tx
    .updateTable("transfer_tasks")
    .set({ stage, progress })
    .where("id", "=", id)
    .where("state", "=", "active")
    .where("progress", "<=", progress)
    .execute();
}

/** @returns whether it was active: what goes into the same transaction holds only then */
export async function transferCompleted(
  tx: Db,
  id: string,
  at: Date,
  made: { readonly imageId?: string; readonly shown?: Readonly<Record<string, unknown>> } = {},
): Promise<boolean> {
  const row = await tx
    .updateTable("transfer_tasks")
    .set({
      state: "completed",
      progress: 100,
      ended_at: at.toISOString(),
      ...(made.imageId === undefined ? {} : { image_id: made.imageId }),
      ...(made.shown === undefined ? {} : { shown: JSON.stringify(made.shown) }),
    })
    .where("id", "=", id)
    .where("state", "=", "active")
    .returning("id")
    .executeTakeFirst();
  return row !== undefined;
}

export async function transferFailed(tx: Db, id: string, failure: string, at: Date): Promise<void> {
  await tx
    .updateTable("transfer_tasks")
    .set({ state: "failed", failure: failure.slice(0, 1000), ended_at: at.toISOString() })
    .where("id", "=", id)
    .where("state", "=", "active")
    .execute();
}

export async function transferCancelled(tx: Db, id: string, at: Date): Promise<void> {
  await tx
    .updateTable("transfer_tasks")
    .set({ state: "cancelled", ended_at: at.toISOString() })
    .where("id", "=", id)
    .where("state", "=", "cancelling")
    .execute();
}
