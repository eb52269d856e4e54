import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ApiError } from "../base/api-error.ts";
import { admission, findInstanceType, INSTANCE_TYPES, type InstanceType } from "./instance-types.ts";

test("sizes are EC2's own", () => {
  const size = (name: string) => {
    const { vcpus, memoryMib } = findInstanceType(name);
    return [vcpus, memoryMib];
  };
  assert.deepEqual(size("t3.nano"), [2, 512]);
  assert.deepEqual(size("t3a.2xlarge"), [8, 32768]);
  assert.deepEqual(size("t2.micro"), [1, 1024]);
  assert.deepEqual(size("m5.large"), [2, 8192]);
  assert.deepEqual(size("c6i.4xlarge"), [16, 32768]);
  assert.deepEqual(size("r5.xlarge"), [4, 32768]);
  for (const { name, memoryMib, vcpus } of INSTANCE_TYPES.values()) assert.ok(memoryMib >= 512 && vcpus >= 1, name);
});

test("a type that EC2 doesn't have is refused in its words", () => {
  assert.throws(
    () => findInstanceType("t3.huge"),
    (error) =>
      error instanceof ApiError &&
      error.code === "InvalidParameterValue" &&
      error.message === "Invalid value 't3.huge' for InstanceType.",
  );
});

test("memory is given out once, and the reason says how much there was", () => {
  const host = { memoryMib: 2048, cpus: 2 };
  const nano = findInstanceType("t3.nano"); // 512, and 160 for QEMU
  assert.equal(admission([], nano, host), null);
  assert.equal(admission([nano, nano], nano, host), null);
  assert.equal(
    admission([nano, nano, nano], nano, host),
    "the host gives 2048 MiB to instances; 2016 MiB are in use, 672 MiB were asked for",
  );
});

test("processors are given out 64 times", () => {
  const host = { memoryMib: 1 << 30, cpus: 1 };
  const two = { memoryMib: 512, vcpus: 2 };
  const running = Array.from({ length: 31 }, () => two);
  assert.equal(admission(running, two, host), null);
  assert.match(admission([...running, two], two, host) ?? "", /64 vCPUs .* 64 are in use, 2 were asked for/);
});

test("whatever was let in, guests' memory alone never exceeds the host's", () => {
  const types = fc.constantFrom(...INSTANCE_TYPES.values());
  fc.assert(
    fc.property(fc.array(types), fc.integer({ min: 0, max: 1 << 18 }), (wanted, memoryMib) => {
      const running: InstanceType[] = [];
      for (const type of wanted) if (admission(running, type, { memoryMib, cpus: 64 }) === null) running.push(type);
      assert.ok(running.reduce((sum, type) => sum + type.memoryMib, 0) <= memoryMib);
    }),
  );
});
