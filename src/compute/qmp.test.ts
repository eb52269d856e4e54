import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemCode } from "../base/errors.ts";
import { Qmp, QmpClosedError, QmpError, QmpTimeoutError } from "./qmp.ts";

function directoryFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "ingot-qmp-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function realQemu(t: TestContext): Promise<string> {
  const path = join(directoryFor(t), "qmp");
  const argv = ["-M", "none", "-nodefaults", "-display", "none", "-qmp", `unix:${path},server=on,wait=off`];
  const qemu = spawn("qemu-system-x86_64", argv, { stdio: "ignore" });
  const ended = new Promise((resolve) => qemu.once("exit", resolve));
  t.after(async () => {
    qemu.kill("SIGKILL");
    await ended;
  });
  while (!isListening(path)) await new Promise((resolve) => setTimeout(resolve, 5));
  return path;
}

/** The socket's file is there a moment before anybody listens, and a connection to try it would be QEMU's one client. */
const isListening = (path: string): boolean =>
  readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .some((line) => line.endsWith(` ${path}`) && line.includes(" 00010000 "));

/** A server that says what a test wants said. */
async function fakeQemu(
  t: TestContext,
  talk: (socket: Socket, line: { execute: string; id: number } | null) => void,
): Promise<string> {
  const path = join(directoryFor(t), "qmp");
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    talk(socket, null);
    socket.on("data", (bytes) => {
      for (const line of bytes.toString().trim().split("\n")) talk(socket, JSON.parse(line));
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return path;
}
const GREETING = '{"QMP": {"version": {}, "capabilities": []}}\r\n';
const polite =
  (answer: (socket: Socket, line: { execute: string; id: number }) => void) =>
  (socket: Socket, line: { execute: string; id: number } | null) => {
    if (line === null) socket.write(GREETING);
    else if (line.execute === "qmp_capabilities") socket.write(`{"return": {}, "id": ${line.id}}\r\n`);
    else answer(socket, line);
  };

test("QEMU: commands, refusals, events, and the end", async (t) => {
  const path = await realQemu(t);
  const qmp = await Qmp.connect(path);
  assert.equal((await qmp.execute("query-status")).status, "running");
  const [status, version] = await Promise.all([qmp.execute("query-status"), qmp.execute("query-version")]);
  assert.equal(status.running, true);
  assert.ok(version.qemu.major >= 7);
  await assert.rejects(qmp.execute("device_del", { id: "nobody" }), (error) => {
    assert.ok(error instanceof QmpError);
    assert.equal(error.errorClass, "DeviceNotFound");
    assert.match(error.message, /QEMU refused device_del: Device 'nobody' not found/);
    return true;
  });
  const stopped = qmp.nextEvent(({ event }) => event === "STOP", { limitMs: 10_000 });
  await qmp.execute("stop");
  assert.equal((await stopped).event, "STOP");

  await assert.rejects(Qmp.connect(path, { limitMs: 100 }), QmpTimeoutError); // one client at a time
  assert.equal((await qmp.execute("query-status")).status, "paused");

  const shutdown = qmp.nextEvent(({ event }) => event === "SHUTDOWN", { limitMs: 10_000 });
  await qmp.execute("quit");
  assert.deepEqual((await shutdown).data, { guest: false, reason: "host-qmp-quit" });
  assert.ok((await qmp.closed) instanceof QmpClosedError);
  await assert.rejects(qmp.execute("query-status"), QmpClosedError);
});

test("after hanging up, another may connect", async (t) => {
  const path = await realQemu(t);
  (await Qmp.connect(path)).close();
  const second = await Qmp.connect(path);
  assert.equal((await second.execute("query-status")).status, "running");
  second.close();
});

test("no socket, and nobody behind one, are told apart from silence", async (t) => {
  const absent = join(directoryFor(t), "qmp");
  await assert.rejects(
    Qmp.connect(absent),
    (error) => error instanceof QmpClosedError && systemCode(error.cause) === "ENOENT",
  );
  const silent = await fakeQemu(t, () => {});
  await assert.rejects(Qmp.connect(silent, { limitMs: 50 }), QmpTimeoutError);
});

test("replies in pieces, and several in one piece, are put together", async (t) => {
  const path = await fakeQemu(
    t,
    polite((socket, { id }) => {
      const text = `{"event": "RESUME"}\r\n{"return": {"name": "gäst"}, "id": ${id}}\r\n{"event": "STOP", "data": {}}\r\n`;
      const bytes = Buffer.from(text);
      const cut = bytes.indexOf(0xc3) + 1; // in the middle of the ä
      socket.write(bytes.subarray(0, cut));
      setImmediate(() => socket.write(bytes.subarray(cut)));
    }),
  );
  const qmp = await Qmp.connect(path);
  const events: string[] = [];
  qmp.onEvent(({ event }) => events.push(event));
  const stop = qmp.nextEvent(({ event }) => event === "STOP", { limitMs: 10_000 });
  assert.deepEqual(await qmp.execute("query-name"), { name: "gäst" });
  await stop;
  assert.deepEqual(events, ["RESUME", "STOP"]);
  qmp.close();
});

test("a command that isn't answered runs out of time alone; its late answer confuses nobody", async (t) => {
  let late: (() => void) | null = null;
  const path = await fakeQemu(
    t,
    polite((socket, { execute, id }) => {
      if (execute === "query-name") late = () => socket.write(`{"return": {"name": "late"}, "id": ${id}}\r\n`);
      else {
        late?.();
        socket.write(`{"return": {"UUID": "u"}, "id": ${id}}\r\n`);
      }
    }),
  );
  const qmp = await Qmp.connect(path);
  await assert.rejects(qmp.execute("query-name", {}, { limitMs: 30 }), QmpTimeoutError);
  assert.deepEqual(await qmp.execute("query-uuid"), { UUID: "u" });
  qmp.close();
});

test("what is under way fails when the connection does, and garbage ends it", async (t) => {
  for (const garbage of ["not json\n", "[1]\n", '"text"\n', "", "x".repeat(17 << 20)]) {
    const path = await fakeQemu(
      t,
      polite((socket) => (garbage === "" ? socket.destroy() : socket.write(garbage))),
    );
    const qmp = await Qmp.connect(path);
    const event = qmp.nextEvent(() => true, { limitMs: 30_000 });
    await assert.rejects(qmp.execute("query-status"), QmpClosedError);
    await assert.rejects(event, QmpClosedError);
  }
});
