import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { CHECKSUM_ALGORITHMS, CHECKSUM_BYTES, checksumOf, combineCrcs, isCrc, runningChecksum } from "./checksums.ts";

test("the check values of the catalogue of CRCs", () => {
  const digits = Buffer.from("123456789");
  assert.equal(checksumOf("CRC32", digits).toString("hex"), "cbf43926");
  assert.equal(checksumOf("CRC32C", digits).toString("hex"), "e3069283");
  assert.equal(checksumOf("CRC64NVME", digits).toString("hex"), "ae8b14860a799888");
  assert.equal(checksumOf("CRC32", Buffer.alloc(0)).toString("base64"), "AAAAAA==");
});

test("bytes that come in pieces have the checksum of the whole, and so have parts put together", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 70 }), { maxLength: 6 }), (pieces) => {
      const whole = Buffer.concat(pieces);
      for (const algorithm of CHECKSUM_ALGORITHMS) {
        const running = runningChecksum(algorithm);
        for (const piece of pieces) running.update(piece);
        const expected = checksumOf(algorithm, whole);
        assert.equal(expected.length, CHECKSUM_BYTES[algorithm]);
        assert.deepEqual(running.digest(), expected);
        if (!isCrc(algorithm)) continue;
        const parts = pieces.map((piece) => ({ crc: checksumOf(algorithm, piece), bytes: piece.length }));
        assert.deepEqual(combineCrcs(algorithm, parts), expected, algorithm);
      }
      assert.equal(checksumOf("CRC32", whole).readUInt32BE(), crc32(whole));
    }),
  );
});
