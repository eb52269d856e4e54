import { createHash } from "node:crypto";
import { CreateVolume$, type CreateVolumeRequest, type Volume as ShownVolume } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { newId, parseId, type VolumeId } from "../../../base/ids.ts";
import type { ResourceCheck } from "../../../model/access.ts";
import { ec2Arn } from "../../../model/arn.ts";
import { volumeShape } from "../../../model/block-device.ts";
import { keepToken, type TokenUse, tokenResult } from "../../../model/client-token.ts";
import { zonesOf } from "../../../model/regions.ts";
import { mustBeCompleted, type Snapshot } from "../../../model/snapshot.ts";
import { readableSnapshot } from "../../../model/snapshot-rows.ts";
import { requestTagKeys, tagsOf, writeTags } from "../../../model/tags.ts";
import { newVolumeRow, volumeKeys } from "../../../model/volume.ts";
import { insertVolumes, ownVolume } from "../../../model/volume-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { notSupported } from "../parameters.ts";
import { snapshotCheck } from "../snapshots/own-snapshot.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";
import { shownVolume } from "./shown-volume.ts";

/** A volume, empty or of a snapshot. It costs a row: its overlay is made when a machine first has it. */
export const createVolume = operation({
  action: "ec2:CreateVolume",
  schema: CreateVolume$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateVolumeRequest) {
    if (input.Encrypted === true || input.KmsKeyId) throw notSupported("Encrypted volumes are");
    if (input.MultiAttachEnabled === true) throw notSupported("Volumes attached to several instances are");
    if (input.OutpostArn) throw notSupported("Outposts are");
    const tags = parseTagSpecifications(input.TagSpecifications, ["volume"]).of("volume");
    const zone = zoneOf(ctx, input);
    const snapshot = input.SnapshotId ? await source(ctx, input.SnapshotId) : undefined;
    const sizeGib = sizeOf(input.Size, snapshot);
    const shape = volumeShape({
      type: input.VolumeType,
      sizeGib,
      iops: input.Iops,
      throughput: input.Throughput,
    });
    const volume = newVolumeRow(
      {
        id: newId("volume"),
        account_id: ctx.caller.accountId,
        region: ctx.region,
        zone,
        size_gib: shape.sizeGib,
        snapshot_id: snapshot?.id ?? null,
        type: shape.type,
        iops: shape.iops,
        throughput: shape.throughput,
        created_at: ctx.now().toISOString(),
      },
      null,
    );
    const arn = ec2Arn(ctx.region, ctx.caller.accountId, "volume", "*");
    const checks: ResourceCheck[] = [
      { action: "ec2:CreateVolume", resource: arn, keys: { ...volumeKeys(volume, []), ...requestTagKeys(tags) } },
      ...(snapshot === undefined ? [] : [await snapshotCheck(ctx, "ec2:CreateVolume", snapshot)]),
      ...createTagsCheck("CreateVolume", arn, tags),
    ];
    const foreign = snapshot !== undefined && snapshot.account_id !== ctx.caller.accountId;
    return { volume, snapshot, tags, checks, recipients: foreign ? [snapshot.account_id] : [] };
  },
  async run(ctx, input, { volume, snapshot, tags }, grant): Promise<ShownVolume> {
    const owner = ownerOf(ctx);
    const token: TokenUse | undefined =
      input.ClientToken === undefined
        ? undefined
        : { action: "CreateVolume", token: input.ClientToken, parameters: fingerprint(input) };
    const made = await ctx.database.transaction(async (tx) => {
      if (token !== undefined) {
        const before = await tokenResult(tx, owner, token);
        if (before !== undefined) return ownVolume(tx, owner, before as VolumeId);
        await keepToken(tx, owner, token, volume.id, ctx.now());
      }
      // It may have been deleted or unshared since the call was looked at.
      if (snapshot !== undefined) await readableSnapshot(tx, owner.accountId, owner.region, snapshot.id);
      await insertVolumes(grant, tx, [volume]);
      await writeTags(tx, owner, { id: volume.id, type: "volume" }, tags);
      return volume;
    });
    ctx.parts.host.poke();
    const stored = await tagsOf(ctx.database.read, owner.accountId, [made.id]);
    return shownVolume({ volume: made, tags: stored.get(made.id) ?? [] });
  },
});

async function source(ctx: RequestContext, id: string): Promise<Snapshot> {
  const snapshot = await readableSnapshot(ctx.database.read, ctx.caller.accountId, ctx.region, parseId("snapshot", id));
  mustBeCompleted(snapshot);
  return snapshot;
}

/** @throws ApiError `MissingParameter`, `InvalidParameterCombination`, `InvalidZone.NotFound` */
function zoneOf(ctx: RequestContext, input: CreateVolumeRequest): string {
  const { AvailabilityZone: name, AvailabilityZoneId: id } = input;
  if (name && id) {
    throw new ApiError(
      "InvalidParameterCombination",
      "The parameter AvailabilityZone cannot be used with the parameter AvailabilityZoneId",
    );
  }
  if (!name && !id) throw new ApiError("MissingParameter", "The request must contain the parameter zone");
  const zone = zonesOf(ctx.region).find((candidate) => candidate.name === name || candidate.id === id);
  if (zone === undefined) throw new ApiError("InvalidZone.NotFound", `The zone '${name || id}' does not exist.`);
  return zone.name;
}

/** @throws ApiError `MissingParameter`, `InvalidParameterValue` */
function sizeOf(asked: number | undefined, snapshot: Snapshot | undefined): number {
  const size = asked ?? snapshot?.size_gib;
  if (size === undefined) {
    throw new ApiError("MissingParameter", "The request must contain the parameter size or snapshotId");
  }
  if (snapshot !== undefined && size < snapshot.size_gib) {
    throw new ApiError(
      "InvalidParameterValue",
      `The volume size is invalid: ${size}GiB is less than the snapshot's ${snapshot.size_gib}GiB.`,
    );
  }
  return size;
}

const fingerprint = (input: CreateVolumeRequest): string =>
  createHash("sha256")
    .update(JSON.stringify({ ...input, DryRun: undefined, ClientToken: undefined }))
    .digest("hex");
