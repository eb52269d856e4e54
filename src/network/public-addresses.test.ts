import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { silentLog } from "../base/log.ts";
import type { SecurityRule } from "../model/nic.ts";
import { controlServer } from "./control.ts";
import { writeState } from "./fabric-state.ts";
import { GROUP, NIC } from "./nic.fixture.ts";
import { endProcess, findProcess } from "./process-record.ts";
import { PublicAddresses } from "./public-addresses.ts";

const PUBLIC_IP = NIC.publicIp ?? "";

const close = (server: Server) => new Promise((resolve) => server.close(resolve));

/** A fabric's directory with a carrier that leads every dial to a server of ours, which echoes. */
async function world(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), "ingot-public-"));
  const guest = createServer((socket) => void socket.pipe(socket)).listen(0, "127.0.0.1");
  await once(guest, "listening");
  const address = guest.address();
  const guestPort = address !== null && typeof address === "object" ? address.port : 0;
  // A port that nobody else here has.
  const spare = createServer().listen(0, PUBLIC_IP);
  await once(spare, "listening");
  const spareAddress = spare.address();
  const port = spareAddress !== null && typeof spareAddress === "object" ? spareAddress.port : 0;
  await close(spare);

  const carrier = () =>
    controlServer(join(directory, "agent.sock"), {
      reload: async () => {},
      async dial(ip, dialled) {
        assert.deepEqual([ip, dialled], [NIC.privateIp, port]);
        const socket = connect(guestPort, "127.0.0.1");
        await once(socket, "connect");
        return socket;
      },
    });
  const open = (from: number | null) => {
    const rule: SecurityRule = {
      protocol: 6,
      fromPort: from,
      toPort: from,
      peer: { kind: "cidr", cidr: "127.0.0.0/8" },
    };
    writeState(directory, {
      ...{ dnsName: "ec2.internal", upstreamDns: null, metadataSocket: "", apiSocket: "", carrier: "agent" },
      ...{ nics: [NIC], groups: [{ groupId: GROUP, ingress: from === null ? [] : [rule], egress: [] }], forbidden: [] },
    });
  };
  t.after(async () => {
    await endProcess(directory, "forwarder", findProcess(directory, "forwarder"));
    guest.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return { directory, port, open, carrier };
}

/** Says something and hears it again. @throws Error when there is nobody */
async function echo(port: number, text: string): Promise<string> {
  const socket = connect(port, PUBLIC_IP);
  socket.on("error", () => {});
  socket.write(text);
  const [heard] = await Promise.race([
    once(socket, "data"),
    once(socket, "close").then(() => Promise.reject(new Error("no answer"))),
  ]);
  socket.destroy();
  return String(heard);
}

test("a public address outlives the server that opened it, and the next server takes it up", async (t) => {
  const { directory, port, open, carrier } = await world(t);
  const agent = await carrier();
  t.after(() => close(agent));
  open(port);
  const first = new PublicAddresses(directory, silentLog);
  await first.sync();
  assert.equal(await echo(port, "one"), "one");
  const before = findProcess(directory, "forwarder");
  assert.ok(before);
  first.close();
  assert.equal(await echo(port, "two"), "two", "no server is there");

  const second = new PublicAddresses(directory, silentLog);
  t.after(() => second.close());
  open(null);
  await second.sync();
  assert.deepEqual(findProcess(directory, "forwarder"), before, "it is the same process");
  await assert.rejects(echo(port, "three"), "its port is closed when `sync` returns");
  open(port);
  await second.sync();
  assert.equal(await echo(port, "four"), "four");
});

test("killed, it is started again and knows everything", async (t) => {
  const { directory, port, open, carrier } = await world(t);
  const agent = await carrier();
  t.after(() => close(agent));
  open(port);
  const addresses = new PublicAddresses(directory, silentLog);
  t.after(() => addresses.close());
  await addresses.sync();
  const killed = findProcess(directory, "forwarder");
  assert.ok(killed);
  process.kill(killed.pid, "SIGKILL");
  for (;;) {
    const heard = await echo(port, "again").catch(() => null);
    if (heard === "again") break;
    await delay(20);
  }
  assert.notEqual(findProcess(directory, "forwarder")?.pid, killed.pid);
});

test("a connection waits for a carrier that is being started again", async (t) => {
  const { directory, port, open, carrier } = await world(t);
  open(port);
  const addresses = new PublicAddresses(directory, silentLog);
  t.after(() => addresses.close());
  await addresses.sync();
  const heard = echo(port, "patience");
  const agent = await carrier();
  t.after(() => close(agent));
  assert.equal(await heard, "patience");
});
