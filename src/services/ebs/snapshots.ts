// What the six calls of EBS direct share: which snapshot is meant, who may do what to it, and tokens.
import { ApiError } from "../../base/api-error.ts";
import { isId, type SnapshotId } from "../../base/ids.ts";
import type { Action, ResourceCheck } from "../../model/access.ts";
import { snapshotArn } from "../../model/arn.ts";
import { type DirectUpload, type Snapshot, uploadOf, uploadTimedOut } from "../../model/snapshot.ts";
import { createVolumePermissionsOf, findSnapshot } from "../../model/snapshot-rows.ts";
import { resourceTagKeys, tagsOf } from "../../model/tags.ts";
import type { PageScope } from "../../protocol/pages.ts";
import type { RequestContext } from "../context.ts";
import { invalid, noSuchSnapshot } from "./refusals.ts";

export function parseSnapshotId(text: string | undefined): SnapshotId {
  if (text !== undefined && isId("snapshot", text)) return text;
  throw invalid("INVALID_SNAPSHOT_ID", `The snapshot ID '${text ?? ""}' is not valid.`);
}

/**
 * A snapshot whose blocks the caller may read: its own, or one that names its account. That a snapshot is public is not
 * enough for this API.
 * @throws ApiError `ResourceNotFoundException`, `AccessDeniedException` (public only), `ValidationException` (not completed)
 */
export async function readableBlocks(ctx: RequestContext, text: string | undefined): Promise<Snapshot> {
  const id = parseSnapshotId(text);
  const snapshot = await findSnapshot(ctx.database.read, ctx.region, id);
  if (snapshot === undefined) throw noSuchSnapshot(ctx.region, id);
  if (snapshot.account_id !== ctx.caller.accountId) {
    const permissions = await createVolumePermissionsOf(ctx.database.read, id);
    if (!permissions.some(({ kind, value }) => kind === "user" && value === ctx.caller.accountId)) {
      if (permissions.length === 0) throw noSuchSnapshot(ctx.region, id);
      throw new ApiError("AccessDeniedException", `You may not read the blocks of the snapshot '${id}'.`, {
        fields: { Reason: "UNAUTHORIZED_ACCOUNT" },
        resourceArn: snapshotArn(ctx.region, id),
      });
    }
  }
  if (snapshot.state !== "completed") {
    throw invalid("INVALID_SNAPSHOT_ID", `The snapshot '${id}' is in state '${snapshot.state}', not 'completed'.`);
  }
  return snapshot;
}

/**
 * An upload of the caller's own.
 * @throws ApiError `ResourceNotFoundException`; `ValidationException` for what was never, or is no longer, an upload
 */
export async function ownUpload(
  ctx: RequestContext,
  text: string | undefined,
): Promise<{ readonly snapshot: Snapshot; readonly upload: DirectUpload }> {
  const id = parseSnapshotId(text);
  const snapshot = await findSnapshot(ctx.database.read, ctx.region, id);
  if (snapshot === undefined || snapshot.account_id !== ctx.caller.accountId) throw noSuchSnapshot(ctx.region, id);
  const upload = uploadOf(snapshot);
  if (upload === null) throw invalid("INVALID_SNAPSHOT_ID", `The snapshot '${id}' was not started by StartSnapshot.`);
  return { snapshot, upload };
}

/** @throws ApiError `ValidationException` unless blocks may still be written */
export function mustBeOpen(snapshot: Snapshot, upload: DirectUpload, now: Date): void {
  if (snapshot.state === "error" || uploadTimedOut(upload, now)) {
    throw invalid("WRITE_REQUEST_TIMEOUT", `The snapshot '${snapshot.id}' was not written to in time.`);
  }
  if (snapshot.state !== "pending" || upload.sealed) {
    throw invalid("INVALID_SNAPSHOT_ID", `The snapshot '${snapshot.id}' is complete.`);
  }
}

export async function blockCheck(ctx: RequestContext, action: Action, snapshot: Snapshot): Promise<ResourceCheck> {
  const tags = await tagsOf(ctx.database.read, ctx.caller.accountId, [snapshot.id]);
  return {
    action,
    resource: snapshotArn(ctx.region, snapshot.id),
    keys: { "ec2:Owner": snapshot.account_id, ...resourceTagKeys(tags.get(snapshot.id) ?? []) },
  };
}

/** The owner of a shared snapshot hears of what is done with it. AWS does not tell him; he would want to know. */
export const ownersOf = (ctx: RequestContext, ...snapshots: readonly Snapshot[]): string[] => [
  ...new Set(snapshots.map((snapshot) => snapshot.account_id).filter((account) => account !== ctx.caller.accountId)),
];

// Tokens. A block token lets its account read one block of one snapshot for a week; a page token goes on with one list for
// an hour. Both are sealed (protocol/pages.ts), so neither can be made up, altered or used for anything else.

const BLOCK_TOKEN_MS = 7 * 24 * 3600 * 1000;
const PAGE_TOKEN_MS = 3600 * 1000;

export const blockTokenExpiry = (now: Date): Date => new Date(now.getTime() + BLOCK_TOKEN_MS);

const blockScope = (ctx: RequestContext, id: SnapshotId): PageScope => ({
  service: "ebs",
  action: "GetSnapshotBlock",
  owner: [ctx.caller.accountId, ctx.region],
  parameters: { SnapshotId: id },
});

/** @returns a function from a block's index to its token */
export function blockTokens(ctx: RequestContext, id: SnapshotId, expiry: Date): (index: number) => string {
  const scope = blockScope(ctx, id);
  const until = expiry.getTime();
  return (index) => ctx.parts.pages.seal(scope, `${index} ${until}`);
}

/** @throws ApiError `ValidationException` with `INVALID_BLOCK_TOKEN` */
export function checkBlockToken(ctx: RequestContext, id: SnapshotId, index: number, token: string | undefined): void {
  const position = opened(ctx, blockScope(ctx, id), token);
  const [forIndex, until] = (position ?? "").split(" ");
  if (position === undefined || Number(forIndex) !== index) {
    throw invalid("INVALID_BLOCK_TOKEN", "The block token is not one of this block.");
  }
  if (Number(until) <= ctx.now().getTime()) throw invalid("INVALID_BLOCK_TOKEN", "The block token has expired.");
}

/** Where the next page starts. */
export const pageToken = (ctx: RequestContext, scope: PageScope, index: number): string =>
  ctx.parts.pages.seal(scope, `${index} ${ctx.now().getTime() + PAGE_TOKEN_MS}`);

/** @throws ApiError `ValidationException` with `INVALID_PAGE_TOKEN` */
export function openPageToken(ctx: RequestContext, scope: PageScope, token: string): number {
  const position = opened(ctx, scope, token);
  const [index, until] = (position ?? "").split(" ");
  if (position === undefined) throw invalid("INVALID_PAGE_TOKEN", "The page token is not one of this list.");
  if (Number(until) <= ctx.now().getTime()) throw invalid("INVALID_PAGE_TOKEN", "The page token has expired.");
  return Number(index);
}

/** undefined for what was not sealed for this. */
function opened(ctx: RequestContext, scope: PageScope, token: string | undefined): string | undefined {
  try {
    return ctx.parts.pages.open(scope, token);
  } catch (error) {
    if (error instanceof ApiError) return undefined;
    throw error;
  }
}
