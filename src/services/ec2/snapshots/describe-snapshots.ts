import { DescribeSnapshots$, type DescribeSnapshotsRequest, type DescribeSnapshotsResult } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { isAccountId, parseId, type SnapshotId } from "../../../base/ids.ts";
import { snapshotNotFound } from "../../../model/snapshot.ts";
import { type SnapshotQuery, snapshotCatalogue, snapshotPosition } from "../../../model/snapshot-catalogue.ts";
import { findSnapshots } from "../../../model/snapshot-rows.ts";
import { tagsOf } from "../../../model/tags.ts";
import { parsePosition, positionText } from "../../../model/walk.ts";
import { compileFilters, type Filters } from "../../../protocol/filters.ts";
import { pageLimit, refusePagesOfIds } from "../../../protocol/pages.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { exactTags } from "../narrowing.ts";
import { ownerOf } from "../owner.ts";
import { SNAPSHOT_FILTERS, type SnapshotView, shownSnapshot } from "./shown-snapshot.ts";

const PAGE = { min: 5, max: 1000 };

/** Own snapshots, shared and public ones, oldest first. Ids that exist but may not be seen are left out, as in EC2. */
export const describeSnapshots = operation({
  action: "ec2:DescribeSnapshots",
  schema: DescribeSnapshots$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeSnapshotsRequest) => onAnything("ec2:DescribeSnapshots"),
  async run(ctx, input): Promise<DescribeSnapshotsResult> {
    const ids = input.SnapshotIds?.map((id) => parseId("snapshot", id)) ?? [];
    refusePagesOfIds("snapshotSet", ids, input);
    const limit = pageLimit("ec2", "MaxResults", input.MaxResults, PAGE);
    const filters = compileFilters(input.Filters, SNAPSHOT_FILTERS);
    const scope = {
      service: "ec2",
      action: "DescribeSnapshots",
      owner: [ctx.caller.accountId, ctx.region],
      parameters: input,
    } as const;
    const after = parsePosition(ctx.parts.pages.open(scope, input.NextToken));
    const db = ctx.database.read;
    const views: SnapshotView[] = [];
    const wanted = limit === undefined || !filters.isEmpty ? undefined : limit + 1;
    for await (const snapshots of snapshotCatalogue(db, queryOf(ctx, input, ids, filters), after, wanted)) {
      const tags = await tagsOf(
        db,
        ctx.caller.accountId,
        snapshots.map((snapshot) => snapshot.id),
      );
      for (const snapshot of snapshots) {
        const view = { snapshot, tags: tags.get(snapshot.id) ?? [] };
        if (filters.matches(view)) views.push(view);
      }
      if (limit !== undefined && views.length > limit) break;
    }
    if (ids.length > 0) await refuseUnknown(ctx, ids);
    const page = limit === undefined ? views : views.slice(0, limit);
    const last = page.at(-1);
    return {
      Snapshots: page.map(shownSnapshot),
      ...(page.length < views.length && last !== undefined
        ? { NextToken: ctx.parts.pages.seal(scope, positionText(snapshotPosition(last.snapshot))) }
        : {}),
    };
  },
});

function queryOf(
  ctx: RequestContext,
  input: DescribeSnapshotsRequest,
  ids: readonly SnapshotId[],
  filters: Filters<SnapshotView>,
): SnapshotQuery {
  const account = (text: string, words: readonly string[]): string => {
    if (text === "self") return ctx.caller.accountId;
    if (!isAccountId(text) && !words.includes(text)) {
      throw new ApiError("InvalidUserID.Malformed", `Invalid user id: "${text}"`);
    }
    return text;
  };
  const owners = input.OwnerIds?.map((owner) => account(owner, ["amazon"])) ?? [];
  const restorableBy = input.RestorableByUserIds?.map((user) => account(user, ["all"])) ?? [];
  return {
    viewer: ownerOf(ctx),
    ids: ids.length > 0 ? ids : (filters.exactValues("snapshot-id") as readonly SnapshotId[] | undefined),
    states: filters.exactValues("status") as SnapshotQuery["states"],
    owners: owners.length > 0 ? owners : filters.exactValues("owner-id"),
    restorableBy: restorableBy.length > 0 ? restorableBy : undefined,
    tags: exactTags(input.Filters, filters),
  };
}

/** @throws ApiError `InvalidSnapshot.NotFound` for an id that nobody has */
async function refuseUnknown(ctx: RequestContext, ids: readonly SnapshotId[]): Promise<void> {
  const there = await findSnapshots(ctx.database.read, ctx.region, ids);
  const unknown = ids.find((id) => !there.has(id));
  if (unknown !== undefined) throw snapshotNotFound(ctx.region, unknown);
}
