// How volumes are kept. Reading one is free to all; writing asks for the grant.
import type { InstanceId, VolumeId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { VolumesTable } from "../database/tables/ec2.ts";
import type { Grant } from "./access.ts";
import { dropTags } from "./tags.ts";
import { type Volume, type VolumeModification, type VolumePlace, type VolumeShape, volumeNotFound } from "./volume.ts";
import type { Owner } from "./vpc.ts";

export const volumeOf = (row: VolumesTable): Volume => row as Volume;

/** @throws ApiError `InvalidVolume.NotFound`, for deleted and for foreign ones too */
export async function ownVolume(db: Db, owner: Owner, id: VolumeId): Promise<Volume> {
  const row = await db
    .selectFrom("volumes")
    .selectAll()
    .where("id", "=", id)
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("state", "<>", "deleted")
    .executeTakeFirst();
  if (row === undefined) throw volumeNotFound(owner, id);
  return volumeOf(row);
}

/** Whatever hangs on the instance, the root first, then by device name. */
export async function volumesOfInstance(db: Db, id: InstanceId): Promise<Volume[]> {
  const rows = await db
    .selectFrom("volumes")
    .selectAll()
    .where("instance_id", "=", id)
    .where("state", "<>", "deleted")
    .orderBy("is_root", "desc")
    .orderBy("device_name")
    .execute();
  return rows.map(volumeOf);
}

export async function insertVolumes(
  _grant: Grant<"ec2:CreateVolume" | "ec2:RunInstances">,
  tx: Db,
  volumes: readonly Volume[],
): Promise<void> {
  if (volumes.length > 0) {
    await tx
      .insertInto("volumes")
      .values([...volumes])
      .execute();
  }
}

/** The owner wants it attached. `now`: there is no running machine, so it is attached with this row. */
export async function wantAttached(
  _grant: Grant<"ec2:AttachVolume">,
  tx: Db,
  id: VolumeId,
  place: VolumePlace,
  at: Date,
  now: boolean,
): Promise<void> {
  await tx
    .updateTable("volumes")
    .set({
      state: "in-use",
      instance_id: place.instanceId,
      device_name: place.deviceName,
      is_root: place.root ? 1 : 0,
      delete_on_termination: place.deleteOnTermination ? 1 : 0,
      attachment: now ? "attached" : "attaching",
      force_detach: 0,
      attached_at: at.toISOString(),
    })
    .where("id", "=", id)
    .execute();
}

/** The owner wants it back from a running machine. */
export async function wantDetached(
  _grant: Grant<"ec2:DetachVolume">,
  tx: Db,
  id: VolumeId,
  force: boolean,
): Promise<void> {
  await tx
    .updateTable("volumes")
    .set({ attachment: "detaching", force_detach: force ? 1 : 0 })
    .where("id", "=", id)
    .where("instance_id", "is not", null)
    .execute();
}

/** The owner wants it gone. The host deletes its bytes once no capture reads them any more. */
export async function wantDeleted(_grant: Grant<"ec2:DeleteVolume">, tx: Db, id: VolumeId): Promise<void> {
  await tx.updateTable("volumes").set({ state: "deleting" }).where("id", "=", id).execute();
}

export async function setDeleteOnTermination(
  _grant: Grant<"ec2:ModifyInstanceAttribute">,
  tx: Db,
  id: VolumeId,
  deleteOnTermination: boolean,
): Promise<void> {
  await tx
    .updateTable("volumes")
    .set({ delete_on_termination: deleteOnTermination ? 1 : 0 })
    .where("id", "=", id)
    .execute();
}

/** The last modification of each volume. */
export async function modificationsOf(db: Db, ids: readonly string[]): Promise<Map<string, VolumeModification>> {
  if (ids.length === 0) return new Map();
  const rows = await db
    .selectFrom("volume_modifications")
    .selectAll()
    .where("volume_id", "in", [...ids])
    .execute();
  return new Map(
    rows.map((row) => [
      row.volume_id,
      {
        ...row,
        volume_id: row.volume_id as VolumeId,
        original: JSON.parse(row.original) as VolumeShape,
        target: JSON.parse(row.target) as VolumeShape,
      },
    ]),
  );
}

/** Writes down what the owner wants the volume to become; `applyModifications` makes it so. */
export async function wantModified(
  _grant: Grant<"ec2:ModifyVolume">,
  tx: Db,
  modification: VolumeModification,
): Promise<void> {
  const row = {
    ...modification,
    original: JSON.stringify(modification.original),
    target: JSON.stringify(modification.target),
  };
  const { volume_id: _same, ...changes } = row;
  await tx
    .insertInto("volume_modifications")
    .values(row)
    .onConflict((conflict) => conflict.column("volume_id").doUpdateSet(changes))
    .execute();
}

// Transitions that follow from what the host has done: nobody asks for these, so nobody's grant is needed.

/** The machine has it. */
export async function volumeAttached(tx: Db, id: VolumeId): Promise<void> {
  await tx
    .updateTable("volumes")
    .set({ attachment: "attached" })
    .where("id", "=", id)
    .where("attachment", "=", "attaching")
    .execute();
}

/** The machine could not take it: it is free again. A wish that has changed since (detached, the instance gone) stays. */
export async function volumeNotAttached(tx: Db, id: VolumeId, at: Date): Promise<void> {
  const row = await tx.selectFrom("volumes").select("attachment").where("id", "=", id).executeTakeFirst();
  if (row?.attachment === "attaching") await volumeDetached(tx, id, at);
}

/** The guest has not let go of it within the time it was given; `force` or a stop ends that. */
export async function volumeBusy(tx: Db, id: VolumeId): Promise<void> {
  await tx
    .updateTable("volumes")
    .set({ attachment: "busy" })
    .where("id", "=", id)
    .where("attachment", "=", "detaching")
    .execute();
}

/** No machine has it any more. A change of size that waited for this takes effect. */
export async function volumeDetached(tx: Db, id: VolumeId, at: Date): Promise<void> {
  await tx
    .updateTable("volumes")
    .set({
      state: "available",
      instance_id: null,
      device_name: null,
      is_root: 0,
      attachment: null,
      force_detach: 0,
      attached_at: null,
      delete_on_termination: 0,
    })
    .where("id", "=", id)
    .where("state", "=", "in-use")
    .execute();
  await applyModifications(tx, [id], at);
}

/** An instance has been terminated: its volumes are to be deleted, or are free again. */
export async function releaseVolumes(tx: Db, instance: InstanceId, at: Date): Promise<void> {
  for (const volume of await volumesOfInstance(tx, instance)) {
    const last = volume.delete_on_termination === 1;
    await volumeDetached(tx, volume.id, at);
    if (last) await tx.updateTable("volumes").set({ state: "deleting" }).where("id", "=", volume.id).execute();
  }
}

/** Its bytes are gone. The row stays for whoever still asks what the id was; its tags go. */
export async function volumeDeleted(tx: Db, id: VolumeId, at: Date): Promise<void> {
  await tx
    .updateTable("volumes")
    .set({ state: "deleted", deleted_at: at.toISOString(), captured_as: null, instance_id: null })
    .where("id", "=", id)
    .execute();
  await dropTags(tx, [id]);
}

/** Is there anything for `applyModifications` to do? */
export async function areModified(db: Db, ids: readonly VolumeId[]): Promise<boolean> {
  return [...(await modificationsOf(db, ids)).values()].some(isDue);
}

const isDue = ({ state }: VolumeModification): boolean => state !== "completed" && state !== "failed";

/**
 * Changes of size that waited for the machine to let go take effect: call it with an instance's volumes when no machine
 * has them (before its start is specified), or with one that has been resized live.
 */
export async function applyModifications(tx: Db, ids: readonly VolumeId[], at: Date): Promise<void> {
  for (const modification of (await modificationsOf(tx, ids)).values()) {
    if (!isDue(modification)) continue;
    const { sizeGib, type, iops, throughput } = modification.target;
    await tx
      .updateTable("volumes")
      .set({ size_gib: sizeGib, type, iops, throughput })
      .where("id", "=", modification.volume_id)
      .execute();
    await tx
      .updateTable("volume_modifications")
      .set({ state: "completed", status_message: null, ended_at: at.toISOString() })
      .where("volume_id", "=", modification.volume_id)
      .execute();
  }
}
