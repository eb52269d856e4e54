// CreateSnapshot and CreateSnapshots: rows that say what the host has to capture. All snapshots of one CreateSnapshots show
// the same instant.
import {
  CreateSnapshot$,
  type CreateSnapshotRequest,
  CreateSnapshots$,
  type CreateSnapshotsRequest,
  type CreateSnapshotsResult,
  type Snapshot as ShownSnapshot,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { newId, parseId } from "../../../base/ids.ts";
import { GIB } from "../../../base/units.ts";
import type { ResourceCheck } from "../../../model/access.ts";
import { ec2Arn, snapshotArn } from "../../../model/arn.ts";
import { parseDescription } from "../../../model/image.ts";
import { instanceKeys, instancesByIds } from "../../../model/instance.ts";
import { type Snapshot, snapshotKeys } from "../../../model/snapshot.ts";
import { insertSnapshots, newSnapshot } from "../../../model/snapshot-rows.ts";
import { requestTagKeys, type Tag, tagsOf, writeTags } from "../../../model/tags.ts";
import { type Volume, volumeArn, volumeKeys } from "../../../model/volume.ts";
import { ownVolume, volumesOfInstance } from "../../../model/volume-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { notSupported, oneOf, required } from "../parameters.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";
import { shownSnapshot, shownSnapshotInfo } from "./shown-snapshot.ts";

export const createSnapshot = operation({
  action: "ec2:CreateSnapshot",
  schema: CreateSnapshot$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateSnapshotRequest) {
    if (input.OutpostArn || input.Location === "local") throw notSupported("Outposts and Local Zones are");
    const description = parseDescription(input.Description) ?? "";
    const tags = parseTagSpecifications(input.TagSpecifications, ["snapshot"]).of("snapshot");
    const id = parseId("volume", required(input.VolumeId, "volumeId"));
    const volume = await ownVolume(ctx.database.read, ownerOf(ctx), id);
    mustBeCapturable(volume);
    const snapshotId = newId("snapshot");
    const snapshot = captureOf(ctx, volume, { id: snapshotId, group: snapshotId, description });
    const checks = await checksOf(ctx, "CreateSnapshot", [volume], [snapshot], tags);
    return { snapshot, tags, checks };
  },
  async run(ctx, _input, { snapshot, tags }, grant): Promise<ShownSnapshot> {
    const owner = ownerOf(ctx);
    await ctx.database.transaction(async (tx) => {
      if (snapshot.volume_id !== null) mustBeCapturable(await ownVolume(tx, owner, snapshot.volume_id));
      await insertSnapshots(grant, tx, [snapshot]);
      await writeTags(tx, owner, { id: snapshot.id, type: "snapshot" }, tags);
    });
    ctx.parts.host.poke();
    return shownSnapshot({ snapshot, tags });
  },
});

export const createSnapshots = operation({
  action: "ec2:CreateSnapshots",
  schema: CreateSnapshots$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateSnapshotsRequest) {
    if (input.OutpostArn || input.Location === "local") throw notSupported("Outposts and Local Zones are");
    const copyTags = oneOf(input.CopyTagsFromSource, ["volume"], "copyTagsFromSource") !== undefined;
    const description = parseDescription(input.Description) ?? "";
    const given = parseTagSpecifications(input.TagSpecifications, ["snapshot"]).of("snapshot");
    const specification = required(input.InstanceSpecification, "instanceSpecification");
    const instanceId = parseId("instance", required(specification.InstanceId, "instanceId"));
    const db = ctx.database.read;
    const [instance] = await instancesByIds(db, ownerOf(ctx), [instanceId]);
    if (instance === undefined) throw new Error(`instance ${instanceId} vanished while it was read`);
    const attached = (await volumesOfInstance(db, instanceId)).filter((volume) => volume.attachment !== "attaching");
    const volumes = selected(attached, specification);
    const group = newId("snapshot");
    const volumeTags = await tagsOf(
      db,
      ctx.caller.accountId,
      volumes.map((volume) => volume.id),
    );
    const made = volumes.map((volume) => {
      const snapshot = captureOf(ctx, volume, { id: newId("snapshot"), group, description });
      const tags = copyTags ? merged(volumeTags.get(volume.id) ?? [], given) : given;
      return { snapshot, tags };
    });
    const instanceTags = await tagsOf(db, ctx.caller.accountId, [instanceId]);
    const checks: ResourceCheck[] = [
      {
        action: "ec2:CreateSnapshots",
        resource: ec2Arn(ctx.region, ctx.caller.accountId, "instance", instanceId),
        keys: instanceKeys(instance, instanceTags.get(instanceId) ?? []),
      },
      ...(await checksOf(
        ctx,
        "CreateSnapshots",
        volumes,
        made.map(({ snapshot }) => snapshot),
        [...new Map(made.flatMap(({ tags }) => tags.map((tag) => [tag.key, tag] as const))).values()],
      )),
    ];
    return { made, checks };
  },
  async run(ctx, _input, { made }, grant): Promise<CreateSnapshotsResult> {
    const owner = ownerOf(ctx);
    await ctx.database.transaction(async (tx) => {
      for (const { snapshot } of made) {
        if (snapshot.volume_id !== null) mustBeCapturable(await ownVolume(tx, owner, snapshot.volume_id));
      }
      await insertSnapshots(
        grant,
        tx,
        made.map(({ snapshot }) => snapshot),
      );
      for (const { snapshot, tags } of made) {
        await writeTags(tx, owner, { id: snapshot.id, type: "snapshot" }, tags);
      }
    });
    ctx.parts.host.poke();
    return { Snapshots: made.map(shownSnapshotInfo) };
  },
});

/** @throws ApiError `IncorrectState` */
function mustBeCapturable(volume: Volume): void {
  if (volume.state === "available" || volume.state === "in-use") return;
  throw new ApiError("IncorrectState", `The volume '${volume.id}' is in state '${volume.state}'.`);
}

const captureOf = (
  ctx: RequestContext,
  volume: Volume,
  { id, group, description }: { id: Snapshot["id"]; group: string; description: string },
): Snapshot =>
  newSnapshot({
    id,
    account_id: ctx.caller.accountId,
    region: ctx.region,
    volume_id: volume.id,
    description,
    size_gib: volume.size_gib,
    size_bytes: volume.size_gib * GIB,
    started_at: ctx.now().toISOString(),
    origin: "volume",
    capture_group: group,
  });

/** @throws ApiError `InvalidParameterValue` for a volume to leave out that is not there, or when nothing is left */
function selected(
  attached: readonly Volume[],
  specification: NonNullable<CreateSnapshotsRequest["InstanceSpecification"]>,
): Volume[] {
  const without = new Set((specification.ExcludeDataVolumeIds ?? []).map((id) => parseId("volume", id)));
  for (const id of without) {
    const volume = attached.find((candidate) => candidate.id === id);
    if (volume === undefined) {
      throw new ApiError("InvalidParameterValue", `The volume '${id}' is not attached to the instance.`);
    }
    if (volume.is_root === 1) {
      throw new ApiError("InvalidParameterValue", `The volume '${id}' is the boot volume: use ExcludeBootVolume.`);
    }
  }
  const volumes = attached.filter(
    (volume) => !without.has(volume.id) && !(specification.ExcludeBootVolume === true && volume.is_root === 1),
  );
  if (volumes.length === 0) throw new ApiError("InvalidParameterValue", "The instance has no volume to snapshot.");
  return volumes;
}

function merged(inherited: readonly Tag[], given: readonly Tag[]): Tag[] {
  return [...new Map([...inherited, ...given].map((tag) => [tag.key, tag])).values()];
}

async function checksOf(
  ctx: RequestContext,
  action: "CreateSnapshot" | "CreateSnapshots",
  volumes: readonly Volume[],
  snapshots: readonly Snapshot[],
  tags: readonly Tag[],
): Promise<ResourceCheck[]> {
  const volumeTags = await tagsOf(
    ctx.database.read,
    ctx.caller.accountId,
    volumes.map((volume) => volume.id),
  );
  const resource = snapshotArn(ctx.region, "*");
  return [
    ...snapshots.map(
      (snapshot): ResourceCheck => ({
        action: `ec2:${action}`,
        resource,
        keys: { ...snapshotKeys(snapshot, []), ...requestTagKeys(tags) },
      }),
    ),
    ...volumes.map(
      (volume): ResourceCheck => ({
        action: `ec2:${action}`,
        resource: volumeArn(volume),
        keys: volumeKeys(volume, volumeTags.get(volume.id) ?? []),
      }),
    ),
    ...createTagsCheck(action, resource, tags),
  ];
}
