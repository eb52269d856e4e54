// What actions on one snapshot of the caller's own share before they may run.
import { parseId, type SnapshotId } from "../../../base/ids.ts";
import type { Action, ConditionKeys, ResourceCheck } from "../../../model/access.ts";
import { snapshotArn } from "../../../model/arn.ts";
import { type Snapshot, snapshotKeys } from "../../../model/snapshot.ts";
import { ownSnapshot } from "../../../model/snapshot-rows.ts";
import { tagsOf } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { required } from "../parameters.ts";

export const parseSnapshotId = (text: string | undefined): SnapshotId =>
  parseId("snapshot", required(text, "snapshotId"));

/** @throws ApiError `InvalidSnapshotID.Malformed`, `InvalidSnapshot.NotFound`, `AuthFailure` for a shared one */
export async function resolveOwnSnapshot(
  ctx: RequestContext,
  action: Action,
  snapshotId: string | undefined,
  keys: ConditionKeys = {},
): Promise<{ readonly snapshot: Snapshot; readonly checks: ResourceCheck[] }> {
  const id = parseSnapshotId(snapshotId);
  const snapshot = await ownSnapshot(ctx.database.read, ctx.caller.accountId, ctx.region, id);
  return { snapshot, checks: [await snapshotCheck(ctx, action, snapshot, keys)] };
}

export async function snapshotCheck(
  ctx: RequestContext,
  action: Action,
  snapshot: Snapshot,
  keys: ConditionKeys = {},
): Promise<ResourceCheck> {
  const tags = await tagsOf(ctx.database.read, ctx.caller.accountId, [snapshot.id]);
  return {
    action,
    resource: snapshotArn(snapshot.region, snapshot.id),
    keys: { ...snapshotKeys(snapshot, tags.get(snapshot.id) ?? []), ...keys },
  };
}
