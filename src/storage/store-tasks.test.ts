import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";
import { OWNER, temporaryDirectory, temporaryStore, writeDisk } from "../../test/support/storage-disk.ts";
import { newId } from "../base/ids.ts";
import { silentLog } from "../base/log.ts";
import { MIB } from "../base/units.ts";
import type { Collected } from "./collect.ts";
import { dueDuties, StoreTasks, type Upkeep } from "./store-tasks.ts";
import type { Scrubbed } from "./upkeep.ts";

const HOUR = 3_600_000;
const NOTHING: Collected = { liveBytes: 0, freedBytes: 0, rewrittenBytes: 0, packs: 0, damaged: [] };
const CLEAN: Scrubbed = { bytes: 0, damage: [], affected: [], faults: [], next: null };

test("duties are due after a pause in deletions, daily and weekly", () => {
  const state = { version: 1, collectedAt: 0, scrubbedAt: 0, scrubNext: null } as const;
  const minutes = (n: number) => n * 60_000;
  assert.deepEqual(dueDuties(state, null, HOUR), []);
  assert.deepEqual(dueDuties(state, { first: minutes(10), latest: minutes(20) }, minutes(24)), []);
  assert.deepEqual(dueDuties(state, { first: minutes(10), latest: minutes(20) }, minutes(25)), ["collect"]);
  assert.deepEqual(dueDuties(state, { first: minutes(10), latest: minutes(39) }, minutes(40)), ["collect"]);
  assert.deepEqual(dueDuties(state, null, 24 * HOUR), ["collect"]);
  assert.deepEqual(dueDuties({ ...state, collectedAt: 168 * HOUR }, null, 168 * HOUR), ["scrub"]);
  assert.deepEqual(dueDuties({ ...state, scrubNext: "ab" }, null, HOUR), ["scrub"]);
});

test("an interrupted scrub goes on at the next start, one that an operator stops does not", async (t) => {
  const directory = await temporaryDirectory(t);
  let now = new Date(0);
  const resumed: (string | undefined)[] = [];
  const upkeep: Upkeep = {
    collect: async () => NOTHING,
    scrub: async ({ signal, resume }) => {
      resumed.push(resume);
      await new Promise<void>((resolve) => signal!.addEventListener("abort", () => resolve(), { once: true }));
      return { ...CLEAN, next: "pack-7" };
    },
    rebuildIndex: async () => ({ packs: 0, blobs: 0, damaged: [] }),
  };
  const open = () => new StoreTasks(upkeep, { directory, clock: { now: () => now }, log: silentLog });
  const first = open();
  await first.look();
  assert.deepEqual(first.list(), [], "a new store has nothing due");
  now = new Date(8 * 24 * HOUR);
  await first.look();
  assert.deepEqual(
    first.list().map(({ kind }) => kind),
    ["collect", "scrub"],
  );
  const [collect, scrub] = first.list();
  assert.equal((await first.ended(collect!.id))?.state, "completed");
  assert.equal(first.scrub({}).id, scrub!.id, "one scrub at a time");
  await first.close();
  assert.equal(first.get(scrub!.id)?.state, "stopped");

  const second = open();
  await second.look();
  const [going] = second.list();
  assert.equal(going?.kind, "scrub");
  assert.deepEqual(resumed, [undefined, "pack-7"]);
  assert.ok(second.stop(going!.id));
  assert.equal((await second.ended(going!.id))?.state, "stopped");
  await second.look();
  assert.equal(second.list().length, 1, "a scrub that was stopped is over");
  await second.close();
});

test("a failure is told, and the next task runs", async (t) => {
  const directory = await temporaryDirectory(t);
  const tasks = new StoreTasks(
    {
      collect: async () => {
        throw new Error("free packs", { cause: new Error("disk on fire") });
      },
      scrub: async () => CLEAN,
      rebuildIndex: async () => ({ packs: 3, blobs: 9, damaged: [] }),
    },
    { directory, clock: { now: () => new Date(0) }, log: silentLog },
  );
  const { id } = tasks.collect({});
  const rebuild = tasks.rebuildIndex();
  const failed = await tasks.ended(id);
  assert.deepEqual([failed?.state, failed?.message], ["failed", "free packs: disk on fire"]);
  assert.deepEqual((await tasks.ended(rebuild.id))?.rebuilt, { packs: 3, blobs: 9, damaged: [] });
  assert.equal(tasks.stop("collect-unknown"), false);
  await tasks.close();
});

test("a store's tasks plan, free, scrub and rebuild", async (t) => {
  const { store, directory } = await temporaryStore(t);
  await writeDisk(join(directory, "disk"), randomBytes(2 * MIB));
  const source = { kind: "file", path: join(directory, "disk") } as const;
  const id = newId("snapshot");
  await store.capture({ owner: OWNER, snapshotId: id, bytes: 2 * MIB, base: null, source });
  await store.delete(id);
  const planned = (await store.tasks.ended(store.tasks.collect({ planOnly: true }).id))!.collected!;
  assert.ok(planned.freedBytes > 2 * MIB);
  assert.ok((await store.usage()).totalBytes > 0, "a plan frees nothing");
  const scrubbed = (await store.tasks.ended(store.tasks.scrub({}).id))!;
  assert.equal(scrubbed.scrubbed?.damage.length, 0);
  assert.equal(scrubbed.doneBytes, scrubbed.totalBytes);
  const rebuilt = (await store.tasks.ended(store.tasks.rebuildIndex().id))!.rebuilt!;
  assert.equal(rebuilt.packs, 1);
  const freed = (await store.tasks.ended(store.tasks.collect({}).id))!.collected!;
  assert.equal(freed.freedBytes, planned.freedBytes);
  assert.equal((await store.usage()).totalBytes, 0);
});
