import { createHash } from "node:crypto";
import { GetSnapshotBlock$, type GetSnapshotBlockRequest, type GetSnapshotBlockResponse } from "@aws-sdk/client-ebs";
import { BLOCK_BYTES } from "../../base/units.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { invalid } from "./refusals.ts";
import { blockCheck, checkBlockToken, ownersOf, readableBlocks } from "./snapshots.ts";

/** One block of 512 KiB, with its checksum. Needs the token that a list has given for it. */
export const getSnapshotBlock = operation({
  action: "ebs:GetSnapshotBlock",
  schema: GetSnapshotBlock$,
  access: "read",
  async resolve(ctx: RequestContext, input: GetSnapshotBlockRequest) {
    const snapshot = await readableBlocks(ctx, input.SnapshotId);
    return {
      snapshot,
      checks: [await blockCheck(ctx, "ebs:GetSnapshotBlock", snapshot)],
      recipients: ownersOf(ctx, snapshot),
    };
  },
  async run(ctx, input, { snapshot }): Promise<GetSnapshotBlockResponse> {
    const index = input.BlockIndex ?? -1;
    checkBlockToken(ctx, snapshot.id, index, input.BlockToken);
    const reader = await ctx.parts.snapshots.open(snapshot.id);
    const offset = index * BLOCK_BYTES;
    if (offset >= reader.bytes) throw invalid("INVALID_BLOCK", `The snapshot has no block ${index}.`);
    // The last block of a disk that is no whole number of blocks is filled up with zeroes.
    const block = Buffer.alloc(BLOCK_BYTES);
    await reader.readInto(block.subarray(0, Math.min(BLOCK_BYTES, reader.bytes - offset)), offset);
    return {
      DataLength: BLOCK_BYTES,
      // The SDK says "a stream" for what a client receives; our codec takes bytes.
      BlockData: block as unknown as NonNullable<GetSnapshotBlockResponse["BlockData"]>,
      Checksum: createHash("sha256").update(block).digest("base64"),
      ChecksumAlgorithm: "SHA256",
    };
  },
});
