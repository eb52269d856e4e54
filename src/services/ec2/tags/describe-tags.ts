import {
  DescribeTags$,
  type DescribeTagsRequest,
  type DescribeTagsResult,
  type ResourceType,
} from "@aws-sdk/client-ec2";
import type { TagsTable } from "../../../database/tables/ec2.ts";
import { type Position, parsePosition, positionText, walk } from "../../../model/walk.ts";
import { compileFilters, type Filters, type FilterTable } from "../../../protocol/filters.ts";
import { pageLimit } from "../../../protocol/pages.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";

const FILTERS: FilterTable<TagsTable> = {
  values: {
    key: (tag) => tag.key,
    "resource-id": (tag) => tag.resource_id,
    "resource-type": (tag) => tag.resource_type,
    value: (tag) => tag.value,
  },
  tags: (tag) => [{ Key: tag.key, Value: tag.value }],
};

/** Every tag that the account has written in this Region, by resource and key. */
export const describeTags = operation({
  action: "ec2:DescribeTags",
  schema: DescribeTags$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeTagsRequest) => onAnything("ec2:DescribeTags"),
  async run(ctx, input): Promise<DescribeTagsResult> {
    const limit = pageLimit("ec2", "MaxResults", input.MaxResults, { min: 5, max: 1000 });
    const filters = compileFilters(input.Filters, FILTERS);
    const scope = {
      service: "ec2",
      action: "DescribeTags",
      owner: [ctx.caller.accountId, ctx.region],
      parameters: input,
    } as const;
    const after = parsePosition(ctx.parts.pages.open(scope, input.NextToken));
    const tags: TagsTable[] = [];
    const read = (position: Position | undefined, size: number) => tagsAfter(ctx, filters, position, size);
    for await (const chunk of walk([read], positionOf, after, undefined)) {
      for (const tag of chunk) if (filters.matches(tag)) tags.push(tag);
      if (limit !== undefined && tags.length > limit) break;
    }
    const page = limit === undefined ? tags : tags.slice(0, limit);
    const last = page.at(-1);
    return {
      Tags: page.map((tag) => ({
        Key: tag.key,
        Value: tag.value,
        ResourceId: tag.resource_id,
        ResourceType: tag.resource_type as ResourceType,
      })),
      ...(page.length < tags.length && last !== undefined
        ? { NextToken: ctx.parts.pages.seal(scope, positionText(positionOf(last))) }
        : {}),
    };
  },
});

const positionOf = (tag: TagsTable): Position => ({ at: tag.resource_id, id: tag.key });

function tagsAfter(
  ctx: RequestContext,
  filters: Filters<TagsTable>,
  after: Position | undefined,
  size: number,
): Promise<TagsTable[]> {
  let select = ctx.database.read
    .selectFrom("tags")
    .selectAll()
    .where("account_id", "=", ctx.caller.accountId)
    .where("region", "=", ctx.region);
  const narrow = [
    ["resource-id", "resource_id"],
    ["resource-type", "resource_type"],
    ["key", "key"],
    ["value", "value"],
  ] as const;
  for (const [filter, column] of narrow) {
    const values = filters.exactValues(filter);
    if (values !== undefined) select = select.where(column, "in", [...values]);
  }
  if (after !== undefined) {
    select = select
      .where("resource_id", ">=", after.at)
      .where((eb) => eb.or([eb("resource_id", ">", after.at), eb("key", ">", after.id)]));
  }
  return select.orderBy("resource_id").orderBy("key").limit(size).execute();
}
