// AttachVolume and DetachVolume. With a running machine they are wishes that the host fulfils; with a stopped one they are
// done with the row.
import {
  AttachVolume$,
  type AttachVolumeRequest,
  DetachVolume$,
  type DetachVolumeRequest,
  type VolumeAttachment,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import type { Db } from "../../../database/database.ts";
import { type Instance, instancesByIds } from "../../../model/instance.ts";
import type { Volume } from "../../../model/volume.ts";
import {
  ownVolume,
  volumeDetached,
  volumesOfInstance,
  wantAttached,
  wantDetached,
} from "../../../model/volume-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { required } from "../parameters.ts";
import { instanceCheck, resolveOwnVolume } from "./own-volume.ts";
import { shownAttachment } from "./shown-volume.ts";

/** EC2's device names: `/dev/sdf` … `/dev/sdp`, `/dev/xvdb` … `/dev/xvdc9`, with or without `/dev/`. */
const DEVICE_NAME = /^(\/dev\/)?(sd[a-z]([1-9]|1[0-5])?|xvd[a-z]([1-9]|1[0-5])?|xvd[a-d][a-z])$/;

/** A root volume, and as many more as a machine has ports for (compute/qemu-argv.ts). */
const MOST_VOLUMES = 25;

export const attachVolume = operation({
  action: "ec2:AttachVolume",
  schema: AttachVolume$,
  access: "write",
  async resolve(ctx: RequestContext, input: AttachVolumeRequest) {
    const device = required(input.Device, "device");
    if (!DEVICE_NAME.test(device)) {
      throw new ApiError(
        "InvalidParameterValue",
        `Value (${device}) for parameter device is invalid. ${device} is not a valid EBS device name.`,
      );
    }
    const instanceId = parseId("instance", required(input.InstanceId, "instanceId"));
    const { volume, checks } = await resolveOwnVolume(ctx, "ec2:AttachVolume", input.VolumeId);
    const instance = await theInstance(ctx.database.read, ctx, instanceId);
    return { device, volume, instance, checks: [...checks, await instanceCheck(ctx, "ec2:AttachVolume", instance)] };
  },
  async run(ctx, _input, { device, volume: { id }, instance: { id: instanceId } }, grant): Promise<VolumeAttachment> {
    const at = ctx.now();
    const attached = await ctx.database.transaction(async (tx) => {
      const volume = await ownVolume(tx, ownerOf(ctx), id);
      const instance = await theInstance(tx, ctx, instanceId);
      mayAttach(volume, instance, device, await volumesOfInstance(tx, instanceId));
      const place = {
        instanceId,
        deviceName: device,
        root: device === instance.root_device_name,
        deleteOnTermination: false,
      };
      await wantAttached(grant, tx, id, place, at, instance.state === "stopped");
      return ownVolume(tx, ownerOf(ctx), id);
    });
    ctx.parts.host.poke();
    return shownAttachment(attached) ?? {};
  },
});

/** Order of checks: the volume's state → its zone → the instance's state → the device. */
function mayAttach(volume: Volume, instance: Instance, device: string, others: readonly Volume[]): void {
  if (volume.state === "in-use") {
    throw new ApiError("VolumeInUse", `${volume.id} is already attached to an instance`);
  }
  if (volume.state !== "available") {
    throw new ApiError("IncorrectState", `Volume '${volume.id}' is in the '${volume.state}' state.`);
  }
  if (volume.zone !== instance.zone) {
    throw new ApiError(
      "InvalidVolume.ZoneMismatch",
      `The volume '${volume.id}' is not in the same availability zone as instance '${instance.id}'`,
    );
  }
  if (instance.state !== "running" && instance.state !== "stopped") {
    throw new ApiError("IncorrectState", `Instance '${instance.id}' is not 'running'.`);
  }
  if (others.length >= MOST_VOLUMES) {
    throw new ApiError(
      "AttachmentLimitExceeded",
      `The instance '${instance.id}' has ${others.length} volumes, which is as many as it can have.`,
    );
  }
  const bare = (name: string): string => name.replace(/^\/dev\//, "");
  if (others.some((other) => other.device_name !== null && bare(other.device_name) === bare(device))) {
    throw new ApiError(
      "InvalidParameterValue",
      `Invalid value '${device}' for unixDevice. Attachment point ${device} is already in use`,
    );
  }
}

export const detachVolume = operation({
  action: "ec2:DetachVolume",
  schema: DetachVolume$,
  access: "write",
  async resolve(ctx: RequestContext, input: DetachVolumeRequest) {
    const { volume, checks } = await resolveOwnVolume(ctx, "ec2:DetachVolume", input.VolumeId);
    const named = input.InstanceId ? parseId("instance", input.InstanceId) : undefined;
    mayDetach(volume, named, input.Device);
    const instance =
      volume.instance_id === null ? undefined : await theInstance(ctx.database.read, ctx, volume.instance_id);
    const more = instance === undefined ? [] : [await instanceCheck(ctx, "ec2:DetachVolume", instance)];
    return { volume, named, checks: [...checks, ...more] };
  },
  async run(ctx, input, { volume: { id }, named }, grant): Promise<VolumeAttachment> {
    const before = await ctx.database.transaction(async (tx) => {
      const volume = await ownVolume(tx, ownerOf(ctx), id);
      mayDetach(volume, named, input.Device);
      if (volume.instance_id === null) return volume;
      const instance = await theInstance(tx, ctx, volume.instance_id);
      if (volume.is_root === 1 && instance.state !== "stopped") {
        throw new ApiError(
          "OperationNotPermitted",
          `Unable to detach root volume '${volume.device_name}' from instance '${instance.id}'`,
        );
      }
      await wantDetached(grant, tx, id, input.Force === true);
      if (instance.state === "stopped") await volumeDetached(tx, id, ctx.now());
      return volume;
    });
    ctx.parts.host.poke();
    return { ...shownAttachment(before), State: "detaching" };
  },
});

/** @throws ApiError `IncorrectState`, `InvalidAttachment.NotFound` */
function mayDetach(volume: Volume, instanceId: string | undefined, device: string | undefined): void {
  if (volume.attachment === null || volume.instance_id === null) {
    throw new ApiError("IncorrectState", `Volume '${volume.id}' is in the '${volume.state}' state.`);
  }
  if (instanceId !== undefined && instanceId !== volume.instance_id) {
    throw new ApiError(
      "InvalidAttachment.NotFound",
      `The volume '${volume.id}' is not attached to instance '${instanceId}'.`,
    );
  }
  if (device && device !== volume.device_name) {
    throw new ApiError(
      "InvalidAttachment.NotFound",
      `The volume '${volume.id}' is not attached to instance '${volume.instance_id}' as device '${device}'.`,
    );
  }
}

async function theInstance(db: Db, ctx: RequestContext, id: Instance["id"]): Promise<Instance> {
  const [instance] = await instancesByIds(db, ownerOf(ctx), [id]);
  if (instance === undefined) throw new Error(`instance ${id} vanished while it was read`);
  return instance;
}
