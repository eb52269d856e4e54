// The trail that a call names: `my-trail` of this Region, or any by its ARN.
import { type Trail, trailArn, trailsOf } from "../../audit/trails.ts";
import { ApiError } from "../../base/api-error.ts";
import { type AccountId, isAccountId, type Region } from "../../base/ids.ts";
import type { Action, ConditionKeys, ResourceCheck } from "../../model/access.ts";
import { isRegion } from "../../model/regions.ts";
import type { RequestContext } from "../context.ts";
import { trailName } from "./trail-input.ts";

interface TrailName {
  readonly region: Region;
  readonly accountId: AccountId;
  readonly name: string;
}

/** @throws ApiError `CloudTrailARNInvalidException`, `InvalidTrailNameException` */
export function parseTrailName(ctx: RequestContext, text: string | undefined): TrailName {
  if (text === undefined || !text.startsWith("arn:")) {
    return { region: ctx.region, accountId: ctx.caller.accountId, name: trailName(text) };
  }
  const [, region, accountId, name] = /^arn:aws:cloudtrail:([^:]+):([^:]+):trail\/(.+)$/.exec(text) ?? [];
  if (region === undefined || accountId === undefined || !isRegion(region) || !isAccountId(accountId)) {
    throw new ApiError("CloudTrailARNInvalidException", `The trail ARN is not valid: ${text.slice(0, 200)}`);
  }
  return { region, accountId, name: trailName(name) };
}

export interface NamedTrail<A extends Action> {
  readonly trail: Trail;
  readonly checks: readonly ResourceCheck<A>[];
}

/**
 * A trail that must be there, to be read.
 * @throws ApiError `TrailNotFoundException`, told only to those who may do `action` to it
 */
export async function mustFindTrail<A extends Action>(
  ctx: RequestContext,
  action: A,
  text: string | undefined,
  keys: ConditionKeys = {},
): Promise<NamedTrail<A>> {
  const named = parseTrailName(ctx, text);
  const arn = trailArn(named.region, named.accountId, named.name);
  const trail = await findNamed(ctx, named);
  if (trail === undefined) throw unknownTrail(ctx, arn);
  return { trail, checks: [trailCheck(action, trail, keys)] };
}

/**
 * The same, to be changed: in its home Region only.
 * @throws ApiError `TrailNotFoundException`, `InvalidHomeRegionException`
 */
export async function mustFindTrailAtHome<A extends Action>(
  ctx: RequestContext,
  action: A,
  text: string | undefined,
  keys: ConditionKeys = {},
): Promise<NamedTrail<A>> {
  const named = parseTrailName(ctx, text);
  const found = await findNamed(ctx, named);
  const shadow =
    found === undefined && named.region === ctx.region && named.accountId === ctx.caller.accountId
      ? (await trailsOf(ctx.database.read, ctx.caller.accountId)).find(
          (trail) => trail.name === named.name && trail.multiRegion,
        )
      : undefined;
  const trail = found ?? shadow;
  if (trail === undefined) throw unknownTrail(ctx, trailArn(named.region, named.accountId, named.name));
  if (trail.homeRegion !== ctx.region) {
    throw new ApiError(
      "InvalidHomeRegionException",
      `Trail ${trail.arn} can only be modified or deleted from its home region ${trail.homeRegion}`,
      { resourceArn: trail.arn },
    );
  }
  return { trail, checks: [trailCheck(action, trail, keys)] };
}

/** From another Region, only a multi-Region trail can be seen. */
async function findNamed(ctx: RequestContext, named: TrailName): Promise<Trail | undefined> {
  if (named.accountId !== ctx.caller.accountId) return undefined;
  const trails = await trailsOf(ctx.database.read, ctx.caller.accountId);
  return trails.find(
    (trail) =>
      trail.name === named.name &&
      trail.homeRegion === named.region &&
      (trail.multiRegion || trail.homeRegion === ctx.region),
  );
}

export const trailCheck = <A extends Action>(action: A, trail: Trail, keys: ConditionKeys = {}): ResourceCheck<A> => ({
  action,
  resource: trail.arn,
  keys: {
    ...keys,
    ...Object.fromEntries(Object.entries(trail.tags).map(([key, value]) => [`aws:ResourceTag/${key}`, value])),
  },
});

const unknownTrail = (ctx: RequestContext, arn: string): ApiError =>
  new ApiError("TrailNotFoundException", `Unknown trail: ${arn} for the user: ${ctx.caller.accountId}`, {
    resourceArn: arn,
  });
