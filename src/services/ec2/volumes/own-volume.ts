// What actions on one volume of the caller's own share before they may run.
import { parseId, type VolumeId } from "../../../base/ids.ts";
import type { Action, ConditionKeys, ResourceCheck } from "../../../model/access.ts";
import { ec2Arn } from "../../../model/arn.ts";
import { type Instance, instanceKeys } from "../../../model/instance.ts";
import { tagsOf } from "../../../model/tags.ts";
import { type Volume, volumeArn, volumeKeys } from "../../../model/volume.ts";
import { ownVolume } from "../../../model/volume-rows.ts";
import type { RequestContext } from "../../context.ts";
import { ownerOf } from "../owner.ts";
import { required } from "../parameters.ts";

export const parseVolumeId = (text: string | undefined): VolumeId => parseId("volume", required(text, "volumeId"));

/** @throws ApiError `InvalidVolumeID.Malformed`, `InvalidVolume.NotFound` */
export async function resolveOwnVolume(
  ctx: RequestContext,
  action: Action,
  volumeId: string | undefined,
  keys: ConditionKeys = {},
): Promise<{ readonly volume: Volume; readonly checks: ResourceCheck[] }> {
  const volume = await ownVolume(ctx.database.read, ownerOf(ctx), parseVolumeId(volumeId));
  const tags = await tagsOf(ctx.database.read, ctx.caller.accountId, [volume.id]);
  const check = {
    action,
    resource: volumeArn(volume),
    keys: { ...volumeKeys(volume, tags.get(volume.id) ?? []), ...keys },
  };
  return { volume, checks: [check] };
}

export async function instanceCheck(ctx: RequestContext, action: Action, instance: Instance): Promise<ResourceCheck> {
  const tags = await tagsOf(ctx.database.read, ctx.caller.accountId, [instance.id]);
  return {
    action,
    resource: ec2Arn(instance.region, instance.account_id, "instance", instance.id),
    keys: instanceKeys(instance, tags.get(instance.id) ?? []),
  };
}
