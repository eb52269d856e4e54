import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { answerDhcp, type Lease, parseDhcp } from "./dhcp.ts";

const lease: Lease = {
  mac: "02:00:00:00:00:07",
  privateIp: "172.31.5.7",
  vpcCidr: "172.31.0.0/16",
  subnetCidr: "172.31.0.0/20",
  hostname: "ip-172-31-5-7.ec2.internal",
};

function question(type: number, options: readonly number[] = [], ciaddr: readonly number[] = [0, 0, 0, 0]): Buffer {
  const packet = Buffer.alloc(240);
  packet.set([1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
  packet.set(ciaddr, 12);
  packet.set([2, 0, 0, 0, 0, 7], 28);
  packet.writeUInt32BE(0x63825363, 236);
  return Buffer.concat([packet, Buffer.from([53, 1, type, ...options, 255])]);
}

function answer(packet: Buffer): Buffer | null {
  const parsed = parseDhcp(packet);
  assert.ok(parsed !== null);
  return answerDhcp(parsed, lease);
}

function optionsOf(packet: Buffer): Map<number, readonly number[]> {
  const options = new Map<number, readonly number[]>();
  for (let at = 240; packet[at] !== 255; at += 2 + packet[at + 1]!) {
    options.set(packet[at]!, [...packet.subarray(at + 2, at + 2 + packet[at + 1]!)]);
  }
  return options;
}

test("a discovery is offered the lease with everything a guest needs", () => {
  const offer = answer(question(1))!;
  assert.ok(offer.length >= 300);
  assert.equal(offer.subarray(4, 8).toString("hex"), "deadbeef");
  assert.deepEqual([...offer.subarray(16, 20)], [172, 31, 5, 7]);
  const options = optionsOf(offer);
  assert.deepEqual(options.get(53), [2]);
  assert.deepEqual(options.get(54), [172, 31, 0, 1]);
  assert.deepEqual(options.get(1), [255, 255, 240, 0]);
  assert.deepEqual(options.get(3), [172, 31, 0, 1]);
  assert.deepEqual(options.get(6), [172, 31, 0, 2]);
  assert.equal(Buffer.from(options.get(12)!).toString(), "ip-172-31-5-7");
  assert.equal(Buffer.from(options.get(15)!).toString(), "ec2.internal");
  assert.deepEqual(options.get(26), [9001 >> 8, 9001 & 255]);
  assert.deepEqual(options.get(28), [172, 31, 15, 255]);
  assert.deepEqual(options.get(121)!.slice(0, 5), [0, 172, 31, 0, 1]);
});

test("a request is acknowledged for the own address only", () => {
  const type = (packet: Buffer) => optionsOf(answer(packet)!).get(53)![0];
  assert.equal(type(question(3, [50, 4, 172, 31, 5, 7])), 5);
  assert.equal(type(question(3, [], [172, 31, 5, 7])), 5); // a renewal
  assert.equal(type(question(3, [50, 4, 172, 31, 5, 8])), 6);
  assert.equal(type(question(3, [], [10, 0, 0, 1])), 6); // an image that remembers another network
});

test("a request to another server, a release and a decline get silence", () => {
  assert.equal(answer(question(3, [54, 4, 10, 0, 0, 1, 50, 4, 172, 31, 5, 7])), null);
  assert.equal(answer(question(7)), null);
  assert.equal(answer(question(4)), null);
});

test("garbage is no question, and never an exception", () => {
  assert.equal(parseDhcp(Buffer.alloc(100)), null);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.uint8Array({ maxLength: 60 }), (bytes, tail) => {
      parseDhcp(Buffer.from(bytes));
      const parsed = parseDhcp(Buffer.concat([question(1).subarray(0, 240), tail]));
      if (parsed !== null) answerDhcp(parsed, lease);
    }),
  );
});
