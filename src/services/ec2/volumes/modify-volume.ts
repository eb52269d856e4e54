// ModifyVolume and DescribeVolumesModifications. A volume only grows. While a machine has it, the change waits: it says
// `modifying` until the machine is next started (or the volume is detached), and is `completed` then.
import {
  DescribeVolumesModifications$,
  type DescribeVolumesModificationsRequest,
  type DescribeVolumesModificationsResult,
  ModifyVolume$,
  type ModifyVolumeRequest,
  type ModifyVolumeResult,
  type VolumeModification as ShownModification,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import { volumeShape } from "../../../model/block-device.ts";
import { instancesByIds } from "../../../model/instance.ts";
import { shapeOf, type Volume, type VolumeModification, type VolumeShape } from "../../../model/volume.ts";
import { applyModifications, modificationsOf, ownVolume, wantModified } from "../../../model/volume-rows.ts";
import { compileFilters, type FilterTable } from "../../../protocol/filters.ts";
import { pageLimit, refusePagesOfIds, takePage } from "../../../protocol/pages.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { notSupported } from "../parameters.ts";
import { resolveOwnVolume } from "./own-volume.ts";

const WAITS = "The new size takes effect when the instance is next started.";

export const modifyVolume = operation({
  action: "ec2:ModifyVolume",
  schema: ModifyVolume$,
  access: "write",
  async resolve(ctx: RequestContext, input: ModifyVolumeRequest) {
    if (input.MultiAttachEnabled === true) throw notSupported("Volumes attached to several instances are");
    const { volume, checks } = await resolveOwnVolume(ctx, "ec2:ModifyVolume", input.VolumeId);
    return { volume, target: targetOf(volume, input), checks };
  },
  async run(ctx, input, { volume: { id } }, grant): Promise<ModifyVolumeResult> {
    const owner = ownerOf(ctx);
    const now = ctx.now();
    const modification = await ctx.database.transaction(async (tx) => {
      const volume = await ownVolume(tx, owner, id);
      if (volume.state !== "available" && volume.state !== "in-use") {
        throw new ApiError("IncorrectState", `Volume '${id}' is in the '${volume.state}' state.`);
      }
      const before = (await modificationsOf(tx, [id])).get(id);
      if (before !== undefined && before.state !== "completed" && before.state !== "failed") {
        throw new ApiError("IncorrectModificationState", `Volume '${id}' is already being modified.`);
      }
      const target = targetOf(volume, input);
      const [instance] = volume.instance_id === null ? [] : await instancesByIds(tx, owner, [volume.instance_id]);
      // Only the size is felt by a machine; type, IOPS and throughput are numbers that EC2's clients keep.
      const waits = instance !== undefined && instance.state !== "stopped" && target.sizeGib !== volume.size_gib;
      await wantModified(grant, tx, {
        volume_id: id,
        account_id: owner.accountId,
        region: owner.region,
        state: "modifying",
        status_message: waits ? WAITS : null,
        original: shapeOf(volume),
        target,
        started_at: now.toISOString(),
        ended_at: null,
      });
      if (!waits) await applyModifications(tx, [id], now);
      return (await modificationsOf(tx, [id])).get(id);
    });
    ctx.parts.host.poke();
    return modification === undefined ? {} : { VolumeModification: shown(modification) };
  },
});

/** @throws ApiError `InvalidParameterValue` when it would shrink, and what `volumeShape` throws */
function targetOf(volume: Volume, input: ModifyVolumeRequest): VolumeShape {
  const { Size: size, VolumeType: type, Iops: iops, Throughput: throughput } = input;
  if (size === undefined && type === undefined && iops === undefined && throughput === undefined) {
    throw new ApiError("InvalidParameterCombination", "No modification was asked for.");
  }
  if (size !== undefined && size < volume.size_gib) {
    throw new ApiError("InvalidParameterValue", "New size cannot be smaller than existing size");
  }
  const sameType = type === undefined || type === volume.type;
  const provisioned = sameType && volume.type !== "gp2";
  return volumeShape({
    type: type ?? volume.type,
    sizeGib: size ?? volume.size_gib,
    iops: iops ?? (provisioned ? (volume.iops ?? undefined) : undefined),
    throughput: throughput ?? (provisioned ? (volume.throughput ?? undefined) : undefined),
  });
}

const FILTERS: FilterTable<VolumeModification> = {
  values: {
    "modification-state": ({ state }) => state,
    "original-iops": ({ original }) => original.iops,
    "original-multi-attach-enabled": () => false,
    "original-size": ({ original }) => original.sizeGib,
    "original-volume-type": ({ original }) => original.type,
    "start-time": ({ started_at }) => started_at,
    "target-iops": ({ target }) => target.iops,
    "target-multi-attach-enabled": () => false,
    "target-size": ({ target }) => target.sizeGib,
    "target-volume-type": ({ target }) => target.type,
    "volume-id": ({ volume_id }) => volume_id,
  },
};

export const describeVolumesModifications = operation({
  action: "ec2:DescribeVolumesModifications",
  schema: DescribeVolumesModifications$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeVolumesModificationsRequest) =>
    onAnything("ec2:DescribeVolumesModifications"),
  async run(ctx, input): Promise<DescribeVolumesModificationsResult> {
    const ids = input.VolumeIds?.map((id) => parseId("volume", id)) ?? [];
    refusePagesOfIds("volumeSet", ids, input);
    const limit = pageLimit("ec2", "MaxResults", input.MaxResults, { min: 5, max: 1000 });
    const filters = compileFilters(input.Filters, FILTERS);
    const scope = {
      service: "ec2",
      action: "DescribeVolumesModifications",
      owner: [ctx.caller.accountId, ctx.region],
      parameters: input,
    } as const;
    const after = ctx.parts.pages.open(scope, input.NextToken) ?? "";
    const db = ctx.database.read;
    for (const id of ids) await ownVolume(db, ownerOf(ctx), id);
    let select = db
      .selectFrom("volume_modifications")
      .select("volume_id")
      .where("account_id", "=", ctx.caller.accountId)
      .where("region", "=", ctx.region)
      .where("volume_id", ">", after)
      .orderBy("volume_id");
    if (ids.length > 0) select = select.where("volume_id", "in", ids);
    const rows = await select.execute();
    const found = await modificationsOf(
      db,
      rows.map((row) => row.volume_id),
    );
    const matching = rows.flatMap((row) => {
      const modification = found.get(row.volume_id);
      return modification !== undefined && filters.matches(modification) ? [modification] : [];
    });
    // Asked for by id, a volume that was never modified is an error in EC2.
    const unmodified = ids.find((id) => !found.has(id));
    if (unmodified !== undefined) {
      throw new ApiError(
        "InvalidVolumeModification.NotFound",
        `Modification for volume '${unmodified}' does not exist.`,
      );
    }
    const { page, next } = takePage(matching, limit);
    return {
      VolumesModifications: page.map(shown),
      ...(next === undefined ? {} : { NextToken: ctx.parts.pages.seal(scope, next.volume_id) }),
    };
  },
});

const shown = (modification: VolumeModification): ShownModification => ({
  VolumeId: modification.volume_id,
  ModificationState: modification.state,
  StatusMessage: modification.status_message ?? undefined,
  OriginalSize: modification.original.sizeGib,
  OriginalVolumeType: modification.original.type,
  OriginalIops: modification.original.iops ?? undefined,
  OriginalThroughput: modification.original.throughput ?? undefined,
  OriginalMultiAttachEnabled: false,
  TargetSize: modification.target.sizeGib,
  TargetVolumeType: modification.target.type,
  TargetIops: modification.target.iops ?? undefined,
  TargetThroughput: modification.target.throughput ?? undefined,
  TargetMultiAttachEnabled: false,
  Progress: modification.state === "completed" ? 100 : 0,
  StartTime: new Date(modification.started_at),
  EndTime: modification.ended_at === null ? undefined : new Date(modification.ended_at),
});
