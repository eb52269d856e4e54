import { DeleteSnapshot$, type DeleteSnapshotRequest } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { imagesUsing } from "../../../model/image-rows.ts";
import { lockOf, lockState, snapshotNotFound } from "../../../model/snapshot.ts";
import { deleteSnapshotRows, findSnapshot } from "../../../model/snapshot-rows.ts";
import { dropTags } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { resolveOwnSnapshot } from "./own-snapshot.ts";

/** Volumes that were made from it are not touched: what they read stays in the store. */
export const deleteSnapshot = operation({
  action: "ec2:DeleteSnapshot",
  schema: DeleteSnapshot$,
  access: "write",
  resolve: (ctx: RequestContext, input: DeleteSnapshotRequest) =>
    resolveOwnSnapshot(ctx, "ec2:DeleteSnapshot", input.SnapshotId),
  async run(ctx, _input, { snapshot: { id, region } }, grant): Promise<Record<string, never>> {
    await ctx.database.transaction(async (tx) => {
      const snapshot = await findSnapshot(tx, region, id);
      if (snapshot === undefined) throw snapshotNotFound(region, id);
      const images = (await imagesUsing(tx, [id])).get(id);
      if (images !== undefined) {
        throw new ApiError("InvalidSnapshot.InUse", `The snapshot ${id} is currently in use by ${images.join(", ")}`);
      }
      const lock = lockOf(snapshot);
      if (lock !== null && lockState(lock, ctx.now()) !== "expired") {
        throw new ApiError("OperationNotPermitted", `The snapshot '${id}' is locked until ${lock.expiresAt}.`);
      }
      await deleteSnapshotRows(grant, tx, [id]);
      await dropTags(tx, [id]);
    });
    ctx.parts.host.poke();
    return {};
  },
});
