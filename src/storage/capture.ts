// A capture from the server's side: plan, hand segments to workers, publish what they made, build the tree.
// The order is FORMAT.md §6; the caller holds the lease and commits the record.
import { randomBytes } from "node:crypto";
import { unlink } from "node:fs/promises";
import { join } from "node:path";
import { KIB, MIB } from "../base/units.ts";
import type { CaptureProgress } from "../model/disk.ts";
import type { Backend } from "./backend.ts";
import type { BlobReader } from "./blob-reader.ts";
import type { AnySource } from "./capture-sources.ts";
import type { Domain } from "./encryption.ts";
import { BLOCK, SEGMENT } from "./format.ts";
import type { FreshBlobsMemory, KnownBlobsShare } from "./known-blobs.ts";
import { buildTree, idAt, packIds, type SegmentPages, segmentPages } from "./manifest.ts";
import { packPath } from "./pack-files.ts";
import type { FinishedPack } from "./pack-writer.ts";
import type { SnapshotReader } from "./snapshot-reader.ts";
import type { CaptureTask, RootMessage } from "./worker-tasks.ts";
import type { StorageWorker, WorkerPool } from "./workers.ts";

export interface CaptureOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: CaptureProgress) => void;
}

/** What a capture works with; the store gives it. */
export interface CaptureContext {
  readonly directory: string;
  readonly backend: Backend;
  readonly pool: WorkerPool;
  readonly blobs: BlobReader;
  readonly freshBlobs: FreshBlobsMemory;
  /** Asked under the lease; the worker reads the index segments that the table does not hold yet. */
  knownBlobs(worker: StorageWorker): Promise<KnownBlobsShare>;
  /** A new index segment is in place. */
  onIndex(name: string): void;
  /** Packs that are published and not yet named in an index: a collection must not take them for garbage. */
  readonly unnamedPacks: Set<string>;
}

export interface CapturedContent {
  readonly bytes: number;
  readonly source: AnySource;
  readonly base: SnapshotReader | null;
  /** Whose it is. */
  readonly domain: Domain;
  /** Whose blobs it may rely on besides. */
  readonly shared: readonly Domain[];
}

export interface CapturedDisk {
  readonly top: Buffer | null;
  readonly allocatedBytes: number;
  readonly newBytes: number;
}

/** One worker reads and compresses this much in about a tenth of a second: less is not worth a second one. */
const BYTES_PER_WORKER = 16 * MIB;
/** Chunks are 16 KiB on average, and there are pages besides. */
const BYTES_PER_BLOB = 12 * KIB;
/** Packs are named in an index while a long capture goes on, so that its memory stays bounded. */
const PACKS_PER_INDEX = 64;
const PROGRESS_MS = 200;

/** @param base  whose blocks stand where the source lists nothing as changed */
export async function captureDisk(
  context: CaptureContext,
  spec: CapturedContent,
  { signal, onProgress }: CaptureOptions,
): Promise<CapturedDisk> {
  signal?.throwIfAborted();
  const { bytes, source, base, domain, shared } = spec;
  // A processor is left to a guest that runs, and to its QEMU, which hands out the blocks.
  const most = source.kind === "nbd" ? context.pool.perTask - 1 : context.pool.perTask;
  // Whatever a plan says of a first capture of a file, it is most likely large.
  if (base === null && source.kind === "file") context.pool.prepare(most);
  const plan = await context.pool.with(1, async ([worker]) => {
    const cancel = (): void => worker!.cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      return await worker!.run({ kind: "plan", source, bytes });
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  });
  signal?.throwIfAborted();

  const pages = base === null ? new Map<number, Buffer>() : await segmentPages(context.blobs, base.top, base.bytes);
  const basePages = new Map(pages);
  const { segments, changedBytes, dataBytes } = segmentsToVisit(plan.changed, plan.zero, bytes);
  const totalBytes = changedBytes;
  const control = { flags: new SharedArrayBuffer(8), progress: new SharedArrayBuffer(8) };
  const report = (): void => {
    const doneBytes = Math.min(totalBytes, Number(Atomics.load(new BigInt64Array(control.progress), 0)) * BLOCK);
    onProgress?.({ doneBytes, totalBytes });
  };
  onProgress?.({ doneBytes: 0, totalBytes });

  // A segment's allocation is counted where it is captured; one that is taken over unread is counted from its page.
  let allocatedBlocks = 0;
  if (base !== null) {
    const visited = new Set(segments);
    for (const segment of pages.keys()) {
      if (visited.has(segment)) continue;
      const page = await base.page(segment);
      allocatedBlocks += page === null ? 0 : page.blocks.reduce((sum, blocks) => sum + blocks, 0);
    }
  }

  const wanted = Math.max(1, Math.min(most, Math.ceil(dataBytes / BYTES_PER_WORKER)));
  const packs = new PublishedPacks(context);
  return context.pool.with(wanted, async (workers) => {
    const stop = (): void => {
      Atomics.store(new Int32Array(control.flags), 1, 1);
      for (const worker of workers) worker.cancel();
    };
    signal?.addEventListener("abort", stop, { once: true });
    const timer = onProgress === undefined ? null : setInterval(report, PROGRESS_MS);
    const fresh = context.freshBlobs.take(dataBytes / BYTES_PER_BLOB);
    try {
      const task: CaptureTask = {
        kind: "capture",
        source,
        bytes,
        plan,
        base: base === null ? null : rootMessage(base),
        segments: Uint32Array.from(segments),
        basePages: packIds(segments.map((segment) => pages.get(segment))),
        domain: domain.id,
        sharedDomains: shared.flatMap(({ id }) => id ?? []),
        known: await context.knownBlobs(workers[0]!),
        fresh,
        control,
      };
      for (const worker of workers) worker.onPack = (pack) => packs.add(pack, workers[0]!);
      const captured = await allOrStop(workers, (worker) => worker.run(task), stop);
      for (const part of captured) {
        part.segments.forEach((segment, i) => {
          const id = idAt(part.pages, i);
          if (id === null) pages.delete(segment);
          else pages.set(segment, id);
          allocatedBlocks += part.allocatedBlocks[i]!;
        });
      }
      for (const segment of pages.keys()) if (segment * SEGMENT >= bytes) pages.delete(segment);
      // Nothing changed: the base's own tree, whatever its domain.
      const same = base !== null && base.bytes === bytes && samePages(pages, basePages);
      const tree = same ? { top: base.top, nodes: [] } : buildTree(pages, bytes, (node) => domain.blobId(node));
      const stored = await allOrStop(
        workers,
        (worker) =>
          worker.run({
            kind: "finish",
            nodes: worker === workers[0] ? tree.nodes : [],
          }),
        stop,
      );
      await packs.finish(workers[0]!);
      signal?.throwIfAborted();
      report();
      const newBytes = stored.reduce((sum, part) => sum + part.storedBytes, 0);
      return { top: tree.top, allocatedBytes: allocatedBlocks * BLOCK, newBytes };
    } catch (error) {
      stop();
      await Promise.allSettled(workers.map((worker) => worker.run({ kind: "abandon" })));
      await packs.abandon();
      // The workers' "cancelled" is only the echo of the caller's wish.
      signal?.throwIfAborted();
      throw error;
    } finally {
      // Every worker has finished or abandoned.
      context.freshBlobs.give(fresh);
      if (timer !== null) clearInterval(timer);
      signal?.removeEventListener("abort", stop);
    }
  });
}

const samePages = (a: SegmentPages, b: SegmentPages): boolean =>
  a.size === b.size && [...a].every(([segment, id]) => b.get(segment)?.equals(id));

export const rootMessage = (reader: SnapshotReader): RootMessage => ({
  bytes: reader.bytes,
  digest: reader.digest,
  top: reader.top?.toString("hex") ?? null,
});

/** Runs on every worker; when one fails the others are told to stop, and all have ended when this rejects. */
export async function allOrStop<T>(
  workers: readonly StorageWorker[],
  run: (worker: StorageWorker) => Promise<T>,
  stop: () => void,
): Promise<T[]> {
  const runs = workers.map(run);
  for (const one of runs) one.catch(stop);
  const settled = await Promise.allSettled(runs);
  // The first to fail is the reason; the others only say that they were stopped.
  const failed = settled.filter((one) => one.status === "rejected").map((one) => one.reason as Error);
  if (failed.length > 0) throw failed.find((error) => error.message !== "cancelled") ?? failed[0]!;
  return settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
}

/** Which segments hold anything that may have changed, and how many bytes that is; `dataBytes` of them must be read. */
export function segmentsToVisit(
  changed: Float64Array,
  zero: Float64Array,
  bytes: number,
): { segments: number[]; changedBytes: number; dataBytes: number } {
  const segments: number[] = [];
  let changedBytes = 0;
  for (let i = 0; i < changed.length; i += 2) {
    const end = Math.min(bytes, changed[i + 1]!);
    // Progress counts whole blocks, as the workers do.
    changedBytes += (Math.ceil(end / BLOCK) - Math.floor(changed[i]! / BLOCK)) * BLOCK;
    for (let segment = Math.floor(changed[i]! / SEGMENT); segment * SEGMENT < end; segment++) {
      if (segments.at(-1) !== segment) segments.push(segment);
    }
  }
  // Zeroes outside what has changed say nothing: an overlay's host tells of them all.
  let zeroBytes = 0;
  for (let i = 0, j = 0; i < zero.length && j < changed.length; ) {
    const overlap = Math.min(zero[i + 1]!, changed[j + 1]!) - Math.max(zero[i]!, changed[j]!);
    if (overlap > 0) zeroBytes += overlap;
    if (zero[i + 1]! < changed[j + 1]!) i += 2;
    else j += 2;
  }
  return { segments, changedBytes, dataBytes: Math.max(0, changedBytes - zeroBytes) };
}

/** Packs of one capture, published as they come and named in index segments. */
export class PublishedPacks {
  readonly #context: CaptureContext;
  #unnamed: FinishedPack[] = [];
  #chain: Promise<void> = Promise.resolve();
  #failure: unknown;

  constructor(context: CaptureContext) {
    this.#context = context;
  }

  add(pack: FinishedPack, indexer: StorageWorker): void {
    this.#chain = this.#chain.then(async () => {
      if (this.#failure === undefined) {
        try {
          await this.#publish(pack, indexer);
          return;
        } catch (error) {
          this.#failure = error;
        }
      }
      await unlink(pack.path).catch(() => {});
    });
  }

  /** @throws the first failure of any step */
  async finish(indexer: StorageWorker): Promise<void> {
    await this.#chain;
    if (this.#failure !== undefined) throw this.#failure;
    await this.#name(indexer);
  }

  /** Removes what is published and not named; what is named is for a collection. */
  async abandon(): Promise<void> {
    this.#failure ??= new Error("cancelled");
    await this.#chain;
    for (const pack of this.#unnamed) {
      await this.#context.backend.remove(packPath(pack.name)).catch(() => {});
      this.#context.unnamedPacks.delete(pack.name);
    }
  }

  async #publish(pack: FinishedPack, indexer: StorageWorker): Promise<void> {
    try {
      this.#context.unnamedPacks.add(pack.name);
      await this.#context.backend.publish(pack.path, packPath(pack.name));
    } catch (cause) {
      this.#context.unnamedPacks.delete(pack.name);
      throw new Error(`publish pack ${pack.name}`, { cause });
    }
    this.#unnamed.push(pack);
    if (this.#unnamed.length >= PACKS_PER_INDEX) await this.#name(indexer);
  }

  async #name(indexer: StorageWorker): Promise<void> {
    if (this.#unnamed.length === 0) return;
    const packs = this.#unnamed;
    await publishIndex(this.#context, (path) =>
      indexer.run({ kind: "index", path, packs: packs.map(({ name, entries }) => ({ name, entries })) }),
    );
    for (const pack of packs) this.#context.unnamedPacks.delete(pack.name);
    this.#unnamed = [];
  }
}

/** Publishes the index segment that `write` puts at a path in `tmp/`; gives its name and what `write` gave. */
export async function publishIndex<T>(
  context: Pick<CaptureContext, "directory" | "backend" | "onIndex">,
  write: (path: string) => Promise<T>,
): Promise<{ name: string; written: T }> {
  const name = randomBytes(16).toString("hex");
  const path = join(context.directory, "tmp", `${name}.index`);
  try {
    const written = await write(path);
    await context.backend.publish(path, `index/${name}.index`);
    context.onIndex(name);
    return { name, written };
  } catch (cause) {
    await unlink(path).catch(() => {});
    throw new Error(`publish index ${name}`, { cause });
  }
}
