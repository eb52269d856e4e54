// A capture whose snapshot is deleted before it is complete is given up, at once and without a trace.
import assert from "node:assert/strict";
import { test } from "node:test";
import { actionWorld, OWNER } from "../../test/support/action-world.ts";
import { accountId, newId, type Region } from "../base/ids.ts";
import { silentLog } from "../base/log.ts";
import type { Grant } from "../model/access.ts";
import { capturesDue, deleteSnapshotRows, insertSnapshots, newSnapshot } from "../model/snapshot-rows.ts";
import { Captures } from "./captures.ts";
import { noDiskKey } from "./disk-key.ts";
import type { HostParts, HostStorage } from "./host-parts.ts";
import type { InstanceDriver } from "./instance-driver.ts";

test("a snapshot that is deleted while it is captured is read no further, others go on", async (t) => {
  const world = await actionWorld(t);
  const { volumes } = await world.instance({ devices: ["/dev/xvda", "/dev/sdf"] });
  const group = newId("image");
  const snapshots = volumes.map((volume) =>
    newSnapshot({
      id: newId("snapshot"),
      account_id: accountId(OWNER),
      region: "us-east-1" as Region,
      volume_id: volume,
      description: "",
      size_gib: 1,
      size_bytes: 1,
      started_at: "2026-11-24T08:00:00.000Z",
      origin: "volume",
      capture_group: group,
    }),
  );
  const [dropped, kept] = snapshots.map((snapshot) => snapshot.id);
  assert.ok(dropped !== undefined && kept !== undefined);
  const { database } = world;
  await database.transaction((tx) => insertSnapshots({} as Grant as never, tx, snapshots));

  const reading = new Map<string, { signal: AbortSignal; done: () => void }>();
  const bothRead = Promise.withResolvers<void>();
  const content = { digest: "00".repeat(32), allocatedBytes: 0 };
  const storage: Pick<HostStorage, "capture" | "has"> = {
    has: async () => false,
    capture: ({ snapshotId }, { signal }) =>
      new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        reading.set(snapshotId, { signal, done: () => resolve(content) });
        if (reading.size === 2) bothRead.resolve();
      }),
  };
  const finished = new Map<string, boolean>();
  const settled = Promise.withResolvers<void>();
  const driver: Pick<InstanceDriver, "beginCapture"> = {
    beginCapture: async (requests) => ({
      volumes: requests.map(({ volumeId, snapshotId }) => ({
        volumeId,
        snapshotId,
        bytes: 1,
        base: null,
        source: { kind: "nbd", socket: "", exportName: "", changed: null },
      })),
      frozen: false,
      finishVolume: async (id, ok) => {
        finished.set(id, ok);
        if (finished.size === 2) settled.resolve();
      },
      finish: async () => {},
      abort: async () => {},
    }),
  };
  const parts = { database, storage, log: silentLog, clock: { now: () => world.now } };
  const captures = new Captures(
    parts as unknown as HostParts,
    () => driver as InstanceDriver,
    () => noDiskKey,
  );
  captures.start(await capturesDue(database.read));
  await bothRead.promise;

  await database.transaction((tx) => deleteSnapshotRows({} as Grant as never, tx, [dropped]));
  captures.start(await capturesDue(database.read));
  assert.deepEqual([reading.get(dropped)?.signal.aborted, reading.get(kept)?.signal.aborted], [true, false]);
  reading.get(kept)?.done();
  await settled.promise;
  await captures.close();
  assert.deepEqual([finished.get(dropped), finished.get(kept)], [false, true]);
  const rows = await database.read.selectFrom("snapshots").select(["id", "state"]).execute();
  assert.deepEqual(
    rows.map(({ id, state }) => [id, state]),
    [[kept, "completed"]],
  );
});
