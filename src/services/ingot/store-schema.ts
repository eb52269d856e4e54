// The block store, for the operator: what it holds, and its upkeep. Sizes are bytes.
import { bool, integer, listOf, type Of, operationShape, structure, text, timestamp } from "./shapes.ts";

export type { Of };

/** What one snapshot, or one image by all its snapshots together, holds. */
const held = {
  /** Not zero, before deduplication and compression. */
  AllocatedBytes: integer,
  /** Stored bytes that nothing else reaches. */
  ExclusiveBytes: integer,
  /** Stored bytes that it reaches with others. */
  SharedBytes: integer,
  /** Stored bytes that a collection frees once it is deleted: whole frames, of what is exclusive. */
  FreedIfDeletedBytes: integer,
};
export const SnapshotUsage$ = structure(
  "SnapshotUsage",
  { SnapshotId: text, VirtualBytes: integer, ...held },
  /** Absent for content that no row speaks of: a volume's base, whose id then is the volume's. */
  { OwnerId: text, Region: text },
);
export const ImageUsage$ = structure(
  "ImageUsage",
  { ImageId: text, SnapshotIds: listOf(text), ...held },
  { OwnerId: text, Region: text, Name: text },
);

export const GetStoreUsageRequest$ = structure(
  "GetStoreUsageRequest",
  {},
  /** Only these. Default: everything. */
  { SnapshotIds: listOf(text), ImageIds: listOf(text) },
);
export const GetStoreUsageResponse$ = structure(
  "GetStoreUsageResponse",
  {
    /** All packs, as they lie on the disk or in the bucket. */
    TotalBytes: integer,
    /** Stored bytes that any snapshot reaches; the rest waits for a collection, or is footers. */
    ReachedBytes: integer,
    Snapshots: listOf(SnapshotUsage$),
    Images: listOf(ImageUsage$),
  },
  {},
);
/** What everything holds, exactly, at this moment. Costs a walk over all manifests. Operator only. */
export const GetStoreUsage$ = operationShape("GetStoreUsage", GetStoreUsageRequest$, GetStoreUsageResponse$);

export const StoreDamage$ = structure(
  "StoreDamage",
  /** `FrameOffset` -1: the pack's header or footer. */
  { Pack: text, FrameOffset: integer, Reason: text, Blobs: integer },
  {},
);
export const StoreTask$ = structure(
  "StoreTask",
  {
    TaskId: text,
    /** `collect`, `scrub`, `rebuild-index` */
    Kind: text,
    PlanOnly: bool,
    /** `running`, `completed`, `failed`, `stopped` */
    State: text,
    StartTime: timestamp,
  },
  {
    EndTime: timestamp,
    Message: text,
    /** Of a scrub: bytes read so far, of so many. */
    DoneBytes: integer,
    TotalBytes: integer,
    /** Of a collection. */
    LiveBytes: integer,
    FreedBytes: integer,
    RewrittenBytes: integer,
    /** Of a collection: packs removed; of a rebuild: packs read. */
    Packs: integer,
    /** Packs that could not be read. */
    DamagedPacks: listOf(text),
    /** Of a rebuild. */
    Blobs: integer,
    /** Of a scrub. */
    Damage: listOf(StoreDamage$),
    /** Snapshots and volumes that damage touches, and the images of those snapshots. */
    AffectedSnapshotIds: listOf(text),
    AffectedImageIds: listOf(text),
    Faults: listOf(text),
  },
);
const task = structure("StoreTaskResponse", { Task: StoreTask$ }, {});
export type StoreTaskResponse = Of<typeof task>;

export const CollectStoreRequest$ = structure("CollectStoreRequest", {}, { PlanOnly: bool });
/** Frees what nothing reaches; with `PlanOnly` only says what it would free. Begins a task. Operator only. */
export const CollectStore$ = operationShape("CollectStore", CollectStoreRequest$, task);

export const ScrubStoreRequest$ = structure("ScrubStoreRequest", {}, { BytesPerSecond: integer });
/** Reads and re-hashes everything. Begins a task, or gives the one that runs. Operator only. */
export const ScrubStore$ = operationShape("ScrubStore", ScrubStoreRequest$, task);

export const RebuildStoreIndexRequest$ = structure("RebuildStoreIndexRequest", {}, {});
/** Makes the index anew from the packs. Begins a task. Operator only. */
export const RebuildStoreIndex$ = operationShape("RebuildStoreIndex", RebuildStoreIndexRequest$, task);

export const DescribeStoreTasksRequest$ = structure("DescribeStoreTasksRequest", {}, { TaskIds: listOf(text) });
export const DescribeStoreTasksResponse$ = structure("DescribeStoreTasksResponse", { Tasks: listOf(StoreTask$) }, {});
/** Tasks that run and the latest that have ended since the server started, oldest first. Operator only. */
export const DescribeStoreTasks$ = operationShape(
  "DescribeStoreTasks",
  DescribeStoreTasksRequest$,
  DescribeStoreTasksResponse$,
);

export const StopStoreTaskRequest$ = structure("StopStoreTaskRequest", { TaskId: text }, {});
/** Asks a task to end. Operator only. */
export const StopStoreTask$ = operationShape("StopStoreTask", StopStoreTaskRequest$, task);
