import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { DamageError } from "./format.ts";
import { type Codec, libzstdCodec, nodeCodec } from "./zstd.ts";

const native = libzstdCodec();
const codecs: Codec[] = native === null ? [nodeCodec()] : [native, nodeCodec()];
const plain = Buffer.from("the same words again and again, and then some others. ".repeat(1200));

for (const writer of codecs) {
  for (const reader of codecs) {
    test(`${reader.name} reads what ${writer.name} wrote`, () => {
      const stored = Buffer.alloc(plain.length);
      const bytes = writer.compress(plain, stored);
      assert.ok(bytes > 0 && bytes < plain.length / 10);
      const back = Buffer.alloc(plain.length);
      reader.decompress(stored.subarray(0, bytes), back);
      assert.ok(back.equals(plain));
    });
  }

  test(`${writer.name} says when the result does not fit, and when it is not what it should be`, () => {
    const noise = randomBytes(65536);
    assert.equal(writer.compress(noise, Buffer.alloc(60000)), 0);
    const stored = Buffer.alloc(plain.length);
    const bytes = writer.compress(plain, stored);
    assert.throws(() => writer.decompress(stored.subarray(0, bytes), Buffer.alloc(plain.length - 1)), DamageError);
    assert.throws(() => writer.decompress(stored.subarray(0, bytes), Buffer.alloc(plain.length + 1)), DamageError);
    assert.throws(() => writer.decompress(noise, Buffer.alloc(100)), DamageError);
  });
}

test("libzstd is what runs here", { skip: native === null && "koffi or libzstd.so.1 is missing" }, () => {
  assert.equal(native?.name, "libzstd");
});
