// What run.ts measures of Ingot: the store as a server that runs has it open, told over standard input what to do.
// Encrypted, as a server's store is.
//
// A line in, a line out, both JSON: `{command, …}` → `{id}`, `{socket, pid}` or `{}`. Ends with its input.
import { join } from "node:path";
import { createInterface } from "node:readline";
import { accountId, newId, type SnapshotId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import type { CaptureSource } from "../../src/model/disk.ts";
import { openStore } from "../../src/storage/store.ts";

export type IngotRequest =
  | { command: "capture"; bytes: number; base: SnapshotId | null; source: CaptureSource }
  | { command: "restore"; id: SnapshotId; path: string }
  | { command: "serve"; id: SnapshotId }
  | { command: "stop-serving" };

export interface IngotAnswer {
  readonly id?: SnapshotId;
  readonly socket?: string;
  readonly pid?: number;
}

const [directory = ""] = process.argv.slice(2);
const owner = accountId("111122223333");
const store = await openStore({ directory: join(directory, "ingot"), key: Buffer.alloc(32, 1), log: silentLog });
const blocks = store.blockServer();

async function answer(request: IngotRequest): Promise<IngotAnswer> {
  switch (request.command) {
    case "capture": {
      const id = newId("snapshot");
      const { bytes, base, source } = request;
      await store.capture({ owner, snapshotId: id, bytes, base, source });
      return { id };
    }
    case "restore":
      await store.restore(request.id, request.path);
      return {};
    case "serve": {
      await blocks.ensure();
      const pid = (await blocks.status())?.pid;
      const { socket } = blocks.export(request.id, 0);
      return pid === undefined ? { socket } : { socket, pid };
    }
    case "stop-serving":
      await blocks.stop();
      return {};
  }
}

console.log(JSON.stringify({}));
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line) as IngotRequest)));
}
await store.close();
