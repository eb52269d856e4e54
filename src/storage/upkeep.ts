// Scrubbing, and making the index anew: both read whole packs and trust nothing else.
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { MIB } from "../base/units.ts";
import type { Backend } from "./backend.ts";
import type { BlobReader } from "./blob-reader.ts";
import { type CaptureContext, publishIndex } from "./capture.ts";
import { type PackDamage, packNameOf } from "./pack-check.ts";
import type { Root } from "./reachability.ts";
import type { WorkerPool } from "./workers.ts";

export interface ScrubOptions {
  /** 32 MiB a second when absent: under a tenth of what a disk gives. */
  readonly bytesPerSecond?: number;
  readonly signal?: AbortSignal;
  /** Where an earlier, interrupted run said to go on: its `next`. */
  readonly resume?: string;
  /** Told after each pack; keep `next` to resume there after a restart. */
  readonly onProgress?: (progress: {
    readonly doneBytes: number;
    readonly totalBytes: number;
    readonly next: string;
  }) => void;
}

export interface Scrubbed {
  readonly bytes: number;
  readonly damage: readonly PackDamage[];
  /** Snapshots and volumes that reach damaged blobs, or whose own manifest can't be read. */
  readonly affected: readonly string[];
  /** Records, manifests and indexes that can't be read, in words. */
  readonly faults: readonly string[];
  /** `null`: everything was read. Else where to resume. */
  readonly next: string | null;
}

interface ScrubContext {
  readonly backend: Backend;
  readonly pool: WorkerPool;
  readonly log: Log;
  readonly blobs: BlobReader;
  roots(): Promise<Root[]>;
}

export async function scrub(context: ScrubContext, options: ScrubOptions): Promise<Scrubbed> {
  const { bytesPerSecond = 32 * MIB, signal, resume = "", onProgress } = options;
  const packs: { name: string; bytes: number }[] = [];
  for await (const { name, bytes } of context.backend.list("packs/")) packs.push({ name: packNameOf(name), bytes });
  packs.sort((a, b) => (a.name < b.name ? -1 : 1));
  const totalBytes = packs.reduce((sum, { bytes }) => sum + bytes, 0);
  const damage: PackDamage[] = [];
  const faults: string[] = [];
  let doneBytes = 0;
  let read = 0;
  return context.pool.with(1, async ([worker]) => {
    const control = { flags: new SharedArrayBuffer(8), progress: new SharedArrayBuffer(8) };
    const stop = (): void => {
      Atomics.store(new Int32Array(control.flags), 1, 1);
    };
    signal?.addEventListener("abort", stop, { once: true });
    let next: string | null = null;
    try {
      for (const { name, bytes } of packs) {
        if (name >= resume) {
          if (signal?.aborted) {
            next = name;
            break;
          }
          try {
            const found = await worker!.run({ kind: "scrub", pack: name, bytesPerSecond, control });
            for (const one of found) {
              context.log.error({ ...one }, `pack ${name} is damaged: ${one.reason}`);
              damage.push(one);
            }
            read += bytes;
          } catch (error) {
            if (signal?.aborted) {
              next = name;
              break;
            }
            // A collection may have removed it since it was listed.
            if (!/ENOENT/.test(chain(error))) throw new Error(`scrub pack ${name}`, { cause: error });
          }
        }
        doneBytes += bytes;
        onProgress?.({ doneBytes, totalBytes, next: `${name}~` });
      }
    } finally {
      signal?.removeEventListener("abort", stop);
    }

    // Records and manifests: each must be readable to its last chunk's place.
    context.blobs.refresh();
    const segments = context.blobs.index.segments.map((segment) => segment.name);
    let roots: Root[] = [];
    try {
      roots = await context.roots();
    } catch (error) {
      faults.push(chain(error));
    }
    const blobs = damage.flatMap((one) => one.blobs);
    const found = await worker!.run({ kind: "affected", segments, roots, blobs });
    // What was deleted meanwhile, and perhaps collected, is not at fault.
    const present = new Set((await context.roots().catch(() => roots)).map((root) => root.name));
    const affected = found.affected.filter((name) => present.has(name));
    for (const { root, reason } of found.faults) {
      if (root !== null && !present.has(root)) continue;
      context.log.error({}, reason);
      faults.push(reason);
      if (root !== null && !affected.includes(root)) affected.push(root);
    }
    return { bytes: read, damage, affected, faults, next };
  });
}

export interface RebuiltIndex {
  readonly packs: number;
  readonly blobs: number;
  /** Packs whose footer can't be read: what they hold is lost to the index. */
  readonly damaged: readonly { readonly pack: string; readonly reason: string }[];
}

/** Bounds the memory of a rebuild: 1000 packs are 64 GiB and 200 MB of entries. */
const PACKS_PER_SEGMENT = 1000;

export async function rebuildIndex(context: CaptureContext): Promise<RebuiltIndex> {
  const old: string[] = [];
  for await (const { name } of context.backend.list("index/")) old.push(name);
  const packs: string[] = [];
  for await (const { name } of context.backend.list("packs/")) {
    const pack = packNameOf(name);
    // A capture under way names its own, or removes them.
    if (!context.unnamedPacks.has(pack)) packs.push(pack);
  }
  const damaged: { pack: string; reason: string }[] = [];
  let blobs = 0;
  await context.pool.with(1, async ([worker]) => {
    for (let at = 0; at < packs.length; at += PACKS_PER_SEGMENT) {
      const part = packs.slice(at, at + PACKS_PER_SEGMENT);
      const { written } = await publishIndex(context, (path) => worker!.run({ kind: "rebuild", path, packs: part }));
      damaged.push(...written.damaged);
      blobs += written.blobs;
    }
  });
  for (const name of old) await context.backend.remove(name);
  context.onIndex("");
  return { packs: packs.length, blobs, damaged };
}
