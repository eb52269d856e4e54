import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { applyWrite, OWNER, temporaryStore, writeDisk } from "../../test/support/storage-disk.ts";
import { chain } from "../base/errors.ts";
import { accountId, newId, type SnapshotId } from "../base/ids.ts";
import { silentLog } from "../base/log.ts";
import { BLOCK_BYTES, KIB, MIB } from "../base/units.ts";
import { openStore, sameRange } from "./store.ts";

test("a captured file reads, restores and describes itself exactly", async (t) => {
  const { store, directory } = await temporaryStore(t);
  const disk = Buffer.alloc(20 * MIB + 512);
  randomBytes(3 * MIB).copy(disk, 7 * MIB + 100);
  applyWrite(disk, { block: 3000, blocks: 700, seed: 5 });
  disk[disk.length - 1] = 9;
  await writeDisk(join(directory, "disk"), disk);
  const id = newId("snapshot");
  const progress: number[] = [];
  const snapshot = await store.capture(
    {
      owner: OWNER,
      snapshotId: id,
      bytes: disk.length,
      base: null,
      source: { kind: "file", path: join(directory, "disk") },
    },
    { onProgress: ({ doneBytes, totalBytes }) => progress.push(doneBytes / totalBytes) },
  );
  assert.equal(snapshot.bytes, disk.length);
  assert.equal(snapshot.allocatedBytes, (769 + 700 + 1) * 4 * KIB);
  assert.equal(progress.at(-1), 1);

  const reader = await store.open(id);
  assert.equal(reader.digest, snapshot.digest);
  assert.ok((await reader.read(0, disk.length)).equals(disk));
  for (const [from, length] of [
    [0, 1],
    [7 * MIB + 99, 3],
    [8 * MIB - 1, 2],
    [disk.length - 700, 700],
  ] as const) {
    assert.ok((await reader.read(from, length)).equals(disk.subarray(from, from + length)));
  }
  await assert.rejects(reader.read(disk.length - 1, 2), RangeError);

  // At once only what has been read, and then the same.
  const again = await store.open(id);
  let heard = 0;
  again.onRead = () => heard++;
  const part = Buffer.alloc(2 * MIB, 1);
  assert.equal(again.readNow(part, 7 * MIB), false);
  assert.equal(heard, 0);
  await again.readInto(part, 7 * MIB);
  assert.equal(again.readNow(part.fill(1), 7 * MIB), true);
  assert.ok(part.equals(disk.subarray(7 * MIB, 9 * MIB)));
  assert.equal(heard, 2);
  assert.equal(again.readNow(part, disk.length - MIB), false);

  await store.restore(id, join(directory, "restored"));
  assert.ok((await readFile(join(directory, "restored"))).equals(disk));
  await assert.rejects(store.restore(id, join(directory, "restored")), /EEXIST/);
});

test("the same disk again stores nothing, whether sparse or not", async (t) => {
  const { store, directory } = await temporaryStore(t);
  const disk = Buffer.alloc(20 * MIB);
  applyWrite(disk, { block: 1000, blocks: 2000, seed: 8 });
  randomBytes(MIB).copy(disk, 17 * MIB);
  const path = join(directory, "disk");
  await writeDisk(path, disk, true);
  const spec = { bytes: disk.length, base: null, source: { kind: "file", path } } as const;
  const first = await store.capture({ owner: OWNER, ...spec, snapshotId: newId("snapshot") });
  await writeDisk(path, disk, false);
  const second = await store.capture({ owner: OWNER, ...spec, snapshotId: newId("snapshot") });
  assert.equal(second.digest, first.digest);
  assert.equal(second.allocatedBytes, first.allocatedBytes);
  assert.equal(second.newBytes, 0);
});

const takenAlready = (error: unknown) => /there is a snapshot of this id already/.test(chain(error));

test("a snapshot id is taken once", async (t) => {
  const { store, directory } = await temporaryStore(t);
  await writeDisk(join(directory, "disk"), Buffer.alloc(MIB, 1));
  const spec = {
    owner: OWNER,
    snapshotId: newId("snapshot"),
    bytes: MIB,
    base: null,
    source: { kind: "file", path: join(directory, "disk") },
  } as const;
  await store.capture(spec);
  await assert.rejects(store.capture(spec), takenAlready);
  await assert.rejects(store.copy(spec.snapshotId, spec.snapshotId), takenAlready);
});

test("a copy outlives its original", async (t) => {
  const { store, directory } = await temporaryStore(t);
  const disk = randomBytes(MIB);
  await writeDisk(join(directory, "disk"), disk);
  const id = newId("snapshot");
  const volume = newId("volume");
  await store.capture({
    owner: OWNER,
    snapshotId: id,
    bytes: MIB,
    base: null,
    source: { kind: "file", path: join(directory, "disk") },
  });
  const copy = await store.copy(volume, id);
  assert.equal(copy.newBytes, 0);
  await store.delete(id);
  assert.equal(await store.has(id), false);
  await assert.rejects(store.open(id), /there is no snapshot/);
  assert.ok((await (await store.open(volume)).read(0, MIB)).equals(disk));
});

test("a copy under several ids is one under each, in their order", async (t) => {
  const { store, directory } = await temporaryStore(t);
  const disk = randomBytes(MIB);
  await writeDisk(join(directory, "disk"), disk);
  const id = newId("snapshot");
  const source = { kind: "file", path: join(directory, "disk") } as const;
  const kept = await store.capture({ owner: OWNER, snapshotId: id, bytes: MIB, base: null, source });
  const ids = Array.from({ length: 12 }, () => newId("snapshot"));
  const copies = await store.copyToAll(ids, id);
  assert.deepEqual(
    copies.map((copy) => [copy.id, copy.digest, copy.newBytes]),
    ids.map((each) => [each, kept.digest, 0]),
  );
  await store.delete(id);
  for (const each of ids) assert.ok((await (await store.open(each)).read(0, MIB)).equals(disk));
  await assert.rejects(store.copyToAll([newId("snapshot"), ids[0]!], ids[1]!), takenAlready);
});

test("a cancelled capture keeps nothing, and the next one works", async (t) => {
  const { store, directory } = await temporaryStore(t);
  const disk = randomBytes(40 * MIB);
  await writeDisk(join(directory, "disk"), disk);
  const id = newId("snapshot");
  const spec = {
    owner: OWNER,
    snapshotId: id,
    bytes: disk.length,
    base: null,
    source: { kind: "file", path: join(directory, "disk") },
  } as const;
  const abort = new AbortController();
  await assert.rejects(
    store.capture(spec, { signal: abort.signal, onProgress: () => abort.abort(new Error("enough")) }),
    /enough/,
  );
  assert.equal(await store.has(id), false);
  await store.capture(spec);
  assert.ok((await (await store.open(id)).read(0, disk.length)).equals(disk));
});

test("changed blocks and non-zero blocks come from the manifests", async (t) => {
  const { store, directory } = await temporaryStore(t);
  const disk = Buffer.alloc(24 * MIB);
  applyWrite(disk, { block: 0, blocks: 4000, seed: 2 });
  const path = join(directory, "disk");
  const capture = async () => {
    const id = newId("snapshot");
    await writeDisk(path, disk);
    await store.capture({
      owner: OWNER,
      snapshotId: id,
      bytes: disk.length,
      base: null,
      source: { kind: "file", path },
    });
    return id;
  };
  const a = await capture();
  applyWrite(disk, { block: 130, blocks: 1, seed: 77 }); // block 1 of 512 KiB
  applyWrite(disk, { block: 1024, blocks: 128, seed: 0 }); // block 8 becomes zero
  applyWrite(disk, { block: 5000, blocks: 1, seed: 3 }); // block 39 becomes data
  const b = await capture();
  const seen = [];
  for await (const block of store.changedBlocks(a, b, BLOCK_BYTES)) seen.push(block);
  assert.deepEqual(seen, [
    { index: 1, inFrom: true, inTo: true },
    { index: 8, inFrom: true, inTo: false },
    { index: 39, inFrom: false, inTo: true },
  ]);
  const present = [];
  for await (const index of (await store.open(b)).nonZeroBlocks(BLOCK_BYTES, 7)) present.push(index);
  assert.deepEqual(present, [7, ...Array.from({ length: 23 }, (_, i) => i + 9), 39]);
});

test("a draft survives its writer and becomes a snapshot over its base", async (t) => {
  const { store, directory } = await temporaryStore(t);
  const disk = Buffer.alloc(8 * MIB);
  applyWrite(disk, { block: 0, blocks: 2048, seed: 4 });
  await writeDisk(join(directory, "disk"), disk);
  const base = newId("snapshot");
  const draft = newId("snapshot");
  await store.capture({
    owner: OWNER,
    snapshotId: base,
    bytes: disk.length,
    base: null,
    source: { kind: "file", path: join(directory, "disk") },
  });
  await store.beginDraft(draft, { owner: OWNER, bytes: 16 * MIB, base });
  const expected = Buffer.concat([disk, Buffer.alloc(8 * MIB)]);
  const puts = [];
  for (const index of [0, 3, 15, 16, 31]) {
    const bytes = index === 3 ? Buffer.alloc(BLOCK_BYTES) : randomBytes(BLOCK_BYTES);
    bytes.copy(expected, index * BLOCK_BYTES);
    puts.push(store.putDraftBlock(draft, index, bytes), store.putDraftBlock(draft, index, bytes));
  }
  await Promise.all(puts);
  const again = randomBytes(BLOCK_BYTES);
  again.copy(expected, 16 * BLOCK_BYTES);
  await store.putDraftBlock(draft, 16, again);
  assert.deepEqual(
    (await store.draftBlocks(draft)).map(({ index }) => index),
    [0, 3, 15, 16, 31],
  );
  await assert.rejects(store.putDraftBlock(draft, 32, again), /lies outside/);
  // The base may go while the draft is written.
  await store.delete(base);
  const snapshot = await store.completeDraft(draft);
  assert.deepEqual(await store.completeDraft(draft), snapshot);
  assert.ok((await (await store.open(draft)).read(0, expected.length)).equals(expected));
  await assert.rejects(store.putDraftBlock(draft, 0, again), /draft/);
});

test("an encrypted store opens with its own key only, and nothing of a disk is in its files", async (t) => {
  const { store, directory } = await temporaryStore(t, { key: randomBytes(32) });
  const secret = Buffer.from("attack at dawn, and bring the good biscuits ".repeat(2000));
  await writeDisk(join(directory, "disk"), secret);
  const id = newId("snapshot");
  const source = { kind: "file", path: join(directory, "disk") } as const;
  await store.capture({ owner: OWNER, snapshotId: id, bytes: secret.length, base: null, source });
  const home = store.directory;
  await store.close();
  await assert.rejects(openStore({ directory: home, log: silentLog }), /encrypted/);
  await assert.rejects(openStore({ directory: home, log: silentLog, key: randomBytes(32) }), /another master key/);
  for (const entry of await readdir(home, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const bytes = await readFile(join(entry.parentPath, entry.name));
    assert.equal(bytes.includes("good biscuits"), false, entry.name);
  }
});

test("an encrypted store reads again after it was closed", async (t) => {
  const { store, directory, reopen } = await temporaryStore(t, { key: randomBytes(32) });
  const disk = randomBytes(3 * MIB);
  await writeDisk(join(directory, "disk"), disk);
  const id = newId("snapshot");
  const source = { kind: "file", path: join(directory, "disk") } as const;
  await store.capture({ owner: OWNER, snapshotId: id, bytes: disk.length, base: null, source });
  const again = await reopen();
  assert.ok((await (await again.open(id)).read(0, disk.length)).equals(disk));
});

test("a second owner is refused in a clear sentence", async (t) => {
  const { store } = await temporaryStore(t);
  const other = spawnSync(process.execPath, [
    "--input-type=module",
    "-e",
    `import { openStore } from ${JSON.stringify(new URL("./store.ts", import.meta.url).href)};
     await openStore({ directory: ${JSON.stringify(store.directory)}, log: { debug() {}, info() {}, warn() {}, error() {} } });`,
  ]);
  assert.equal(other.status, 1);
  assert.match(
    other.stderr.toString(),
    new RegExp(`the store is in use by process ${process.pid}: one process at a time`),
  );
});

test("two snapshots hold the same bytes in a range, or they do not, to the byte", async (t) => {
  const { store, directory } = await temporaryStore(t);
  const disk = Buffer.alloc(20 * MIB + 512);
  randomBytes(10 * MIB).copy(disk, 3 * MIB);
  const path = join(directory, "disk");
  const keep = async (owner: typeof OWNER, base: SnapshotId | null) => {
    await writeDisk(path, disk);
    const id = newId("snapshot");
    await store.capture({ owner, snapshotId: id, bytes: disk.length, base, source: { kind: "file", path } });
    return id;
  };
  const first = await keep(OWNER, null);
  // Inside a block, and at a segment's edge.
  const at = [5 * MIB + 700, 8 * MIB - 1, 8 * MIB, 15 * MIB];
  for (const offset of at) disk[offset]! ^= 1;
  const second = await keep(OWNER, first);
  const stranger = await keep(accountId("222233334444"), null);
  const a = await store.open(first);
  const b = await store.open(second);
  const c = await store.open(stranger);
  const differs = (offset: number, bytes: number): boolean => at.some((one) => one >= offset && one < offset + bytes);
  const ranges = [
    [0, 3 * MIB],
    [0, disk.length],
    [5 * MIB, 700],
    [5 * MIB + 701, 10],
    [5 * MIB + 700, 1],
    [5 * MIB + 4096, 2 * MIB],
    [8 * MIB - 1, 1],
    [8 * MIB - 2, 1],
    [8 * MIB + 1, 5 * MIB],
    [14 * MIB, 6 * MIB + 512],
    [15 * MIB + 1, 5 * MIB],
  ] as const;
  for (const [offset, bytes] of ranges) {
    assert.equal(await sameRange(a, b, { offset, bytes }), !differs(offset, bytes), `${bytes} bytes at ${offset}`);
    assert.equal(await sameRange(b, c, { offset, bytes }), true, "in chunks of somebody else");
  }
  assert.equal(await sameRange(a, b, { offset: disk.length - 1, bytes: 2 }), false);
  assert.equal(await sameRange(a, b, { offset: 0, bytes: 0 }), true);
});
