// Captures, copies, deletions, drafts, reads and collections all at once: nothing that a record reaches is ever freed.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { newId, type SnapshotId } from "../../src/base/ids.ts";
import { BLOCK_BYTES, MIB } from "../../src/base/units.ts";
import { applyWrite, OWNER, pattern, temporaryStore, writeDisk } from "../support/storage-disk.ts";

const DISK = 10 * MIB;
const ROUNDS = Number(process.env.INGOT_ROUNDS ?? 12);

/** Content that actors share, so that one's deletion makes garbage of what another is about to rely on. */
function disk(seed: number): Buffer {
  const bytes = Buffer.alloc(DISK);
  applyWrite(bytes, { block: 40, blocks: 300, seed: 1 + (seed % 2) });
  applyWrite(bytes, { block: 700, blocks: 500, seed: 10 + (seed % 4) });
  applyWrite(bytes, { block: 2100, blocks: 150, seed: 20 + (seed % 3) });
  applyWrite(bytes, { block: 1500, blocks: 90, seed: 100 + seed });
  return bytes;
}

test("everything at once", { timeout: 300_000 }, async (t) => {
  const { store, directory } = await temporaryStore(t);
  const kept = new Map<SnapshotId, Buffer>();
  let x = 12345;
  const random = (below: number): number => {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    return (x >>> 8) % below;
  };
  const any = (): SnapshotId | undefined => [...kept.keys()][random(Math.max(1, kept.size))];

  const capturer = async (actor: number): Promise<void> => {
    for (let round = 0; round < ROUNDS; round++) {
      const content = disk(random(24));
      const path = join(directory, `disk-${actor}`);
      await writeDisk(path, content);
      const id = newId("snapshot");
      await store.capture({ owner: OWNER, snapshotId: id, bytes: DISK, base: null, source: { kind: "file", path } });
      kept.set(id, content);
    }
  };
  const drafter = async (): Promise<void> => {
    for (let round = 0; round < ROUNDS; round++) {
      const base = any();
      const content = base === undefined ? Buffer.alloc(DISK) : Buffer.from(kept.get(base)!);
      const id = newId("snapshot");
      try {
        await store.beginDraft(id, { owner: OWNER, bytes: DISK, base: base ?? null });
      } catch (error) {
        // Another actor has deleted the base since it was picked.
        assert.match(String((error as Error).message), /there is no snapshot/);
        continue;
      }
      for (const index of [random(20), random(20)]) {
        const block = pattern({ block: 0, blocks: 128, seed: 30 + random(3) });
        block.copy(content, index * BLOCK_BYTES);
        await store.putDraftBlock(id, index, block);
      }
      await store.completeDraft(id);
      kept.set(id, content);
    }
  };
  const copier = async (): Promise<void> => {
    while (capturing) {
      // Lets the others have their turn even when there is nothing to do here.
      await new Promise((resume) => setImmediate(resume));
      const from = any();
      if (from !== undefined) {
        const content = kept.get(from)!;
        const id = newId("snapshot");
        const copied = await store.copy(id, from).then(
          () => true,
          () => false,
        );
        if (copied) kept.set(id, content);
      }
      for (let gone = any(); gone !== undefined && kept.size > 3; gone = any()) {
        kept.delete(gone);
        await store.delete(gone);
      }
      const read = any();
      if (read !== undefined) {
        const content = kept.get(read)!;
        const bytes = await store.open(read).then(
          (reader) => reader.read(2 * MIB, 4 * MIB),
          () => null,
        );
        if (bytes !== null) assert.ok(bytes.equals(content.subarray(2 * MIB, 6 * MIB)));
      }
    }
  };
  let capturing = true;
  let working = true;
  let collections = 0;
  let freed = 0;
  const collector = async (): Promise<void> => {
    while (working) {
      freed += (await store.collect()).freedBytes;
      collections++;
    }
  };
  const collecting = collector();
  const captures = Promise.all([capturer(1), capturer(2), drafter()]).finally(() => {
    capturing = false;
  });
  await Promise.all([captures, copier()]).finally(() => {
    working = false;
  });
  await collecting;
  for (const [id, content] of kept) {
    assert.ok((await (await store.open(id)).read(0, DISK)).equals(content), `${id} reads otherwise`);
  }
  assert.ok(collections > 2 && freed > 0, `${collections} collections freed ${freed} bytes`);
  for (const id of kept.keys()) await store.delete(id);
  await store.collect();
  assert.equal((await store.usage()).totalBytes, 0);
});
