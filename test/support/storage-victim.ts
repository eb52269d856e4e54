// A process that is killed: it works on a store as hard as it can, and says on its standard output what was
// acknowledged. Started by test/faults/storage-kill.test.ts; argv: directory, seed.
import { createHash } from "node:crypto";
import { writeSync } from "node:fs";
import { join } from "node:path";
import { newId, type SnapshotId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { openStore } from "../../src/storage/store.ts";
import { OWNER, writeDisk } from "./storage-disk.ts";
import { VICTIM_DISK, VICTIM_KEY, victimBlock, victimDisk } from "./storage-victim-disk.ts";

const directory = process.argv[2]!;
let x = Number(process.argv[3]);
const random = (below: number): number => {
  x = (Math.imul(x, 1103515245) + 12345) >>> 0;
  return (x >>> 8) % below;
};
// Synchronous: a line that was written is out, whatever happens next.
const say = (line: string): void => {
  writeSync(1, `${line}\n`);
};

const store = await openStore({ directory: join(directory, "store"), key: VICTIM_KEY, log: silentLog, workers: 2 });
say("open");
const snapshots: SnapshotId[] = [];
for await (const id of store.ids()) snapshots.push(id as SnapshotId);
let number = Number(process.argv[3]) * 1000;

for (;;) {
  switch (random(6)) {
    case 0:
    case 1: {
      const seed = ++number;
      const path = join(directory, `disk-${process.pid}`);
      await writeDisk(path, victimDisk(seed));
      const id = newId("snapshot");
      say(`capturing ${id} ${seed}`);
      await store.capture({
        owner: OWNER,
        snapshotId: id,
        bytes: VICTIM_DISK,
        base: null,
        source: { kind: "file", path },
      });
      say(`captured ${id} ${seed}`);
      snapshots.push(id);
      break;
    }
    case 2: {
      const id = newId("snapshot");
      await store.beginDraft(id, { owner: OWNER, bytes: VICTIM_DISK, base: null });
      say(`draft ${id}`);
      const puts = Array.from({ length: 8 }, async (_, index) => {
        const seed = ++number;
        const block = victimBlock(seed);
        await store.putDraftBlock(id, index, block);
        say(`put ${id} ${index} ${createHash("sha256").update(block).digest("hex")} ${seed}`);
      });
      await Promise.all(puts);
      if (random(2) === 0) {
        say(`completing ${id}`);
        await store.completeDraft(id);
        say(`completed ${id}`);
        snapshots.push(id);
      }
      break;
    }
    case 3: {
      const id = snapshots.splice(random(snapshots.length + 1), 1)[0];
      if (id === undefined) break;
      say(`deleting ${id}`);
      await store.delete(id);
      break;
    }
    default:
      say("collecting");
      await store.collect();
      say("collected");
  }
}
