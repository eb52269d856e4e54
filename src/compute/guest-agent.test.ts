import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Log } from "../base/log.ts";
import { silentLog } from "../base/log.ts";
import { whileFrozen } from "./guest-agent.ts";

/** An agent at the other end of the channel; `said` is what it was asked, in order. */
async function agent(t: TestContext, answer: (command: string, args: { id?: number }, socket: Socket) => void) {
  const directory = mkdtempSync(join(tmpdir(), "ingot-agent-"));
  const path = join(directory, "qga");
  const said: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      for (const line of text.split("\n").filter((one) => one !== "")) {
        const { execute, arguments: args } = JSON.parse(line.replace(/^\xff/, ""));
        said.push(execute);
        answer(execute, args ?? {}, socket);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
    rmSync(directory, { recursive: true });
  });
  return { path, said };
}

const sync = (socket: Socket, id: number | undefined) => socket.write(Buffer.from(`\xff{"return": ${id}}\n`, "latin1"));
const reply = (socket: Socket, text: string) => socket.write(`${text}\n`);

test("an agent that answers freezes before and thaws after, whatever an earlier conversation left in the channel", async (t) => {
  const { path, said } = await agent(t, (command, { id }, socket) => {
    if (command === "guest-sync-delimited") {
      reply(socket, '{"error": {"class": "GenericError", "desc": "JSON parse error"}}');
      socket.write('{"return": 17}\n{"retu'); // half of an answer to someone else
      sync(socket, id);
    } else reply(socket, '{"return": 1}');
  });
  const done = await whileFrozen(path, silentLog, async () => {
    said.push("action");
    return 42;
  });
  assert.deepEqual(done, { frozen: true, result: 42 });
  assert.deepEqual(said, ["guest-sync-delimited", "guest-fsfreeze-freeze", "action", "guest-fsfreeze-thaw"]);
});

test("it thaws when the action fails, and the action's failure is what is told", async (t) => {
  const { path, said } = await agent(t, (command, { id }, socket) =>
    command === "guest-sync-delimited" ? sync(socket, id) : reply(socket, '{"return": 1}'),
  );
  await assert.rejects(
    whileFrozen(path, silentLog, () => Promise.reject(new Error("no transaction"))),
    /no transaction/,
  );
  assert.equal(said.at(-1), "guest-fsfreeze-thaw");
});

test("a refused freeze is thawed all the same, and the action runs unfrozen", async (t) => {
  const { path, said } = await agent(t, (command, { id }, socket) => {
    if (command === "guest-sync-delimited") sync(socket, id);
    else if (command === "guest-fsfreeze-freeze")
      reply(socket, '{"error": {"class": "GenericError", "desc": "not supported"}}');
    else reply(socket, '{"return": 0}');
  });
  const warnings: object[] = [];
  const log: Log = { ...silentLog, warn: (fields) => void warnings.push(fields) };
  assert.deepEqual(await whileFrozen(path, log, async () => "done"), { frozen: false, result: "done" });
  assert.equal(said.at(-1), "guest-fsfreeze-thaw");
  assert.match(JSON.stringify(warnings), /not supported/);
});

for (const [who, answer] of [
  ["an agent that says nothing", () => {}],
  ["an agent that hangs up", (_: string, __: object, socket: Socket) => void socket.destroy()],
  ["an agent that talks nonsense", (_: string, __: object, socket: Socket) => void reply(socket, "{]")],
  [
    "an agent that never ends its line",
    (_: string, __: object, socket: Socket) => void socket.write("x".repeat(2 << 20)),
  ],
] as const) {
  test(`${who} is not waited for`, async (t) => {
    const { path } = await agent(t, answer);
    assert.deepEqual(await whileFrozen(path, silentLog, async () => "done"), { frozen: false, result: "done" });
  });
}

test("no channel at all: the action runs", async () => {
  assert.deepEqual(await whileFrozen("/nonexistent/qga", silentLog, async () => "done"), {
    frozen: false,
    result: "done",
  });
});
