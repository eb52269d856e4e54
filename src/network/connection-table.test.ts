import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { InstanceId, SecurityGroupId, VpcId } from "../base/ids.ts";
import type { Nic, SecurityRule } from "../model/nic.ts";
import { parseIp } from "./address.ts";
import { ConnectionTable, GroupFilter } from "./connection-table.ts";
import { ICMP, type Ipv4, ipv4, parseIpv4, TCP, UDP } from "./packet.ts";

const A = parseIp("172.31.5.1");
const B = parseIp("172.31.5.2");

function packet(protocol: number, from: number, fromPort: number, to: number, toPort: number, flags = 2): Ipv4 {
  const payload = Buffer.alloc(40);
  payload.writeUInt16BE(fromPort, 0);
  payload.writeUInt16BE(toPort, 2);
  payload[12] = 0x50;
  payload[13] = flags;
  return parseIpv4(ipv4(from, to, protocol, payload))!;
}

/** "Destination unreachable" about `about`, sent by `from`. */
function unreachable(from: number, to: number, about: Ipv4): Ipv4 {
  const message = Buffer.concat([Buffer.from([3, 3, 0, 0, 0, 0, 0, 0]), about.bytes.subarray(0, 28)]);
  return parseIpv4(ipv4(from, to, ICMP, message))!;
}

const yes = () => true;
const no = () => false;

test("once a flow passed, both directions pass, whatever the rules say by then", () => {
  const table = new ConnectionTable();
  assert.equal(table.passes(packet(TCP, A, 1000, B, 80), A, yes), true);
  assert.equal(table.passes(packet(TCP, B, 80, A, 1000, 18), B, no), true);
  assert.equal(table.passes(packet(TCP, A, 1000, B, 80, 16), A, no), true);
  assert.equal(table.passes(packet(TCP, B, 80, A, 1001), B, no), false);
  assert.equal(table.passes(packet(TCP, A, 1001, B, 80), A, no), false);
});

test("a flow is forgotten when its time is over, and with its guest", () => {
  let now = 0;
  const table = new ConnectionTable(() => now);
  table.passes(packet(UDP, A, 1000, B, 53), A, yes);
  now = 179_000;
  assert.equal(table.passes(packet(UDP, B, 53, A, 1000), B, no), true);
  now += 181_000;
  assert.equal(table.passes(packet(UDP, B, 53, A, 1000), B, no), false);
  table.passes(packet(TCP, A, 1000, B, 80), A, yes);
  table.forgetGuest(B);
  assert.equal(table.passes(packet(TCP, B, 80, A, 1000, 16), B, no), false);
  assert.equal(table.size, 0);
});

test("an ICMP error passes only about a flow that passes, and only to the side that sent it", () => {
  const table = new ConnectionTable();
  const datagram = packet(UDP, A, 1000, B, 53);
  assert.equal(table.passes(unreachable(B, A, datagram), B, yes), false);
  table.passes(datagram, A, yes);
  assert.equal(table.passes(unreachable(B, A, datagram), B, no), true);
  assert.equal(table.passes(unreachable(B, parseIp("172.31.5.3"), datagram), B, yes), false);
});

test("a guest at its limit opens no more flows; others do", () => {
  const table = new ConnectionTable();
  let opened = 0;
  for (let port = 1; port <= 17_000; port++) if (table.passes(packet(UDP, A, port, B, 53), A, yes)) opened++;
  assert.equal(opened, 16_384);
  assert.equal(table.passes(packet(UDP, B, 9, A, 53), B, yes), true);
});

test("rules: protocol, range, block and membership, against a plain reading of them", () => {
  const groupId = "sg-0a" as SecurityGroupId;
  const nic = {
    instanceId: "i-1" as InstanceId,
    vpcId: "vpc-1" as VpcId,
    privateIp: "172.31.5.1",
    securityGroups: [groupId],
  };
  const rule = fc.record({
    protocol: fc.constantFrom<number | "all">("all", TCP, UDP, ICMP),
    fromPort: fc.constantFrom<number | null>(null, 0, 22, 80),
    toPort: fc.constantFrom<number | null>(null, 22, 90, 65535),
    peer: fc.constantFrom<SecurityRule["peer"]>(
      { kind: "cidr", cidr: "0.0.0.0/0" },
      { kind: "cidr", cidr: "172.31.5.0/31" },
      { kind: "group", groupId },
    ),
  });
  fc.assert(
    fc.property(
      fc.array(rule, { maxLength: 3 }),
      fc.constantFrom(TCP, UDP),
      fc.constantFrom(A, B),
      fc.constantFrom(21, 22, 80, 85, 91),
      (rules, protocol, source, port) => {
        const filter = new GroupFilter([{ groupId, ingress: rules, egress: [] }], [nic as unknown as Nic]);
        const expected = rules.some(
          (r) =>
            (r.protocol === "all" || r.protocol === protocol) &&
            (r.peer.kind === "group" ? source === A : r.peer.cidr === "0.0.0.0/0" || source === A) &&
            (r.protocol === "all" || r.fromPort === null || (port >= r.fromPort && port <= (r.toPort ?? r.fromPort))),
        );
        const ip = packet(protocol, source, 4000, B, port);
        assert.equal(filter.allows("ingress", [groupId], ip, port), expected);
        assert.equal(filter.allows("egress", [groupId], ip, port), false);
      },
    ),
  );
});
