import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { OWNER, temporaryStore, writeDisk } from "../../test/support/storage-disk.ts";
import { newId } from "../base/ids.ts";
import { MIB } from "../base/units.ts";
import { BootProfiles } from "./boot-profile.ts";
import type { SnapshotReader } from "./store.ts";

const UNIT = 64 * 1024;

async function image(t: TestContext): Promise<{ open: () => Promise<SnapshotReader>; profiles: string }> {
  const { store, directory } = await temporaryStore(t);
  const disk = randomBytes(8 * MIB);
  await writeDisk(join(directory, "disk"), disk);
  const id = newId("snapshot");
  await store.capture({
    owner: OWNER,
    snapshotId: id,
    bytes: disk.length,
    base: null,
    source: { kind: "file", path: join(directory, "disk") },
  });
  return { open: () => store.open(id), profiles: join(directory, "profiles") };
}

const never = (error: unknown): never => {
  throw error;
};

test("what a first boot reads is read ahead at the next, in its order", async (t) => {
  const { open, profiles } = await image(t);
  const first = await open();
  const recording = new BootProfiles(profiles, 64 * MIB, never);
  assert.equal(await recording.attach(first), 0);
  const order = Array.from({ length: 20 }, (_, i) => (i * 37) % 128);
  for (const unit of order) {
    await first.read(unit * UNIT + 100, 4096);
    await first.read(unit * UNIT, 512); // touched again: counted once
  }
  recording.detach(first);

  const second = await open();
  const ahead: number[] = [];
  second.onRead = (offset) => ahead.push(offset / UNIT);
  assert.equal(await new BootProfiles(profiles, 64 * MIB, never).attach(second), 20);
  assert.deepEqual(ahead, order);

  const small = await open();
  assert.equal(
    await new BootProfiles(profiles, 5 * UNIT, never).attach(small),
    5,
    "never more than its share of the cache",
  );
});

test("a look at a disk is no boot, and a damaged profile is recorded anew", async (t) => {
  const { open, profiles } = await image(t);
  const looked = await open();
  const recording = new BootProfiles(profiles, 64 * MIB, never);
  await recording.attach(looked);
  await looked.read(0, 4096);
  recording.detach(looked);
  await assert.rejects(readdir(profiles), /ENOENT/);

  const booted = await open();
  await recording.attach(booted);
  await booted.read(0, 4 * MIB);
  recording.flush();
  const [name] = await readdir(profiles);
  assert.equal(name, booted.digest);
  const bytes = await readFile(join(profiles, name!));
  bytes[9]! ^= 1;
  await writeFile(join(profiles, name!), bytes);
  const again = await open();
  assert.equal(await recording.attach(again), 0);
  assert.notEqual(again.onRead, null);
  recording.detach(again);
});
