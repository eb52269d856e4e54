// Pages of lists that are short enough to be made whole: all but images, snapshots and volumes.
import { type PageLimits, pageLimit } from "../../protocol/pages.ts";
import type { RequestContext } from "../context.ts";
import { ownerOf } from "./owner.ts";

const LIMITS: PageLimits = { min: 5, max: 1000 };

/**
 * The page that the request asks for.
 * @param all  everything that the request selects, in a fixed order
 * @param key  identifies an item: the next page starts after the last one's
 */
export function pageOf<T>(
  ctx: RequestContext,
  action: string,
  input: { readonly MaxResults?: number | undefined; readonly NextToken?: string | undefined },
  all: readonly T[],
  key: (item: T) => string,
): { readonly page: T[]; readonly token: { readonly NextToken?: string } } {
  const limit = pageLimit("ec2", "MaxResults", input.MaxResults, LIMITS);
  const owner = ownerOf(ctx);
  const scope = { service: "ec2", action, owner: [owner.accountId, owner.region], parameters: input } as const;
  const after = ctx.parts.pages.open(scope, input.NextToken);
  const start = after === undefined ? 0 : all.findIndex((item) => key(item) === after) + 1;
  const page = all.slice(start, limit === undefined ? undefined : start + limit);
  const last = page.at(-1);
  const more = last !== undefined && start + page.length < all.length;
  return { page, token: more ? { NextToken: ctx.parts.pages.seal(scope, key(last)) } : {} };
}
