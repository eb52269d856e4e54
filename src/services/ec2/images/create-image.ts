// CreateImage: an image of an instance, running or stopped.
//
// Rows only: the image is `pending`, with a `pending` snapshot per attached volume, all of one capture group, the image's id.
// The host captures them at one instant (shutting the guest down and starting it again, unless told not to), and the image
// becomes `available` with its last snapshot, or `failed` with the reason.
import { CreateImage$, type CreateImageRequest, type CreateImageResult } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { type ImageId, newId, parseId, type SnapshotId } from "../../../base/ids.ts";
import { GIB } from "../../../base/units.ts";
import type { ResourceCheck } from "../../../model/access.ts";
import { ec2Arn, imageArn, snapshotArn } from "../../../model/arn.ts";
import type { BlockDevice } from "../../../model/block-device.ts";
import { imageKeys, parseDescription, parseImageName } from "../../../model/image.ts";
import { findImage, insertImage, type NewImage, nameMustBeFree } from "../../../model/image-rows.ts";
import { type Instance, instanceKeys, instancesByIds } from "../../../model/instance.ts";
import { type Snapshot, snapshotKeys } from "../../../model/snapshot.ts";
import { insertSnapshots, newSnapshot, ownSnapshot } from "../../../model/snapshot-rows.ts";
import { requestTagKeys, tagsOf, writeTags } from "../../../model/tags.ts";
import type { Volume } from "../../../model/volume.ts";
import { volumesOfInstance } from "../../../model/volume-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { applyMappings, type DeviceRequest, parseMappings, snapshotsNamed } from "../block-device-mappings.ts";
import { ownerOf } from "../owner.ts";
import { notSupported, oneOf, required } from "../parameters.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";

export const createImage = operation({
  action: "ec2:CreateImage",
  schema: CreateImage$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateImageRequest) {
    const instanceId = parseId("instance", required(input.InstanceId, "instanceId"));
    const name = parseImageName(input.Name);
    const description = parseDescription(input.Description);
    const bootMode = oneOf(input.BootModeOverride, ["legacy-bios", "uefi", "uefi-preferred"], "bootModeOverride");
    if (input.SnapshotLocation === "local") throw notSupported("Local Zones are");
    const requests = parseMappings(input.BlockDeviceMappings);
    const tags = parseTagSpecifications(input.TagSpecifications, ["image", "snapshot"]);
    const db = ctx.database.read;
    const [instance] = await instancesByIds(db, ownerOf(ctx), [instanceId]);
    if (instance === undefined) throw new Error(`instance ${instanceId} vanished while it was read`);
    mustBeCapturable(instance);
    const volumes = await capturable(ctx, instance);
    mayChangeOnly(requests, volumes);

    const id = newId("image");
    const snapshots = snapshotRows(ctx, id, instance, volumes, suppressed(requests));
    const named = new Map<SnapshotId, Snapshot>(snapshots.map((snapshot) => [snapshot.id, snapshot]));
    for (const snapshotId of snapshotsNamed(requests)) {
      named.set(snapshotId, await ownSnapshot(db, ctx.caller.accountId, ctx.region, snapshotId));
    }
    const devices = applyMappings(
      devicesOf(volumes, snapshots),
      requests.filter((request) => request.kind !== "none"),
      named,
      instance.root_device_name,
    );

    const imageResource = imageArn(ctx.region, "*");
    const instanceTags = await tagsOf(db, ctx.caller.accountId, [instance.id]);
    const requestKeys = requestTagKeys(tags.all);
    const newKeys = imageKeys(
      { id, region: ctx.region, account_id: ctx.caller.accountId, owner_alias: null, is_public: false },
      [],
    );
    const checks: ResourceCheck[] = [
      { action: "ec2:CreateImage", resource: imageResource, keys: { ...newKeys, ...requestKeys } },
      {
        action: "ec2:CreateImage",
        resource: ec2Arn(ctx.region, ctx.caller.accountId, "instance", instance.id),
        keys: instanceKeys(instance, instanceTags.get(instance.id) ?? []),
      },
      ...snapshots.map(
        (snapshot): ResourceCheck => ({
          action: "ec2:CreateImage",
          resource: snapshotArn(ctx.region, "*"),
          keys: { ...snapshotKeys(snapshot, []), ...requestKeys },
        }),
      ),
      ...createTagsCheck("CreateImage", imageResource, tags.of("image")),
      ...createTagsCheck("CreateImage", snapshotArn(ctx.region, "*"), tags.of("snapshot")),
    ];
    return { id, name, description, bootMode, instance, snapshots, devices, tags, checks };
  },
  async run(ctx, input, { id, name, description, bootMode, instance, snapshots, devices, tags }, grant) {
    const owner = ownerOf(ctx);
    await ctx.database.transaction(async (tx) => {
      const source = await findImage(tx, owner.region, instance.image_id as ImageId);
      const image: NewImage = {
        id,
        account_id: owner.accountId,
        region: owner.region,
        name,
        description,
        state: "pending",
        state_reason: null,
        architecture: instance.architecture,
        virtualization_type: "hvm",
        boot_mode: bootMode ?? source?.boot_mode ?? (instance.boot_mode === "uefi" ? "uefi" : null),
        root_device_name: instance.root_device_name,
        block_devices: devices,
        ena_support: source?.ena_support ?? 1,
        sriov_net_support: source?.sriov_net_support ?? null,
        tpm_support: source?.tpm_support ?? null,
        imds_support: source?.imds_support ?? null,
        uefi_data: source?.uefi_data ?? null,
        location: `${owner.accountId}/${name}`,
        owner_alias: null,
        source_instance_id: instance.id,
        source_image_id: instance.image_id,
        source_image_region: owner.region,
        direct_kernel: null,
        // A guest that is stopped is not to be started for this.
        reboot: input.NoReboot === true || instance.state === "stopped" ? 0 : 1,
        created_at: ctx.now().toISOString(),
        deprecate_at: null,
        deregistration_protection: null,
        last_launched_at: null,
        deregistered_at: null,
      };
      await nameMustBeFree(tx, image);
      const [still] = await instancesByIds(tx, owner, [instance.id]);
      if (still !== undefined) mustBeCapturable(still);
      await insertSnapshots(grant, tx, snapshots);
      await insertImage(grant, tx, image);
      await writeTags(tx, owner, { id, type: "image" }, tags.of("image"));
      for (const snapshot of snapshots) {
        await writeTags(tx, owner, { id: snapshot.id, type: "snapshot" }, tags.of("snapshot"));
      }
    });
    ctx.parts.host.poke();
    return { ImageId: id } satisfies CreateImageResult;
  },
});

/** Packer waits and tries again on just these words. */
function mustBeCapturable(instance: Instance): void {
  if (instance.state === "running" || instance.state === "stopped") return;
  throw new ApiError("InvalidParameterValue", "Instance is not in state 'running' or 'stopped'");
}

async function capturable(ctx: RequestContext, instance: Instance): Promise<Volume[]> {
  const volumes = await volumesOfInstance(ctx.database.read, instance.id);
  return volumes.filter((volume) => volume.attachment === "attached" || volume.attachment === "busy");
}

const suppressed = (requests: readonly DeviceRequest[]): ReadonlySet<string> =>
  new Set(requests.filter((request) => request.kind === "none").map((request) => request.deviceName));

/** Of what the instance has, only DeleteOnTermination may differ in the image, or it is left out. */
function mayChangeOnly(requests: readonly DeviceRequest[], volumes: readonly Volume[]): void {
  for (const request of requests) {
    const volume = volumes.find((candidate) => candidate.device_name === request.deviceName);
    if (volume === undefined) continue;
    if (request.kind === "none") {
      if (volume.is_root === 1) throw refused("The root device cannot be suppressed.");
      continue;
    }
    if (request.kind === "virtual") throw refused(`Device ${request.deviceName} is an attached volume.`);
    const { sizeGib, snapshotId, type, iops, throughput } = request.ebs;
    if (snapshotId !== undefined) throw refused(`snapshotId cannot be modified on device ${request.deviceName}`);
    if (sizeGib !== undefined && sizeGib !== volume.size_gib) {
      throw refused(`volumeSize cannot be modified on device ${request.deviceName}: modify the volume first`);
    }
    const same =
      (type === undefined || type === volume.type) &&
      (iops === undefined || iops === volume.iops) &&
      (throughput === undefined || throughput === volume.throughput);
    if (!same) throw refused(`Only DeleteOnTermination can be modified on device ${request.deviceName}`);
  }
}

function snapshotRows(
  ctx: RequestContext,
  image: ImageId,
  instance: Instance,
  volumes: readonly Volume[],
  without: ReadonlySet<string>,
): Snapshot[] {
  return volumes
    .filter((volume) => !without.has(volume.device_name ?? ""))
    .map((volume) =>
      newSnapshot({
        id: newId("snapshot"),
        account_id: ctx.caller.accountId,
        region: ctx.region,
        volume_id: volume.id,
        description: `Created by CreateImage(${instance.id}) for ${image}`,
        size_gib: volume.size_gib,
        size_bytes: volume.size_gib * GIB,
        started_at: ctx.now().toISOString(),
        origin: "volume",
        capture_group: image,
      }),
    );
}

const devicesOf = (volumes: readonly Volume[], snapshots: readonly Snapshot[]): BlockDevice[] =>
  snapshots.flatMap((snapshot) => {
    const volume = volumes.find((candidate) => candidate.id === snapshot.volume_id);
    if (volume === undefined) return [];
    return [
      {
        deviceName: volume.device_name ?? "",
        ebs: {
          snapshotId: snapshot.id,
          sizeGib: volume.size_gib,
          type: volume.type,
          iops: volume.iops,
          throughput: volume.throughput,
          deleteOnTermination: volume.delete_on_termination === 1,
        },
      },
    ];
  });

const refused = (message: string): ApiError => new ApiError("InvalidBlockDeviceMapping", message);
