// How images are kept. Reading one is free to all; writing asks for the grant.
import { ApiError } from "../base/api-error.ts";
import type { ImageId, Region, SnapshotId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { ImagesTable } from "../database/tables/ec2.ts";
import type { Grant } from "./access.ts";
import { imageArn } from "./arn.ts";
import { type BlockDevice, snapshotsOf } from "./block-device.ts";
import {
  canLaunch,
  EVERYONE,
  type Image,
  imageGone,
  imageNotFound,
  type LaunchPermission,
  notAuthorizedToLaunch,
  type Viewer,
} from "./image.ts";

/** Images with the one thing of their permissions that everybody may know. */
export const selectImages = (db: Db) =>
  db
    .selectFrom("images")
    .selectAll("images")
    .select((eb) =>
      eb
        .exists(
          eb
            .selectFrom("image_permissions")
            .select("image_permissions.image_id")
            .whereRef("image_permissions.image_id", "=", "images.id")
            .where("kind", "=", "group")
            .where("value", "=", "all"),
        )
        .as("is_public"),
    );

type ImageRow = Awaited<ReturnType<ReturnType<typeof selectImages>["execute"]>>[number];

/**
 * The row as the noun, in place: a copy of thirty columns would be a quarter of what a long list costs.
 * `is_public` comes as 0 and 1 from SQLite, as a boolean from PostgreSQL.
 */
export function imageOf(row: ImageRow): Image {
  return Object.assign(row, {
    block_devices: JSON.parse(row.block_devices) as BlockDevice[],
    is_public: Boolean(row.is_public),
  }) as unknown as Image;
}

/** In whatever state, deregistered ones too. */
export async function findImage(db: Db, region: Region, id: ImageId): Promise<Image | undefined> {
  const row = await selectImages(db).where("id", "=", id).where("region", "=", region).executeTakeFirst();
  return row === undefined ? undefined : imageOf(row);
}

/** Launch permissions, in a fixed order. */
export const permissionsOf = (db: Db, id: ImageId): Promise<LaunchPermission[]> =>
  db
    .selectFrom("image_permissions")
    .select(["kind", "value"])
    .where("image_id", "=", id)
    .orderBy("kind")
    .orderBy("value")
    .execute();

/**
 * An image that `viewer` may launch from now.
 * @throws ApiError `InvalidAMIID.NotFound`, `AuthFailure` (not shared, or gone), `InvalidAMIID.Unavailable` (not ready)
 */
export async function imageForLaunch(db: Db, viewer: Viewer, region: Region, id: ImageId): Promise<Image> {
  const image = await usableImage(db, viewer, region, id);
  if (image.state !== "available") {
    throw new ApiError("InvalidAMIID.Unavailable", `AMI '${id}' is ${image.state}, and cannot be run`, {
      resourceArn: imageArn(region, id),
    });
  }
  return image;
}

/**
 * An image, in whatever living state, that its owner lets `viewer` use.
 * @throws ApiError `InvalidAMIID.NotFound`, `AuthFailure`, `InvalidAMIID.Unavailable` when its owner has deregistered it
 */
export async function usableImage(db: Db, viewer: Viewer, region: Region, id: ImageId): Promise<Image> {
  const image = await findImage(db, region, id);
  if (image === undefined) throw imageNotFound(region, id);
  const known: readonly LaunchPermission[] = image.is_public ? [EVERYONE] : [];
  // Most launches are of public images and one's own: the list of those who may is not read for them.
  if (!canLaunch(image, known, viewer) && !canLaunch(image, await permissionsOf(db, id), viewer)) {
    throw notAuthorizedToLaunch(region, id);
  }
  if (image.state === "deregistered") throw imageGone(region, id);
  return image;
}

export type NewImage = Omit<Image, "is_public">;

/**
 * Adds an image.
 * @param by  the client's grant, or `ingot` for what the platform itself brings along
 * @throws ApiError `InvalidAMIName.Duplicate`
 */
export async function insertImage(
  _by: Grant<"ec2:CreateImage" | "ec2:RegisterImage" | "ec2:CopyImage" | "ec2:CreateRestoreImageTask"> | "ingot",
  tx: Db,
  image: NewImage,
): Promise<void> {
  await nameMustBeFree(tx, image);
  await tx
    .insertInto("images")
    .values({ ...image, block_devices: JSON.stringify(image.block_devices) })
    .execute();
  const snapshots = snapshotsOf(image.block_devices);
  if (snapshots.length > 0) {
    await tx
      .insertInto("image_snapshots")
      .values(snapshots.map((snapshot) => ({ image_id: image.id, snapshot_id: snapshot })))
      .execute();
  }
}

/** @throws ApiError `InvalidAMIName.Duplicate` while another living image of the account has the name here */
export async function nameMustBeFree(db: Db, image: Pick<Image, "account_id" | "region" | "name">): Promise<void> {
  const holder = await db
    .selectFrom("images")
    .select("id")
    .where("account_id", "=", image.account_id)
    .where("region", "=", image.region)
    .where("name", "=", image.name)
    .where("state", "in", ["pending", "available", "disabled"])
    .executeTakeFirst();
  if (holder === undefined) return;
  throw new ApiError("InvalidAMIName.Duplicate", `AMI name ${image.name} is already in use by AMI ${holder.id}`);
}

/** What may be changed of an image once it is there. */
type Change = Partial<
  Pick<
    ImagesTable,
    "state" | "description" | "imds_support" | "deprecate_at" | "deregistration_protection" | "deregistered_at"
  >
>;
type ChangingAction =
  | "ec2:ModifyImageAttribute"
  | "ec2:EnableImage"
  | "ec2:DisableImage"
  | "ec2:EnableImageDeprecation"
  | "ec2:DisableImageDeprecation"
  | "ec2:EnableImageDeregistrationProtection"
  | "ec2:DisableImageDeregistrationProtection"
  | "ec2:DeregisterImage";

export async function updateImage(_grant: Grant<ChangingAction>, tx: Db, id: ImageId, change: Change): Promise<void> {
  if (Object.keys(change).length > 0) await tx.updateTable("images").set(change).where("id", "=", id).execute();
}

/** Marks it deregistered, frees its name and its snapshots, and takes back every launch permission. */
export async function deregisterImageRow(
  grant: Grant<"ec2:DeregisterImage">,
  tx: Db,
  id: ImageId,
  at: Date,
): Promise<void> {
  await updateImage(grant, tx, id, { state: "deregistered", deregistered_at: at.toISOString() });
  await tx.deleteFrom("image_permissions").where("image_id", "=", id).execute();
  await tx.deleteFrom("image_snapshots").where("image_id", "=", id).execute();
}

type SharingAction =
  | "ec2:ModifyImageAttribute"
  | "ec2:ResetImageAttribute"
  | "ec2:CancelImageLaunchPermission"
  | "ec2:DisableImage";

/** Adding what is there and removing what is not are no errors, as in EC2. */
export async function changePermissions(
  _grant: Grant<SharingAction>,
  tx: Db,
  id: ImageId,
  change: { readonly add?: readonly LaunchPermission[]; readonly remove?: readonly LaunchPermission[] },
): Promise<void> {
  const { add = [], remove = [] } = change;
  for (const { kind, value } of remove) {
    await tx
      .deleteFrom("image_permissions")
      .where("image_id", "=", id)
      .where("kind", "=", kind)
      .where("value", "=", value)
      .execute();
  }
  if (add.length > 0) {
    await tx
      .insertInto("image_permissions")
      .values(add.map(({ kind, value }) => ({ image_id: id, kind, value })))
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
}

/** Makes the image private. */
export async function dropPermissions(_grant: Grant<SharingAction>, tx: Db, id: ImageId): Promise<void> {
  await tx.deleteFrom("image_permissions").where("image_id", "=", id).execute();
}

/** Living images, of any account, whose mapping holds one of the snapshots; by snapshot. */
export async function imagesUsing(db: Db, snapshots: readonly SnapshotId[]): Promise<Map<SnapshotId, ImageId[]>> {
  const using = new Map<SnapshotId, ImageId[]>();
  if (snapshots.length === 0) return using;
  const rows = await db
    .selectFrom("image_snapshots")
    .innerJoin("images", "images.id", "image_snapshots.image_id")
    .select(["image_snapshots.snapshot_id", "image_snapshots.image_id"])
    .where("image_snapshots.snapshot_id", "in", [...snapshots])
    // A failed image is of no use to anybody: it must not keep its snapshots from being deleted.
    .where("images.state", "in", ["pending", "available", "disabled"])
    .orderBy("image_snapshots.image_id")
    .execute();
  for (const row of rows) {
    const id = row.snapshot_id as SnapshotId;
    using.set(id, [...(using.get(id) ?? []), row.image_id as ImageId]);
  }
  return using;
}

// Transitions that follow from what the host has done: nobody asks for these, so nobody's grant is needed.

/**
 * Pending images whose snapshots are all done become `available`, or `failed` with the reason of the one that failed.
 * Call it in the transaction that ends a snapshot. Returns the images that have changed.
 */
export async function settleImages(
  tx: Db,
): Promise<{ readonly id: ImageId; readonly state: "available" | "failed" }[]> {
  const settled: { id: ImageId; state: "available" | "failed" }[] = [];
  const pending = await tx.selectFrom("images").select("id").where("state", "=", "pending").execute();
  for (const { id } of pending) {
    const snapshots = await tx
      .selectFrom("image_snapshots")
      .leftJoin("snapshots", "snapshots.id", "image_snapshots.snapshot_id")
      .select(["image_snapshots.snapshot_id", "snapshots.state", "snapshots.state_message"])
      .where("image_snapshots.image_id", "=", id)
      .execute();
    const broken = snapshots.find((snapshot) => snapshot.state === null || snapshot.state === "error");
    if (broken !== undefined) {
      const why = broken.state === null ? "it was deleted" : (broken.state_message ?? "it failed");
      await failImage(tx, id as ImageId, `Snapshot ${broken.snapshot_id}: ${why}`);
      settled.push({ id: id as ImageId, state: "failed" });
    } else if (snapshots.every((snapshot) => snapshot.state === "completed")) {
      await tx.updateTable("images").set({ state: "available" }).where("id", "=", id).execute();
      settled.push({ id: id as ImageId, state: "available" });
    }
  }
  return settled;
}

/** A pending image that will never be ready. */
export async function failImage(tx: Db, id: ImageId, reason: string): Promise<void> {
  await tx
    .updateTable("images")
    .set({ state: "failed", state_reason: reason })
    .where("id", "=", id)
    .where("state", "=", "pending")
    .execute();
}

/** RunInstances has launched from it. */
export async function imageLaunched(tx: Db, id: ImageId, at: Date): Promise<void> {
  await tx.updateTable("images").set({ last_launched_at: at.toISOString() }).where("id", "=", id).execute();
}
