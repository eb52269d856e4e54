import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { InstanceId, VpcId } from "../base/ids.ts";
import type { Nic } from "../model/nic.ts";
import { answerDns, parseQuestion } from "./dns.ts";
import type { IndexedState } from "./fabric-state.ts";

const nic = (ip: string, vpc: string, more: Partial<Nic> = {}): Nic => ({
  instanceId: `i-${ip.split(".").at(-1)}` as InstanceId,
  mac: "02:00:00:00:00:01",
  privateIp: ip,
  publicIp: null,
  vpcId: vpc as VpcId,
  vpcCidr: vpc === "vpc-1" ? "172.31.0.0/16" : "10.0.0.0/16",
  subnetCidr: "172.31.0.0/20",
  hostname: `ip-${ip.replaceAll(".", "-")}.ec2.internal`,
  securityGroups: [],
  metadata: { enabled: true, hopLimit: 1 },
  ...more,
});

const nics = [
  nic("172.31.5.1", "vpc-1"),
  nic("172.31.5.2", "vpc-1", { publicIp: "127.40.1.2", hostname: "i-2.eu-west-1.compute.internal" }),
  nic("10.0.0.3", "vpc-2"),
];
const state: IndexedState = {
  dnsName: "ec2.internal",
  upstreamDns: null,
  metadataSocket: "",
  apiSocket: "",
  carrier: "agent",
  nics,
  groups: [],
  forbidden: [],
  byMac: new Map(),
  byIp: new Map(nics.map((n) => [n.privateIp, n])),
  byPublicIp: new Map([["127.40.1.2", nics[1]!]]),
};

function question(name: string, type: number): Buffer {
  const labels = name.split(".").map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  const head = Buffer.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, type, 0, 1])]);
}

/** An address, a name, "none" (NOERROR without an answer), "nx", or null: forwarded. */
function ask(name: string, type = 1, asker = "172.31.5.1"): string | null {
  const packet = question(name, type);
  const answer = answerDns(packet, parseQuestion(packet)!, asker, state);
  if (answer === null) return null;
  assert.equal(answer.readUInt16BE(0), 0x1234);
  if ((answer[3]! & 15) === 3) return "nx";
  if (answer.readUInt16BE(6) === 0) return "none";
  const data = answer.subarray(packet.length + 12);
  return type === 12 ? nameIn(data) : data.join(".");
}

function nameIn(data: Buffer): string {
  const labels: string[] = [];
  for (let at = 0; data[at] !== 0; at += 1 + data[at]!)
    labels.push(data.toString("latin1", at + 1, at + 1 + data[at]!));
  return labels.join(".");
}

test("private names are computed, in any of EC2's domains, in any case", () => {
  assert.equal(ask("ip-172-31-7-9.ec2.internal"), "172.31.7.9");
  assert.equal(ask("IP-172-31-7-9.EC2.Internal"), "172.31.7.9");
  assert.equal(ask("ip-10-0-0-1.eu-west-1.compute.internal"), "10.0.0.1");
  assert.equal(ask("ip-172-31-7-9.ec2.internal", 28), "none"); // AAAA: the name is there, the type is not
  assert.equal(ask("ip-300-0-0-1.ec2.internal"), "nx");
});

test("an instance's own name and id are known within its VPC", () => {
  assert.equal(ask("i-2.eu-west-1.compute.internal"), "172.31.5.2");
  assert.equal(ask("i-2.ec2.internal"), "172.31.5.2");
  assert.equal(ask("i-3.ec2.internal"), "nx");
});

test("a public name means the private address inside, and nothing in another VPC", () => {
  assert.equal(ask("ec2-127-40-1-2.compute-1.amazonaws.com"), "172.31.5.2");
  assert.equal(ask("ec2-127-40-1-2.compute-1.amazonaws.com", 1, "10.0.0.3"), "nx");
  assert.equal(ask("ec2-127-40-1-9.compute-1.amazonaws.com"), "nx"); // a guest must not take it for its own loopback
  assert.equal(ask("ec2-3-4-5-6.compute-1.amazonaws.com"), null); // Amazon's own
});

test("addresses of the asker's VPC have names, others are the world's affair", () => {
  assert.equal(ask("2.5.31.172.in-addr.arpa", 12), "i-2.eu-west-1.compute.internal");
  assert.equal(ask("9.7.31.172.in-addr.arpa", 12), "ip-172-31-7-9.ec2.internal");
  assert.equal(ask("3.0.0.10.in-addr.arpa", 12), null);
  assert.equal(ask("8.8.8.8.in-addr.arpa", 12), null);
});

test("everything else is forwarded", () => {
  for (const name of ["debian.org", "internal", "ip-172-31-7-9.example.com"]) assert.equal(ask(name), null);
});

test("garbage is no question, and never an exception", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      for (const packet of [Buffer.from(bytes), Buffer.concat([question("a.b", 1).subarray(0, 12), bytes])]) {
        const parsed = parseQuestion(packet);
        if (parsed !== null) answerDns(packet, parsed, "172.31.5.1", state);
      }
    }),
  );
});
