// AddTags, RemoveTags, ListTags. Only trails have tags here.
import {
  AddTags$,
  type AddTagsRequest,
  ListTags$,
  type ListTagsRequest,
  type ListTagsResponse,
  RemoveTags$,
  type RemoveTagsRequest,
} from "@aws-sdk/client-cloudtrail";
import { changeTrailTags, findTrail, trailsOf } from "../../audit/trails.ts";
import { ApiError } from "../../base/api-error.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { mustFindTrail, mustFindTrailAtHome, trailCheck } from "./named-trail.ts";
import { shownTags } from "./trail-answers.ts";
import { parseTags, requestTagKeys, withinTagLimit } from "./trail-input.ts";

/** @throws ApiError `CloudTrailARNInvalidException`, `ResourceTypeNotSupportedException` */
function trailsArn(id: string | undefined): string {
  if (id === undefined || !/^arn:aws:cloudtrail:/.test(id)) {
    throw new ApiError("CloudTrailARNInvalidException", `The ARN is not valid: ${(id ?? "").slice(0, 200)}`);
  }
  if (!/^arn:aws:cloudtrail:[^:]*:[^:]*:trail\//.test(id)) {
    throw new ApiError("ResourceTypeNotSupportedException", "Only trails have tags.");
  }
  return id;
}

/** Adds tags, or gives those that are there a new value. */
export const addTags = operation({
  action: "cloudtrail:AddTags",
  schema: AddTags$,
  access: "write",
  async resolve(ctx: RequestContext, input: AddTagsRequest) {
    const tags = parseTags(input.TagsList);
    const id = trailsArn(input.ResourceId);
    return { tags, ...(await mustFindTrailAtHome(ctx, "cloudtrail:AddTags", id, requestTagKeys(tags))) };
  },
  async run(ctx, _input, { trail, tags }, grant): Promise<Record<string, never>> {
    await ctx.database.transaction(async (tx) => {
      const now = await findTrail(tx, trail.id);
      if (now !== undefined) await changeTrailTags(grant, tx, trail.id, withinTagLimit({ ...now.tags, ...tags }));
    });
    return {};
  },
});

/** Takes tags away by their names; those that are not there are no error. */
export const removeTags = operation({
  action: "cloudtrail:RemoveTags",
  schema: RemoveTags$,
  access: "write",
  async resolve(ctx: RequestContext, input: RemoveTagsRequest) {
    const names = (input.TagsList ?? []).map((tag) => tag.Key ?? "");
    const id = trailsArn(input.ResourceId);
    return {
      gone: new Set(names),
      ...(await mustFindTrailAtHome(ctx, "cloudtrail:RemoveTags", id, { "aws:TagKeys": names })),
    };
  },
  async run(ctx, _input, { trail, gone }, grant): Promise<Record<string, never>> {
    await ctx.database.transaction(async (tx) => {
      const now = await findTrail(tx, trail.id);
      if (now === undefined) return;
      const kept = Object.entries(now.tags).filter(([key]) => !gone.has(key));
      await changeTrailTags(grant, tx, trail.id, Object.fromEntries(kept));
    });
    return {};
  },
});

export const listTags = operation({
  action: "cloudtrail:ListTags",
  schema: ListTags$,
  access: "read",
  async resolve(ctx: RequestContext, input: ListTagsRequest) {
    const ids = input.ResourceIdList ?? [];
    if (ids.length === 0 || ids.length > 20) {
      throw new ApiError("ValidationException", "ResourceIdList names 1 to 20 resources.");
    }
    const trails = [];
    for (const id of ids) trails.push((await mustFindTrail(ctx, "cloudtrail:ListTags", trailsArn(id))).trail);
    return { trails, checks: trails.map((trail) => trailCheck("cloudtrail:ListTags", trail)) };
  },
  async run(ctx, _input, { trails }): Promise<ListTagsResponse> {
    const now = new Map((await trailsOf(ctx.database.read, ctx.caller.accountId)).map((trail) => [trail.id, trail]));
    return {
      ResourceTagList: trails.map((trail) => ({
        ResourceId: trail.arn,
        TagsList: shownTags((now.get(trail.id) ?? trail).tags),
      })),
    };
  },
});
