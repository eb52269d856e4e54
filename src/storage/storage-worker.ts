// A worker thread of the store: does one task at a time, answers, and waits for the next.
import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { MIB } from "../base/units.ts";
import { BlobIndex } from "./blob-index.ts";
import { BlobReader } from "./blob-reader.ts";
import { openSource, type SourceReader } from "./capture-sources.ts";
import { domainOf } from "./encryption.ts";
import { BLOCK, SEGMENT } from "./format.ts";
import { FrameCache } from "./frame-cache.ts";
import { encodeSegment, IndexSegment } from "./index-segment.ts";
import { extendKnownBlobs, FreshBlobs, KnownBlobs, type KnownBlobsShare } from "./known-blobs.ts";
import { idAt, packIds } from "./manifest.ts";
import { syncPackFiles } from "./pack-files.ts";
import { PackWriter } from "./pack-writer.ts";
import { SegmentCapture } from "./segment-capture.ts";
import { PageCache, SnapshotReader } from "./snapshot-reader.ts";
import type {
  AddedSegment,
  CapturedSegments,
  CaptureTask,
  FromWorker,
  RootMessage,
  Task,
  TaskControl,
  TaskResults,
  ToWorker,
  WorkerSetup,
} from "./worker-tasks.ts";
import { errorMessage } from "./worker-tasks.ts";
import { openCodec } from "./zstd.ts";

const port = parentPort;
if (port === null) throw new Error("storage-worker runs in a worker thread only");

const setup = workerData as WorkerSetup;
const domain = domainOf(setup.key);
const codec = openCodec();
const index = new BlobIndex(join(setup.directory, "index"), () => {});
const blobs = new BlobReader({
  index,
  packs: syncPackFiles(setup.directory),
  codec,
  domain,
  cache: new FrameCache(8 * MIB),
});
const pages = new PageCache(16 * 1024);

/** The capture that is open between its task and its `finish` or `abandon`. */
let writer: PackWriter | null = null;
/** What a cancel must close, so that a read that never ends does. */
let source: SourceReader | null = null;

const send = (message: FromWorker, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);

const readerOf = (root: RootMessage): SnapshotReader =>
  new SnapshotReader({ ...root, top: root.top === null ? null : Buffer.from(root.top, "hex") }, blobs, pages);

/** Takes jobs one by one until there are none; all workers of a task share the counter. */
async function eachJob(control: TaskControl, jobs: number, run: (job: number) => Promise<number>): Promise<void> {
  const flags = new Int32Array(control.flags);
  const progress = new BigInt64Array(control.progress);
  for (;;) {
    if (Atomics.load(flags, 1) !== 0) throw new Error("cancelled");
    const job = Atomics.add(flags, 0, 1);
    if (job >= jobs) return;
    Atomics.add(progress, 0, BigInt(await run(job)));
    // Files are read synchronously: let messages in between.
    await new Promise((resume) => setImmediate(resume));
  }
}

async function capture(task: CaptureTask): Promise<CapturedSegments> {
  writer = new PackWriter({
    tmp: join(setup.directory, "tmp"),
    domain,
    codec,
    onPack: (pack) => send({ kind: "pack", pack }, [pack.entries.buffer]),
  });
  index.refresh();
  const known = new KnownBlobs(task.known);
  source = await openSource(task.source, task.bytes);
  try {
    const segment = new SegmentCapture({
      bytes: task.bytes,
      plan: task.plan,
      source,
      base: task.base === null ? null : readerOf(task.base),
      blobs,
      domain,
      known,
      fresh: new FreshBlobs(task.fresh),
      writer,
    });
    const segments: number[] = [];
    const ids: (Buffer | null)[] = [];
    const allocatedBlocks: number[] = [];
    await eachJob(task.control, task.segments.length, async (job) => {
      const number = task.segments[job]!;
      const captured = await segment.capture(number, idAt(task.basePages, job));
      segments.push(number);
      ids.push(captured.page);
      allocatedBlocks.push(captured.allocatedBlocks);
      return captured.changedBlocks;
    });
    return { segments: Uint32Array.from(segments), pages: packIds(ids), allocatedBlocks };
  } finally {
    source.close();
    source = null;
    known.close();
  }
}

function finish(nodes: readonly { id: Uint8Array; bytes: Uint8Array }[]): { storedBytes: number } {
  if (writer === null) throw new Error("no capture is open");
  for (const node of nodes) writer.addManifest(Buffer.from(node.id), Buffer.from(node.bytes));
  writer.finish();
  const { storedBytes } = writer;
  writer = null;
  return { storedBytes };
}

function abandon(): null {
  writer?.abandon();
  writer = null;
  return null;
}

function writeIndex(path: string, packs: readonly { name: string; entries: Uint8Array }[]): null {
  const bytes = encodeSegment(packs);
  const fd = openSync(path, "wx", 0o600);
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at);
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
  return null;
}

function extendTable(table: KnownBlobsShare | null, add: readonly AddedSegment[]): KnownBlobsShare {
  const segments = add.map(({ name, path }) => new IndexSegment(name, path));
  try {
    return extendKnownBlobs(
      table,
      segments,
      add.map(({ condemned }) => condemned),
    );
  } finally {
    for (const segment of segments) segment.close();
  }
}

/** Writes the non-zero blocks of each segment; the file is already as long as the disk and all hole. */
async function restore(task: Extract<Task, { kind: "restore" }>): Promise<null> {
  index.refresh();
  const reader = readerOf(task.root);
  const fd = openSync(task.path, "r+");
  const buffer = Buffer.allocUnsafeSlow(SEGMENT);
  try {
    await eachJob(task.control, task.segments.length, async (job) => {
      const start = task.segments[job]! * SEGMENT;
      const bytes = Math.min(SEGMENT, task.root.bytes - start);
      await reader.readInto(buffer.subarray(0, bytes), start);
      for await (const extent of reader.extents(start, start + bytes)) {
        const from = extent.offset - start;
        for (let done = 0; done < extent.bytes; ) {
          done += writeSync(fd, buffer, from + done, extent.bytes - done, extent.offset + done);
        }
      }
      return Math.ceil(bytes / BLOCK);
    });
  } finally {
    closeSync(fd);
  }
  return null;
}

async function run(task: Task): Promise<TaskResults[keyof TaskResults]> {
  switch (task.kind) {
    case "plan": {
      const opened = await openSource(task.source, task.bytes);
      source = opened;
      try {
        return await opened.plan();
      } finally {
        opened.close();
        source = null;
      }
    }
    case "capture":
      return capture(task);
    case "finish":
      return finish(task.nodes);
    case "abandon":
      return abandon();
    case "table":
      return extendTable(task.table, task.add);
    case "index":
      return writeIndex(task.path, task.packs);
    case "restore":
      return restore(task);
  }
}

port.on("message", (message: ToWorker) => {
  if ("cancel" in message) {
    source?.close();
    return;
  }
  run(message.task).then(
    (value) => send({ kind: "done", id: message.id, value }),
    (error: unknown) => send({ kind: "failed", id: message.id, error: errorMessage(error) }),
  );
});
