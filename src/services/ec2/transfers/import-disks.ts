// ImportImage and ImportSnapshot: what the call names is looked at, the rest is a task's.
//
// Order of checks: parameters → the role → bucket and object → policies of caller and role. The caller has to be allowed
// to read the object, too: nobody imports by the role what he may not see.
import {
  type ImageDiskContainer,
  ImportImage$,
  type ImportImageRequest,
  type ImportImageResult,
  ImportSnapshot$,
  type ImportSnapshotRequest,
  type ImportSnapshotResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { newId, parseId, type SnapshotId } from "../../../base/ids.ts";
import type { ConditionKeys, ResourceCheck } from "../../../model/access.ts";
import { ec2Arn, imageArn, snapshotArn } from "../../../model/arn.ts";
import { keepToken, tokenResult } from "../../../model/client-token.ts";
import { mustBeCompleted } from "../../../model/snapshot.ts";
import { ownSnapshot } from "../../../model/snapshot-rows.ts";
import { requestTagKeys, writeTags } from "../../../model/tags.ts";
import {
  type DiskFileFormat,
  findTransferTask,
  type IncomingDisk,
  insertTransferTask,
  type TransferTask,
} from "../../../model/transfer-task.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { objectCheck } from "../../s3/bucket.ts";
import { ownerOf } from "../owner.ts";
import { notSupported, oneOf } from "../parameters.ts";
import { snapshotCheck } from "../snapshots/own-snapshot.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";
import { tokenUse } from "../token.ts";
import { bucketOf, noAccess, objectName, objectOf } from "./bucket-object.ts";
import { type ServiceRole, serviceRole } from "./service-role.ts";
import { type ShownDisk, shownImageTask, shownSnapshotTask } from "./shown-task.ts";

const IMAGE_FORMATS: readonly DiskFileFormat[] = ["ova", "vhd", "vhdx", "vmdk", "raw"];
const SNAPSHOT_FORMATS: readonly DiskFileFormat[] = ["vhd", "vmdk", "raw"];
const MOST_DISKS = 22;
const ROOT_DEVICE = "/dev/sda1";
/** Further disks, in their order: /dev/sdf, /dev/sdg… as EC2 recommends. */
const dataDevice = (index: number): string => `/dev/sd${String.fromCharCode("f".charCodeAt(0) + index - 1)}`;

interface Named {
  readonly disk: IncomingDisk;
  readonly shown: ShownDisk;
  readonly checks: readonly ResourceCheck[];
}

/** A disk file that the caller and the role may read. */
async function fileDisk(
  ctx: RequestContext,
  role: ServiceRole,
  container: Omit<ImageDiskContainer, "SnapshotId">,
  formats: readonly DiskFileFormat[],
): Promise<Named> {
  const name = objectName(container);
  const given = container.Format?.toLowerCase();
  const format = formats.find((one) => one === given);
  if (format === undefined) {
    throw new ApiError(
      "InvalidParameter",
      `The format '${container.Format ?? ""}' is not supported: it must be one of ${formats.map((one) => one.toUpperCase()).join(", ")}.`,
    );
  }
  const bucket = await bucketOf(ctx, name.bucket);
  const check = objectCheck("s3:GetObject", bucket, name.key);
  await role.must(check, noAccess(name).message);
  const object = await objectOf(ctx, name);
  if (object.bytes === 0) throw new ApiError("InvalidParameter", `The S3 object is empty.(${name.bucket}/${name.key})`);
  return {
    disk: {
      snapshotId: newId("snapshot"),
      from: { ...name, format },
      deviceName: container.DeviceName ?? null,
      description: container.Description ?? "",
    },
    shown: {
      ...(container.Description === undefined ? {} : { description: container.Description }),
      ...(container.Url === undefined ? { userBucket: name } : { url: container.Url }),
      format: format.toUpperCase(),
      fileBytes: object.bytes,
    },
    checks: [check],
  };
}

/** A snapshot that is there already becomes the image's under an id of its own. */
async function snapshotDisk(ctx: RequestContext, container: ImageDiskContainer, id: SnapshotId): Promise<Named> {
  const snapshot = await ownSnapshot(ctx.database.read, ctx.caller.accountId, ctx.region, id);
  mustBeCompleted(snapshot);
  return {
    disk: {
      snapshotId: newId("snapshot"),
      from: { snapshotId: id },
      deviceName: container.DeviceName ?? null,
      description: container.Description ?? "",
    },
    shown: {
      ...(container.Description === undefined ? {} : { description: container.Description }),
      sourceSnapshotId: id,
      fileBytes: snapshot.size_bytes,
    },
    checks: [await snapshotCheck(ctx, "ec2:ImportImage", snapshot)],
  };
}

export const importSnapshot = operation({
  action: "ec2:ImportSnapshot",
  schema: ImportSnapshot$,
  access: "write",
  async resolve(ctx: RequestContext, input: ImportSnapshotRequest) {
    if (input.Encrypted === true || input.KmsKeyId) throw notSupported("Encrypted snapshots are");
    if (input.DiskContainer === undefined) {
      throw new ApiError("MissingParameter", "The request must contain the parameter DiskContainer");
    }
    const tags = parseTagSpecifications(input.TagSpecifications, ["import-snapshot-task"]).of("import-snapshot-task");
    const role = await serviceRole(ctx, input.RoleName);
    const named = await fileDisk(ctx, role, input.DiskContainer, SNAPSHOT_FORMATS);
    const arn = ec2Arn(ctx.region, ctx.caller.accountId, "import-snapshot-task", "*");
    const keys: ConditionKeys = { "ec2:Region": ctx.region, ...requestTagKeys(tags) };
    return {
      named,
      tags,
      token: tokenUse("ImportSnapshot", input),
      checks: [
        { action: "ec2:ImportSnapshot", resource: arn, keys },
        { action: "ec2:ImportSnapshot", resource: snapshotArn(ctx.region, "*"), keys },
        ...named.checks,
        ...role.checks,
        ...createTagsCheck("ImportSnapshot", arn, tags),
      ],
    };
  },
  async run(ctx, input, { named, tags, token }, grant): Promise<ImportSnapshotResult> {
    const description = input.Description ?? named.disk.description;
    const disk = { ...named.disk, description };
    const id = await ctx.database.transaction(async (tx) => {
      const before = token === undefined ? undefined : await tokenResult(tx, ownerOf(ctx), token);
      if (before !== undefined) return before;
      const made = newId("importSnapshotTask");
      if (token !== undefined) await keepToken(tx, ownerOf(ctx), token, made, ctx.now());
      await insertTransferTask(
        grant,
        tx,
        ownerOf(ctx),
        {
          id: made,
          kind: "import-snapshot",
          shown: { description, disks: [named.shown] },
          work: { disk },
          holds: [disk.snapshotId],
          image_id: null,
          bucket: "bucket" in disk.from ? disk.from.bucket : "",
        },
        ctx.now(),
      );
      await writeTags(tx, ownerOf(ctx), { id: made, type: "import-snapshot-task" }, tags);
      return made;
    });
    ctx.parts.transfers.poke();
    return shownSnapshotTask(await made(ctx, id, "import-snapshot"), tags);
  },
});

export const importImage = operation({
  action: "ec2:ImportImage",
  schema: ImportImage$,
  access: "write",
  async resolve(ctx: RequestContext, input: ImportImageRequest) {
    if (input.Encrypted === true || input.KmsKeyId) throw notSupported("Encrypted images are");
    const containers = input.DiskContainers ?? [];
    if (containers.length === 0) {
      throw new ApiError("MissingParameter", "The request must contain the parameter DiskContainers");
    }
    if (containers.length > MOST_DISKS) {
      throw new ApiError("InvalidParameter", `An image may have at most ${MOST_DISKS} disks.`);
    }
    const architecture = oneOf(input.Architecture, ["x86_64", "i386", "arm64"], "Architecture") ?? "x86_64";
    const bootMode = oneOf(input.BootMode, ["legacy-bios", "uefi", "uefi-preferred"], "BootMode") ?? null;
    const platform = oneOf(input.Platform, ["Linux", "Windows"], "Platform");
    const licenseType = oneOf(input.LicenseType, ["AWS", "BYOL"], "LicenseType");
    const tags = parseTagSpecifications(input.TagSpecifications, ["import-image-task"]).of("import-image-task");
    const role = await serviceRole(ctx, input.RoleName);
    const named: Named[] = [];
    for (const [index, container] of containers.entries()) {
      const one =
        container.SnapshotId === undefined
          ? await fileDisk(ctx, role, container, IMAGE_FORMATS)
          : await snapshotDisk(ctx, container, parseId("snapshot", container.SnapshotId));
      const deviceName = one.disk.deviceName ?? (index === 0 ? ROOT_DEVICE : dataDevice(index));
      if (named.some(({ disk }) => disk.deviceName === deviceName)) {
        throw new ApiError("InvalidParameter", `The device name '${deviceName}' is given twice.`);
      }
      named.push({ ...one, disk: { ...one.disk, deviceName }, shown: { ...one.shown, deviceName } });
    }
    const arn = ec2Arn(ctx.region, ctx.caller.accountId, "import-image-task", "*");
    const keys: ConditionKeys = { "ec2:Region": ctx.region, ...requestTagKeys(tags) };
    return {
      named,
      tags,
      token: tokenUse("ImportImage", input),
      image: { description: input.Description ?? "", architecture, bootMode },
      shown: { platform, licenseType, hypervisor: input.Hypervisor, usageOperation: input.UsageOperation },
      checks: [
        { action: "ec2:ImportImage", resource: arn, keys },
        { action: "ec2:ImportImage", resource: imageArn(ctx.region, "*"), keys },
        ...named.flatMap(({ checks }) => checks),
        ...role.checks,
        ...createTagsCheck("ImportImage", arn, tags),
      ],
    };
  },
  async run(ctx, _input, { named, tags, token, image, shown }, grant): Promise<ImportImageResult> {
    const disks = named.map(({ disk }) => disk);
    const sources = disks.flatMap(({ from }) => ("snapshotId" in from ? [from.snapshotId] : []));
    const [first] = disks;
    const id = await ctx.database.transaction(async (tx) => {
      const before = token === undefined ? undefined : await tokenResult(tx, ownerOf(ctx), token);
      if (before !== undefined) return before;
      const made = newId("importImageTask");
      if (token !== undefined) await keepToken(tx, ownerOf(ctx), token, made, ctx.now());
      await insertTransferTask(
        grant,
        tx,
        ownerOf(ctx),
        {
          id: made,
          kind: "import-image",
          shown: { ...image, ...shown, disks: named.map((one) => one.shown) },
          work: { disks, image },
          holds: [...disks.map(({ snapshotId }) => snapshotId), ...sources],
          image_id: null,
          bucket: first !== undefined && "bucket" in first.from ? first.from.bucket : "",
        },
        ctx.now(),
      );
      await writeTags(tx, ownerOf(ctx), { id: made, type: "import-image-task" }, tags);
      return made;
    });
    ctx.parts.transfers.poke();
    return shownImageTask(await made(ctx, id, "import-image"), tags);
  },
});

async function made<K extends "import-image" | "import-snapshot">(
  ctx: RequestContext,
  id: string,
  _kind: K,
): Promise<TransferTask<K>> {
  const task = await findTransferTask(ctx.database.read, id);
  if (task === undefined) throw new Error(`the task ${id} that was just made is gone`);
  return task as TransferTask<K>;
}
