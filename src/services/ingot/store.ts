import { ApiError } from "../../base/api-error.ts";
import { isId, type SnapshotId } from "../../base/ids.ts";
import { MIB } from "../../base/units.ts";
import { imagesUsing } from "../../model/image-rows.ts";
import type { HolderUsage, StoreTask } from "../../storage/store.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { operatorCheck } from "./operator.ts";
import {
  CollectStore$,
  type CollectStoreRequest$,
  DescribeStoreTasks$,
  type DescribeStoreTasksRequest$,
  type DescribeStoreTasksResponse$,
  GetStoreUsage$,
  type GetStoreUsageRequest$,
  type GetStoreUsageResponse$,
  type Of,
  RebuildStoreIndex$,
  type RebuildStoreIndexRequest$,
  ScrubStore$,
  type ScrubStoreRequest$,
  StopStoreTask$,
  type StopStoreTaskRequest$,
  type StoreTask$,
  type StoreTaskResponse,
} from "./store-schema.ts";

/** Ids in one query: databases limit how many values a statement takes. */
const IDS_AT_ONCE = 500;

const held = ({ allocatedBytes, exclusiveBytes, sharedBytes, freedIfDeletedBytes }: HolderUsage) => ({
  AllocatedBytes: allocatedBytes,
  ExclusiveBytes: exclusiveBytes,
  SharedBytes: sharedBytes,
  FreedIfDeletedBytes: freedIfDeletedBytes,
});

export const getStoreUsage = operation({
  action: "ingot:GetStoreUsage",
  schema: GetStoreUsage$.schema,
  access: "read",
  async resolve(ctx: RequestContext, _input: Of<typeof GetStoreUsageRequest$>) {
    return { checks: [await operatorCheck(ctx, "ingot:GetStoreUsage")] };
  },
  async run(ctx, input): Promise<Of<typeof GetStoreUsageResponse$>> {
    const store = ctx.parts.snapshots;
    const usage = await store.usage();
    const ids = usage.snapshots.flatMap(({ id }) => (isId("snapshot", id) ? [id] : []));
    const rows = await snapshotRows(ctx, ids);
    const images = await imagesOf(ctx, ids);
    const byImage = images.size === 0 ? new Map<string, HolderUsage>() : await store.usageOfGroups(images);
    const named = await imageRows(ctx, [...images.keys()]);
    const wantedImages = input.ImageIds === undefined ? null : new Set(input.ImageIds);
    // Who names images alone asks for those only.
    const wantedSnapshots =
      input.SnapshotIds === undefined && wantedImages === null ? null : new Set(input.SnapshotIds ?? []);
    const all = wantedSnapshots === null && wantedImages === null;
    return {
      TotalBytes: usage.totalBytes,
      ReachedBytes: usage.reachedBytes,
      Snapshots: usage.snapshots
        .filter(({ id }) => all || wantedSnapshots?.has(id))
        .map((one) => {
          const row = rows.get(one.id);
          return {
            SnapshotId: one.id,
            VirtualBytes: one.bytes,
            ...held(one),
            ...(row === undefined ? {} : { OwnerId: row.account_id, Region: row.region }),
          };
        }),
      Images: [...byImage]
        .filter(([id]) => all || wantedImages?.has(id))
        .map(([id, one]) => {
          const row = named.get(id);
          return {
            ImageId: id,
            SnapshotIds: [...(images.get(id) ?? [])],
            ...held(one),
            ...(row === undefined ? {} : { OwnerId: row.account_id, Region: row.region, Name: row.name }),
          };
        }),
    };
  },
});

function* parts<T>(all: readonly T[]): Generator<T[]> {
  for (let at = 0; at < all.length; at += IDS_AT_ONCE) yield all.slice(at, at + IDS_AT_ONCE);
}

async function snapshotRows(ctx: RequestContext, ids: readonly SnapshotId[]) {
  const rows = new Map<string, { account_id: string; region: string }>();
  for (const part of parts(ids)) {
    const found = await ctx.database.read
      .selectFrom("snapshots")
      .select(["id", "account_id", "region"])
      .where("id", "in", part)
      .execute();
    for (const row of found) rows.set(row.id, row);
  }
  return rows;
}

async function imageRows(ctx: RequestContext, ids: readonly string[]) {
  const rows = new Map<string, { account_id: string; region: string; name: string }>();
  for (const part of parts(ids)) {
    const found = await ctx.database.read
      .selectFrom("images")
      .select(["id", "account_id", "region", "name"])
      .where("id", "in", part)
      .execute();
    for (const row of found) rows.set(row.id, row);
  }
  return rows;
}

/** Image → its snapshots. */
async function imagesOf(ctx: RequestContext, ids: readonly SnapshotId[]): Promise<Map<string, SnapshotId[]>> {
  const images = new Map<string, SnapshotId[]>();
  for (const part of parts(ids)) {
    for (const [snapshot, using] of await imagesUsing(ctx.database.read, part)) {
      for (const image of using) images.set(image, [...(images.get(image) ?? []), snapshot]);
    }
  }
  return images;
}

async function shownTask(ctx: RequestContext, task: StoreTask): Promise<Of<typeof StoreTask$>> {
  const { collected, scrubbed, rebuilt } = task;
  const affected = scrubbed?.affected ?? [];
  const images = await imagesOf(
    ctx,
    affected.flatMap((id) => (isId("snapshot", id) ? [id] : [])),
  );
  return {
    TaskId: task.id,
    Kind: task.kind,
    PlanOnly: task.planOnly,
    State: task.state,
    StartTime: task.startedAt,
    ...(task.endedAt === null ? {} : { EndTime: task.endedAt }),
    ...(task.message === null ? {} : { Message: task.message }),
    ...(task.kind === "scrub" ? { DoneBytes: task.doneBytes, TotalBytes: task.totalBytes } : {}),
    ...(collected === null
      ? {}
      : {
          LiveBytes: collected.liveBytes,
          FreedBytes: collected.freedBytes,
          RewrittenBytes: collected.rewrittenBytes,
          Packs: collected.packs,
          DamagedPacks: collected.damaged,
        }),
    ...(rebuilt === null
      ? {}
      : { Packs: rebuilt.packs, Blobs: rebuilt.blobs, DamagedPacks: rebuilt.damaged.map(({ pack }) => pack) }),
    ...(scrubbed === null
      ? {}
      : {
          Damage: scrubbed.damage.map(({ pack, frame, reason, blobs }) => ({
            Pack: pack,
            FrameOffset: frame,
            Reason: reason,
            Blobs: blobs.length,
          })),
          AffectedSnapshotIds: affected,
          AffectedImageIds: [...images.keys()],
          Faults: scrubbed.faults,
        }),
  };
}

export const collectStore = operation({
  action: "ingot:CollectStore",
  schema: CollectStore$.schema,
  access: "write",
  async resolve(ctx: RequestContext, _input: Of<typeof CollectStoreRequest$>) {
    return { checks: [await operatorCheck(ctx, "ingot:CollectStore")] };
  },
  async run(ctx, input): Promise<StoreTaskResponse> {
    return { Task: await shownTask(ctx, ctx.parts.snapshots.tasks.collect({ planOnly: input.PlanOnly === true })) };
  },
});

export const scrubStore = operation({
  action: "ingot:ScrubStore",
  schema: ScrubStore$.schema,
  access: "write",
  async resolve(ctx: RequestContext, _input: Of<typeof ScrubStoreRequest$>) {
    return { checks: [await operatorCheck(ctx, "ingot:ScrubStore")] };
  },
  async run(ctx, { BytesPerSecond: rate }): Promise<StoreTaskResponse> {
    if (rate !== undefined && rate < MIB) throw invalid(`BytesPerSecond takes a number from ${MIB}.`);
    const task = ctx.parts.snapshots.tasks.scrub(rate === undefined ? {} : { bytesPerSecond: rate });
    return { Task: await shownTask(ctx, task) };
  },
});

export const rebuildStoreIndex = operation({
  action: "ingot:RebuildStoreIndex",
  schema: RebuildStoreIndex$.schema,
  access: "write",
  async resolve(ctx: RequestContext, _input: Of<typeof RebuildStoreIndexRequest$>) {
    return { checks: [await operatorCheck(ctx, "ingot:RebuildStoreIndex")] };
  },
  async run(ctx): Promise<StoreTaskResponse> {
    return { Task: await shownTask(ctx, ctx.parts.snapshots.tasks.rebuildIndex()) };
  },
});

export const describeStoreTasks = operation({
  action: "ingot:DescribeStoreTasks",
  schema: DescribeStoreTasks$.schema,
  access: "read",
  async resolve(ctx: RequestContext, _input: Of<typeof DescribeStoreTasksRequest$>) {
    return { checks: [await operatorCheck(ctx, "ingot:DescribeStoreTasks")] };
  },
  async run(ctx, { TaskIds: ids }): Promise<Of<typeof DescribeStoreTasksResponse$>> {
    const { tasks } = ctx.parts.snapshots;
    const found = ids === undefined ? tasks.list() : ids.map((id) => tasks.get(id) ?? noSuchTask(id));
    return { Tasks: await Promise.all(found.map((task) => shownTask(ctx, task))) };
  },
});

export const stopStoreTask = operation({
  action: "ingot:StopStoreTask",
  schema: StopStoreTask$.schema,
  access: "write",
  async resolve(ctx: RequestContext, _input: Of<typeof StopStoreTaskRequest$>) {
    return { checks: [await operatorCheck(ctx, "ingot:StopStoreTask")] };
  },
  async run(ctx, { TaskId: id }): Promise<StoreTaskResponse> {
    const { tasks } = ctx.parts.snapshots;
    tasks.stop(id);
    return { Task: await shownTask(ctx, tasks.get(id) ?? noSuchTask(id)) };
  },
});

const invalid = (sentence: string): ApiError => new ApiError("ValidationException", sentence);
function noSuchTask(id: string): never {
  throw invalid(`There is no task ${id}: tasks are kept until the server ends.`);
}
