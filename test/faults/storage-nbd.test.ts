// NBD both ways against QEMU's own tools: our server with qemu-img and qemu-io as clients, our captures with
// qemu-storage-daemon as the source.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { chain } from "../../src/base/errors.ts";
import { newId, type SnapshotId } from "../../src/base/ids.ts";
import { MIB } from "../../src/base/units.ts";
import {
  CMD,
  ERRNO,
  FLAG,
  HANDSHAKE,
  OPT,
  OPTION_MAGIC,
  REQUEST_BYTES,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
} from "../../src/storage/nbd.ts";
import { NbdClient } from "../../src/storage/nbd-client.ts";
import type { BlockServer, SnapshotStore } from "../../src/storage/store.ts";
import { applyWrite, OWNER, temporaryStore, writeDisk } from "../support/storage-disk.ts";
import { QemuStorageDaemon, run } from "../support/storage-qemu.ts";

const DISK = 24 * MIB;

async function serve(t: TestContext): Promise<{ store: SnapshotStore; directory: string; server: BlockServer }> {
  // After-hooks run in the order of registration: the server must end before its store's folder goes.
  let server: BlockServer | undefined;
  t.after(() => server?.stop());
  const { store, directory } = await temporaryStore(t);
  server = store.blockServer({ cacheBytes: 8 * MIB });
  await server.ensure();
  return { store, directory, server };
}

function someDisk(): Buffer {
  const disk = Buffer.alloc(DISK);
  applyWrite(disk, { block: 10, blocks: 3000, seed: 3 });
  randomBytes(2 * MIB).copy(disk, 14 * MIB);
  applyWrite(disk, { block: 6143, blocks: 1, seed: 4 });
  return disk;
}

async function capture(store: SnapshotStore, directory: string, disk: Buffer): Promise<SnapshotId> {
  const path = join(directory, "disk");
  const id = newId("snapshot");
  await writeDisk(path, disk);
  await store.capture({ owner: OWNER, snapshotId: id, bytes: disk.length, base: null, source: { kind: "file", path } });
  return id;
}

const unknownName = (error: unknown): boolean => /no export named/.test(chain(error));

const uri = ({ socket, name }: { socket: string; name: string }): string => `nbd+unix:///${name}?socket=${socket}`;

test("qemu-img reads what was captured, and sees its holes", async (t) => {
  const { store, directory, server } = await serve(t);
  const disk = someDisk();
  // Captured after the block server started.
  const at = server.export(await capture(store, directory, disk), DISK);
  await run("qemu-img", ["convert", "-f", "raw", "-O", "raw", uri(at), join(directory, "out")]);
  assert.ok((await readFile(join(directory, "out"))).equals(disk));
  const { stdout } = await run("qemu-img", ["map", "--output=json", "-f", "raw", uri(at)]);
  const extents = JSON.parse(stdout) as { start: number; length: number; data: boolean }[];
  assert.equal(
    extents.reduce((sum, { length }) => sum + length, 0),
    DISK,
  );
  for (const { start, length, data } of extents) {
    if (!data) assert.ok(disk.subarray(start, start + length).every((byte) => byte === 0));
  }
  assert.ok(extents.some(({ data }) => !data));
  const info = JSON.parse((await run("qemu-img", ["info", "--output=json", "-f", "raw", uri(at)])).stdout);
  assert.equal(info["virtual-size"], DISK);
});

test("a guest's writes go to its overlay; the export itself takes none", async (t) => {
  const { store, directory, server } = await serve(t);
  const at = server.export(await capture(store, directory, someDisk()), DISK);
  const written = await run("qemu-io", ["-f", "raw", "-c", "write 0 4096", uri(at)]).catch((error: Error) => error);
  assert.match(String(written), /read.?only|not permitted|Permission/i);
  const client = await NbdClient.connect(at.socket, at.name, ["base:allocation"]);
  await client.read(0, Buffer.alloc(4096));
  client.close();
  await assert.rejects(NbdClient.connect(at.socket, newId("snapshot"), []), unknownName);
  await assert.rejects(NbdClient.connect(at.socket, "../lock", []), unknownName);
});

test("writing, trimming and zeroing are refused one by one, and the connection reads on", async (t) => {
  const { store, directory, server } = await serve(t);
  const disk = someDisk();
  const at = server.export(await capture(store, directory, disk), DISK);
  const socket = connect(at.socket);
  t.after(() => socket.destroy());
  const replies = socket[Symbol.asyncIterator]();
  let have = Buffer.alloc(0);
  const take = async (bytes: number): Promise<Buffer> => {
    while (have.length < bytes) have = Buffer.concat([have, (await replies.next()).value as Buffer]);
    const taken = have.subarray(0, bytes);
    have = have.subarray(bytes);
    return taken;
  };
  // Fixed newstyle without padding, then the oldest way to choose an export: simple replies from then on.
  await take(18);
  const option = Buffer.alloc(20);
  option.writeUInt32BE(HANDSHAKE.fixedNewstyle | HANDSHAKE.noZeroes, 0);
  option.writeBigUInt64BE(OPTION_MAGIC, 4);
  option.writeUInt32BE(OPT.exportName, 12);
  option.writeUInt32BE(at.name.length, 16);
  socket.write(Buffer.concat([option, Buffer.from(at.name)]));
  const chosen = await take(10);
  assert.equal(chosen.readBigUInt64BE(0), BigInt(DISK));
  assert.equal(chosen.readUInt16BE(8) & (FLAG.readOnly | FLAG.canMultiConn), FLAG.readOnly | FLAG.canMultiConn);

  const ask = async (command: number, length: number, payload = Buffer.alloc(0)): Promise<number> => {
    const request = Buffer.alloc(REQUEST_BYTES);
    request.writeUInt32BE(REQUEST_MAGIC, 0);
    request.writeUInt16BE(command, 6);
    request.writeBigUInt64BE(BigInt(command), 8);
    request.writeBigUInt64BE(40960n, 16);
    request.writeUInt32BE(length, 24);
    socket.write(Buffer.concat([request, payload]));
    const reply = await take(16);
    assert.deepEqual([reply.readUInt32BE(0), reply.readBigUInt64BE(8)], [SIMPLE_REPLY_MAGIC, BigInt(command)]);
    return reply.readUInt32BE(4);
  };
  for (const [command, payload] of [
    [CMD.write, randomBytes(4096)],
    [CMD.trim, undefined],
    [CMD.writeZeroes, undefined],
  ] as const) {
    assert.equal(await ask(command, 4096, payload), ERRNO.eperm);
    assert.equal(await ask(CMD.read, 4096), 0);
    assert.ok((await take(4096)).equals(disk.subarray(40960, 40960 + 4096)));
  }
  assert.equal(await ask(CMD.flush, 0), 0);
});

test("QEMU waits while the block server is killed and started again", async (t) => {
  const { store, directory, server } = await serve(t);
  const disk = someDisk();
  const at = server.export(await capture(store, directory, disk), DISK);
  const node = { driver: "nbd", "node-name": "base", server: { type: "unix", path: at.socket }, export: at.name };
  const daemon = await QemuStorageDaemon.start(
    t,
    directory,
    [{ ...node, "read-only": true, "reconnect-delay": 60 }],
    [{ type: "nbd", id: "e", "node-name": "base", name: "through" }],
  );
  const client = await NbdClient.connect(daemon.socket, "through", []);
  t.after(() => client.close());
  const block = Buffer.alloc(64 * 1024);
  for (let round = 0; round < 3; round++) {
    const before = (await server.status())!.pid;
    process.kill(before, "SIGKILL");
    for (let offset = 0; offset < DISK; offset += MIB) {
      await client.read(offset, block);
      assert.ok(block.equals(disk.subarray(offset, offset + block.length)));
    }
    assert.notEqual((await server.status())!.pid, before);
  }
});

test("a running block server is adopted by the next server", async (t) => {
  const { store, server } = await serve(t);
  const first = (await server.status())!;
  assert.equal(first.dataDirectory, store.directory);
  server.close();
  const second = store.blockServer();
  await second.ensure();
  assert.equal((await second.status())!.pid, first.pid);
  await second.stop();
  assert.equal(await second.status(), null);
});

test("a damaged frame is an error to its reader, never other bytes", async (t) => {
  const { store, directory, server } = await serve(t);
  const disk = someDisk();
  const at = server.export(await capture(store, directory, disk), DISK);
  const packs = (await readdir(join(store.directory, "packs"), { recursive: true })).filter((name) =>
    name.endsWith(".pack"),
  );
  const path = join(store.directory, "packs", packs[0]!);
  const bytes = await readFile(path);
  bytes[70_000]! ^= 0x10;
  await writeFile(path, bytes);
  const client = await NbdClient.connect(at.socket, at.name, []);
  t.after(() => client.close());
  let failed = 0;
  const block = Buffer.alloc(64 * 1024);
  for (let offset = 0; offset < DISK; offset += block.length) {
    try {
      await client.read(offset, block);
      assert.ok(block.equals(disk.subarray(offset, offset + block.length)), `wrong bytes at ${offset}`);
    } catch (error) {
      assert.match(String(error), /error 5/);
      failed++;
    }
  }
  assert.ok(failed >= 1 && failed < 20, `${failed} reads failed`);
  assert.match(await readFile(join(store.directory, "block-server.log"), "utf8"), /its checksum does not match/);
});

test("nonsense and greed end a connection and nothing else", async (t) => {
  const { store, directory, server } = await serve(t);
  const disk = someDisk();
  const at = server.export(await capture(store, directory, disk), DISK);
  for (const bytes of [
    randomBytes(4096),
    Buffer.concat([
      Buffer.from([0, 0, 0, 3]),
      Buffer.from("IHAVEOPT"),
      Buffer.from([0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff]),
    ]),
    Buffer.concat([
      Buffer.from([0, 0, 0, 3]),
      ...Array<Buffer>(100).fill(Buffer.from("IHAVEOPT\0\0\0\x03\0\0\0\0", "latin1")),
    ]),
  ]) {
    const socket = connect(at.socket);
    socket.on("error", () => {});
    socket.resume();
    socket.write(bytes);
    await once(socket, "close");
  }
  const client = await NbdClient.connect(at.socket, at.name, []);
  await assert.rejects(client.read(DISK - 10, Buffer.alloc(20)), /error 22/);
  await assert.rejects(client.read(2 ** 52, Buffer.alloc(20)), /error 22/);
  const block = Buffer.alloc(4096);
  await client.read(DISK - 4096, block);
  assert.ok(block.equals(disk.subarray(DISK - 4096)));
  client.close();
});

test("a capture over NBD with a dirty bitmap or allocation depth equals one of the whole disk", async (t) => {
  const { store, directory, server } = await serve(t);
  const disk = someDisk();
  const base = await capture(store, directory, disk);
  const at = server.export(base, DISK);
  const overlay = join(directory, "overlay.qcow2");
  execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", overlay, String(DISK + MIB)]);
  const daemon = await QemuStorageDaemon.start(
    t,
    directory,
    [
      {
        driver: "nbd",
        "node-name": "base",
        server: { type: "unix", path: at.socket },
        export: at.name,
        "read-only": true,
        "reconnect-delay": 60,
      },
      { driver: "file", "node-name": "file", filename: overlay },
      { driver: "qcow2", "node-name": "root", file: "file", backing: "base", discard: "unmap" },
    ],
    [],
  );
  const write = async (offset: number, bytes: Buffer): Promise<void> => {
    const file = join(directory, "patch");
    await writeFile(file, bytes);
    await daemon.qmp([
      {
        execute: "block-export-add",
        arguments: { type: "nbd", id: "w", "node-name": "root", name: "w", writable: true },
      },
    ]);
    await run("qemu-io", [
      "-f",
      "raw",
      "-c",
      `write -s ${file} ${offset} ${bytes.length}`,
      `nbd+unix:///w?socket=${daemon.socket}`,
    ]);
    await daemon.qmp([{ execute: "block-export-del", arguments: { id: "w", mode: "hard" } }]);
    bytes.copy(disk, offset);
  };
  const larger = (): Buffer => Buffer.concat([disk, Buffer.alloc(MIB)]);
  const captureFrom = async (
    exportName: string,
    changed: string | null,
    from: SnapshotId | null,
  ): Promise<SnapshotId> => {
    const id = newId("snapshot");
    const source = { kind: "nbd", socket: daemon.socket, exportName, changed } as const;
    const snapshot = await store.capture({ owner: OWNER, snapshotId: id, bytes: DISK + MIB, base: from, source });
    await writeDisk(join(directory, "whole"), larger());
    const whole = newId("snapshot");
    const full = await store.capture({
      owner: OWNER,
      snapshotId: whole,
      bytes: DISK + MIB,
      base: null,
      source: { kind: "file", path: join(directory, "whole") },
    });
    assert.equal(snapshot.digest, full.digest);
    assert.equal(snapshot.allocatedBytes, full.allocatedBytes);
    return id;
  };

  await write(5 * MIB + 8192, randomBytes(65536));
  await write(13 * MIB, Buffer.alloc(65536));
  await daemon.qmp([
    { execute: "block-dirty-bitmap-add", arguments: { node: "root", name: "bm0", granularity: 65536 } },
    {
      execute: "block-export-add",
      arguments: { type: "nbd", id: "d", "node-name": "root", name: "depth", "allocation-depth": true },
    },
  ]);
  const first = await captureFrom("depth", "qemu:allocation-depth", base);
  await captureFrom("depth", null, null);
  await daemon.qmp([{ execute: "block-export-del", arguments: { id: "d", mode: "hard" } }]);

  await write(9 * MIB + 4096, randomBytes(8192));
  await write(40960, Buffer.alloc(131072));
  await daemon.qmp([
    { execute: "block-dirty-bitmap-disable", arguments: { node: "root", name: "bm0" } },
    {
      execute: "block-export-add",
      arguments: { type: "nbd", id: "b", "node-name": "root", name: "bitmap", bitmaps: ["bm0"] },
    },
  ]);
  const second = await captureFrom("bitmap", "qemu:dirty-bitmap:bm0", first);
  const reader = await store.open(second);
  assert.ok((await reader.read(0, DISK + MIB)).equals(larger()));
  await assert.rejects(
    store.capture({
      owner: OWNER,
      snapshotId: newId("snapshot"),
      bytes: DISK + MIB,
      base: first,
      source: { kind: "nbd", socket: daemon.socket, exportName: "bitmap", changed: "qemu:dirty-bitmap:lost" },
    }),
  );
});
