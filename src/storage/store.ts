// The store's public face: snapshots are captured, read, copied, restored, deleted; what nothing reaches is collected.
//
// One process owns a store for writing. Block servers read beside it (block-server.ts).
import { randomBytes, timingSafeEqual } from "node:crypto";
import { open, rm, unlink } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { systemClock } from "../base/clock.ts";
import { chain } from "../base/errors.ts";
import type { BucketLocation } from "../base/external-bucket.ts";
import { isId, type SnapshotId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import { MIB } from "../base/units.ts";
import type { CaptureProgress, CaptureSpec } from "../model/disk.ts";
import type { Backend } from "./backend.ts";
import { BlobIndex } from "./blob-index.ts";
import { BlobReader } from "./blob-reader.ts";
import { type BlockServer, blockServer } from "./block-server-process.ts";
import {
  allOrStop,
  type CaptureContext,
  type CapturedContent,
  type CaptureOptions,
  captureDisk,
  rootMessage,
} from "./capture.ts";
import { type Collected, type CollectOptions, collect } from "./collect.ts";
import { type DraftBlock, Drafts } from "./drafts.ts";
import { type ContentOwner, type Domain, Domains, domainIdOf, keyCheck, keyName, newWrappedKey } from "./encryption.ts";
import { makeDirectory } from "./folder-backend.ts";
import { SEGMENT, snapshotDigest } from "./format.ts";
import { FrameCache } from "./frame-cache.ts";
import { type Home, openHome } from "./home.ts";
import { FreshBlobsMemory, type KnownBlobsShare } from "./known-blobs.ts";
import { type Lease, Leases } from "./leases.ts";
import { segmentPages } from "./manifest.ts";
import { type OwnerLock, takeOwnerLock } from "./owner-lock.ts";
import type { Root } from "./reachability.ts";
import {
  encodeRecord,
  type HolderId,
  isHolderId,
  readRecord,
  recordName,
  type SnapshotRecord,
  topOf,
} from "./records.ts";
import { type ChangedBlock, changedBlocks, PageCache, SnapshotReader } from "./snapshot-reader.ts";
import { StoreTasks } from "./store-tasks.ts";
import { type RebuiltIndex, rebuildIndex, type Scrubbed, type ScrubOptions, scrub } from "./upkeep.ts";
import type { OwnedRoot, OwnerUsage } from "./usage.ts";
import type { StorageWorker } from "./workers.ts";
import { WorkerPool } from "./workers.ts";
import { openCodec } from "./zstd.ts";

export type { BlockServer } from "./block-server-process.ts";
export type { CaptureOptions } from "./capture.ts";
export type { Collected, CollectOptions } from "./collect.ts";
export type { DraftBlock } from "./drafts.ts";
export type { ContentOwner } from "./encryption.ts";
export type { HolderId } from "./records.ts";
export { type ChangedBlock, type Extent, type SnapshotReader, sameRange } from "./snapshot-reader.ts";
export type { StoreTask, StoreTasks } from "./store-tasks.ts";
export type { RebuiltIndex, Scrubbed, ScrubOptions } from "./upkeep.ts";

export interface StoreOptions {
  readonly directory: string;
  /** Where packs, indexes and records are kept; in the directory when absent. One directory per bucket and prefix. */
  readonly bucket?: BucketLocation;
  readonly log: Log;
  readonly clock?: Clock;
  /** Threads for one large capture; the machine's cores, at most 4, when absent. */
  readonly workers?: number;
  /**
   * 32 bytes that wrap the owners' data keys. A store is encrypted from its creation or never: an older one that was made
   * without a key goes on plain.
   */
  readonly key?: Uint8Array;
}

/** What is kept under a snapshot's id. */
export interface StoredSnapshot {
  readonly id: HolderId;
  /** Hex Merkle root: proves size and content to whoever holds the owner's key. */
  readonly digest: string;
  /** Virtual size. */
  readonly bytes: number;
  /** Non-zero bytes, in whole 4 KiB blocks. */
  readonly allocatedBytes: number;
  /** Bytes that this capture added to the store. */
  readonly newBytes: number;
}

/** What one snapshot, or several together, hold. */
export interface HolderUsage {
  /** Non-zero bytes, before deduplication and compression. */
  readonly allocatedBytes: number;
  /** Stored bytes that only it reaches. */
  readonly exclusiveBytes: number;
  /** Stored bytes that it reaches with others. */
  readonly sharedBytes: number;
  /** Stored bytes, in whole frames, that a collection frees once it is deleted. */
  readonly freedIfDeletedBytes: number;
}

export interface SnapshotUsage extends HolderUsage {
  readonly id: HolderId;
  /** Virtual size. */
  readonly bytes: number;
}

export interface StoreUsage {
  readonly snapshots: readonly SnapshotUsage[];
  /** All packs, as files. */
  readonly totalBytes: number;
  /** Stored bytes that any snapshot reaches; what is more in `totalBytes` waits for a collection, or is footers. */
  readonly reachedBytes: number;
}

export interface RestoreOptions {
  readonly format?: "raw";
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: CaptureProgress) => void;
}

/** Opens, or creates, the store in `directory`. @throws Error when another process owns it, or the key is not its own */
export async function openStore(options: StoreOptions): Promise<SnapshotStore> {
  const { directory } = options;
  await makeDirectory(directory);
  const lock = takeOwnerLock(join(directory, "lock"));
  try {
    // Nothing in tmp/ was ever acknowledged.
    await rm(join(directory, "tmp"), { recursive: true, force: true });
    await makeDirectory(join(directory, "tmp"));
    const home = openHome(directory, options.bucket ?? null);
    await home.prepare();
    const backend = await home.backend();
    const identity = await openIdentity(backend, options);
    const store = new SnapshotStore({ ...options, home, backend, lock, ...identity });
    await store.recover();
    return store;
  } catch (error) {
    lock.release();
    throw error;
  }
}

interface StoreIdentity {
  /** 32 hex digits. */
  readonly storeId: string;
  /** `null`: a plain store. */
  readonly key: Uint8Array | null;
}

/** Reads or makes store.json. */
async function openIdentity(backend: Backend, { key, log, clock = systemClock }: StoreOptions): Promise<StoreIdentity> {
  const text = await backend.read("store.json");
  if (text === null) {
    const id = randomBytes(16).toString("hex");
    const identity = {
      format: "ingot-store",
      version: 1,
      id,
      keyCheck: key === undefined ? null : keyCheck(key, id),
      createdAt: clock.now().toISOString(),
    };
    await backend.create("store.json", Buffer.from(`${JSON.stringify(identity)}\n`));
    return { storeId: id, key: key ?? null };
  }
  const identity = JSON.parse(text.toString("utf8")) as {
    format: string;
    version: number;
    id: string;
    keyCheck?: string | null;
  };
  if (identity.format !== "ingot-store") throw new Error("store.json does not describe a store");
  if (identity.version !== 1) throw new Error(`store format ${identity.version} is newer than this program`);
  if (identity.keyCheck == null) {
    if (key !== undefined) log.warn({}, "the store was made without encryption and goes on plain");
    return { storeId: identity.id, key: null };
  }
  if (key === undefined) throw new Error("this store is encrypted: it can't be opened without its master key");
  const expected = Buffer.from(identity.keyCheck, "hex");
  const actual = Buffer.from(keyCheck(key, identity.id), "hex");
  if (expected.length !== actual.length || !timingSafeEqual(expected, actual)) {
    throw new Error("this store was encrypted under another master key");
  }
  return { storeId: identity.id, key };
}

/** Small: the block server serves guests. What EBS direct reads come through here. */
/** A tenth of a second's work: less is not worth a second worker. */
const RESTORE_BYTES_PER_WORKER = 4 * SEGMENT;

const CACHE_BYTES = 16 * MIB;
const PAGE_ROWS = 64 * 1024;
/** The table of known blobs is kept this long for the next capture. */
const TABLE_IDLE_MS = 30_000;

interface StoreParts extends Omit<StoreOptions, "key">, StoreIdentity {
  readonly home: Home;
  readonly backend: Backend;
  readonly lock: OwnerLock;
}

interface Accounted {
  readonly records: ReadonlyMap<HolderId, SnapshotRecord>;
  /** By owner's name. */
  readonly owners: ReadonlyMap<string, OwnerUsage>;
  readonly reachedBytes: number;
}

/** Content and whose it is: an account's, or everybody's. */
export interface OwnedCapture extends CaptureSpec {
  readonly owner: ContentOwner;
}

export class SnapshotStore {
  readonly directory: string;
  /** Upkeep in the background. Nothing starts by itself before `tasks.start()`. */
  readonly tasks: StoreTasks;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #home: Home;
  readonly #bucket: BucketLocation | null;
  readonly #backend: Backend;
  readonly #lock: OwnerLock;
  readonly #storeId: string;
  readonly #key: Uint8Array | null;
  readonly #domains: Domains;
  readonly #index: BlobIndex;
  readonly #freshBlobs = new FreshBlobsMemory();
  readonly #blobs: BlobReader;
  readonly #pages = new PageCache(PAGE_ROWS);
  readonly #pool: WorkerPool;
  readonly #leases: Leases;
  readonly #drafts: Drafts;
  /** Built by a worker for the first capture; extended for later ones; dropped when idle. */
  #table: Promise<KnownBlobsShare | null> = Promise.resolve(null);
  #tableTimer: NodeJS.Timeout | null = null;
  #closed = false;
  readonly #unnamedPacks = new Set<string>();
  /** Roots that are being removed, or were while work or a listing was under way that may have seen them. */
  readonly #removed = new Set<Root>();
  readonly #listings = new Set<Promise<unknown>>();
  /** A rebuild of the index because part of it was found damaged. */
  #healing: Promise<void> | null = null;
  #condemned = new Map<string, Uint8Array>();
  /** One collection or rebuild at a time. */
  #upkeep: Promise<unknown> = Promise.resolve();

  constructor(parts: StoreParts) {
    this.directory = parts.directory;
    this.#log = parts.log;
    this.#clock = parts.clock ?? systemClock;
    this.tasks = new StoreTasks(this, { directory: parts.directory, clock: this.#clock, log: this.#log });
    this.#home = parts.home;
    this.#bucket = parts.bucket ?? null;
    this.#backend = parts.backend;
    this.#lock = parts.lock;
    this.#storeId = parts.storeId;
    this.#key = parts.key;
    this.#domains = new Domains(parts.directory, parts.key);
    this.#index = new BlobIndex(join(parts.directory, "index"), 0, (error) => this.#onIndexDamage(error));
    this.#blobs = new BlobReader({
      index: this.#index,
      packs: parts.home.packs("async"),
      codec: openCodec(),
      domains: this.#domains,
      cache: new FrameCache(CACHE_BYTES),
    });
    const workers = parts.workers ?? Math.min(4, availableParallelism());
    this.#pool = new WorkerPool({ directory: parts.directory, bucket: this.#bucket, key: parts.key }, workers);
    this.#leases = new Leases(parts.backend, () => this.#clock.now());
    this.#drafts = new Drafts(join(parts.directory, "drafts"), this.#domains);
  }

  /** What an owner that died left behind. Called once, by `openStore`. */
  async recover(): Promise<void> {
    await this.#leases.clearStale();
    this.#index.refresh();
    await this.#healing;
    for (const id of await this.#drafts.list()) {
      // Completed, and the owner died before it dropped the draft.
      if (isId("snapshot", id) && (await this.has(id))) await this.#drafts.drop(id);
    }
  }

  /**
   * Keeps what `spec.source` holds under a new snapshot id. Cost: reading what may have changed.
   * @throws Error when the id is taken, or the source fails; nothing is kept then
   */
  async capture(spec: OwnedCapture, options: CaptureOptions = {}): Promise<StoredSnapshot> {
    return this.#keep(spec.snapshotId, "capture", options, async () => ({
      bytes: spec.bytes,
      source: spec.source,
      domain: await this.#domainOf(spec.owner),
      base: spec.base === null ? null : await this.open(spec.base),
    }));
  }

  async #keep(
    id: SnapshotId,
    verb: string,
    options: CaptureOptions,
    prepare: () => Promise<Omit<CapturedContent, "shared">>,
  ): Promise<StoredSnapshot> {
    try {
      return await this.#leases.with(`${verb} ${id}`, async (lease) => {
        if (await this.has(id)) throw new Error("there is a snapshot of this id already");
        const content = await prepare();
        const { bytes, base, domain } = content;
        if (base !== null && base.bytes > bytes) throw new Error("the disk is smaller than its base");
        const shared = await this.#sharedDomains(domain);
        const { top, ...sizes } = await captureDisk(this.#captureContext(), { ...content, shared }, options);
        return this.#commit(lease, { id, bytes, top, domain: domain.id, ...sizes });
      });
    } catch (cause) {
      if (options.signal?.aborted) throw cause;
      throw new Error(`${verb} ${id}`, { cause });
    }
  }

  async #commit(
    lease: Lease,
    disk: {
      id: HolderId;
      bytes: number;
      top: Buffer | null;
      domain: string | null;
      allocatedBytes: number;
      newBytes: number;
    },
  ): Promise<StoredSnapshot> {
    const record: SnapshotRecord = {
      version: 1,
      id: disk.id,
      bytes: disk.bytes,
      top: disk.top?.toString("hex") ?? null,
      digest: snapshotDigest(disk.bytes, disk.top),
      domain: disk.domain,
      allocatedBytes: disk.allocatedBytes,
      newBytes: disk.newBytes,
      epoch: lease.epoch,
      createdAt: this.#clock.now().toISOString(),
    };
    if (!(await this.#backend.create(recordName(disk.id), encodeRecord(record)))) {
      throw new Error("there is a snapshot of this id already");
    }
    return stored(record);
  }

  /**
   * Keeps the content of `fromId` under `newId` too: a record, no data. A volume does so for its base, which then
   * outlives the snapshot. @throws Error when there is no `fromId`, or `newId` is taken
   */
  async copy(newId: HolderId, fromId: HolderId): Promise<StoredSnapshot> {
    const [made] = await this.copyToAll([newId], fromId);
    return made!;
  }

  /**
   * `copy` under several ids, in their order, for hardly more than the price of one.
   * @throws Error as `copy` does; the others may then be kept or not
   */
  async copyToAll(newIds: readonly HolderId[], fromId: HolderId): Promise<StoredSnapshot[]> {
    return this.#leases.with(`copy ${fromId} to ${newIds.join(", ")}`, async (lease) => {
      const record = await this.#record(fromId);
      const { bytes, domain, allocatedBytes } = record;
      const top = topOf(record);
      const commits = newIds.map((id) => this.#commit(lease, { id, bytes, top, domain, allocatedBytes, newBytes: 0 }));
      // The lease is not dropped before the last of them has ended.
      await Promise.allSettled(commits);
      return Promise.all(commits);
    });
  }

  /** @throws Error when there is none; DamageError when its record is damaged */
  async open(id: HolderId): Promise<SnapshotReader> {
    return this.#reader(await this.#record(id));
  }

  /** What is kept under an id; undefined when nothing is. */
  async describe(id: HolderId): Promise<StoredSnapshot | undefined> {
    const record = await readRecord(this.#backend, id);
    return record === undefined ? undefined : stored(record);
  }

  async has(id: HolderId): Promise<boolean> {
    return (await this.#backend.read(recordName(id))) !== null;
  }

  /** All ids that hold content, in no order. */
  async *ids(): AsyncGenerator<HolderId> {
    for await (const { name } of this.#backend.list("snapshots/")) {
      const id = name.slice("snapshots/".length);
      if (isHolderId(id)) yield id;
    }
  }

  /** The id is free again at once; bytes that nothing else reaches wait for a collection. None of that id is no error. */
  async delete(id: HolderId): Promise<void> {
    const record = await readRecord(this.#backend, id).catch(() => undefined);
    const remove = (): Promise<void> => this.#backend.remove(recordName(id));
    await (record === undefined
      ? remove()
      : this.#removing({ top: record.top, bytes: record.bytes, name: id }, remove));
    this.tasks.noteDeletion();
  }

  /** Blocks of `blockBytes` that differ, ascending from `first` on; `from: null`: an empty disk. Reads manifests. */
  async *changedBlocks(
    from: HolderId | null,
    to: HolderId,
    blockBytes: number,
    first = 0,
  ): AsyncGenerator<ChangedBlock> {
    const old = from === null ? null : await this.open(from);
    yield* changedBlocks(old, await this.open(to), blockBytes, first);
  }

  /**
   * Writes a snapshot to a new sparse file. Every frame is checked. What must outlive a power cut is the caller's to sync.
   * @throws Error when the file exists
   */
  async restore(id: HolderId, path: string, { signal, onProgress }: RestoreOptions = {}): Promise<void> {
    const reader = await this.open(id);
    if (reader.bytes > RESTORE_BYTES_PER_WORKER) this.#pool.prepare(this.#pool.perTask);
    const file = await open(path, "wx", 0o600);
    try {
      await file.truncate(reader.bytes);
      const pages = await segmentPages(this.#blobs, reader.top, reader.bytes);
      const segments = Uint32Array.from([...pages.keys()].sort((a, b) => a - b));
      const control = { flags: new SharedArrayBuffer(8), progress: new SharedArrayBuffer(8) };
      const stop = (): void => {
        Atomics.store(new Int32Array(control.flags), 1, 1);
      };
      const totalBytes = segments.length * SEGMENT;
      const report = (): void => {
        const blocks = Number(Atomics.load(new BigInt64Array(control.progress), 0));
        onProgress?.({ doneBytes: Math.min(totalBytes, blocks * 4096), totalBytes });
      };
      const timer = onProgress === undefined ? null : setInterval(report, 200);
      signal?.addEventListener("abort", stop, { once: true });
      try {
        signal?.throwIfAborted();
        const wanted = Math.ceil((segments.length * SEGMENT) / RESTORE_BYTES_PER_WORKER);
        await this.#pool.with(Math.max(1, wanted), (workers) =>
          allOrStop(
            workers,
            (worker) => worker.run({ kind: "restore", root: rootMessage(reader), path, segments, control }),
            stop,
          ),
        );
        report();
      } finally {
        if (timer !== null) clearInterval(timer);
        signal?.removeEventListener("abort", stop);
      }
    } catch (cause) {
      await unlink(path).catch(() => {});
      signal?.throwIfAborted();
      throw new Error(`restore ${id} to ${path}`, { cause });
    } finally {
      await file.close();
    }
  }

  // --- upkeep ---

  /** Frees what no snapshot reaches, beside everything else that goes on. */
  collect(options: CollectOptions = {}): Promise<Collected> {
    return this.#alone(async () => {
      try {
        return await collect(
          {
            ...this.#captureContext(),
            log: this.#log,
            roots: () => this.#roots(),
            condemn: (entries) => {
              this.#condemned = new Map(entries.map(({ name, condemned }) => [name, condemned]));
              this.#table = Promise.resolve(null);
            },
            waitForOlderLeases: () => this.#leases.before(this.#leases.advance()),
          },
          options,
        );
      } catch (cause) {
        if (options.signal?.aborted) throw cause;
        throw new Error("collect what no snapshot reaches", { cause });
      } finally {
        // Whatever is still in the index is there to be relied on again.
        this.#condemned = new Map();
        this.#table = Promise.resolve(null);
      }
    });
  }

  /**
   * What each of `ids` (all, when absent) holds. Exact at frame and blob level; costs one walk over all manifests.
   * @throws Error when a manifest is damaged
   */
  async usage(ids?: readonly HolderId[]): Promise<StoreUsage> {
    const { records, owners, reachedBytes } = await this.#account((id) => [id]);
    let totalBytes = 0;
    for await (const { bytes } of this.#backend.list("packs/")) totalBytes += bytes;
    const wanted = ids === undefined ? null : new Set(ids);
    const snapshots = [...records.values()]
      .filter(({ id }) => wanted === null || wanted.has(id))
      .map(({ id, bytes, allocatedBytes }) => ({ id, bytes, allocatedBytes, ...owners.get(id)! }));
    return { snapshots, totalBytes, reachedBytes };
  }

  /**
   * What each group of snapshots holds together: an image, by its disks. What two groups name is shared by them.
   * Cost: as `usage`. @throws Error when a manifest is damaged
   */
  async usageOfGroups(groups: ReadonlyMap<string, readonly HolderId[]>): Promise<Map<string, HolderUsage>> {
    const groupsOf = new Map<HolderId, string[]>();
    for (const [name, ids] of groups) for (const id of ids) groupsOf.set(id, [...(groupsOf.get(id) ?? []), name]);
    const { records, owners } = await this.#account((id) => groupsOf.get(id) ?? [id]);
    return new Map(
      [...groups].map(([name, ids]) => {
        const allocatedBytes = ids.reduce((sum, id) => sum + (records.get(id)?.allocatedBytes ?? 0), 0);
        return [
          name,
          { allocatedBytes, exclusiveBytes: 0, sharedBytes: 0, freedIfDeletedBytes: 0, ...owners.get(name) },
        ];
      }),
    );
  }

  /** @param ownersOf  whom a holder's content counts for */
  async #account(ownersOf: (id: HolderId) => readonly string[]): Promise<Accounted> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#accountOnce(ownersOf);
      } catch (cause) {
        // A collection may replace index segments, and remove what was deleted, under the walk.
        if (attempt === 3) throw new Error("account for what snapshots hold", { cause });
      }
    }
  }

  async #accountOnce(ownersOf: (id: HolderId) => readonly string[]): Promise<Accounted> {
    this.#blobs.refresh();
    const segments = this.#index.segments.map((segment) => segment.name);
    const records = new Map<HolderId, SnapshotRecord>();
    const numbers = new Map<string, number>();
    const roots: OwnedRoot[] = [];
    for await (const id of this.ids()) {
      const record = await readRecord(this.#backend, id);
      if (record === undefined) continue;
      records.set(id, record);
      for (const name of ownersOf(id)) {
        const owner = numbers.get(name) ?? numbers.size + 1;
        numbers.set(name, owner);
        roots.push({ name: id, top: record.top, bytes: record.bytes, owner });
      }
    }
    const { owners, reachedBytes } = await this.#pool.with(1, ([worker]) =>
      worker!.run({ kind: "usage", segments, roots }),
    );
    return {
      records,
      owners: new Map([...numbers].map(([name, number]) => [name, owners.get(number)!])),
      reachedBytes,
    };
  }

  /** Reads and re-hashes everything, at a limited rate, and says what is damaged and whom it touches. */
  scrub(options: ScrubOptions = {}): Promise<Scrubbed> {
    const { backend, pool, log, blobs } = {
      backend: this.#backend,
      pool: this.#pool,
      log: this.#log,
      blobs: this.#blobs,
    };
    return scrub({ backend, pool, log, blobs, roots: () => this.#roots() }, options);
  }

  /** Makes the index anew from the packs' footers. */
  rebuildIndex(): Promise<RebuiltIndex> {
    return this.#alone(async () => {
      const rebuilt = await rebuildIndex(this.#captureContext());
      this.#table = Promise.resolve(null);
      return rebuilt;
    });
  }

  // --- drafts: snapshots written block by block ---

  /** @throws Error when the id is taken, by a snapshot or by a draft */
  async beginDraft(
    id: SnapshotId,
    { bytes, base, owner }: { bytes: number; base: HolderId | null; owner: ContentOwner },
  ): Promise<void> {
    await this.#leases.with(`begin a draft of ${id}`, async () => {
      if (await this.has(id)) throw new Error(`there is a snapshot ${id} already`);
      const record = base === null ? null : await this.#record(base);
      if (record !== null && record.bytes > bytes) throw new Error("the disk is smaller than its base");
      await this.#drafts.begin(id, {
        bytes,
        domain: await this.#domainOf(owner),
        base:
          record === null
            ? null
            : {
                bytes: record.bytes,
                top: record.top,
                digest: record.digest,
                allocatedBytes: record.allocatedBytes,
              },
      });
    });
  }

  /** Durable when it resolves. @param index  in blocks of 512 KiB @param bytes  512 KiB */
  async putDraftBlock(id: SnapshotId, index: number, bytes: Uint8Array): Promise<void> {
    await (await this.#drafts.get(id)).put(index, bytes);
  }

  /** What was put, ascending. */
  async draftBlocks(id: SnapshotId): Promise<DraftBlock[]> {
    return (await this.#drafts.get(id)).blocks();
  }

  /** Makes the draft a snapshot. A second call gives the same answer. */
  async completeDraft(id: SnapshotId, options: CaptureOptions = {}): Promise<StoredSnapshot> {
    const done = await this.describe(id);
    if (done === undefined) {
      const draft = await this.#drafts.get(id);
      draft.sealed = true;
      try {
        await draft.settle();
        const { bytes, base, domain } = draft.description;
        const snapshot = await this.#keep(id, "complete", options, async () => ({
          bytes,
          source: draft.source(),
          domain: this.#domains.get(domain),
          base: base === null ? null : this.#reader(base),
        }));
        await this.dropDraft(id);
        return snapshot;
      } catch (error) {
        draft.sealed = false;
        throw error;
      }
    }
    await this.dropDraft(id);
    return done;
  }

  /** Forgets a draft and its blocks. None of that id is no error. */
  async dropDraft(id: SnapshotId): Promise<void> {
    const base = await this.#drafts.base(id);
    const drop = (): Promise<void> => this.#drafts.drop(id);
    await (base === null
      ? drop()
      : this.#removing({ top: base.top, bytes: base.bytes, name: `the base of draft ${id}` }, drop));
  }

  /** Ids of the drafts that are neither complete nor dropped. */
  drafts(): Promise<SnapshotId[]> {
    return this.#drafts.list();
  }

  /** The process that serves this store's snapshots to guests. Nothing is started before its `ensure`. */
  blockServer(options: { readonly cacheBytes?: number } = {}): BlockServer {
    return blockServer({ ...options, directory: this.directory, bucket: this.#bucket, log: this.#log, key: this.#key });
  }

  /** Ends what is under way, without keeping it. A second call does nothing. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.tasks.close();
    if (this.#tableTimer !== null) clearTimeout(this.#tableTimer);
    await this.#pool.close();
    await this.#drafts.close();
    await this.#blobs.packs.close();
    this.#index.close();
    await this.#home.close();
    this.#lock.release();
  }

  /** What an owner's disk files outside of the store are encrypted with, as text; `null` where the store is plain. */
  async diskSecret(owner: ContentOwner): Promise<string | null> {
    return (await this.#domainOf(owner)).diskSecret;
  }

  /** An owner's domain; its key is made when there is none yet. */
  async #domainOf(owner: ContentOwner): Promise<Domain> {
    if (this.#key === null) return this.#domains.get(null);
    const id = domainIdOf(this.#storeId, owner);
    if ((await this.#backend.read(keyName(id))) === null) {
      // Of two that make it at once the first one's stays.
      await this.#backend.create(keyName(id), Buffer.from(newWrappedKey(this.#key, id, owner)));
    }
    return this.#domains.get(id);
  }

  /** Whose blobs content of `domain` may rely on besides its own: everybody's, once there is any. */
  async #sharedDomains(domain: Domain): Promise<Domain[]> {
    if (this.#key === null) return [];
    const id = domainIdOf(this.#storeId, "public");
    return id === domain.id || (await this.#backend.read(keyName(id))) === null ? [] : [this.#domains.get(id)];
  }

  async #record(id: HolderId): Promise<SnapshotRecord> {
    const record = await readRecord(this.#backend, id);
    if (record === undefined) throw new Error(`there is no snapshot ${id}`);
    return record;
  }

  #reader(record: Pick<SnapshotRecord, "bytes" | "digest" | "top">): SnapshotReader {
    return new SnapshotReader(
      { bytes: record.bytes, digest: record.digest, top: topOf(record) },
      this.#blobs,
      this.#pages,
    );
  }

  #captureContext(): CaptureContext {
    return {
      freshBlobs: this.#freshBlobs,
      directory: this.directory,
      backend: this.#backend,
      pool: this.#pool,
      blobs: this.#blobs,
      knownBlobs: (worker) => this.#knownBlobs(worker),
      onIndex: () => this.#blobs.refresh(),
      unnamedPacks: this.#unnamedPacks,
    };
  }

  /** An index is only a shortcut: it is made anew from the packs, and whoever missed something asks again. */
  #onIndexDamage(error: unknown): void {
    this.#log.error({}, `${chain(error)}: making the index anew from the packs`);
    if (this.#healing !== null || this.#closed) return;
    this.#healing = this.rebuildIndex()
      .then(({ blobs, damaged }) => {
        this.#log.info({ blobs }, "the index is made anew");
        for (const { pack, reason } of damaged) this.#log.error({ pack }, reason);
      })
      .catch((failure: unknown) => this.#log.error({}, `make the index anew: ${chain(failure)}`))
      .finally(() => {
        this.#healing = null;
      });
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#upkeep.catch(() => {}).then(work);
    this.#upkeep = done.catch(() => {});
    return done;
  }

  /**
   * Everything that must stay reachable. A root may move while this lists (a record is copied and deleted, a draft
   * completes): whoever removes one puts it aside first (`#removing`), and what is aside is added last.
   * @throws DamageError when a record can't be read: a collection must not take it for nothing
   */
  async #roots(): Promise<Root[]> {
    const listing = this.#listRoots();
    this.#listings.add(listing);
    try {
      return [...(await listing), ...this.#removed];
    } finally {
      this.#listings.delete(listing);
    }
  }

  async #listRoots(): Promise<Root[]> {
    const roots: Root[] = [];
    for await (const id of this.ids()) {
      const record = await readRecord(this.#backend, id);
      if (record !== undefined) roots.push({ top: record.top, bytes: record.bytes, name: id });
    }
    for (const id of await this.#drafts.list()) {
      const base = await this.#drafts.base(id);
      if (base !== null) roots.push({ top: base.top, bytes: base.bytes, name: `the base of draft ${id}` });
    }
    return roots;
  }

  /** Removes a root. Work that has read it, and listings that missed where it went, may rely on it until they end. */
  async #removing(root: Root, remove: () => Promise<void>): Promise<void> {
    this.#removed.add(root);
    try {
      await remove();
    } finally {
      const settled = [this.#leases.settled(), Promise.allSettled(this.#listings)];
      void Promise.all(settled).then(() => this.#removed.delete(root));
    }
  }

  /** One after the other: the table has one writer at a time. */
  #knownBlobs(worker: StorageWorker): Promise<KnownBlobsShare> {
    if (this.#tableTimer !== null) clearTimeout(this.#tableTimer);
    this.#tableTimer = setTimeout(() => {
      this.#table = Promise.resolve(null);
    }, TABLE_IDLE_MS);
    this.#tableTimer.unref();
    const extended = this.#table
      .catch(() => null)
      .then((table) => {
        const known = new Set(table?.segments.map((segment) => segment.name));
        const add = this.#index.segments.filter((segment) => !known.has(segment.name));
        return worker.run({
          kind: "table",
          table,
          add: add.map(({ name, path }) => ({ name, path, condemned: this.#condemned.get(name) ?? null })),
        });
      });
    this.#table = extended;
    return extended;
  }
}

const stored = ({ id, digest, bytes, allocatedBytes, newBytes }: SnapshotRecord): StoredSnapshot => ({
  id,
  digest,
  bytes,
  allocatedBytes,
  newBytes,
});
