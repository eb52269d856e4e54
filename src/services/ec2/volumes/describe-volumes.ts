// DescribeVolumes and its two companions: status, and the last modification of each volume.
import {
  DescribeVolumeAttribute$,
  type DescribeVolumeAttributeRequest,
  type DescribeVolumeAttributeResult,
  DescribeVolumeStatus$,
  type DescribeVolumeStatusRequest,
  type DescribeVolumeStatusResult,
  DescribeVolumes$,
  type DescribeVolumesRequest,
  type DescribeVolumesResult,
  type Filter,
  type VolumeStatusItem,
} from "@aws-sdk/client-ec2";
import { parseId, type VolumeId } from "../../../base/ids.ts";
import { tagsOf } from "../../../model/tags.ts";
import { type Volume, volumeNotFound } from "../../../model/volume.ts";
import { type VolumeQuery, volumeCatalogue, volumePosition } from "../../../model/volume-catalogue.ts";
import { parsePosition, positionText } from "../../../model/walk.ts";
import { compileFilters, type Filters, type FilterTable } from "../../../protocol/filters.ts";
import { pageLimit, refusePagesOfIds } from "../../../protocol/pages.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { exactTags } from "../narrowing.ts";
import { ownerOf } from "../owner.ts";
import { oneOf, required } from "../parameters.ts";
import { resolveOwnVolume } from "./own-volume.ts";
import { shownVolume, VOLUME_FILTERS, type VolumeView, zoneIdOf } from "./shown-volume.ts";

const PAGE = { min: 5, max: 1000 };

export const describeVolumes = operation({
  action: "ec2:DescribeVolumes",
  schema: DescribeVolumes$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeVolumesRequest) => onAnything("ec2:DescribeVolumes"),
  async run(ctx, input): Promise<DescribeVolumesResult> {
    const filters = compileFilters(input.Filters, VOLUME_FILTERS);
    const { views, token } = await list(ctx, "DescribeVolumes", input, filters);
    return { Volumes: views.map(shownVolume), ...(token === undefined ? {} : { NextToken: token }) };
  },
});

/** Volumes here either work or are gone: nothing degrades them. */
const HEALTH = { "io-enabled": "passed", "io-performance": "not-applicable" } as const;
const STATUS_FILTERS: FilterTable<VolumeView> = {
  values: {
    "action.code": () => undefined,
    "action.description": () => undefined,
    "action.event-id": () => undefined,
    "availability-zone": ({ volume }) => volume.zone,
    "availability-zone-id": ({ volume }) => zoneIdOf(volume),
    "event.description": () => undefined,
    "event.event-id": () => undefined,
    "event.event-type": () => undefined,
    "event.not-after": () => undefined,
    "event.not-before": () => undefined,
    "operator.managed": () => false,
    "operator.principal": () => undefined,
    "volume-status.details-name": () => Object.keys(HEALTH),
    "volume-status.details-status": () => Object.values(HEALTH),
    "volume-status.status": () => "ok",
  },
};

export const describeVolumeStatus = operation({
  action: "ec2:DescribeVolumeStatus",
  schema: DescribeVolumeStatus$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeVolumeStatusRequest) => onAnything("ec2:DescribeVolumeStatus"),
  async run(ctx, input): Promise<DescribeVolumeStatusResult> {
    const filters = compileFilters(input.Filters, STATUS_FILTERS);
    const { views, token } = await list(ctx, "DescribeVolumeStatus", input, filters);
    return {
      VolumeStatuses: views.map(({ volume }) => shownStatus(volume)),
      ...(token === undefined ? {} : { NextToken: token }),
    };
  },
});

const shownStatus = (volume: Volume): VolumeStatusItem => ({
  VolumeId: volume.id,
  AvailabilityZone: volume.zone,
  AvailabilityZoneId: zoneIdOf(volume),
  VolumeStatus: {
    Status: "ok",
    Details: [
      { Name: "io-enabled", Status: HEALTH["io-enabled"] },
      { Name: "io-performance", Status: HEALTH["io-performance"] },
    ],
  },
  Actions: [],
  Events: [],
  AttachmentStatuses: [],
});

/** `autoEnableIO` stands for a disk that EC2 suspects to be damaged. None is, so it is off and stays off. */
export const describeVolumeAttribute = operation({
  action: "ec2:DescribeVolumeAttribute",
  schema: DescribeVolumeAttribute$,
  access: "read",
  async resolve(ctx: RequestContext, input: DescribeVolumeAttributeRequest) {
    const attribute = required(oneOf(input.Attribute, ["autoEnableIO", "productCodes"], "attribute"), "attribute");
    return { attribute, ...(await resolveOwnVolume(ctx, "ec2:DescribeVolumeAttribute", input.VolumeId)) };
  },
  async run(_ctx, _input, { attribute, volume }): Promise<DescribeVolumeAttributeResult> {
    return attribute === "autoEnableIO"
      ? { VolumeId: volume.id, AutoEnableIO: { Value: false } }
      : { VolumeId: volume.id, ProductCodes: [] };
  },
});

interface ListRequest {
  readonly VolumeIds?: string[] | undefined;
  readonly Filters?: Filter[] | undefined;
  readonly MaxResults?: number | undefined;
  readonly NextToken?: string | undefined;
}

async function list(
  ctx: RequestContext,
  action: string,
  input: ListRequest,
  filters: Filters<VolumeView>,
): Promise<{ readonly views: readonly VolumeView[]; readonly token: string | undefined }> {
  const ids = input.VolumeIds?.map((id) => parseId("volume", id)) ?? [];
  refusePagesOfIds("volumeSet", ids, input);
  const limit = pageLimit("ec2", "MaxResults", input.MaxResults, PAGE);
  const scope = {
    service: "ec2",
    action,
    owner: [ctx.caller.accountId, ctx.region],
    parameters: input,
  } as const;
  const after = parsePosition(ctx.parts.pages.open(scope, input.NextToken));
  const db = ctx.database.read;
  const views: VolumeView[] = [];
  const found = new Set<VolumeId>();
  const wanted = limit === undefined || !filters.isEmpty ? undefined : limit + 1;
  for await (const volumes of volumeCatalogue(db, queryOf(ctx, input, ids, filters), after, wanted)) {
    const tags = await tagsOf(
      db,
      ctx.caller.accountId,
      volumes.map((volume) => volume.id),
    );
    for (const volume of volumes) {
      found.add(volume.id);
      const view = { volume, tags: tags.get(volume.id) ?? [] };
      if (filters.matches(view)) views.push(view);
    }
    if (limit !== undefined && views.length > limit) break;
  }
  if (ids.length > 0) await refuseUnknown(ctx, ids, found);
  const page = limit === undefined ? views : views.slice(0, limit);
  const last = page.at(-1);
  const more = page.length < views.length && last !== undefined;
  return {
    views: page,
    token: more ? ctx.parts.pages.seal(scope, positionText(volumePosition(last.volume))) : undefined,
  };
}

function queryOf(
  ctx: RequestContext,
  input: ListRequest,
  ids: readonly VolumeId[],
  filters: Filters<VolumeView>,
): VolumeQuery {
  return {
    owner: ownerOf(ctx),
    ids: ids.length > 0 ? ids : (filters.exactValues("volume-id") as readonly VolumeId[] | undefined),
    states: filters.exactValues("status") as VolumeQuery["states"],
    instances: filters.exactValues("attachment.instance-id"),
    snapshots: filters.exactValues("snapshot-id"),
    tags: exactTags(input.Filters, filters),
  };
}

/** @throws ApiError `InvalidVolume.NotFound` for an id that is not the caller's, whatever the filters say */
async function refuseUnknown(
  ctx: RequestContext,
  ids: readonly VolumeId[],
  found: ReadonlySet<VolumeId>,
): Promise<void> {
  const missing = ids.filter((id) => !found.has(id));
  if (missing.length === 0) return;
  const there = await ctx.database.read
    .selectFrom("volumes")
    .select("id")
    .where("id", "in", missing)
    .where("account_id", "=", ctx.caller.accountId)
    .where("region", "=", ctx.region)
    .where("state", "<>", "deleted")
    .execute();
  const known = new Set(there.map((row) => row.id));
  const unknown = missing.find((id) => !known.has(id));
  if (unknown !== undefined) throw volumeNotFound(ownerOf(ctx), unknown);
}
