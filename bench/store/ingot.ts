// What run.ts measures of Ingot, each in a process of its own as every peer is: capture, changed, restore, serve.
// Encrypted, as a server's store is.
import { join } from "node:path";
import { accountId, newId, type SnapshotId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import type { CaptureSource } from "../../src/model/disk.ts";
import { openStore } from "../../src/storage/store.ts";

const [command, directory = "", ...rest] = process.argv.slice(2);
const owner = accountId("111122223333");
const store = await openStore({ directory: join(directory, "ingot"), key: Buffer.alloc(32, 1), log: silentLog });

async function capture(bytes: number, base: string, source: CaptureSource): Promise<void> {
  const id = newId("snapshot");
  await store.capture({
    owner,
    snapshotId: id,
    bytes,
    base: base === "none" ? null : (base as SnapshotId),
    source,
  });
  console.log(id);
}

switch (command) {
  case "capture":
    // capture DIR BYTES BASE FILE
    await capture(Number(rest[0]), rest[1]!, { kind: "file", path: rest[2]! });
    break;
  case "changed":
    // changed DIR BYTES BASE SOCKET: what an overlay holds, over NBD as the host reads it
    await capture(Number(rest[0]), rest[1]!, {
      kind: "nbd",
      socket: rest[2]!,
      exportName: "disk",
      changed: "qemu:allocation-depth",
    });
    break;
  case "restore":
    await store.restore(rest[0] as SnapshotId, rest[1]!);
    break;
  case "serve": {
    // Prints the socket, then serves until its input ends.
    const blocks = store.blockServer();
    await blocks.ensure();
    const status = await blocks.status();
    console.log(JSON.stringify({ socket: blocks.export(rest[0] as SnapshotId, 0).socket, pid: status?.pid }));
    for await (const _ of process.stdin);
    await blocks.stop();
    break;
  }
  default:
    throw new Error(`no command ${command}`);
}
await store.close();
