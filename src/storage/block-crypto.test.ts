import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { type BlockCrypto, nodeCrypto, opensslCrypto } from "./block-crypto.ts";
import { DamageError, GCM_TAG_BYTES } from "./format.ts";

const LENGTHS = [0, 1, 15, 16, 17, 4096, 65_536, 131_072];
const openssl = opensslCrypto();
const node = nodeCrypto();

function sealed(crypto: BlockCrypto, key: Buffer, nonce: Buffer, associated: Buffer, plain: Buffer): Buffer {
  const body = Buffer.alloc(plain.length + GCM_TAG_BYTES + 5, 0xee);
  plain.copy(body);
  crypto.gcm(key).seal(body, plain.length, nonce, associated);
  assert.ok(
    body.subarray(plain.length + GCM_TAG_BYTES).every((byte) => byte === 0xee),
    "wrote past the tag",
  );
  return body.subarray(0, plain.length + GCM_TAG_BYTES);
}

test("OpenSSL through koffi is what runs here", () => assert.equal(openssl?.name, "openssl"));

for (const [name, by, other] of [
  ["openssl", openssl ?? node, node],
  ["node", node, openssl ?? node],
] as const) {
  test(`${name} seals as the other does, and opens what the other sealed`, () => {
    for (const length of LENGTHS) {
      const [key, nonce, associated, plain] = [randomBytes(32), randomBytes(12), randomBytes(28), randomBytes(length)];
      const mine = sealed(by, key, nonce, associated, plain);
      assert.ok(mine.equals(sealed(other, key, nonce, associated, plain)), `${length} bytes`);
      assert.ok(by.gcm(key).open(mine, nonce, associated).equals(plain));
    }
  });

  test(`${name} opens nothing that was changed, cut, moved or sealed under another key`, () => {
    const [key, nonce, associated, plain] = [randomBytes(32), randomBytes(12), randomBytes(28), randomBytes(5000)];
    const good = sealed(by, key, nonce, associated, plain);
    const gcm = by.gcm(key);
    const flipped = (bytes: Buffer, at: number): Buffer => {
      const copy = Buffer.from(bytes);
      copy[at]! ^= 1;
      return copy;
    };
    for (const at of [0, 4999, 5000, 5015])
      assert.throws(() => gcm.open(flipped(good, at), nonce, associated), DamageError);
    for (const length of [0, 15, 16, 5015]) {
      assert.throws(() => gcm.open(good.subarray(0, length), nonce, associated), DamageError);
    }
    assert.throws(() => gcm.open(good, flipped(nonce, 4), associated), DamageError);
    assert.throws(() => gcm.open(good, nonce, flipped(associated, 27)), DamageError);
    assert.throws(() => by.gcm(randomBytes(32)).open(good, nonce, associated), DamageError);
    // And goes on working.
    assert.ok(gcm.open(good, nonce, associated).equals(plain));
  });

  test(`${name} keeps two keys apart that are used in turns`, () => {
    const [a, b] = [by.gcm(randomBytes(32)), by.gcm(randomBytes(32))];
    const nonce = randomBytes(12);
    const none = Buffer.alloc(0);
    const bodies = [a, b].map((gcm) => {
      const body = Buffer.concat([Buffer.from("the same"), Buffer.alloc(GCM_TAG_BYTES)]);
      gcm.seal(body, 8, nonce, none);
      return body;
    });
    assert.ok(!bodies[0]!.equals(bodies[1]!));
    for (let turn = 0; turn < 3; turn++) {
      assert.equal(a.open(bodies[0]!, nonce, none).toString(), "the same");
      assert.equal(b.open(bodies[1]!, nonce, none).toString(), "the same");
    }
  });

  test(`${name} has no room for what does not fit`, () => {
    assert.throws(
      () => by.gcm(randomBytes(32)).seal(Buffer.alloc(20), 5, randomBytes(12), Buffer.alloc(1)),
      RangeError,
    );
  });

  test(`${name} hashes`, () => {
    for (const length of LENGTHS) {
      const bytes = randomBytes(length);
      const into = Buffer.alloc(40, 7);
      by.sha256(bytes, into, 5);
      assert.ok(into.subarray(5, 37).equals(createHash("sha256").update(bytes).digest()));
      assert.deepEqual([...into.subarray(0, 5), ...into.subarray(37)], Array(8).fill(7));
    }
    assert.throws(() => by.sha256(Buffer.from("x"), Buffer.alloc(32), 1), RangeError);
  });
}
