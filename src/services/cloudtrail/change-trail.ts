// CreateTrail, UpdateTrail, DeleteTrail.
import { randomUUID } from "node:crypto";
import {
  CreateTrail$,
  type CreateTrailRequest,
  type CreateTrailResponse,
  DeleteTrail$,
  type DeleteTrailRequest,
  UpdateTrail$,
  type UpdateTrailRequest,
  type UpdateTrailResponse,
} from "@aws-sdk/client-cloudtrail";
import { DEFAULT_SELECTORS } from "../../audit/event-selectors.ts";
import {
  changeTrail,
  deleteTrail as deleteRow,
  findTrail,
  insertTrail,
  MOST_TRAILS,
  trailArn,
  trailsOf,
} from "../../audit/trails.ts";
import { ApiError } from "../../base/api-error.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { mustFindTrailAtHome } from "./named-trail.ts";
import { trailSettings } from "./trail-answers.ts";
import { parseTags, requestTagKeys, requireBucket, settingsOf, trailName } from "./trail-input.ts";

/** Makes a trail. It delivers nothing until StartLogging. */
export const createTrail = operation({
  action: "cloudtrail:CreateTrail",
  schema: CreateTrail$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateTrailRequest) {
    const name = trailName(input.Name);
    const settings = settingsOf(
      { ...input, S3BucketName: input.S3BucketName ?? "" },
      { bucket: "", prefix: null, globalEvents: true, multiRegion: false, validation: false },
    );
    const tags = parseTags(input.TagsList);
    const resource = trailArn(ctx.region, ctx.caller.accountId, name);
    return {
      ...{ name, settings, tags, arn: resource },
      checks: [{ action: "cloudtrail:CreateTrail", resource, keys: requestTagKeys(tags) }],
    };
  },
  async run(ctx, _input, { name, settings, tags, arn }, grant): Promise<CreateTrailResponse> {
    const { accountId } = ctx.caller;
    await requireBucket(ctx, settings, arn);
    const id = randomUUID();
    const trail = await ctx.database.transaction(async (tx) => {
      // A multi-Region trail has its name in every Region.
      const there = await trailsOf(tx, accountId);
      const taken = there.some(
        (one) => one.name === name && (one.homeRegion === ctx.region || one.multiRegion || settings.multiRegion),
      );
      if (taken) {
        throw new ApiError("TrailAlreadyExistsException", `Trail ${name} already exists for customer: ${accountId}`);
      }
      if (there.filter((one) => one.homeRegion === ctx.region || one.multiRegion).length >= MOST_TRAILS) {
        throw new ApiError(
          "MaximumNumberOfTrailsExceededException",
          `User: ${accountId} already has ${MOST_TRAILS} trails in ${ctx.region}.`,
        );
      }
      const fresh = { ...settings, id, accountId, homeRegion: ctx.region, name, tags, selectors: DEFAULT_SELECTORS };
      await insertTrail(grant, tx, fresh, ctx.now());
      return findTrail(tx, id);
    });
    if (trail === undefined) throw new Error("the trail that was just made is not there");
    return trailSettings(trail);
  },
});

/** Changes a trail. What has happened until now is delivered by the old settings. */
export const updateTrail = operation({
  action: "cloudtrail:UpdateTrail",
  schema: UpdateTrail$,
  access: "write",
  async resolve(ctx: RequestContext, input: UpdateTrailRequest) {
    const named = await mustFindTrailAtHome(ctx, "cloudtrail:UpdateTrail", input.Name);
    return { ...named, settings: settingsOf(input, named.trail) };
  },
  async run(ctx, _input, { trail, settings }, grant): Promise<UpdateTrailResponse> {
    await requireBucket(ctx, settings, trail.arn);
    await ctx.parts.trails.settle(trail.id);
    const changed = await ctx.database.transaction(async (tx) => {
      if (settings.multiRegion && !trail.multiRegion) {
        const others = (await trailsOf(tx, ctx.caller.accountId)).filter((one) => one.id !== trail.id);
        if (others.some((one) => one.name === trail.name)) {
          throw new ApiError(
            "TrailAlreadyExistsException",
            `Trail ${trail.name} already exists for customer: ${ctx.caller.accountId}`,
          );
        }
      }
      await changeTrail(grant, tx, trail.id, settings);
      return findTrail(tx, trail.id);
    });
    return trailSettings(changed ?? trail);
  },
});

/** Ends a trail. What it was to deliver until now is delivered still; its files stay. */
export const deleteTrail = operation({
  action: "cloudtrail:DeleteTrail",
  schema: DeleteTrail$,
  access: "write",
  resolve: (ctx: RequestContext, input: DeleteTrailRequest) =>
    mustFindTrailAtHome(ctx, "cloudtrail:DeleteTrail", input.Name),
  async run(ctx, _input, { trail }, grant): Promise<Record<string, never>> {
    await ctx.parts.trails.settle(trail.id);
    await ctx.database.transaction((tx) => deleteRow(grant, tx, trail, ctx.now()));
    return {};
  },
});
