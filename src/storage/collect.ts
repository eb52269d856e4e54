// Collection of what no snapshot reaches: beside captures, reads and launches, without a lock, safe to be killed at any
// step.
//
//   mark      all records, the bases of drafts, and roots deleted while work that may have read them still goes on
//   plan      which packs go: those with nothing reached, and those worth rewriting
//   condemn   what is not reached in those packs is unknown to captures from now on; a new epoch begins
//   wait      for the leases of older epochs: they may have relied on what is now condemned
//   mark      once more, everything: what they committed is reached
//   rewrite   reached blobs of rewritten packs go to new packs, published
//   index     one new segment names all that stays; then the old segments go, then the old packs
//
// Killed before "index": new packs that no index names, which the next collection removes. Killed after it: old segments
// or packs left over, of which the same is true. At each moment every reached blob is in a pack that an index names.
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { type CaptureContext, publishIndex } from "./capture.ts";
import { DamageError } from "./format.ts";
import { packNameOf } from "./pack-check.ts";
import { packPath } from "./pack-files.ts";
import type { FinishedPack } from "./pack-writer.ts";
import { planCollection, type Root } from "./reachability.ts";

export interface CollectOptions {
  /** Say what would be freed, and do nothing. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
}

export interface Collected {
  /** Bytes that snapshots reach, in whole frames. */
  readonly liveBytes: number;
  /** Bytes freed, or that would be. */
  readonly freedBytes: number;
  /** Bytes that moved to new packs, or would. */
  readonly rewrittenBytes: number;
  /** Packs removed, or that would be; those never named in an index included. */
  readonly packs: number;
  /** Packs that could not be rewritten, because they are damaged. They stay. */
  readonly damaged: readonly string[];
}

export interface CollectContext extends CaptureContext {
  readonly log: Log;
  /** Everything that must stay reachable at this moment. */
  roots(): Promise<Root[]>;
  /** New captures don't know these entries from now on. */
  condemn(entries: readonly { name: string; condemned: Uint8Array }[]): void;
  /** Begins a new epoch; resolves when no older lease lives. */
  waitForOlderLeases(): Promise<void>;
}

/** Few segments answer look-ups fast: with more of them, a collection merges them even if nothing is freed. */
const MAX_SEGMENTS = 8;

/** @throws Error when a manifest can't be walked: then nothing is freed, since nothing is known to be unreached */
export async function collect(context: CollectContext, { dryRun = false, signal }: CollectOptions): Promise<Collected> {
  return context.pool.with(1, async ([worker]) => {
    if (worker === undefined) throw new Error("no worker");
    try {
      context.blobs.refresh();
      const segments = context.blobs.index.segments.map((segment) => segment.name);
      const first = await worker.run({ kind: "mark", segments, roots: await context.roots() });
      const plan = planCollection(first);
      const orphans = await orphanPacks(context);
      const orphanBytes = orphans.reduce((sum, { bytes }) => sum + bytes, 0);
      if (dryRun) {
        return {
          liveBytes: plan.liveBytes,
          freedBytes: plan.freedBytes + orphanBytes,
          rewrittenBytes: plan.rewrittenBytes,
          packs: plan.drop.length + plan.rewrite.length + orphans.length,
          damaged: [],
        };
      }
      signal?.throwIfAborted();
      for (const { name } of orphans) await context.backend.remove(packPath(name));
      const gone = new Set([...plan.drop, ...plan.rewrite]);
      if (gone.size === 0 && segments.length <= MAX_SEGMENTS) {
        return {
          liveBytes: plan.liveBytes,
          freedBytes: orphanBytes,
          rewrittenBytes: 0,
          packs: orphans.length,
          damaged: [],
        };
      }

      context.condemn(await worker.run({ kind: "condemn", gone: [...gone] }));
      await context.waitForOlderLeases();
      signal?.throwIfAborted();
      const second = await worker.run({ kind: "mark", segments, roots: await context.roots() });

      // What older leases committed may have brought a pack back to life.
      const alive = new Map(second.map((pack) => [pack.name, pack]));
      const damaged: string[] = [];
      const packs: FinishedPack[] = [];
      let publishing: Promise<void> = Promise.resolve();
      worker.onPack = (pack) => {
        context.unnamedPacks.add(pack.name);
        packs.push(pack);
        publishing = publishing.then(() => context.backend.publish(pack.path, packPath(pack.name)));
        publishing.catch(() => {});
      };
      try {
        for (const pack of [...gone]) {
          signal?.throwIfAborted();
          if (alive.get(pack)!.liveBytes === 0) continue;
          try {
            await worker.run({ kind: "rewrite", pack });
          } catch (error) {
            if (!(error instanceof DamageError)) throw error;
            context.log.error({ pack }, `a damaged pack stays as it is: ${chain(error)}`);
            damaged.push(pack);
            gone.delete(pack);
          }
        }
        await worker.run({ kind: "finish", nodes: [] });
        await publishing;
        const named = packs.map(({ name, entries }) => ({ name, entries }));
        await publishIndex(context, (path) => worker.run({ kind: "merge", path, gone: [...gone], packs: named }));
      } catch (error) {
        await publishing.catch(() => {});
        // No index names them.
        for (const pack of packs) await context.backend.remove(packPath(pack.name)).catch(() => {});
        throw error;
      } finally {
        for (const pack of packs) context.unnamedPacks.delete(pack.name);
      }
      for (const name of segments) await context.backend.remove(`index/${name}.index`);
      context.onIndex("");
      for (const pack of gone) await context.backend.remove(packPath(pack));
      let freedBytes = orphanBytes;
      let rewrittenBytes = 0;
      for (const pack of gone) {
        const { bytes, liveBytes } = alive.get(pack)!;
        freedBytes += bytes - liveBytes;
        rewrittenBytes += liveBytes;
      }
      return { liveBytes: plan.liveBytes, freedBytes, rewrittenBytes, packs: gone.size + orphans.length, damaged };
    } finally {
      await worker.run({ kind: "unmark" });
    }
  });
}

/** Packs that no index names and no work under way is about to name: left by a crash. */
async function orphanPacks(context: CollectContext): Promise<{ name: string; bytes: number }[]> {
  // Listed first: a pack that is published after this line is not in the list, one before it is in the index by the
  // next line or in `unnamedPacks`.
  const listed: { name: string; bytes: number }[] = [];
  for await (const { name, bytes } of context.backend.list("packs/")) listed.push({ name: packNameOf(name), bytes });
  const unnamed = new Set(context.unnamedPacks);
  context.blobs.refresh();
  const named = new Set(context.blobs.index.segments.flatMap((segment) => segment.packs));
  return listed.filter(({ name }) => !named.has(name) && !unnamed.has(name));
}
