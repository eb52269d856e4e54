import assert from "node:assert/strict";
import { test } from "node:test";
import type { InstanceId, SecurityGroupId, VpcId } from "../base/ids.ts";
import type { Nic, SecurityGroupRules, SecurityRule } from "../model/nic.ts";
import { ruleObjects } from "./nft-rules.ts";

const A = "sg-0a" as SecurityGroupId;
const B = "sg-0b" as SecurityGroupId;

const nic: Nic = {
  instanceId: "i-01" as InstanceId,
  mac: "02:00:00:00:00:01",
  privateIp: "172.31.5.6",
  publicIp: null,
  vpcId: "vpc-01" as VpcId,
  vpcCidr: "172.31.0.0/16",
  subnetCidr: "172.31.0.0/20",
  hostname: "ip-172-31-5-6.ec2.internal",
  securityGroups: [A],
  metadata: { enabled: true, hopLimit: 2 },
};

const rule = (protocol: number | "all", from: number | null, to: number | null, cidr = "0.0.0.0/0"): SecurityRule => ({
  protocol,
  fromPort: from,
  toPort: to,
  peer: { kind: "cidr", cidr },
});

/** The rules that one ingress rule becomes. */
function ingress(...rules: SecurityRule[]): string[] {
  const group: SecurityGroupRules = { groupId: A, ingress: rules, egress: [] };
  const text = ruleObjects([], [group]).get("group sg-0a")!.put;
  return text.split("\n").flatMap((line) => /^add rule inet ingot sg_0a_in (.*)$/.exec(line)?.[1] ?? []);
}

test("each rule becomes one condition", () => {
  assert.deepEqual(ingress(rule("all", null, null)), ["accept"]);
  assert.deepEqual(ingress(rule(6, 22, 22)), ["tcp dport 22 accept"]);
  assert.deepEqual(ingress(rule(17, 1, 65535, "10.0.0.9/8")), ["udp dport 1-65535 ip saddr 10.0.0.0/8 accept"]);
  assert.deepEqual(ingress(rule(6, null, null)), ["meta l4proto tcp accept"]);
  assert.deepEqual(ingress(rule(6, -1, -1)), ["meta l4proto tcp accept"]);
  assert.deepEqual(ingress(rule(1, -1, -1)), ["meta l4proto icmp accept"]);
  assert.deepEqual(ingress(rule(1, 8, -1)), ["icmp type 8 accept"]);
  assert.deepEqual(ingress(rule(1, 3, 4)), ["icmp type 3 icmp code 4 accept"]);
  assert.deepEqual(ingress(rule(47, null, null)), ["meta l4proto 47 accept"]);
});

test("what no IPv4 packet meets becomes nothing", () => {
  assert.deepEqual(ingress(rule("all", null, null, "::/0"), rule(58, null, null)), []);
});

test("a group named by a rule exists, with its members, before the rule", () => {
  const byGroup: SecurityRule = { protocol: "all", fromPort: null, toPort: null, peer: { kind: "group", groupId: B } };
  const objects = ruleObjects([nic], [{ groupId: A, ingress: [byGroup], egress: [] }]);
  const order = [...objects.keys()];
  assert.ok(order.indexOf("members sg-0b") < order.indexOf("group sg-0a"));
  assert.ok(order.indexOf("group sg-0a") < order.indexOf("nic tapac1f0506"));
  assert.match(objects.get("members sg-0a")!.put, /add element inet ingot m_sg_0a \{ 172\.31\.5\.6 \}/);
  assert.match(objects.get("group sg-0a")!.put, /ip saddr @m_sg_0b accept/);
});

test("an instance's place: its address, its groups both ways, its hop limit", () => {
  const { put } = ruleObjects([nic], []).get("nic tapac1f0506")!;
  assert.match(put, /add element inet ingot src \{ "tapac1f0506" \. 172\.31\.5\.6 \}/);
  assert.match(put, /add rule inet ingot in_ac1f0506 jump sg_0a_in/);
  assert.match(put, /add rule inet ingot out_ac1f0506 jump sg_0a_out/);
  assert.match(put, /add rule inet ingot hop_ac1f0506 ip ttl set 2/);
});

test("nothing but ids, addresses and numbers becomes text of a rule", () => {
  const evil = "sg-0a; flush ruleset" as SecurityGroupId;
  assert.throws(() => ruleObjects([{ ...nic, securityGroups: [evil] }], []), /not a security group id/);
  assert.throws(() => ingress(rule(6, 22, 22, "0.0.0.0/0 accept; drop")), /not an IPv4 CIDR/);
  assert.throws(() => ingress(rule(6, 22.5, 70000)), /not a port/);
  assert.throws(() => ruleObjects([{ ...nic, privateIp: "1.2.3.4 }" }], []), /not an IPv4 address/);
});
