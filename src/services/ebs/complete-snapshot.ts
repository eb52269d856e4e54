import { createHash, timingSafeEqual } from "node:crypto";
import { CompleteSnapshot$, type CompleteSnapshotRequest, type CompleteSnapshotResponse } from "@aws-sdk/client-ebs";
import { findSnapshot, sealUpload } from "../../model/snapshot-rows.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { invalid, noSuchSnapshot } from "./refusals.ts";
import { blockCheck, mustBeOpen, ownUpload } from "./snapshots.ts";

/**
 * Ends an upload: no more blocks, and the host makes a snapshot of them. Said again, it says how that goes.
 *
 * ChangedBlocksCount and Checksum are what the client believes to have written; when either is not what has arrived, the
 * upload stays open, so that it can write what is missing.
 */
export const completeSnapshot = operation({
  action: "ebs:CompleteSnapshot",
  schema: CompleteSnapshot$,
  access: "write",
  async resolve(ctx: RequestContext, input: CompleteSnapshotRequest) {
    const { snapshot, upload } = await ownUpload(ctx, input.SnapshotId);
    return { snapshot, upload, checks: [await blockCheck(ctx, "ebs:CompleteSnapshot", snapshot)] };
  },
  async run(ctx, input, { snapshot, upload }, grant): Promise<CompleteSnapshotResponse> {
    if (snapshot.state === "completed" || (snapshot.state === "pending" && upload.sealed)) {
      return { Status: snapshot.state };
    }
    mustBeOpen(snapshot, upload, ctx.now());
    await verify(ctx, input, snapshot.id);
    await ctx.database.transaction(async (tx) => {
      const current = await findSnapshot(tx, ctx.region, snapshot.id);
      if (current === undefined) throw noSuchSnapshot(ctx.region, snapshot.id);
      await sealUpload(grant, tx, snapshot.id);
    });
    ctx.parts.host.poke();
    return { Status: "pending" };
  },
});

async function verify(
  ctx: RequestContext,
  input: CompleteSnapshotRequest,
  id: Parameters<typeof noSuchSnapshot>[1],
): Promise<void> {
  const blocks = await ctx.parts.snapshots.draftBlocks(id);
  if (input.ChangedBlocksCount !== blocks.length) {
    throw invalid(
      "INVALID_PARAMETER_VALUE",
      `ChangedBlocksCount is ${input.ChangedBlocksCount}, but ${blocks.length} blocks were written.`,
    );
  }
  if (input.Checksum === undefined) return;
  if ((input.ChecksumAlgorithm ?? "SHA256") !== "SHA256") {
    throw invalid("INVALID_PARAMETER_VALUE", "The checksum algorithm must be SHA256.");
  }
  if ((input.ChecksumAggregationMethod ?? "LINEAR") !== "LINEAR") {
    throw invalid("INVALID_PARAMETER_VALUE", "The checksum aggregation method must be LINEAR.");
  }
  const hash = createHash("sha256");
  for (const { sha256 } of blocks) hash.update(sha256);
  const expected = hash.digest();
  const claimed = Buffer.from(input.Checksum, "base64");
  if (claimed.length !== expected.length || !timingSafeEqual(claimed, expected)) {
    throw invalid("INVALID_PARAMETER_VALUE", "The checksum is not that of the blocks that were written.");
  }
}
