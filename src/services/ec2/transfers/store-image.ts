// CreateStoreImageTask and CreateRestoreImageTask. Both act as the caller, who has to be allowed what they do to the bucket
// and to the snapshots' blocks.
import {
  CreateRestoreImageTask$,
  type CreateRestoreImageTaskRequest,
  type CreateRestoreImageTaskResult,
  CreateStoreImageTask$,
  type CreateStoreImageTaskRequest,
  type CreateStoreImageTaskResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { newId, type SnapshotId } from "../../../base/ids.ts";
import { volumeSizeGib } from "../../../base/units.ts";
import { imageArn, snapshotArn } from "../../../model/arn.ts";
import { snapshotsOf } from "../../../model/block-device.ts";
import { imageKeys, mustBeReady, parseDescription, parseImageName } from "../../../model/image.ts";
import { insertImage, type NewImage, nameMustBeFree } from "../../../model/image-rows.ts";
import { snapshotKeys } from "../../../model/snapshot.ts";
import { findSnapshots, insertSnapshots, newSnapshot } from "../../../model/snapshot-rows.ts";
import { parseTags, requestTagKeys, type Tag, tagsOf, writeTags } from "../../../model/tags.ts";
import { insertTransferTask, transferTasksOf } from "../../../model/transfer-task.ts";
import { ArchiveError, readArchiveHead } from "../../../transfers/image-archive.ts";
import { devicesOf, type ImageHead, imageHead, parseImageHead } from "../../../transfers/image-head.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { objectCheck } from "../../s3/bucket.ts";
import { MOST_OBJECT_TAGS, tagsOf as objectTagsOf } from "../../s3/tag-set.ts";
import { resolveOwnImage } from "../images/own-image.ts";
import { ownerOf } from "../owner.ts";
import { required } from "../parameters.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";
import { bucketOf, objectOf } from "./bucket-object.ts";

/** An archive's head fits into this, whatever tags and disks an image has. */
const HEAD_BYTES = 2 * 1024 * 1024;
/** Tasks of one account in a Region at a time. */
const MOST_TASKS = 20;

/** Writes an own image, with its disks, its tags and all that it is, to the object `ami-….bin`. */
export const createStoreImageTask = operation({
  action: "ec2:CreateStoreImageTask",
  schema: CreateStoreImageTask$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateStoreImageTaskRequest) {
    const bucketName = required(input.Bucket, "Bucket");
    const { image, checks } = await resolveOwnImage(ctx, "ec2:CreateStoreImageTask", input.ImageId);
    mustBeReady(image);
    const tags = objectTagsOf(input.S3ObjectTags, MOST_OBJECT_TAGS);
    const bucket = await bucketOf(ctx, bucketName);
    const key = `${image.id}.bin`;
    const ids = snapshotsOf(image.block_devices);
    const found = await findSnapshots(ctx.database.read, ctx.region, ids);
    const given = await tagsOf(ctx.database.read, ctx.caller.accountId, [image.id, ...ids]);
    const disks = ids.map((id) => {
      const snapshot = found.get(id);
      if (snapshot === undefined) throw new ApiError("InvalidRequest", `The snapshot '${id}' of the image is gone.`);
      return { snapshot, tags: given.get(id) ?? [] };
    });
    return {
      image,
      key,
      tags,
      bucketName,
      ids,
      head: imageHead(
        image,
        given.get(image.id) ?? [],
        disks.map(({ snapshot, tags: own }) => ({
          id: snapshot.id,
          bytes: snapshot.size_bytes,
          description: snapshot.description,
          tags: own,
        })),
      ),
      checks: [
        ...checks,
        objectCheck("s3:PutObject", bucket, key),
        ...(Object.keys(tags).length === 0 ? [] : [objectCheck("s3:PutObjectTagging", bucket, key)]),
        ...disks.flatMap(({ snapshot, tags: own }) =>
          (["ebs:ListSnapshotBlocks", "ebs:GetSnapshotBlock"] as const).map((action) => ({
            action,
            resource: snapshotArn(ctx.region, snapshot.id),
            keys: snapshotKeys(snapshot, own),
          })),
        ),
      ],
    };
  },
  async run(ctx, _input, { image, key, tags, bucketName, ids, head }, grant): Promise<CreateStoreImageTaskResult> {
    const owner = ownerOf(ctx);
    await ctx.database.transaction(async (tx) => {
      const open = (await transferTasksOf(tx, owner, "store-image")).filter(({ state }) => state === "active");
      if (open.some((task) => task.image_id === image.id && task.bucket === bucketName)) {
        throw new ApiError("InvalidRequest", `The image '${image.id}' is already being stored in ${bucketName}.`);
      }
      if (open.length >= MOST_TASKS) {
        throw new ApiError("RequestLimitExceeded", `At most ${MOST_TASKS} images can be stored at a time.`);
      }
      await insertTransferTask(
        grant,
        tx,
        owner,
        {
          id: newId("storeImageTask"),
          kind: "store-image",
          shown: {},
          work: { key, tags, head, snapshots: ids },
          holds: ids,
          image_id: image.id,
          bucket: bucketName,
        },
        ctx.now(),
      );
    });
    ctx.parts.transfers.poke();
    return { ObjectKey: key };
  },
});

/** Makes an image of such an object: pending until its disks are there. */
export const createRestoreImageTask = operation({
  action: "ec2:CreateRestoreImageTask",
  schema: CreateRestoreImageTask$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateRestoreImageTaskRequest) {
    const name = { bucket: required(input.Bucket, "Bucket"), key: required(input.ObjectKey, "ObjectKey") };
    const given = input.Name === undefined ? undefined : parseImageName(input.Name);
    const tags = parseTagSpecifications(input.TagSpecifications, ["image", "snapshot"]);
    const bucket = await bucketOf(ctx, name.bucket);
    const id = newId("image");
    const resource = imageArn(ctx.region, "*");
    const keys = imageKeys(
      { id, region: ctx.region, account_id: ctx.caller.accountId, owner_alias: null, is_public: false },
      [],
    );
    const snapshots = snapshotArn(ctx.region, "*");
    return {
      id,
      name,
      given,
      tags,
      checks: [
        { action: "ec2:CreateRestoreImageTask", resource, keys: { ...keys, ...requestTagKeys(tags.all) } },
        objectCheck("s3:GetObject", bucket, name.key),
        ...(["ebs:StartSnapshot", "ebs:PutSnapshotBlock", "ebs:CompleteSnapshot"] as const).map((action) => ({
          action,
          resource: snapshots,
          keys: {},
        })),
        ...createTagsCheck("CreateRestoreImageTask", resource, tags.of("image")),
        ...createTagsCheck("CreateRestoreImageTask", snapshots, tags.of("snapshot")),
      ],
    };
  },
  // What the object says is for those only who may read it: it is opened here, behind the permission.
  async run(ctx, _input, { id, name, given, tags }, grant): Promise<CreateRestoreImageTaskResult> {
    const owner = ownerOf(ctx);
    const { head, etag } = await headOf(ctx, name);
    const imageName = given ?? parseImageName(head.image.name);
    const now = ctx.now().toISOString();
    const ids = head.disks.map((): SnapshotId => newId("snapshot"));
    const image: NewImage = {
      id,
      account_id: owner.accountId,
      region: owner.region,
      name: imageName,
      description: parseDescription(head.image.description ?? undefined),
      state: "pending",
      state_reason: null,
      architecture: head.image.architecture,
      virtualization_type: head.image.virtualizationType,
      boot_mode: head.image.bootMode,
      root_device_name: head.image.rootDeviceName,
      block_devices: devicesOf(head, ids),
      ena_support: head.image.enaSupport ? 1 : 0,
      sriov_net_support: head.image.sriovNetSupport,
      tpm_support: head.image.tpmSupport,
      imds_support: head.image.imdsSupport,
      uefi_data: head.image.uefiData,
      location: `${owner.accountId}/${imageName}`,
      owner_alias: null,
      source_instance_id: null,
      source_image_id: null,
      source_image_region: null,
      direct_kernel: null,
      reboot: 0,
      created_at: now,
      deprecate_at: null,
      deregistration_protection: null,
      last_launched_at: null,
      deregistered_at: null,
    };
    await ctx.database.transaction(async (tx) => {
      await nameMustBeFree(tx, image);
      await insertSnapshots(
        grant,
        tx,
        head.disks.map(({ bytes, description }, index) =>
          newSnapshot({
            id: ids[index] ?? newId("snapshot"),
            account_id: owner.accountId,
            region: owner.region,
            volume_id: null,
            description,
            size_gib: volumeSizeGib(bytes),
            size_bytes: bytes,
            started_at: now,
            origin: "import",
            capture_group: id,
          }),
        ),
      );
      await insertImage(grant, tx, image);
      await writeTags(tx, owner, { id, type: "image" }, over(head.image.tags, tags.of("image")));
      for (const [index, disk] of head.disks.entries()) {
        const snapshot = { id: ids[index] ?? "", type: "snapshot" };
        await writeTags(tx, owner, snapshot, over(disk.tags, tags.of("snapshot")));
      }
      await insertTransferTask(
        grant,
        tx,
        owner,
        {
          id: newId("restoreImageTask"),
          kind: "restore-image",
          shown: {},
          work: { key: name.key, etag, snapshots: ids },
          holds: ids,
          image_id: id,
          bucket: name.bucket,
        },
        ctx.now(),
      );
    });
    ctx.parts.transfers.poke();
    return { ImageId: id };
  },
});

/** @throws ApiError `InvalidParameter` when the object is no stored image, or is not there */
async function headOf(
  ctx: RequestContext,
  name: { readonly bucket: string; readonly key: string },
): Promise<{ readonly head: ImageHead; readonly etag: string }> {
  const { bytes } = await objectOf(ctx, name);
  const last = Math.min(bytes, HEAD_BYTES) - 1;
  const object = bytes === 0 ? undefined : await ctx.parts.objects.get(name.bucket, name.key, { first: 0, last });
  if (object === undefined) throw notAnImage(name);
  try {
    const head = parseImageHead(await readArchiveHead(object.body as AsyncIterable<Buffer>));
    for (const tags of [head.image.tags, ...head.disks.map((disk) => disk.tags)]) {
      parseTags(tags.map(({ key, value }) => ({ Key: key, Value: value })));
    }
    return { head, etag: object.etag };
  } catch (error) {
    if (error instanceof ArchiveError) throw notAnImage(name, error);
    throw error;
  } finally {
    object.body.destroy();
  }
}

const notAnImage = ({ bucket, key }: { readonly bucket: string; readonly key: string }, cause?: Error): ApiError =>
  new ApiError(
    "InvalidParameter",
    `The S3 object ${bucket}/${key} is not an image that CreateStoreImageTask has written${cause === undefined ? "" : `: ${cause.message}`}.`,
    { cause },
  );

/** The stored ones, with the request's over them. */
function over(stored: readonly Tag[], given: readonly Tag[]): Tag[] {
  const tags = new Map(stored.map((tag) => [tag.key, tag]));
  for (const tag of given) tags.set(tag.key, tag);
  return [...tags.values()];
}
