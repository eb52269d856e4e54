// DescribeTrails, GetTrail, ListTrails: in each Region, the trails whose home it is and multi-Region trails of others.
import {
  DescribeTrails$,
  type DescribeTrailsRequest,
  type DescribeTrailsResponse,
  GetTrail$,
  type GetTrailRequest,
  type GetTrailResponse,
  ListTrails$,
  type ListTrailsRequest,
  type ListTrailsResponse,
} from "@aws-sdk/client-cloudtrail";
import { trailsOf } from "../../audit/trails.ts";
import type { RequestContext } from "../context.ts";
import { onAnything, operation } from "../operation.ts";
import { mustFindTrail, parseTrailName } from "./named-trail.ts";
import { shownTrail } from "./trail-answers.ts";

/** Names that nothing has are left out of the answer. */
export const describeTrails = operation({
  action: "cloudtrail:DescribeTrails",
  schema: DescribeTrails$,
  access: "read",
  async resolve(ctx: RequestContext, input: DescribeTrailsRequest) {
    const names = (input.trailNameList ?? []).map((text) => ({
      ...parseTrailName(ctx, text),
      byArn: text.startsWith("arn:"),
    }));
    return { names, ...onAnything("cloudtrail:DescribeTrails") };
  },
  async run(ctx, input, { names }): Promise<DescribeTrailsResponse> {
    const trails = (await trailsOf(ctx.database.read, ctx.caller.accountId)).filter(
      (trail) => trail.homeRegion === ctx.region || (trail.multiRegion && input.includeShadowTrails !== false),
    );
    const asked = trails.filter(
      (trail) =>
        names.length === 0 ||
        names.some(({ name, region, byArn }) => name === trail.name && (!byArn || region === trail.homeRegion)),
    );
    return { trailList: asked.map(shownTrail) };
  },
});

export const getTrail = operation({
  action: "cloudtrail:GetTrail",
  schema: GetTrail$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetTrailRequest) => mustFindTrail(ctx, "cloudtrail:GetTrail", input.Name),
  run: async (_ctx, _input, { trail }): Promise<GetTrailResponse> => ({ Trail: shownTrail(trail) }),
});

/** Of all Regions. There are few: one page has them all. */
export const listTrails = operation({
  action: "cloudtrail:ListTrails",
  schema: ListTrails$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: ListTrailsRequest) => onAnything("cloudtrail:ListTrails"),
  async run(ctx, input): Promise<ListTrailsResponse> {
    ctx.parts.pages.open(
      { service: "cloudtrail", action: "ListTrails", owner: [ctx.caller.accountId], parameters: input },
      input.NextToken,
    );
    const trails = await trailsOf(ctx.database.read, ctx.caller.accountId);
    return {
      Trails: trails.map(({ arn, name, homeRegion }) => ({ TrailARN: arn, Name: name, HomeRegion: homeRegion })),
    };
  },
});
