import assert from "node:assert/strict";
import { hash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { DamageError, INDEX_ENTRY_BYTES } from "./format.ts";
import { encodeSegment, IndexSegment } from "./index-segment.ts";
import { extendKnownBlobs, FreshBlobs, FreshBlobsMemory, KnownBlobs } from "./known-blobs.ts";

const idOf = (n: number): Buffer => hash("sha256", `blob ${n}`, "buffer");

/** Entries of blobs `from` to `to`; where each lies follows from its number. */
function entries(from: number, to: number): Buffer {
  const bytes = Buffer.alloc((to - from) * INDEX_ENTRY_BYTES);
  for (let n = from; n < to; n++) {
    const at = (n - from) * INDEX_ENTRY_BYTES;
    idOf(n).copy(bytes, at);
    bytes.writeUInt32LE(n * 3, at + 36);
    bytes.writeUInt32LE(n * 5, at + 40);
    bytes.writeUInt32LE(n * 7, at + 44);
    bytes.writeUInt32LE(n * 11, at + 48);
  }
  return bytes;
}

async function segment(t: TestContext, packs: { name: string; entries: Buffer }[]): Promise<IndexSegment> {
  const directory = await mkdtemp(join(tmpdir(), "storage-index-"));
  const path = join(directory, "one.index");
  await writeFile(path, encodeSegment(packs));
  const opened = new IndexSegment("one", path);
  t.after(async () => {
    opened.close();
    await rm(directory, { recursive: true });
  });
  return opened;
}

const packName = (digit: string): string => digit.repeat(32);

for (const count of [0, 1, 2, 33, 5000]) {
  test(`a segment of ${count} blobs finds each and no other`, async (t) => {
    const half = Math.floor(count / 2);
    const index = await segment(t, [
      { name: packName("a"), entries: entries(0, half) },
      // The overlap is kept once.
      { name: packName("b"), entries: entries(Math.max(0, half - 10), count) },
    ]);
    assert.equal(index.count, count);
    for (let n = 0; n < count; n++) {
      const entry = index.find(idOf(n), 0);
      assert.ok(entry >= 0);
      const place = index.place(entry, idOf(n), 0);
      assert.deepEqual(
        { ...place, pack: "" },
        { pack: "", frameOffset: n * 3, frameBytes: n * 5, offset: n * 7, bytes: n * 11 },
      );
      if (n < half - 10) assert.equal(place.pack, packName("a"));
      if (n >= half) assert.equal(place.pack, packName("b"));
    }
    for (let n = count; n < count + 100; n++) assert.equal(index.find(idOf(n), 0), -1);
    let last = Buffer.alloc(32);
    let seen = 0;
    for (const { first, bytes } of index.slices()) {
      assert.equal(first, seen);
      for (let at = 0; at < bytes.length; at += INDEX_ENTRY_BYTES, seen++) {
        const id = Buffer.from(bytes.subarray(at, at + 32));
        assert.ok(id.compare(last) > 0);
        last = id;
      }
    }
    assert.equal(seen, count);
  });
}

test("no flipped bit in a segment gives a wrong place", async (t) => {
  const index = await segment(t, [{ name: packName("c"), entries: entries(0, 200) }]);
  const whole = await readFile(index.path);
  for (let at = 0; at < whole.length; at += 7) {
    const bad = Buffer.from(whole);
    bad[at]! ^= 1 << (at % 8);
    await writeFile(index.path, bad);
    let opened: IndexSegment;
    try {
      opened = new IndexSegment("one", index.path);
    } catch (error) {
      assert.ok(error instanceof DamageError);
      continue;
    }
    for (let n = 0; n < 200; n++) {
      try {
        const entry = opened.find(idOf(n), 0);
        assert.ok(entry >= 0);
        assert.equal(opened.place(entry, idOf(n), 0).frameOffset, n * 3);
      } catch (error) {
        assert.ok(error instanceof DamageError, `byte ${at}: ${error}`);
      }
    }
    opened.close();
  }
});

test("the shared table knows what segments hold, grows, and leaves out what is condemned", async (t) => {
  const one = await segment(t, [{ name: packName("d"), entries: entries(0, 3000) }]);
  const two = await segment(t, [{ name: packName("e"), entries: entries(3000, 20_000) }]);
  const condemned = new Uint8Array(Math.ceil(3000 / 8));
  const gone = one.find(idOf(77), 0);
  condemned[gone >> 3]! |= 1 << (gone & 7);
  const small = extendKnownBlobs(null, [one], [condemned]);
  const large = extendKnownBlobs(small, [two], [null]);
  assert.ok(large.slots.byteLength > small.slots.byteLength);
  const known = new KnownBlobs(large);
  for (let n = 0; n < 20_000; n += 7) assert.equal(known.has(idOf(n)), n !== 77, `blob ${n}`);
  for (let n = 0; n < 1000; n++) assert.equal(known.has(randomBytes(32)), false);
  known.close();
});

test("of all who claim a new blob, one stores it; a full table stores it twice rather than losing it", () => {
  const memory = new FreshBlobsMemory().take(16);
  const a = new FreshBlobs(memory);
  const b = new FreshBlobs(memory);
  for (let n = 0; n < 500; n++) assert.notEqual(a.claim(idOf(n)), b.claim(idOf(n)));
  for (let n = 500; n < 1024; n++) a.claim(idOf(n));
  assert.equal(a.claim(idOf(5000)), true);
  assert.equal(b.claim(idOf(5000)), true);
  assert.equal(b.claim(idOf(3)), false);
});

test("memory that is given back serves the next capture, and knows nothing of the one before", () => {
  const pool = new FreshBlobsMemory();
  const first = pool.take(1000);
  const a = new FreshBlobs(first);
  for (let n = 0; n < 500; n++) assert.equal(a.claim(idOf(n)), true);
  const meanwhile = pool.take(10);
  assert.notEqual(meanwhile, first);
  pool.give(first);
  pool.give(meanwhile);
  assert.equal(pool.take(900), first);
  const b = new FreshBlobs(first);
  for (let n = 0; n < 500; n++) assert.equal(b.claim(idOf(n)), true);
  for (let n = 0; n < 500; n++) assert.equal(b.claim(idOf(n)), false);
  pool.give(first);
  assert.notEqual(pool.take(100_000), first);
});
