// ModifyInstanceAttribute, DescribeInstanceAttribute, ResetInstanceAttribute.
import {
  DescribeInstanceAttribute$,
  type DescribeInstanceAttributeRequest,
  type InstanceAttribute,
  ModifyInstanceAttribute$,
  type ModifyInstanceAttributeRequest,
  ResetInstanceAttribute$,
  type ResetInstanceAttributeRequest,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { parseId, type SecurityGroupId, type VolumeId } from "../../../base/ids.ts";
import { findInstanceType } from "../../../compute/instance-types.ts";
import type { Db } from "../../../database/database.ts";
import type { Grant } from "../../../model/access.ts";
import { changeInstance, type Instance, type InstanceChange } from "../../../model/instance.ts";
import { groupsByIds } from "../../../model/security-group.ts";
import { setInstanceGroups } from "../../../model/security-group-rows.ts";
import { setDeleteOnTermination, volumesOfInstance } from "../../../model/volume-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { parseShutdownBehavior, parseUserData } from "./launch-request.ts";
import { namedInstance } from "./named-instance.ts";
import { viewsOf } from "./shape.ts";

/** What a request wants changed, whichever of EC2's two ways it says so. */
interface Changes {
  readonly change: InstanceChange;
  readonly groups: readonly SecurityGroupId[] | undefined;
  readonly deleteOnTermination: ReadonlyMap<string, boolean>;
}

const onlyStopped = (instance: Instance, attribute: string): void => {
  if (instance.state === "stopped") return;
  throw new ApiError(
    "IncorrectInstanceState",
    `The instance '${instance.id}' is not in the 'stopped' state: its ${attribute} can't be changed.`,
  );
};

const flag = (value: boolean): 0 | 1 => (value ? 1 : 0);

/** `Attribute` and `Value`, the older way, as the member that means the same. */
function asMembers(input: ModifyInstanceAttributeRequest): ModifyInstanceAttributeRequest {
  const { Attribute: attribute, Value: value } = input;
  if (attribute === undefined || value === undefined) return input;
  switch (attribute) {
    case "instanceType":
      return { ...input, InstanceType: { Value: value } };
    case "userData":
      return { ...input, UserData: { Value: Buffer.from(value, "base64") } };
    case "disableApiTermination":
      return { ...input, DisableApiTermination: { Value: value === "true" } };
    case "disableApiStop":
      return { ...input, DisableApiStop: { Value: value === "true" } };
    case "instanceInitiatedShutdownBehavior":
      return { ...input, InstanceInitiatedShutdownBehavior: { Value: value } };
    case "sourceDestCheck":
      return { ...input, SourceDestCheck: { Value: value === "true" } };
    case "ebsOptimized":
      return { ...input, EbsOptimized: { Value: value === "true" } };
    case "enaSupport":
      return { ...input, EnaSupport: { Value: value === "true" } };
    case "sriovNetSupport":
      return { ...input, SriovNetSupport: { Value: value } };
    default:
      throw new ApiError("InvalidParameterValue", `Value (${attribute}) for parameter attribute is invalid.`);
  }
}

function changesOf(instance: Instance, input: ModifyInstanceAttributeRequest): Changes {
  const asked = asMembers(input);
  const change: InstanceChange = {};
  if (asked.Kernel !== undefined || asked.Ramdisk !== undefined) {
    throw new ApiError("UnsupportedOperation", "Kernel and RAM disk images are not supported here.");
  }
  if (asked.InstanceType?.Value !== undefined) {
    onlyStopped(instance, "instanceType");
    change.type = findInstanceType(asked.InstanceType.Value).name;
  }
  if (asked.UserData?.Value !== undefined) {
    onlyStopped(instance, "userData");
    // The SDKs send base64 of base64 text or of the bytes; on the wire it is one base64 text.
    change.user_data = parseUserData(Buffer.from(asked.UserData.Value).toString("base64")) ?? null;
  }
  if (asked.SourceDestCheck?.Value !== undefined) change.source_dest_check = flag(asked.SourceDestCheck.Value);
  if (asked.EbsOptimized?.Value !== undefined) {
    onlyStopped(instance, "ebsOptimized");
    change.ebs_optimized = flag(asked.EbsOptimized.Value);
  }
  if (asked.DisableApiTermination?.Value !== undefined) {
    change.disable_api_termination = flag(asked.DisableApiTermination.Value);
  }
  if (asked.DisableApiStop?.Value !== undefined) change.disable_api_stop = flag(asked.DisableApiStop.Value);
  if (asked.InstanceInitiatedShutdownBehavior?.Value !== undefined) {
    change.shutdown_behavior = parseShutdownBehavior(asked.InstanceInitiatedShutdownBehavior.Value);
  }
  // Every machine here has them; Packer and others set them before they capture. Taking them away is not possible.
  if (asked.EnaSupport?.Value !== undefined) {
    onlyStopped(instance, "enaSupport");
    if (!asked.EnaSupport.Value)
      throw new ApiError("UnsupportedOperation", "Enhanced networking can't be switched off here.");
  }
  if (asked.SriovNetSupport?.Value !== undefined) {
    onlyStopped(instance, "sriovNetSupport");
    if (asked.SriovNetSupport.Value !== "simple") {
      throw new ApiError(
        "InvalidParameterValue",
        `Value (${asked.SriovNetSupport.Value}) for parameter sriovNetSupport is invalid.`,
      );
    }
  }
  return {
    change,
    groups: asked.Groups?.map((id) => parseId("securityGroup", id)),
    deleteOnTermination: new Map(
      (asked.BlockDeviceMappings ?? []).flatMap((mapping) =>
        mapping.DeviceName !== undefined && mapping.Ebs?.DeleteOnTermination !== undefined
          ? [[mapping.DeviceName, mapping.Ebs.DeleteOnTermination] as const]
          : [],
      ),
    ),
  };
}

export const modifyInstanceAttribute = operation({
  action: "ec2:ModifyInstanceAttribute",
  schema: ModifyInstanceAttribute$,
  access: "write",
  async resolve(ctx: RequestContext, input: ModifyInstanceAttributeRequest) {
    const resolved = await namedInstance(ctx, "ec2:ModifyInstanceAttribute", input.InstanceId);
    const changes = changesOf(resolved.instance, input);
    if (changes.groups !== undefined) await groupsByIds(ctx.database.read, ownerOf(ctx), changes.groups);
    const attribute = input.Attribute === undefined ? {} : { "ec2:Attribute": input.Attribute };
    return {
      ...resolved,
      changes,
      checks: resolved.checks.map((check) => ({ ...check, keys: { ...check.keys, ...attribute } })),
    };
  },
  async run(ctx, _input, { instance, changes }, grant): Promise<object> {
    await ctx.database.transaction(async (tx) => {
      if (Object.keys(changes.change).length > 0) await changeInstance(grant, tx, instance.id, changes.change);
      if (changes.groups !== undefined) await setInstanceGroups(tx, instance.id, changes.groups);
      await changeDeletion(grant, tx, instance, changes.deleteOnTermination);
    });
    ctx.parts.host.poke();
    return {};
  },
});

async function changeDeletion(
  grant: Grant<"ec2:ModifyInstanceAttribute">,
  tx: Db,
  instance: Instance,
  wanted: ReadonlyMap<string, boolean>,
): Promise<void> {
  if (wanted.size === 0) return;
  const byName = new Map<string | null, VolumeId>(
    (await volumesOfInstance(tx, instance.id)).map((volume) => [volume.device_name, volume.id]),
  );
  for (const [deviceName, value] of wanted) {
    const volumeId = byName.get(deviceName);
    if (volumeId === undefined) {
      throw new ApiError("InvalidInstanceAttributeValue", `No device is currently mapped at ${deviceName}`);
    }
    await setDeleteOnTermination(grant, tx, volumeId, value);
  }
}

export const describeInstanceAttribute = operation({
  action: "ec2:DescribeInstanceAttribute",
  schema: DescribeInstanceAttribute$,
  access: "read",
  resolve: (ctx: RequestContext, input: DescribeInstanceAttributeRequest) =>
    namedInstance(ctx, "ec2:DescribeInstanceAttribute", input.InstanceId),
  async run(ctx, input, { instance }): Promise<InstanceAttribute> {
    return { InstanceId: instance.id, ...(await attributeOf(ctx, instance, input.Attribute)) };
  },
});

/** The one attribute that was asked for, and nothing else. */
async function attributeOf(
  ctx: RequestContext,
  instance: Instance,
  attribute: string | undefined,
): Promise<InstanceAttribute> {
  switch (attribute) {
    case "instanceType":
      return { InstanceType: { Value: instance.type } };
    case "userData":
      return { UserData: instance.user_data === null ? {} : { Value: instance.user_data } };
    case "disableApiTermination":
      return { DisableApiTermination: { Value: instance.disable_api_termination === 1 } };
    case "disableApiStop":
      return { DisableApiStop: { Value: instance.disable_api_stop === 1 } };
    case "instanceInitiatedShutdownBehavior":
      return { InstanceInitiatedShutdownBehavior: { Value: instance.shutdown_behavior } };
    case "rootDeviceName":
      return { RootDeviceName: { Value: instance.root_device_name } };
    case "sourceDestCheck":
      return { SourceDestCheck: { Value: instance.source_dest_check === 1 } };
    case "ebsOptimized":
      return { EbsOptimized: { Value: instance.ebs_optimized === 1 } };
    case "enaSupport":
      return { EnaSupport: { Value: true } };
    case "sriovNetSupport":
      return { SriovNetSupport: {} };
    case "enclaveOptions":
      return { EnclaveOptions: { Enabled: false } };
    case "kernel":
      return { KernelId: {} };
    case "ramdisk":
      return { RamdiskId: {} };
    case "productCodes":
      return { ProductCodes: [] };
    case "groupSet":
    case "blockDeviceMapping": {
      const [view] = await viewsOf(ctx.database.read, [instance]);
      if (attribute === "groupSet") {
        return { Groups: (view?.groups ?? []).map((group) => ({ GroupId: group.id, GroupName: group.name })) };
      }
      return {
        BlockDeviceMappings: (view?.volumes ?? []).map((volume) => ({
          DeviceName: volume.device_name ?? undefined,
          Ebs: {
            VolumeId: volume.id,
            Status: volume.attachment === "busy" ? "detaching" : (volume.attachment ?? undefined),
            AttachTime: volume.attached_at === null ? undefined : new Date(volume.attached_at),
            DeleteOnTermination: volume.delete_on_termination === 1,
          },
        })),
      };
    }
    default:
      throw new ApiError("InvalidParameterValue", `Value (${attribute}) for parameter attribute is invalid.`);
  }
}

export const resetInstanceAttribute = operation({
  action: "ec2:ResetInstanceAttribute",
  schema: ResetInstanceAttribute$,
  access: "write",
  resolve: (ctx: RequestContext, input: ResetInstanceAttributeRequest) =>
    namedInstance(ctx, "ec2:ResetInstanceAttribute", input.InstanceId),
  async run(ctx, input, { instance }, grant): Promise<object> {
    if (input.Attribute !== "sourceDestCheck") {
      throw new ApiError("InvalidParameterValue", `Value (${input.Attribute}) for parameter attribute is invalid.`);
    }
    await ctx.database.transaction((tx) => changeInstance(grant, tx, instance.id, { source_dest_check: 1 }));
    return {};
  },
});
