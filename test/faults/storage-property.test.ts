// Any sequence of writes, captures (full, sparse or from a changed list), copies, deletions, collections and restores
// reads back exactly, and an incremental capture gives the digest of a full one.
import assert from "node:assert/strict";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { newId, type SnapshotId } from "../../src/base/ids.ts";
import { BLOCK_BYTES, MIB } from "../../src/base/units.ts";
import { applyWrite, type DiskWrite, OWNER, temporaryStore, writeDisk } from "../support/storage-disk.ts";

const DISK = 20 * MIB + 12 * 4096;
const BLOCKS = DISK / 4096;

const write = fc.record({
  block: fc.oneof(
    fc.nat(BLOCKS - 1),
    // Around the ends of segments.
    fc.constantFrom(0, 2040, 2047, 2048, 4095, 4096, BLOCKS - 1),
  ),
  blocks: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 200, max: 1500 })),
  // Few seeds, so that content repeats; zero punches holes.
  seed: fc.nat(5),
});

type Step =
  | { kind: "write"; writes: DiskWrite[] }
  | { kind: "capture"; sparse: boolean }
  | { kind: "draft" }
  | { kind: "copy"; from: number }
  | { kind: "delete"; which: number }
  | { kind: "restore"; which: number }
  | { kind: "collect" }
  | { kind: "reopen" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("write" as const), writes: fc.array(write, { maxLength: 4 }) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("capture" as const), sparse: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("draft" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("copy" as const), from: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("delete" as const), which: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("restore" as const), which: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("collect" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const) }) },
);

interface Kept {
  readonly id: SnapshotId;
  readonly disk: Buffer;
  readonly digest: string;
}

for (const encrypted of [false, true]) {
  test(`any sequence reads back exactly${encrypted ? ", encrypted" : ""}`, async (t) => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 25 }), async (steps) => {
        const options = encrypted ? { key: Buffer.alloc(32, 3) } : {};
        const opened = await temporaryStore(t, options);
        let { store } = opened;
        const { directory, reopen } = opened;
        const disk = Buffer.alloc(DISK);
        const kept: Kept[] = [];
        const path = join(directory, "disk");
        const pick = (n: number): Kept | undefined => (kept.length === 0 ? undefined : kept[n % kept.length]);
        const check = async ({ id, disk, digest }: Kept): Promise<void> => {
          const reader = await store.open(id);
          assert.equal(reader.digest, digest);
          assert.ok((await reader.read(0, DISK)).equals(disk), `${id} reads otherwise`);
        };
        for (const step of steps) {
          switch (step.kind) {
            case "write":
              for (const one of step.writes) applyWrite(disk, one);
              break;
            case "capture": {
              await writeDisk(path, disk, step.sparse);
              const id = newId("snapshot");
              const source = { kind: "file", path } as const;
              const { digest } = await store.capture({ owner: OWNER, snapshotId: id, bytes: DISK, base: null, source });
              kept.push({ id, disk: Buffer.from(disk), digest });
              break;
            }
            case "draft": {
              // Only the 512 KiB blocks that differ from the base, as an EBS direct client sends them.
              const base = kept.at(-1);
              const id = newId("snapshot");
              await store.beginDraft(id, { owner: OWNER, bytes: DISK, base: base?.id ?? null });
              const puts = [];
              for (let index = 0; index * BLOCK_BYTES < DISK; index++) {
                const block = Buffer.alloc(BLOCK_BYTES);
                disk.copy(block, 0, index * BLOCK_BYTES);
                const before = base?.disk.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
                if (before?.equals(block.subarray(0, before.length)) ?? block.every((byte) => byte === 0)) continue;
                puts.push(store.putDraftBlock(id, index, block));
              }
              await Promise.all(puts);
              const { digest } = await store.completeDraft(id);
              kept.push({ id, disk: Buffer.from(disk), digest });
              // The same disk, read in full, is the same snapshot.
              await writeDisk(path, disk);
              const full = newId("snapshot");
              const source = { kind: "file", path } as const;
              const again = await store.capture({ owner: OWNER, snapshotId: full, bytes: DISK, base: null, source });
              assert.equal(again.digest, digest);
              assert.equal(again.newBytes, 0);
              await store.delete(full);
              break;
            }
            case "copy": {
              const from = pick(step.from);
              if (from === undefined) break;
              const id = newId("snapshot");
              await store.copy(id, from.id);
              kept.push({ ...from, id });
              break;
            }
            case "delete": {
              const gone = pick(step.which);
              if (gone === undefined) break;
              await store.delete(gone.id);
              kept.splice(kept.indexOf(gone), 1);
              break;
            }
            case "restore": {
              const wanted = pick(step.which);
              if (wanted === undefined) break;
              const out = join(directory, "restored");
              await store.restore(wanted.id, out);
              assert.ok((await readFile(out)).equals(wanted.disk), `${wanted.id} restores otherwise`);
              await rm(out);
              break;
            }
            case "collect":
              await store.collect({});
              break;
            case "reopen":
              store = await reopen();
          }
        }
        for (const one of kept) await check(one);
        for (const one of kept.splice(0)) await store.delete(one.id);
        await store.collect({});
        assert.equal((await store.usage()).totalBytes, 0);
        await store.close();
        await rm(directory, { recursive: true });
      }),
      { numRuns: 8 },
    );
  });
}
