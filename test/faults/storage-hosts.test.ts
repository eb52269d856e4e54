// What differs from host to host: block devices instead of files, no koffi, a block server of an older version.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { newId } from "../../src/base/ids.ts";
import { MIB } from "../../src/base/units.ts";
import { BLOCK_SERVER_VERSION, socketDirectory } from "../../src/storage/block-server-protocol.ts";
import { applyWrite, OWNER, temporaryStore, writeDisk } from "../support/storage-disk.ts";

function loopDevice(path: string): string | null {
  const { status, stdout } = spawnSync("losetup", ["--find", "--show", path]);
  return status === 0 ? stdout.toString().trim() : null;
}

test("a block device is captured whole, and equals the file that it is made of", async (t) => {
  const { store, directory } = await temporaryStore(t);
  const disk = Buffer.alloc(9 * MIB);
  randomBytes(MIB).copy(disk, 4 * MIB);
  applyWrite(disk, { block: 2000, blocks: 100, seed: 3 });
  const path = join(directory, "disk");
  await writeDisk(path, disk);
  const device = loopDevice(path);
  if (device === null) {
    t.skip("no loop devices here");
    return;
  }
  t.after(() => execFileSync("losetup", ["--detach", device]));
  const kept = [];
  for (const source of [device, path]) {
    const id = newId("snapshot");
    const spec = { owner: OWNER, snapshotId: id, bytes: disk.length, base: null };
    kept.push(await store.capture({ ...spec, source: { kind: "file", path: source } }));
    assert.ok((await (await store.open(id)).read(0, disk.length)).equals(disk));
  }
  assert.equal(kept[0]!.digest, kept[1]!.digest);
  assert.equal(kept[1]!.newBytes, 0);
});

test("without koffi the store reads and writes the same, only slower", async (t) => {
  const { store, directory, reopen } = await temporaryStore(t);
  const disk = Buffer.alloc(20 * MIB);
  applyWrite(disk, { block: 700, blocks: 900, seed: 6 });
  randomBytes(MIB).copy(disk, 11 * MIB);
  const path = join(directory, "disk");
  await writeDisk(path, disk);
  const spec = { owner: OWNER, bytes: disk.length, base: null, source: { kind: "file", path } } as const;
  const here = newId("snapshot");
  const { digest } = await store.capture({ ...spec, snapshotId: here });
  await store.close();

  const preload = join(directory, "no-koffi.cjs");
  await writeFile(
    preload,
    `const { Module } = require("node:module"); const load = Module._load;
     Module._load = (name, ...rest) => { if (name === "koffi") throw new Error("no koffi here"); return load(name, ...rest); };`,
  );
  const there = newId("snapshot");
  const program = `
    import { readFileSync } from "node:fs";
    import { openStore } from ${JSON.stringify(new URL("../../src/storage/store.ts", import.meta.url).href)};
    import { openCodec } from ${JSON.stringify(new URL("../../src/storage/zstd.ts", import.meta.url).href)};
    import { silentLog } from ${JSON.stringify(new URL("../../src/base/log.ts", import.meta.url).href)};
    const disk = readFileSync(${JSON.stringify(path)});
    const store = await openStore({ directory: ${JSON.stringify(store.directory)}, log: silentLog, workers: 1 });
    const same = (await (await store.open(${JSON.stringify(here)})).read(0, disk.length)).equals(disk);
    const again = await store.capture({ ...${JSON.stringify(spec)}, snapshotId: ${JSON.stringify(there)} });
    await store.delete(${JSON.stringify(here)});
    await store.close();
    console.log(JSON.stringify({ codec: openCodec().name, same, digest: again.digest, newBytes: again.newBytes }));`;
  const run = async (text: string) => {
    const file = join(directory, "program.mjs");
    await writeFile(file, text);
    // Workers inherit the preload.
    return spawnSync(process.execPath, ["--require", preload, file]);
  };
  const child = await run(program);
  assert.equal(child.status, 0, child.stderr.toString());
  assert.deepEqual(JSON.parse(child.stdout.toString()), { codec: "node", same: true, digest, newBytes: 0 });

  // What it writes is read here.
  const changed = Buffer.from(disk);
  applyWrite(changed, { block: 300, blocks: 200, seed: 9 });
  await writeDisk(path, changed);
  const third = newId("snapshot");
  const writer = program.replaceAll(there, third).replaceAll(here, there);
  const second = await run(writer);
  assert.equal(second.status, 0, second.stderr.toString());
  const again = await reopen();
  assert.ok((await (await again.open(third)).read(0, changed.length)).equals(changed));
});

test("a block server of an older version is ended and replaced", async (t) => {
  const { store } = await temporaryStore(t);
  const sockets = socketDirectory(store.directory);
  await mkdir(sockets, { recursive: true });
  const older = spawn(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      `import { createServer } from "node:net";
       const greeting = { pid: process.pid, version: ${BLOCK_SERVER_VERSION - 1}, exports: 0, connections: 0 };
       createServer((socket) => { socket.on("error", () => {}); socket.write(JSON.stringify(greeting) + "\\n"); socket.resume(); })
         .listen(${JSON.stringify(join(sockets, "control.sock"))}, () => console.log("listening"));`,
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  t.after(() => older.kill("SIGKILL"));
  await once(older.stdout, "data");
  const ended = once(older, "exit");
  const blocks = store.blockServer();
  t.after(() => blocks.stop());
  assert.equal((await blocks.status())?.pid, older.pid);
  await blocks.ensure();
  await ended;
  const status = await blocks.status();
  assert.equal(status?.version, BLOCK_SERVER_VERSION);
  assert.notEqual(status?.pid, older.pid);
});
