import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { Duplex, PassThrough } from "node:stream";
import { test } from "node:test";
import { silentLog } from "../base/log.ts";
import type { SecurityGroupRules, SecurityRule } from "../model/nic.ts";
import { admits, Forwarder, openPorts, SUBSTITUTE_OFFSET, USUAL_PORTS } from "./forwarder.ts";
import { GROUP, NIC } from "./nic.fixture.ts";

const rule = (
  from: number | null,
  to: number | null,
  cidr = "0.0.0.0/0",
  protocol: number | "all" = 6,
): SecurityRule => ({
  protocol,
  fromPort: from,
  toPort: to,
  peer: { kind: "cidr", cidr },
});
const group = (...ingress: SecurityRule[]): SecurityGroupRules => ({ groupId: GROUP, ingress, egress: [] });
const ports = (...rules: SecurityRule[]) => openPorts(NIC, new Map([[GROUP, group(...rules)]]));

test("which ports are open to the host", () => {
  assert.deepEqual(ports(rule(22, 22), rule(8000, 8003)), [22, 8000, 8001, 8002, 8003]);
  assert.deepEqual(ports(rule(22, 22, "127.0.0.1/32"), rule(23, 23, "10.0.0.0/8"), rule(24, 24, "::/0")), [22]);
  assert.deepEqual(ports(rule(22, 22, "0.0.0.0/0", 17)), []);
  assert.deepEqual(ports({ ...rule(22, 22), peer: { kind: "group", groupId: GROUP } }), []);
});

test("a wide rule opens the usual ports", () => {
  const all = [...USUAL_PORTS].sort((a, b) => a - b);
  assert.deepEqual(ports(rule(0, 65535)), all);
  assert.deepEqual(ports(rule(null, null, "0.0.0.0/0", "all")), all);
  assert.deepEqual(
    ports(rule(1024, 65535)),
    all.filter((port) => port >= 1024),
  );
  assert.equal(ports(rule(20_000, 21_023)).length, 1024);
  assert.equal(ports(rule(20_000, 21_024)).length, 0);
});

test("each client is judged by its own address", () => {
  const groups = new Map([[GROUP, group(rule(22, 22, "127.0.0.1/32"), rule(80, 90))]]);
  assert.equal(admits(NIC, groups, 22, "127.0.0.1"), true);
  assert.equal(admits(NIC, groups, 22, "127.0.0.2"), false);
  assert.equal(admits(NIC, groups, 85, "127.0.0.2"), true);
  assert.equal(admits(NIC, groups, 91, "127.0.0.1"), false);
  assert.equal(admits(NIC, groups, 22, "::1"), false);
});

test("a port that another program holds on all addresses is replaced by one 10000 above", async (t) => {
  const other = createServer().listen(0, "0.0.0.0");
  await once(other, "listening");
  t.after(() => other.close());
  const { port } = other.address() as { port: number };
  if (port + SUBSTITUTE_OFFSET > 65535) return t.skip("the system gave too high a port");
  const forwarder = new Forwarder(async () => loop(), silentLog);
  t.after(() => forwarder.close());
  await forwarder.sync([NIC], [group(rule(port, port))]);
  const [opened] = forwarder.ports();
  assert.equal(opened?.port, port);
  assert.equal(opened?.hostPort, port + SUBSTITUTE_OFFSET);
  assert.match(opened?.problem ?? "", /another program/);
  const client = connect(port + SUBSTITUTE_OFFSET, "127.91.3.7").setEncoding("utf8");
  client.write("marco");
  assert.deepEqual(await once(client, "data"), ["marco"]);
  client.destroy();
});

test("an instance that goes takes its listeners with it", async (t) => {
  const forwarder = new Forwarder(async () => loop(), silentLog);
  t.after(() => forwarder.close());
  await forwarder.sync([NIC], [group(rule(48_211, 48_212))]);
  assert.deepEqual(
    forwarder.ports().map((p) => p.hostPort),
    [48_211, 48_212],
  );
  await forwarder.sync([], [group(rule(48_211, 48_212))]);
  assert.deepEqual(forwarder.ports(), []);
  const [error] = await once(connect(48_211, "127.91.3.7"), "error");
  assert.equal(error.code, "ECONNREFUSED");
});

/** A guest that sends everything back. */
function loop(): Duplex {
  const pipe = new PassThrough();
  return Duplex.from({ readable: pipe, writable: pipe });
}
