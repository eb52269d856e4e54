import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { OWNER, temporaryStore, writeDisk } from "../../test/support/storage-disk.ts";
import { newId, type SnapshotId } from "../base/ids.ts";
import { MIB } from "../base/units.ts";

test("usage is exact: what it says a deletion frees is what it frees", async (t) => {
  const { store, directory } = await temporaryStore(t, { key: randomBytes(32) });
  const keep = async (disk: Buffer, base: SnapshotId | null = null): Promise<SnapshotId> => {
    const path = join(directory, "disk");
    await rm(path, { force: true });
    await writeDisk(path, disk);
    const id = newId("snapshot");
    const source = { kind: "file", path } as const;
    await store.capture({ owner: OWNER, snapshotId: id, bytes: disk.length, base, source });
    return id;
  };
  const disk = randomBytes(12 * MIB);
  const first = await keep(disk);
  const ids = [first];
  for (let generation = 1; generation <= 3; generation++) {
    // Some of it changes, in pieces smaller than a frame; some of it is another disk's.
    for (let at = generation * 4096; at < disk.length; at += 700_000) randomBytes(9000).copy(disk, at);
    disk.copy(disk, 3 * MIB * generation, 0, MIB);
    ids.push(await keep(disk, generation === 2 ? first : ids.at(-1)!));
  }
  const twin = newId("snapshot");
  await store.copy(twin, ids[2]!);
  const alone = await keep(randomBytes(MIB));
  const empty = await keep(Buffer.alloc(MIB));
  const all = [...ids, twin, alone, empty];

  const live = async () => (await store.collect({ dryRun: true })).liveBytes;
  const { snapshots, reachedBytes, totalBytes } = await store.usage();
  assert.equal(snapshots.length, all.length);
  assert.ok(reachedBytes <= (await live()) && reachedBytes < totalBytes);
  const of = new Map<string, (typeof snapshots)[number]>(snapshots.map((one) => [one.id, one]));
  for (const id of [twin, ids[2]!]) assert.equal(of.get(id)!.freedIfDeletedBytes, 0, "its twin keeps everything");
  assert.equal(of.get(twin)!.exclusiveBytes, 0);
  assert.equal(of.get(alone)!.sharedBytes, 0);
  assert.ok(of.get(alone)!.exclusiveBytes > MIB);
  assert.deepEqual([of.get(empty)!.exclusiveBytes, of.get(empty)!.sharedBytes], [0, 0]);

  const last = snapshots.find(({ id }) => id === ids[1])!;
  assert.ok(last.sharedBytes > 0);
  const everything = await store.usageOfGroups(new Map([["all", all]]));
  assert.equal(everything.get("all")!.exclusiveBytes, reachedBytes, "whole bytes: nothing is lost by rounding");

  const pair = await store.usageOfGroups(new Map([["both", [ids[2]!, twin]]]));
  assert.ok(pair.get("both")!.freedIfDeletedBytes > 0, "together they hold what neither does alone");

  for (const id of [ids[0]!, ids[3]!, alone, empty]) {
    const now = (await store.usage([id])).snapshots[0]!;
    const before = await live();
    await store.delete(id);
    assert.equal(before - (await live()), now.freedIfDeletedBytes, `${id}`);
    assert.ok(now.exclusiveBytes >= now.freedIfDeletedBytes, "a frame that others need part of stays whole");
  }
  const before = await live();
  const group = (await store.usageOfGroups(new Map([["both", [ids[2]!, twin]]]))).get("both")!;
  await store.delete(ids[2]!);
  await store.delete(twin);
  assert.equal(before - (await live()), group.freedIfDeletedBytes);

  const { snapshots: left, reachedBytes: now } = await store.usage();
  assert.deepEqual(
    left.map(({ id, exclusiveBytes, sharedBytes }) => [id, exclusiveBytes, sharedBytes]),
    [[last.id, last.exclusiveBytes + last.sharedBytes, 0]],
    "what was shared is its own once the others are gone",
  );
  assert.equal(now, last.exclusiveBytes + last.sharedBytes);
});
