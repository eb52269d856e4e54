// Flipped bits, lost indexes, a full disk: never wrong bytes, always a clear word, and the store works on.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { chain } from "../../src/base/errors.ts";
import { newId, type SnapshotId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { MIB } from "../../src/base/units.ts";
import { openStore, type SnapshotStore } from "../../src/storage/store.ts";
import { applyWrite, OWNER, temporaryStore, writeDisk } from "../support/storage-disk.ts";

const DISK = 18 * MIB;

interface Filled {
  readonly store: SnapshotStore;
  readonly reopen: () => Promise<SnapshotStore>;
  readonly disks: Map<SnapshotId, Buffer>;
}

async function filled(t: TestContext, key?: Uint8Array): Promise<Filled> {
  const { store, directory, reopen } = await temporaryStore(t, key === undefined ? {} : { key });
  const disks = new Map<SnapshotId, Buffer>();
  const disk = Buffer.alloc(DISK);
  applyWrite(disk, { block: 5, blocks: 900, seed: 2 });
  randomBytes(MIB).copy(disk, 9 * MIB);
  for (let i = 0; i < 2; i++) {
    applyWrite(disk, { block: 3000 + 50 * i, blocks: 100, seed: 9 + i });
    await writeDisk(join(directory, "disk"), disk);
    const id = newId("snapshot");
    await store.capture({
      owner: OWNER,
      snapshotId: id,
      bytes: DISK,
      base: null,
      source: { kind: "file", path: join(directory, "disk") },
    });
    disks.set(id, Buffer.from(disk));
  }
  return { store, reopen, disks };
}

/** Reads every snapshot in pieces: each is right, or an error. Gives the errors. */
async function readAll(store: SnapshotStore, disks: Map<SnapshotId, Buffer>): Promise<string[]> {
  const errors: string[] = [];
  for (const [id, disk] of disks) {
    for (let offset = 0; offset < DISK; offset += 256 * 1024) {
      try {
        const reader = await store.open(id);
        const bytes = await reader.read(offset, 256 * 1024);
        assert.ok(bytes.equals(disk.subarray(offset, offset + bytes.length)), `wrong bytes of ${id} at ${offset}`);
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
        errors.push(chain(error));
      }
    }
  }
  return errors;
}

async function filesOf(store: SnapshotStore, kind: string): Promise<string[]> {
  const names = await readdir(join(store.directory, kind), { recursive: true, withFileTypes: true });
  return names.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
}

for (const key of [undefined, randomBytes(32)]) {
  test(`flipped bits in a pack${key ? ", encrypted" : ""}: found by readers and by a scrub, which names who is touched`, async (t) => {
    const { store, reopen, disks } = await filled(t, key);
    assert.deepEqual((await store.scrub({ bytesPerSecond: 1e9 })).damage, []);
    let hits = 0;
    for (const path of await filesOf(store, "packs")) {
      const whole = await readFile(path);
      for (let i = 1; i <= 6; i++) {
        const at = Math.floor((whole.length * i) / 7);
        const bad = Buffer.from(whole);
        bad[at]! ^= 1 << (i % 8);
        await writeFile(path, bad);
        const again = await reopen();
        const errors = await readAll(again, disks);
        const scrubbed = await again.scrub({ bytesPerSecond: 1e9 });
        assert.ok(scrubbed.damage.length === 1, `the scrub misses byte ${at}`);
        if (errors.length > 0) {
          hits++;
          assert.ok(scrubbed.affected.length > 0, "and says whom it touches");
          assert.match(errors[0]!, /does not match|authentication|does not decode/);
        }
      }
      await writeFile(path, whole);
    }
    assert.ok(hits > 0);
    const healed = await reopen();
    assert.deepEqual(await readAll(healed, disks), []);
  });
}

test("flipped bits in an index: it is made anew from the packs", async (t) => {
  const { store, reopen, disks } = await filled(t);
  const [path] = await filesOf(store, "index");
  const { length } = await readFile(path!);
  for (const at of [3, 12, 30, 70, 90, Math.floor(length / 2), length - 5]) {
    // The file may have been replaced by a rebuild.
    const [current] = await filesOf(store, "index");
    const bytes = await readFile(current!);
    bytes[Math.min(at, bytes.length - 1)]! ^= 4;
    await writeFile(current!, bytes);
    const again = await reopen();
    await readAll(again, disks);
    await again.rebuildIndex();
    assert.deepEqual(await readAll(again, disks), [], `after a flip at ${at}`);
  }
});

test("all indexes deleted: a rebuild brings everything back, and a collection before it frees nothing", async (t) => {
  const { store, reopen, disks } = await filled(t);
  for (const path of await filesOf(store, "index")) await rm(path);
  const again = await reopen();
  assert.ok((await readAll(again, disks)).length > 0);
  await assert.rejects(again.collect(), (error) => /is in no index/.test(chain(error)));
  const rebuilt = await again.rebuildIndex();
  assert.deepEqual(rebuilt.damaged, []);
  assert.deepEqual(await readAll(again, disks), []);
  const [first] = disks.keys();
  await again.delete(first!);
  disks.delete(first!);
  await again.collect();
  assert.deepEqual(await readAll(again, disks), []);
});

test("a damaged record is said to be so, and stops a collection", async (t) => {
  const { store, disks } = await filled(t);
  const [id] = disks.keys();
  const path = join(store.directory, "snapshots", id!);
  const bytes = await readFile(path);
  for (const at of [5, 40, bytes.length - 3]) {
    const bad = Buffer.from(bytes);
    bad[at]! ^= 2;
    await writeFile(path, bad);
    await assert.rejects(store.open(id!), /the record of snap-.* is damaged/);
    await assert.rejects(store.collect(), (error) => /is damaged/.test(chain(error)));
    assert.match((await store.scrub({ bytesPerSecond: 1e9 })).faults.join(), /the record of snap-.* is damaged/);
  }
});

test("a pack that is missing or cut short is an error, not zeroes", async (t) => {
  const { store, reopen, disks } = await filled(t);
  const [path] = await filesOf(store, "packs");
  const bytes = await readFile(path!);
  await writeFile(path!, bytes.subarray(0, bytes.length / 2));
  const again = await reopen();
  assert.ok((await readAll(again, disks)).some((error) => /cut short/.test(error)));
  await rm(path!);
  const once = await reopen();
  assert.ok((await readAll(once, disks)).some((error) => /ENOENT/.test(error)));
});

test("a scrub is interrupted and resumed", async (t) => {
  const { store } = await filled(t);
  const abort = new AbortController();
  const first = await store.scrub({ bytesPerSecond: 1e9, signal: abort.signal, onProgress: () => abort.abort() });
  assert.notEqual(first.next, null);
  const second = await store.scrub({ bytesPerSecond: 1e9, resume: first.next! });
  assert.equal(second.next, null);
  assert.equal(first.bytes + second.bytes, (await store.usage()).totalBytes);
});

test("a full disk fails clearly, and the store works again once there is room", {
  skip: process.getuid?.() !== 0 && "mounts a tmpfs: needs root",
}, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "storage-full-"));
  const small = join(directory, "small");
  execFileSync("mkdir", [small]);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", small]);
  t.after(async () => {
    execFileSync("umount", [small]);
    await rm(directory, { recursive: true, force: true });
  });
  const store = await openStore({ directory: join(small, "store"), log: silentLog, workers: 2 });
  try {
    const capture = async (disk: Buffer): Promise<SnapshotId> => {
      const id = newId("snapshot");
      await writeDisk(join(directory, "disk"), disk);
      await store.capture({
        owner: OWNER,
        snapshotId: id,
        bytes: disk.length,
        base: null,
        source: { kind: "file", path: join(directory, "disk") },
      });
      return id;
    };
    const fits = randomBytes(6 * MIB);
    const first = await capture(fits);
    await assert.rejects(capture(randomBytes(40 * MIB)), (error) => /ENOSPC/.test(chain(error)));
    assert.deepEqual(await readdir(join(store.directory, "tmp")), []);
    assert.ok((await (await store.open(first)).read(0, fits.length)).equals(fits));
    const again = randomBytes(8 * MIB);
    const second = await capture(again);
    assert.ok((await (await store.open(second)).read(0, again.length)).equals(again));
    const draft = newId("snapshot");
    await store.beginDraft(draft, { owner: OWNER, bytes: 64 * MIB, base: null });
    let put = 0;
    await assert.rejects(
      async () => {
        for (; ; put++) await store.putDraftBlock(draft, put, randomBytes(512 * 1024));
      },
      (error) => /ENOSPC/.test(chain(error)),
    );
    assert.equal((await store.draftBlocks(draft)).length, put);
    await store.dropDraft(draft);
    await store.delete(first);
    await store.collect();
    await capture(fits);
  } finally {
    await store.close();
  }
});
