// What works on tasks, with a store and buckets that do as the test says: how many at a time, what is given up, what goes on.
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { testDatabase } from "../../test/support/test-database.ts";
import { systemClock } from "../base/clock.ts";
import { newId, type Region, type SnapshotId } from "../base/ids.ts";
import { silentLog } from "../base/log.ts";
import { type Database, openDatabase } from "../database/database.ts";
import type { Grant } from "../model/access.ts";
import { snapshotsToKeep } from "../model/snapshot-rows.ts";
import { cancelTransferTask, findTransferTask, insertTransferTask } from "../model/transfer-task.ts";
import type { StoredDisk, TransferOptions, TransferStorage } from "./parts.ts";
import { startTransfers, type Transfers } from "./transfers.ts";

const OWNER = { accountId: "111111111111", region: "us-east-1" as Region };
const grant = {} as Grant<never>;
const CONTENT: StoredDisk = { digest: "00".repeat(32), bytes: 4096, allocatedBytes: 4096 };

/** Imports under way, each until the test lets it end or its signal does. */
class World {
  #added = 0;
  readonly under = new Map<SnapshotId, { end(): void; fail(error: Error): void }>();
  readonly kept = new Map<SnapshotId, StoredDisk>();
  begun = 0;
  readonly database: Database;
  readonly #directory: string;
  readonly #started: Transfers[] = [];

  constructor(database: Database, directory: string) {
    this.database = database;
    this.#directory = directory;
  }

  async start(): Promise<Transfers> {
    const unused = () => Promise.reject(new Error("not asked for here"));
    const storage: TransferStorage = {
      describe: async (id) => this.kept.get(id),
      importDisk: ({ snapshotId }, options) => this.#import(snapshotId, options),
      copy: unused,
      open: unused,
      exportDisk: unused,
    };
    const get = async (_bucket: string, key: string) => ({
      ...{ key, bytes: 3, etag: '"e"', lastModified: new Date(), metadata: {} },
      body: Readable.from([Buffer.from("abc")]),
    });
    const objects = { get, write: unused };
    const { database } = this;
    const transfers = await startTransfers({
      database,
      objects,
      storage,
      clock: systemClock,
      log: silentLog,
      directory: this.#directory,
    });
    this.#started.push(transfers);
    return transfers;
  }

  async close(): Promise<void> {
    for (const transfers of this.#started) await transfers.stop();
    await this.database.close();
  }

  async #import(id: SnapshotId, { signal }: TransferOptions): Promise<StoredDisk> {
    this.begun++;
    await new Promise<void>((resolve, reject) => {
      this.under.set(id, { end: resolve, fail: reject });
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    }).finally(() => this.under.delete(id));
    this.kept.set(id, CONTENT);
    return CONTENT;
  }

  async add(): Promise<{ readonly id: string; readonly snapshotId: SnapshotId }> {
    const id = newId("importSnapshotTask");
    const snapshotId = newId("snapshot");
    const from = { bucket: "b", key: "k", format: "raw" as const };
    const disk = { snapshotId, from, deviceName: null, description: "" };
    await this.database.transaction((tx) =>
      insertTransferTask(
        grant,
        tx,
        OWNER,
        {
          ...{ id, kind: "import-snapshot", image_id: null, bucket: "b" },
          ...{ shown: { disks: [{}] }, work: { disk }, holds: [snapshotId] },
        },
        // One after another also for a machine that adds two within a millisecond.
        new Date(Date.now() + this.#added++),
      ),
    );
    return { id, snapshotId };
  }

  async stateOf(id: string): Promise<string> {
    const task = await findTransferTask(this.database.read, id);
    return `${task?.state}${task?.failure == null ? "" : ` ${task.failure}`}`;
  }

  snapshots = async (): Promise<string[]> =>
    (await this.database.read.selectFrom("snapshots").select("id").execute()).map(({ id }) => id);

  scratch = (): Promise<string[]> => readdir(this.#directory);
}

async function world(t: TestContext): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), "ingot-transfers-"));
  let made: World | undefined;
  // Before the database's own end: hooks run in order.
  t.after(() => made?.close());
  t.after(() => rm(directory, { recursive: true, force: true }));
  made = new World(await openDatabase(await testDatabase(t, directory)), join(directory, "transfers"));
  return made;
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(2);
}

test("two at a time, oldest first; each leaves its snapshot and no file", async (t) => {
  const w = await world(t);
  const transfers = await w.start();
  const tasks = [await w.add(), await w.add(), await w.add()];
  transfers.poke();
  await until(() => w.under.size === 2);
  const [first, second, third] = tasks;
  assert.deepEqual(new Set(w.under.keys()), new Set([first?.snapshotId, second?.snapshotId]));
  w.under.get(first?.snapshotId ?? ("" as SnapshotId))?.end();
  await until(() => w.under.has(third?.snapshotId ?? ("" as SnapshotId)));
  for (const { end } of w.under.values()) end();
  for (const { id } of tasks) await until(async () => (await w.stateOf(id)) === "completed");
  assert.deepEqual(new Set(await w.snapshots()), new Set(tasks.map(({ snapshotId }) => snapshotId)));
  await until(async () => (await w.scratch()).length === 0);
});

test("one that is cancelled while it works is given up; what it made nobody keeps", async (t) => {
  const w = await world(t);
  const transfers = await w.start();
  const { id, snapshotId } = await w.add();
  transfers.poke();
  await until(() => w.under.has(snapshotId));
  assert.ok((await snapshotsToKeep(w.database.read)).has(snapshotId));
  assert.equal(await w.database.transaction((tx) => cancelTransferTask(grant, tx, id)), true);
  transfers.poke();
  await until(async () => (await w.stateOf(id)) === "cancelled");
  assert.deepEqual(await w.snapshots(), []);
  assert.ok(!(await snapshotsToKeep(w.database.read)).has(snapshotId));
  assert.equal(await w.database.transaction((tx) => cancelTransferTask(grant, tx, id)), false);
});

test("one that is torn off goes on at the next start, and is not done twice", async (t) => {
  const w = await world(t);
  const first = await w.start();
  const { id, snapshotId } = await w.add();
  first.poke();
  await until(() => w.under.has(snapshotId));
  await first.stop();
  assert.equal(await w.stateOf(id), "active");
  // Its content had become durable; only the rows were missing.
  w.kept.set(snapshotId, CONTENT);
  await w.start();
  await until(async () => (await w.stateOf(id)) === "completed");
  assert.equal(w.begun, 1);
  assert.deepEqual(await w.snapshots(), [snapshotId]);
});

test("one that fails says whose fault it is", async (t) => {
  const w = await world(t);
  const transfers = await w.start();
  const [bad, unlucky] = [await w.add(), await w.add()];
  transfers.poke();
  await until(() => w.under.size === 2);
  const format = new Error("not a VHD file");
  format.name = "DiskFormatError";
  w.under.get(bad.snapshotId)?.fail(new Error("import", { cause: format }));
  w.under.get(unlucky.snapshotId)?.fail(new Error("EIO: /var/lib/something"));
  for (const { id } of [bad, unlucky]) await until(async () => (await w.stateOf(id)).startsWith("failed"));
  assert.equal(await w.stateOf(bad.id), "failed ClientError: not a VHD file");
  assert.equal(await w.stateOf(unlucky.id), "failed ServerError: an internal error has occurred during the task.");
  assert.deepEqual(await w.snapshots(), []);
});
