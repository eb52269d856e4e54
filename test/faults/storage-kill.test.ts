// Killed at any moment (capture, commit, draft, deletion, collection), a store loses nothing that it acknowledged, and
// keeps nothing that a collection does not free. INGOT_KILLS=200 for the long run.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import type { SnapshotId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { BLOCK_BYTES } from "../../src/base/units.ts";
import { openStore } from "../../src/storage/store.ts";
import { VICTIM_DISK, VICTIM_KEY, victimBlock, victimDisk } from "../support/storage-victim-disk.ts";

const KILLS = Number(process.env.INGOT_KILLS ?? 20);
const victim = new URL("../support/storage-victim.ts", import.meta.url).pathname;

test(`${KILLS} kills lose nothing and leak nothing`, { timeout: KILLS * 30_000 }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "storage-kill-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  /** What must be there: disk seeds, or the draft's blocks. */
  const snapshots = new Map<string, () => Buffer>();
  /** May be there or not: the kill came between the call and its answer. */
  const maybe = new Map<string, () => Buffer>();
  const drafts = new Map<string, Map<number, { sha256: string; seed: number }>>();
  const draftDisk = (id: string) => (): Buffer => {
    const disk = Buffer.alloc(VICTIM_DISK);
    for (const [index, { seed }] of drafts.get(id)!) victimBlock(seed).copy(disk, index * BLOCK_BYTES);
    return disk;
  };
  let said = 0;

  for (let kill = 1; kill <= KILLS; kill++) {
    const child = spawn(process.execPath, [victim, directory, String(kill)], { stdio: ["ignore", "pipe", "inherit"] });
    const exited = once(child, "exit");
    const lines = createInterface({ input: child.stdout });
    // Which acknowledgement the kill follows, and how far behind it, is spread over the runs.
    const after = 1 + ((kill * 7) % 23);
    let count = 0;
    const heard: string[] = [];
    lines.on("line", (line) => {
      heard.push(line);
      if (++count === after) setTimeout(() => child.kill("SIGKILL"), (kill * 37) % 120);
    });
    const [code] = (await exited) as [number | null];
    assert.equal(code, null, "the victim must not end by itself");
    await new Promise<void>((resolve) => {
      if ("closed" in lines && lines.closed === true) resolve();
      else lines.once("close", resolve);
    });
    said += heard.length;

    for (const line of heard) {
      const [word, id = "", a = "", b = "", c = ""] = line.split(" ");
      switch (word) {
        case "capturing":
          maybe.set(id, () => victimDisk(Number(a)));
          break;
        case "captured":
          maybe.delete(id);
          snapshots.set(id, () => victimDisk(Number(a)));
          break;
        case "draft":
          drafts.set(id, new Map());
          break;
        case "put":
          drafts.get(id)!.set(Number(a), { sha256: b, seed: Number(c) });
          break;
        case "completing":
          maybe.set(id, draftDisk(id));
          break;
        case "completed":
          maybe.delete(id);
          snapshots.set(id, draftDisk(id));
          break;
        case "deleting":
          if (snapshots.has(id)) maybe.set(id, snapshots.get(id)!);
          snapshots.delete(id);
      }
    }

    const store = await openStore({ directory: join(directory, "store"), key: VICTIM_KEY, log: silentLog, workers: 1 });
    try {
      const present = new Set<string>();
      for await (const id of store.ids()) present.add(id);
      for (const id of snapshots.keys())
        assert.ok(present.has(id), `${id} was acknowledged and is gone after kill ${kill}`);
      for (const id of present) {
        const expected = snapshots.get(id) ?? maybe.get(id);
        assert.ok(expected, `nobody made ${id}`);
        const reader = await store.open(id as SnapshotId);
        assert.ok((await reader.read(0, VICTIM_DISK)).equals(expected()), `${id} reads otherwise after kill ${kill}`);
        snapshots.set(id, expected);
      }
      maybe.clear();
      const left = new Set<string>(await store.drafts());
      for (const [id, blocks] of drafts) {
        if (present.has(id)) continue;
        if (snapshots.has(id) || !left.has(id)) {
          // Completed and later deleted, or begun and never acknowledged.
          continue;
        }
        const found = new Map(
          (await store.draftBlocks(id as SnapshotId)).map((one) => [one.index, one.sha256.toString("hex")]),
        );
        for (const [index, { sha256 }] of blocks) assert.equal(found.get(index), sha256, `block ${index} of ${id}`);
      }
      assert.deepEqual(await readdir(join(directory, "store", "tmp")), []);
      if (kill % 5 !== 0 && kill !== KILLS) continue;
      // Everything goes, and with it every byte.
      for (const id of present) await store.delete(id as SnapshotId);
      for (const id of left) await store.dropDraft(id as SnapshotId);
      snapshots.clear();
      drafts.clear();
      await store.collect();
      const { totalBytes } = await store.usage();
      assert.equal(totalBytes, 0, `${totalBytes} bytes leaked after kill ${kill}`);
      assert.deepEqual(await readdir(join(directory, "store", "leases")), []);
    } finally {
      await store.close();
    }
  }
  assert.ok(said > KILLS * 3, "the victims did some work");
});
