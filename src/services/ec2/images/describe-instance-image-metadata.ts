import {
  DescribeInstanceImageMetadata$,
  type DescribeInstanceImageMetadataRequest,
  type DescribeInstanceImageMetadataResult,
  type InstanceImageMetadata,
} from "@aws-sdk/client-ec2";
import { type ImageId, parseId } from "../../../base/ids.ts";
import { allowance, allowedImagesOf } from "../../../model/allowed-images.ts";
import type { Image } from "../../../model/image.ts";
import { imageOf, selectImages } from "../../../model/image-rows.ts";
import { type Instance, instancesByIds, instancesOf, STATE_CODE } from "../../../model/instance.ts";
import { zonesOf } from "../../../model/regions.ts";
import { type Tag, tagsOf } from "../../../model/tags.ts";
import { compileFilters, type FilterTable } from "../../../protocol/filters.ts";
import { pageLimit, refusePagesOfIds, takePage } from "../../../protocol/pages.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { shownTags } from "../tags/shown-tags.ts";

interface View {
  readonly instance: Instance;
  readonly image: Image | undefined;
  readonly tags: readonly Tag[];
  readonly allowed: boolean | undefined;
}

const FILTERS: FilterTable<View> = {
  values: {
    "availability-zone": ({ instance }) => instance.zone,
    "image-allowed": ({ allowed }) => allowed,
    "instance-id": ({ instance }) => instance.id,
    "instance-state-name": ({ instance }) => instance.state,
    "instance-type": ({ instance }) => instance.type,
    "launch-time": ({ instance }) => instance.launched_at,
    "owner-alias": ({ image }) => image?.owner_alias,
    "owner-id": ({ image }) => image?.account_id,
    "zone-id": ({ instance }) => zoneId(instance),
  },
  tags: ({ tags }) => shownTags(tags),
};

/** Which image each instance was launched from; known even when that is deregistered, private again, or not allowed. */
export const describeInstanceImageMetadata = operation({
  action: "ec2:DescribeInstanceImageMetadata",
  schema: DescribeInstanceImageMetadata$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeInstanceImageMetadataRequest) =>
    onAnything("ec2:DescribeInstanceImageMetadata"),
  async run(ctx, input): Promise<DescribeInstanceImageMetadataResult> {
    const ids = input.InstanceIds?.map((id) => parseId("instance", id));
    refusePagesOfIds("instancesSet", ids, input);
    const limit = pageLimit("ec2", "MaxResults", input.MaxResults, { min: 1, max: 1000 });
    const filters = compileFilters(input.Filters, FILTERS);
    const scope = {
      service: "ec2",
      action: "DescribeInstanceImageMetadata",
      owner: [ctx.caller.accountId, ctx.region],
      parameters: input,
    } as const;
    const after = ctx.parts.pages.open(scope, input.NextToken);
    const db = ctx.database.read;
    const instances =
      ids !== undefined && ids.length > 0
        ? await instancesByIds(db, ownerOf(ctx), ids)
        : await instancesOf(db, ownerOf(ctx), ctx.now());
    const matching = (await viewsOf(ctx, instances))
      .filter(filters.matches)
      .sort((a, b) => (positionOf(a) < positionOf(b) ? -1 : 1))
      .filter((view) => after === undefined || positionOf(view) > after);
    const { page, next } = takePage(matching, limit);
    return {
      InstanceImageMetadata: page.map(shown),
      ...(next === undefined ? {} : { NextToken: ctx.parts.pages.seal(scope, positionOf(next)) }),
    };
  },
});

const positionOf = ({ instance }: View): string => `${instance.launched_at} ${instance.id}`;

async function viewsOf(ctx: RequestContext, instances: readonly Instance[]): Promise<View[]> {
  const db = ctx.database.read;
  const settings = await allowedImagesOf(db, ownerOf(ctx));
  const allowed = settings.state === "disabled" ? undefined : allowance(settings, ctx.caller.accountId, ctx.now());
  const tags = await tagsOf(
    db,
    ctx.caller.accountId,
    instances.map((instance) => instance.id),
  );
  const images = new Map<string, Image>();
  const imageIds = [...new Set(instances.map((instance) => instance.image_id as ImageId))];
  if (imageIds.length > 0) {
    const rows = await selectImages(db).where("images.id", "in", imageIds).execute();
    for (const row of rows) images.set(row.id, imageOf(row));
  }
  return instances.map((instance) => {
    const image = images.get(instance.image_id);
    return {
      instance,
      image,
      tags: tags.get(instance.id) ?? [],
      allowed: image === undefined ? undefined : allowed?.(image),
    };
  });
}

const zoneId = (instance: Instance): string | undefined =>
  zonesOf(instance.region).find((zone) => zone.name === instance.zone)?.id;

const shown = ({ instance, image, tags, allowed }: View): InstanceImageMetadata => ({
  InstanceId: instance.id,
  InstanceType: instance.type as NonNullable<InstanceImageMetadata["InstanceType"]>,
  LaunchTime: new Date(instance.launched_at),
  AvailabilityZone: instance.zone,
  ZoneId: zoneId(instance),
  State: { Name: instance.state, Code: STATE_CODE[instance.state] },
  OwnerId: instance.account_id,
  Tags: shownTags(tags),
  ImageMetadata: {
    ImageId: instance.image_id,
    ...(image === undefined
      ? {}
      : {
          Name: image.name,
          OwnerId: image.account_id,
          State: image.state,
          ImageOwnerAlias: image.owner_alias ?? undefined,
          CreationDate: image.created_at,
          DeprecationTime: image.deprecate_at ?? undefined,
          ImageAllowed: allowed,
          IsPublic: image.is_public,
        }),
  },
});
