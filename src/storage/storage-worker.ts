// A worker thread of the store: does one task at a time, answers, and waits for the next.
import { closeSync, fdatasyncSync, openSync } from "node:fs";
import { getPriority, setPriority } from "node:os";
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { chain, systemCode } from "../base/errors.ts";
import { MIB } from "../base/units.ts";
import { writeFullySync } from "../base/write-fully.ts";
import { BlobIndex } from "./blob-index.ts";
import { BlobReader, FrameDecoder } from "./blob-reader.ts";
import { openSource, type SourceReader } from "./capture-sources.ts";
import { type Domain, Domains } from "./encryption.ts";
import {
  BLOB_ROW_BYTES,
  BLOCK,
  DATA_FRAME,
  DamageError,
  FRAME_MANIFEST,
  FRAME_ROW_BYTES,
  ID_BYTES,
  INDEX_ENTRY_BYTES,
  indexEntries,
  MANIFEST_FRAME,
  SEGMENT,
} from "./format.ts";
import { FrameCache } from "./frame-cache.ts";
import { openHome } from "./home.ts";
import { encodeSegment, IndexSegment } from "./index-segment.ts";
import { extendKnownBlobs, FreshBlobs, KnownBlobs, type KnownBlobsShare } from "./known-blobs.ts";
import { idAt, packIds } from "./manifest.ts";
import { checkPack, type PackDamage, readPackFooter } from "./pack-check.ts";
import { packPath, syncPackFiles } from "./pack-files.ts";
import { PackWriter } from "./pack-writer.ts";
import {
  condemnedEntries,
  IndexSnapshot,
  keptEntries,
  type PackLiveness,
  packLiveness,
  Reach,
  type Root,
} from "./reachability.ts";
import { SegmentCapture } from "./segment-capture.ts";
import { PageCache, SnapshotReader } from "./snapshot-reader.ts";
import { type OwnedRoot, ownerUsage } from "./usage.ts";
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

// Who calls and what guests do comes first: on Linux a priority that is set here is this thread's alone. Never raised:
// that would need a right.
const NICE = 10;
if (process.platform === "linux") setPriority(Math.max(NICE, getPriority()));

/** Of index entries, per worker: those of 1.3 GB of content. */
const INDEX_BYTES = 4 * MIB;

const setup = workerData as WorkerSetup;
const home = openHome(setup.directory, setup.bucket);
const domains = new Domains(setup.directory, setup.key);
const codec = openCodec();
const index = new BlobIndex(join(setup.directory, "index"), INDEX_BYTES, () => {});
const blobs = new BlobReader({
  index,
  packs: home.packs("sync"),
  codec,
  domains,
  // What an incremental capture reads again lies next to what has changed; a restore goes through a disk once.
  cache: new FrameCache(2 * MIB),
});
const pages = new PageCache(16 * 1024);
const decoder = new FrameDecoder(codec);
/** A segment's bytes, for captures and restores: 8 MiB for each task would lie about until a collection of the heap. */
const segmentBuffer = Buffer.allocUnsafeSlow(SEGMENT);

/** What is open between a capture, or the first rewrite, and `finish` or `abandon`: a writer per domain. */
const writers = new Map<string | null, PackWriter>();
/** The capture's own domain: tree nodes go there. */
let captureDomain: Domain | null = null;
let known: KnownBlobs | null = null;
let fresh: FreshBlobs | null = null;
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

function writerFor(domain: Domain): PackWriter {
  let writer = writers.get(domain.id);
  if (writer === undefined) {
    writer = new PackWriter({
      tmp: join(setup.directory, "tmp"),
      domain,
      codec,
      onPack: (pack) => send({ kind: "pack", pack }, [pack.entries.buffer]),
    });
    writers.set(domain.id, writer);
  }
  return writer;
}

async function capture(task: CaptureTask): Promise<CapturedSegments> {
  const domain = domains.get(task.domain);
  captureDomain = domain;
  blobs.refresh();
  known = new KnownBlobs(task.known);
  fresh = new FreshBlobs(task.fresh);
  source = await openSource(task.source, task.bytes);
  try {
    const segment = new SegmentCapture({
      bytes: task.bytes,
      plan: task.plan,
      source,
      base: task.base === null ? null : readerOf(task.base),
      blobs,
      domain,
      shared: task.sharedDomains.map((id) => domains.get(id)),
      known,
      fresh,
      writer: writerFor(domain),
      buffer: segmentBuffer,
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
  }
}

function finish(nodes: readonly { id: Uint8Array; bytes: Uint8Array }[]): { storedBytes: number } {
  for (const node of nodes) {
    if (captureDomain === null) throw new Error("nodes without a capture");
    const id = Buffer.from(node.id);
    // Asked of the capture's own table, as for every other blob: what a collection has condemned is not in it.
    if (known?.has(id) || fresh?.claim(id) === false) continue;
    writerFor(captureDomain).addManifest(id, Buffer.from(node.bytes));
  }
  let storedBytes = 0;
  for (const writer of writers.values()) {
    writer.finish();
    storedBytes += writer.storedBytes;
  }
  writers.clear();
  endSession();
  return { storedBytes };
}

function endSession(): void {
  known?.close();
  known = null;
  fresh = null;
  captureDomain = null;
}

function abandon(): null {
  const open = [...writers.values()];
  writers.clear();
  endSession();
  for (const writer of open) writer.abandon();
  return null;
}

function writeIndex(path: string, packs: readonly { name: string; entries: Uint8Array }[]): null {
  const bytes = encodeSegment(packs);
  const fd = openSync(path, "wx", 0o600);
  try {
    writeFullySync(fd, bytes);
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
  return null;
}

function extendTable(table: KnownBlobsShare | null, add: readonly AddedSegment[]): KnownBlobsShare {
  const segments: IndexSegment[] = [];
  const condemned: (Uint8Array | null)[] = [];
  for (const one of add) {
    try {
      segments.push(new IndexSegment(one.name, one.path));
      condemned.push(one.condemned);
    } catch (error) {
      // A collection has merged it since it was named: its blobs are stored again where they are met.
      if (systemCode(error) !== "ENOENT") throw error;
    }
  }
  try {
    return extendKnownBlobs(table, segments, condemned);
  } finally {
    for (const segment of segments) segment.close();
  }
}

/** Writes the non-zero blocks of each segment; the file is already as long as the disk and all hole. */
async function restore(task: Extract<Task, { kind: "restore" }>): Promise<null> {
  blobs.refresh();
  const reader = readerOf(task.root);
  const fd = openSync(task.path, "r+");
  const buffer = segmentBuffer;
  try {
    await eachJob(task.control, task.segments.length, async (job) => {
      const start = task.segments[job]! * SEGMENT;
      const bytes = Math.min(SEGMENT, task.root.bytes - start);
      await reader.readInto(buffer.subarray(0, bytes), start);
      for await (const extent of reader.extents(start, start + bytes)) {
        const from = extent.offset - start;
        writeFullySync(fd, buffer.subarray(from, from + extent.bytes), extent.offset);
      }
      return Math.ceil(bytes / BLOCK);
    });
  } finally {
    closeSync(fd);
  }
  return null;
}

/** The marks of the collection that runs here. */
let reach: Reach | null = null;

function marks(): Reach {
  if (reach === null) throw new Error("nothing is marked");
  return reach;
}

async function mark(segments: readonly string[], roots: readonly Root[]): Promise<PackLiveness[]> {
  blobs.refresh();
  reach ??= new Reach(new IndexSnapshot(join(setup.directory, "index"), segments), blobs);
  for (const root of roots) await reach.add(root, 1);
  return packLiveness(reach);
}

const rewrite = (pack: string): Promise<null> => home.wholePack(pack, false, (root) => rewriteFrom(root, pack));

/** Frames that hold less are decoded and joined: captures of little leave them, and each costs a read of its own. */
const COPIED_FROM = DATA_FRAME / 2;

function rewriteFrom(root: string, pack: string): null {
  const { index: marked, owners } = marks();
  const { domain: domainId, frames, blobs } = readPackFooter(join(root, packPath(pack)));
  // Ids and keys are the domain's: what is rewritten stays in it.
  const domain = domains.get(domainId);
  const writer = writerFor(domain);
  const plain = Buffer.allocUnsafe(MANIFEST_FRAME);
  const files = syncPackFiles(root);
  /** Is it reached, and this copy of it the one that is marked? */
  const lives = (id: Buffer, offset: number): boolean => {
    const number = marked.find(id);
    if (number < 0 || owners[number] === 0) return false;
    const place = marked.place(number, id);
    return place.pack === pack && place.frameOffset === offset;
  };
  try {
    for (let row = 0; row < blobs.length; ) {
      const frame = blobs.readUInt32LE(row + 32);
      const offset = frames.readUInt32LE(frame * FRAME_ROW_BYTES);
      const bytes = frames.readUInt32LE(frame * FRAME_ROW_BYTES + 4);
      const live: { id: Buffer; offset: number; bytes: number }[] = [];
      const first = row;
      for (; row < blobs.length && blobs.readUInt32LE(row + 32) === frame; row += BLOB_ROW_BYTES) {
        const id = blobs.subarray(row, row + ID_BYTES);
        if (!lives(id, offset)) continue;
        live.push({ id, offset: blobs.readUInt32LE(row + 36), bytes: blobs.readUInt32LE(row + 40) });
      }
      if (live.length === 0) continue;
      const raw = files.read(pack, offset, bytes) as Buffer;
      const opened = decoder.open(pack, domain, offset, raw);
      if (live.length === (row - first) / BLOB_ROW_BYTES && opened.plainBytes >= COPIED_FROM) {
        writer.addFrame(opened, live);
        continue;
      }
      decoder.expand(opened, plain, () => `pack ${pack}, frame at ${offset}`);
      for (const { id, offset: from, bytes: length } of live) {
        const blob = plain.subarray(from, from + length);
        if (!domain.blobId(blob).equals(id)) throw new DamageError(`pack ${pack}: a blob does not match its id`);
        if (opened.flags === FRAME_MANIFEST) writer.addManifest(id, blob);
        else writer.addChunk(id, blob);
      }
    }
  } finally {
    void files.close();
  }
  return null;
}

async function usage(segments: readonly string[], roots: readonly OwnedRoot[]): Promise<TaskResults["usage"]> {
  blobs.refresh();
  const snapshot = new IndexSnapshot(join(setup.directory, "index"), segments);
  try {
    return await ownerUsage(new Reach(snapshot, blobs), blobs, roots);
  } finally {
    snapshot.close();
  }
}

/** Waits so that no more than `bytesPerSecond` are read. @throws Error "cancelled" */
async function scrub(pack: string, bytesPerSecond: number, control: TaskControl): Promise<PackDamage[]> {
  const flags = new Int32Array(control.flags);
  const started = performance.now();
  let read = 0;
  return home.wholePack(pack, false, (root) =>
    checkPack(join(root, packPath(pack)), decoder, domains, async (bytes) => {
      if (Atomics.load(flags, 1) !== 0) throw new Error("cancelled");
      read += bytes;
      const ahead = (read / bytesPerSecond) * 1000 - (performance.now() - started);
      // Short sleeps would be rounded up; a cancel must not wait long.
      if (ahead > 20) await new Promise((resume) => setTimeout(resume, Math.min(ahead, 1000)));
    }),
  );
}

async function rebuild(path: string, packs: readonly string[]): Promise<TaskResults["rebuild"]> {
  const damaged: { pack: string; reason: string }[] = [];
  const entries: { name: string; entries: Uint8Array }[] = [];
  let count = 0;
  for (const name of packs) {
    try {
      const found = await home.wholePack(name, true, (root) =>
        indexEntries(readPackFooter(join(root, packPath(name)))),
      );
      count += found.length / INDEX_ENTRY_BYTES;
      entries.push({ name, entries: found });
    } catch (error) {
      if (!(error instanceof DamageError)) throw error;
      damaged.push({ pack: name, reason: error.message });
    }
  }
  writeIndex(path, entries);
  return { damaged, blobs: count };
}

/** Which roots reach a damaged blob or can't be walked to their end, and which index segments are damaged. */
async function affected(
  segments: readonly string[],
  roots: readonly Root[],
  damaged: ReadonlySet<string>,
): Promise<TaskResults["affected"]> {
  blobs.refresh();
  const found = new Set<string>();
  const faults: TaskResults["affected"]["faults"] = [];
  for (const root of roots) {
    const lost: string[] = [];
    try {
      // `add` finds out whether each blob of the root has a place; who it is, its own visitor tells.
      await new Reach(new IndexSnapshot(join(setup.directory, "index"), []), blobs, (id) => {
        if (damaged.has(id)) lost.push(id);
      }).add(root, 1);
    } catch (error) {
      faults.push({ root: root.name, reason: chain(error) });
    }
    if (lost.length > 0) found.add(root.name);
  }
  for (const name of segments) {
    let segment: IndexSegment | undefined;
    try {
      segment = new IndexSegment(name, join(setup.directory, "index", `${name}.index`));
      for (const _ of segment.slices());
    } catch (error) {
      // Merged by a collection since it was named: nothing is wrong.
      if (systemCode(error) !== "ENOENT") faults.push({ root: null, reason: chain(error) });
    } finally {
      segment?.close();
    }
  }
  return { affected: [...found], faults };
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
    case "mark":
      return mark(task.segments, task.roots);
    case "condemn":
      return condemnedEntries(marks(), new Set(task.gone));
    case "rewrite":
      return rewrite(task.pack);
    case "merge":
      return writeIndex(task.path, [...keptEntries(marks(), new Set(task.gone)), ...task.packs]);
    case "unmark":
      reach?.index.close();
      reach = null;
      return abandon();
    case "usage":
      return usage(task.segments, task.roots);
    case "scrub":
      return scrub(task.pack, task.bytesPerSecond, task.control);
    case "rebuild":
      return rebuild(task.path, task.packs);
    case "affected":
      return affected(task.segments, task.roots, new Set(task.blobs));
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
