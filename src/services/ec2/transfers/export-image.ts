import { ExportImage$, type ExportImageRequest, type ExportImageResult } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { newId } from "../../../base/ids.ts";
import { ec2Arn } from "../../../model/arn.ts";
import { snapshotsOf } from "../../../model/block-device.ts";
import { keepToken, tokenResult } from "../../../model/client-token.ts";
import { mustBeReady } from "../../../model/image.ts";
import { requestTagKeys, writeTags } from "../../../model/tags.ts";
import { findTransferTask, insertTransferTask, type TransferTask } from "../../../model/transfer-task.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { objectCheck } from "../../s3/bucket.ts";
import { resolveOwnImage } from "../images/own-image.ts";
import { ownerOf } from "../owner.ts";
import { oneOf, required } from "../parameters.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";
import { tokenUse } from "../token.ts";
import { bucketOf } from "./bucket-object.ts";
import { serviceRole } from "./service-role.ts";
import { shownExportTask } from "./shown-task.ts";

const TAGGED = "export-image-task";
const FORMAT = { VMDK: "vmdk", RAW: "raw", VHD: "vhd" } as const;

/** Writes an own image's one disk to `PREFIX` `export-ami-….FORMAT` in a bucket. */
export const exportImage = operation({
  action: "ec2:ExportImage",
  schema: ExportImage$,
  access: "write",
  async resolve(ctx: RequestContext, input: ExportImageRequest) {
    const format =
      FORMAT[required(oneOf(input.DiskImageFormat, ["VMDK", "RAW", "VHD"], "DiskImageFormat"), "DiskImageFormat")];
    const location = required(input.S3ExportLocation, "S3ExportLocation");
    const bucketName = required(location.S3Bucket, "S3ExportLocation.S3Bucket");
    const tags = parseTagSpecifications(input.TagSpecifications, [TAGGED]).of(TAGGED);
    const { image, checks } = await resolveOwnImage(ctx, "ec2:ExportImage", input.ImageId);
    mustBeReady(image);
    const [snapshotId, ...others] = snapshotsOf(image.block_devices);
    if (snapshotId === undefined || others.length > 0) {
      throw new ApiError(
        "NotExportable",
        `The image '${image.id}' cannot be exported: it has more than one EBS volume.`,
      );
    }
    const role = await serviceRole(ctx, input.RoleName);
    const bucket = await bucketOf(ctx, bucketName);
    const id = newId("exportImageTask");
    const key = `${location.S3Prefix ?? ""}${id}.${format}`;
    const write = objectCheck("s3:PutObject", bucket, key);
    await role.must(write, `The image cannot be written to the S3 bucket ${bucketName}.`);
    const arn = ec2Arn(ctx.region, ctx.caller.accountId, TAGGED, "*");
    return {
      id,
      image,
      snapshotId,
      format,
      key,
      bucketName,
      tags,
      token: tokenUse("ExportImage", input),
      checks: [
        { action: "ec2:ExportImage", resource: arn, keys: { "ec2:Region": ctx.region, ...requestTagKeys(tags) } },
        ...checks,
        write,
        ...role.checks,
        ...createTagsCheck("ExportImage", arn, tags),
      ],
    };
  },
  async run(ctx, input, found, grant): Promise<ExportImageResult> {
    const { image, snapshotId, format, key, bucketName, tags, token } = found;
    const prefix = input.S3ExportLocation?.S3Prefix;
    const id = await ctx.database.transaction(async (tx) => {
      const before = token === undefined ? undefined : await tokenResult(tx, ownerOf(ctx), token);
      if (before !== undefined) return before;
      if (token !== undefined) await keepToken(tx, ownerOf(ctx), token, found.id, ctx.now());
      await insertTransferTask(
        grant,
        tx,
        ownerOf(ctx),
        {
          id: found.id,
          kind: "export-image",
          shown: { description: input.Description, prefix },
          work: { snapshotId, format, key },
          holds: [snapshotId],
          image_id: image.id,
          bucket: bucketName,
        },
        ctx.now(),
      );
      await writeTags(tx, ownerOf(ctx), { id: found.id, type: TAGGED }, tags);
      return found.id;
    });
    ctx.parts.transfers.poke();
    const task = await findTransferTask(ctx.database.read, id);
    if (task === undefined) throw new Error(`the task ${id} that was just made is gone`);
    return {
      ...shownExportTask(task as TransferTask<"export-image">, tags),
      DiskImageFormat: input.DiskImageFormat,
      ...(input.RoleName === undefined ? {} : { RoleName: input.RoleName }),
    };
  },
});
