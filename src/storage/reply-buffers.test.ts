import assert from "node:assert/strict";
import { test } from "node:test";
import { KIB, MIB } from "../base/units.ts";
import { ReplyBuffers } from "./reply-buffers.ts";

test("a buffer that is given back is used again, one that is in use never", () => {
  const buffers = new ReplyBuffers();
  const a = buffers.take(64 * KIB + 28);
  const b = buffers.take(64 * KIB + 28);
  assert.ok(a.length >= 64 * KIB + 28);
  assert.notEqual(a, b);
  buffers.give(a);
  assert.equal(buffers.take(60 * KIB), a);
  assert.notEqual(buffers.take(60 * KIB), b);
});

test("what lies ready is bounded, and a large one is never kept", () => {
  const buffers = new ReplyBuffers();
  const many = Array.from({ length: 20 }, () => buffers.take(MIB));
  for (const each of many) buffers.give(each);
  const again = new Set(Array.from({ length: 20 }, () => buffers.take(MIB)));
  assert.equal(many.filter((each) => again.has(each)).length, 7);
  const large = buffers.take(2 * MIB);
  assert.equal(large.length, 2 * MIB);
  buffers.give(large);
  assert.notEqual(buffers.take(2 * MIB), large);
});
