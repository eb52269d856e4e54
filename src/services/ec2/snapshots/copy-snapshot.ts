import { CopySnapshot$, type CopySnapshotRequest, type CopySnapshotResult } from "@aws-sdk/client-ec2";
import { newId } from "../../../base/ids.ts";
import { snapshotArn } from "../../../model/arn.ts";
import { parseDescription } from "../../../model/image.ts";
import { isRegion } from "../../../model/regions.ts";
import { mustBeCompleted, snapshotKeys } from "../../../model/snapshot.ts";
import { insertSnapshots, newSnapshot, readableSnapshot } from "../../../model/snapshot-rows.ts";
import { requestTagKeys, writeTags } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { invalidValue, notSupported, required } from "../parameters.ts";
import { shownTags } from "../tags/shown-tags.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";
import { parseSnapshotId, snapshotCheck } from "./own-snapshot.ts";

/**
 * An own copy, in the Region that is called, of any snapshot that the caller may read. PresignedUrl and DestinationRegion,
 * which botocore puts in by itself, say nothing new and are ignored.
 */
export const copySnapshot = operation({
  action: "ec2:CopySnapshot",
  schema: CopySnapshot$,
  access: "write",
  async resolve(ctx: RequestContext, input: CopySnapshotRequest) {
    const region = required(input.SourceRegion, "sourceRegion");
    if (!isRegion(region)) throw invalidValue("sourceRegion", region);
    if (input.Encrypted === true || input.KmsKeyId) throw notSupported("Encrypted snapshots are");
    if (input.DestinationOutpostArn) throw notSupported("Outposts are");
    const description = parseDescription(input.Description) ?? "";
    const tags = parseTagSpecifications(input.TagSpecifications, ["snapshot"]).of("snapshot");
    const sourceId = parseSnapshotId(input.SourceSnapshotId);
    const source = await readableSnapshot(ctx.database.read, ctx.caller.accountId, region, sourceId);
    mustBeCompleted(source);
    const copy = newSnapshot({
      id: newId("snapshot"),
      account_id: ctx.caller.accountId,
      region: ctx.region,
      volume_id: null,
      description,
      size_gib: source.size_gib,
      size_bytes: source.size_bytes,
      started_at: ctx.now().toISOString(),
      origin: "copy",
      source_snapshot_id: source.id,
    });
    const resource = snapshotArn(ctx.region, "*");
    return {
      source,
      copy,
      tags,
      checks: [
        { action: "ec2:CopySnapshot", resource, keys: { ...snapshotKeys(copy, []), ...requestTagKeys(tags) } },
        await snapshotCheck(ctx, "ec2:CopySnapshot", source),
        ...createTagsCheck("CopySnapshot", resource, tags),
      ],
      recipients: source.account_id === ctx.caller.accountId ? [] : [source.account_id],
    };
  },
  async run(ctx, _input, { source, copy, tags }, grant): Promise<CopySnapshotResult> {
    await ctx.database.transaction(async (tx) => {
      await readableSnapshot(tx, ctx.caller.accountId, source.region, source.id);
      await insertSnapshots(grant, tx, [copy]);
      await writeTags(tx, ownerOf(ctx), { id: copy.id, type: "snapshot" }, tags);
    });
    ctx.parts.host.poke();
    return { SnapshotId: copy.id, Tags: shownTags(tags) };
  },
});
