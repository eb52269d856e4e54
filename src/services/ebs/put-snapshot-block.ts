import { createHash, timingSafeEqual } from "node:crypto";
import { PutSnapshotBlock$, type PutSnapshotBlockRequest, type PutSnapshotBlockResponse } from "@aws-sdk/client-ebs";
import { BLOCK_BYTES } from "../../base/units.ts";
import type { Snapshot } from "../../model/snapshot.ts";
import { touchUpload } from "../../model/snapshot-rows.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { invalid } from "./refusals.ts";
import { blockCheck, mustBeOpen, ownUpload } from "./snapshots.ts";

/** That a client is still there is written down once in so long, not with each of thousands of blocks. */
const TOUCH_MS = 30_000;

/**
 * Writes one block of 512 KiB; durable when answered. The body is not covered by the request's signature: the checksum,
 * which is, stands for it.
 */
export const putSnapshotBlock = operation({
  action: "ebs:PutSnapshotBlock",
  schema: PutSnapshotBlock$,
  access: "write",
  async resolve(ctx: RequestContext, input: PutSnapshotBlockRequest) {
    const { snapshot, upload } = await ownUpload(ctx, input.SnapshotId);
    return { snapshot, upload, checks: [await blockCheck(ctx, "ebs:PutSnapshotBlock", snapshot)] };
  },
  async run(ctx, input, { snapshot, upload }, grant): Promise<PutSnapshotBlockResponse> {
    mustBeOpen(snapshot, upload, ctx.now());
    const index = indexIn(snapshot, input.BlockIndex);
    const { data, checksum } = verified(input);
    await ctx.parts.snapshots.putDraftBlock(snapshot.id, index, data);
    const now = ctx.now();
    if (now.getTime() - Date.parse(upload.activeAt) >= TOUCH_MS) {
      await ctx.database.transaction((tx) => touchUpload(grant, tx, snapshot.id, now));
    }
    return { Checksum: checksum, ChecksumAlgorithm: "SHA256" };
  },
});

/** @throws ApiError `ValidationException` past the end of the volume */
function indexIn(snapshot: Snapshot, index: number | undefined): number {
  const last = snapshot.size_bytes / BLOCK_BYTES - 1;
  if (index !== undefined && Number.isInteger(index) && index >= 0 && index <= last) return index;
  throw invalid("INVALID_BLOCK", `The block index must be 0 to ${last}, not ${index}.`);
}

/** The block, if it is what its checksum says. @throws ApiError `ValidationException` with `INVALID_BLOCK` */
function verified(input: PutSnapshotBlockRequest): { readonly data: Uint8Array; readonly checksum: string } {
  if (input.ChecksumAlgorithm !== "SHA256") {
    throw invalid("INVALID_PARAMETER_VALUE", "The checksum algorithm must be SHA256.");
  }
  if (input.DataLength !== BLOCK_BYTES) {
    throw invalid("INVALID_BLOCK", `The data length must be ${BLOCK_BYTES}, not ${input.DataLength}.`);
  }
  const progress = input.Progress ?? 0;
  if (progress < 0 || progress > 100) throw invalid("INVALID_PARAMETER_VALUE", "The progress must be 0 to 100.");
  const data = input.BlockData;
  if (!(data instanceof Uint8Array) || data.length !== BLOCK_BYTES) {
    throw invalid("INVALID_BLOCK", `The block must have ${BLOCK_BYTES} bytes.`);
  }
  const digest = createHash("sha256").update(data).digest();
  const claimed = Buffer.from(input.Checksum ?? "", "base64");
  if (claimed.length !== digest.length || !timingSafeEqual(claimed, digest)) {
    throw invalid("INVALID_BLOCK", "The block does not have the checksum that was given.");
  }
  return { data, checksum: digest.toString("base64") };
}
