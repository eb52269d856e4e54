// DeregisterImage. Instances that were launched from it keep going; its snapshots stay unless their deletion is asked for.
import {
  type DeleteSnapshotReturnCode,
  DeregisterImage$,
  type DeregisterImageRequest,
  type DeregisterImageResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import type { ResourceCheck } from "../../../model/access.ts";
import { snapshotArn } from "../../../model/arn.ts";
import { snapshotsOf } from "../../../model/block-device.ts";
import { deregistrationProtection } from "../../../model/image.ts";
import { deregisterImageRow, findImage, imagesUsing } from "../../../model/image-rows.ts";
import { lockOf, lockState, snapshotKeys } from "../../../model/snapshot.ts";
import { deleteSnapshotRows, findSnapshots } from "../../../model/snapshot-rows.ts";
import { dropTags, tagsOf } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { resolveOwnImage } from "./own-image.ts";

export const deregisterImage = operation({
  action: "ec2:DeregisterImage",
  schema: DeregisterImage$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeregisterImageRequest) {
    const own = await resolveOwnImage(ctx, "ec2:DeregisterImage", input.ImageId);
    if (input.DeleteAssociatedSnapshots !== true) return own;
    // EC2 deletes what the caller may delete and reports the rest. Here a caller who may not delete one of the snapshots
    // is refused before anything is gone, which is the safer half of the same answer.
    const ids = snapshotsOf(own.image.block_devices);
    const snapshots = await findSnapshots(ctx.database.read, ctx.region, ids);
    const tags = await tagsOf(ctx.database.read, ctx.caller.accountId, ids);
    const checks = [...snapshots.values()].map(
      (snapshot): ResourceCheck => ({
        action: "ec2:DeleteSnapshot",
        resource: snapshotArn(ctx.region, snapshot.id),
        keys: snapshotKeys(snapshot, tags.get(snapshot.id) ?? []),
      }),
    );
    return { ...own, checks: [...own.checks, ...checks] };
  },
  async run(ctx, input, { image: seen }, grant): Promise<DeregisterImageResult> {
    const now = ctx.now();
    const results = await ctx.database.transaction(async (tx) => {
      // Protection may have been switched on since the call was looked at.
      const image = (await findImage(tx, seen.region, seen.id)) ?? seen;
      const protection = deregistrationProtection(image, now);
      if (protection !== "disabled") {
        throw new ApiError(
          "OperationNotPermitted",
          `The image '${image.id}' may not be deregistered: its deregistration protection is ${protection}.`,
        );
      }
      await deregisterImageRow(grant, tx, image.id, now);
      await dropTags(tx, [image.id]);
      if (input.DeleteAssociatedSnapshots !== true) return undefined;

      const ids = snapshotsOf(image.block_devices);
      const snapshots = await findSnapshots(tx, image.region, ids);
      const used = await imagesUsing(tx, ids);
      const codes: DeleteSnapshotReturnCode[] = [];
      for (const id of ids) {
        const snapshot = snapshots.get(id);
        if (snapshot === undefined) continue;
        const lock = lockOf(snapshot);
        const locked = lock !== null && lockState(lock, now) !== "expired";
        if (used.has(id)) codes.push({ SnapshotId: id, ReturnCode: "skipped" });
        else if (locked) codes.push({ SnapshotId: id, ReturnCode: "client-error" });
        else {
          await deleteSnapshotRows(grant, tx, [id]);
          await dropTags(tx, [id]);
          codes.push({ SnapshotId: id, ReturnCode: "success" });
        }
      }
      return codes;
    });
    ctx.parts.host.poke();
    return { Return: true, ...(results === undefined ? {} : { DeleteSnapshotResults: results }) };
  },
});
