// ListSnapshotBlocks and ListChangedBlocks: read from manifests, no block is touched.
import {
  type ChangedBlock,
  ListChangedBlocks$,
  type ListChangedBlocksRequest,
  type ListChangedBlocksResponse,
  ListSnapshotBlocks$,
  type ListSnapshotBlocksRequest,
  type ListSnapshotBlocksResponse,
} from "@aws-sdk/client-ebs";
import { BLOCK_BYTES } from "../../base/units.ts";
import type { Snapshot } from "../../model/snapshot.ts";
import { areRelated } from "../../model/snapshot-lineage.ts";
import { type PageScope, pageLimit } from "../../protocol/pages.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { invalid } from "./refusals.ts";
import {
  blockCheck,
  blockTokenExpiry,
  blockTokens,
  openPageToken,
  ownersOf,
  pageToken,
  readableBlocks,
} from "./snapshots.ts";

const PAGE = { min: 100, max: 10_000 };
/** Tokens cost some microseconds each: after so many, other requests get their turn. */
const TOKENS_AT_ONCE = 250;

export const listSnapshotBlocks = operation({
  action: "ebs:ListSnapshotBlocks",
  schema: ListSnapshotBlocks$,
  access: "read",
  async resolve(ctx: RequestContext, input: ListSnapshotBlocksRequest) {
    const snapshot = await readableBlocks(ctx, input.SnapshotId);
    return {
      snapshot,
      checks: [await blockCheck(ctx, "ebs:ListSnapshotBlocks", snapshot)],
      recipients: ownersOf(ctx, snapshot),
    };
  },
  async run(ctx, input, { snapshot }): Promise<ListSnapshotBlocksResponse> {
    const page = pageOf(ctx, "ListSnapshotBlocks", input, { SnapshotId: snapshot.id });
    const reader = await ctx.parts.snapshots.open(snapshot.id);
    const { items, next } = await take(reader.nonZeroBlocks(BLOCK_BYTES, page.first), page.limit, (index) => index);
    const expiry = blockTokenExpiry(ctx.now());
    const tokenOf = blockTokens(ctx, snapshot.id, expiry);
    const blocks = await inTurns(items, (index) => ({ BlockIndex: index, BlockToken: tokenOf(index) }));
    return { Blocks: blocks, ...common(ctx, page.scope, snapshot, expiry, next) };
  },
});

/** Blocks of the second snapshot that are not as in the first. A block that the second dropped has no second token. */
export const listChangedBlocks = operation({
  action: "ebs:ListChangedBlocks",
  schema: ListChangedBlocks$,
  access: "read",
  async resolve(ctx: RequestContext, input: ListChangedBlocksRequest) {
    if (!input.FirstSnapshotId) {
      throw invalid("INVALID_PARAMETER_VALUE", "FirstSnapshotId must be specified with SecondSnapshotId.");
    }
    const first = await readableBlocks(ctx, input.FirstSnapshotId);
    const second = await readableBlocks(ctx, input.SecondSnapshotId);
    return {
      first,
      second,
      checks: [
        await blockCheck(ctx, "ebs:ListChangedBlocks", first),
        await blockCheck(ctx, "ebs:ListChangedBlocks", second),
      ],
      recipients: ownersOf(ctx, first, second),
    };
  },
  async run(ctx, input, { first, second }): Promise<ListChangedBlocksResponse> {
    if (!(await areRelated(ctx.database.read, first, second))) {
      throw invalid("UNRELATED_SNAPSHOTS", "The snapshots are of different volumes, and neither comes of the other.");
    }
    const ids = { FirstSnapshotId: first.id, SecondSnapshotId: second.id };
    const page = pageOf(ctx, "ListChangedBlocks", input, ids);
    const changed = ctx.parts.snapshots.changedBlocks(first.id, second.id, BLOCK_BYTES, page.first);
    const { items, next } = await take(changed, page.limit, (block) => block.index);
    const expiry = blockTokenExpiry(ctx.now());
    const firstToken = blockTokens(ctx, first.id, expiry);
    const secondToken = blockTokens(ctx, second.id, expiry);
    const blocks = await inTurns(
      items,
      ({ index, inFrom, inTo }): ChangedBlock => ({
        BlockIndex: index,
        ...(inFrom ? { FirstBlockToken: firstToken(index) } : {}),
        ...(inTo ? { SecondBlockToken: secondToken(index) } : {}),
      }),
    );
    return { ChangedBlocks: blocks, ...common(ctx, page.scope, second, expiry, next) };
  },
});

interface ListInput {
  readonly MaxResults?: number | undefined;
  readonly NextToken?: string | undefined;
  readonly StartingBlockIndex?: number | undefined;
}

/** Where a page starts and how long it is. A token outweighs StartingBlockIndex. */
function pageOf(ctx: RequestContext, action: string, input: ListInput, parameters: object) {
  const scope: PageScope = { service: "ebs", action, owner: [ctx.caller.accountId, ctx.region], parameters };
  const limit = pageLimit("ebs", "MaxResults", input.MaxResults, PAGE) ?? PAGE.max;
  const start = input.StartingBlockIndex ?? 0;
  if (start < 0) throw invalid("INVALID_PARAMETER_VALUE", "The starting block index must not be negative.");
  return { scope, limit, first: input.NextToken ? openPageToken(ctx, scope, input.NextToken) : start };
}

/** Up to `limit` items, and the index of the one after them. */
async function take<T>(items: AsyncIterable<T>, limit: number, indexOf: (item: T) => number) {
  const taken: T[] = [];
  for await (const item of items) {
    if (taken.length === limit) return { items: taken, next: indexOf(item) };
    taken.push(item);
  }
  return { items: taken, next: undefined };
}

async function inTurns<T, R>(items: readonly T[], make: (item: T) => R): Promise<R[]> {
  const made: R[] = [];
  for (const [index, item] of items.entries()) {
    if (index > 0 && index % TOKENS_AT_ONCE === 0) await new Promise((resolve) => setImmediate(resolve));
    made.push(make(item));
  }
  return made;
}

const common = (ctx: RequestContext, scope: PageScope, snapshot: Snapshot, expiry: Date, next: number | undefined) => ({
  ExpiryTime: expiry,
  VolumeSize: snapshot.size_gib,
  BlockSize: BLOCK_BYTES,
  ...(next === undefined ? {} : { NextToken: pageToken(ctx, scope, next) }),
});
