import assert from "node:assert/strict";
import test from "node:test";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { MIB } from "../base/units.ts";
import { guidBytes, layOut, PARTITION_TYPE, partitionTable, SECTOR } from "./gpt.ts";

const GUID = "1d6b2c4e-0e0a-4b6e-9c5e-5a1f0f7b1a00";
const request = (number: number, bytes: number | "rest") => ({
  number,
  type: PARTITION_TYPE.linuxRootX86_64,
  guid: GUID,
  name: `part ${number}`,
  bytes,
});

test("partitions lie on whole MiB, in order, apart, and clear of both tables", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 12 }), (sizes) => {
      const used = sizes.reduce((sum, size) => sum + size, 0);
      const diskBytes = (used + 3) * MIB;
      const requests = [...sizes.map((size, i) => request(i + 1, size * MIB)), request(100, "rest")];
      const partitions = layOut(diskBytes, requests);
      let end = 34;
      for (const { firstSector, sectors } of partitions) {
        assert.equal((firstSector * SECTOR) % MIB, 0);
        assert.ok(firstSector >= end);
        end = firstSector + sectors;
      }
      assert.ok(end <= diskBytes / SECTOR - 33);
      assert.deepEqual(
        partitions.slice(0, -1).map(({ sectors }) => (sectors * SECTOR) / MIB),
        sizes,
      );
    }),
  );
});

test("what does not fit is refused", () => {
  assert.throws(() => layOut(4 * MIB, [request(1, 3 * MIB)]), /partition 1 does not fit/);
  assert.throws(() => layOut(8 * MIB, [request(1, "rest"), request(2, MIB)]), /only the last/);
  assert.throws(() => layOut(8 * MIB, [request(1, MIB + 512)]), /partition 1 is not a multiple/);
});

test("both headers name each other, and their checksums hold", () => {
  const diskBytes = 64 * MIB;
  const partitions = layOut(diskBytes, [request(14, MIB), request(1, "rest")]);
  const { primary, backup } = partitionTable(diskBytes, GUID, partitions);
  const lastSector = diskBytes / SECTOR - 1;
  const entries = primary.subarray(2 * SECTOR);
  assert.deepEqual(backup.subarray(0, -SECTOR), entries);
  const headers = [
    { header: primary.subarray(SECTOR, 2 * SECTOR), self: 1, other: lastSector, entriesAt: 2 },
    { header: backup.subarray(-SECTOR), self: lastSector, other: 1, entriesAt: lastSector - 32 },
  ];
  for (const { header, self, other, entriesAt } of headers) {
    assert.equal(header.toString("latin1", 0, 8), "EFI PART");
    assert.equal(Number(header.readBigUInt64LE(24)), self);
    assert.equal(Number(header.readBigUInt64LE(32)), other);
    assert.equal(Number(header.readBigUInt64LE(72)), entriesAt);
    assert.equal(header.readUInt32LE(88), crc32(entries));
    const unsigned = Buffer.from(header.subarray(0, 92));
    unsigned.writeUInt32LE(0, 16);
    assert.equal(header.readUInt32LE(16), crc32(unsigned));
  }
  const root = entries.subarray(0, 128);
  assert.equal(Number(root.readBigUInt64LE(32)), partitions[1]!.firstSector);
  assert.equal(root.toString("utf16le", 56, 56 + 12), "part 1");
  assert.deepEqual(entries.subarray(13 * 128, 13 * 128 + 16), guidBytes(PARTITION_TYPE.linuxRootX86_64));
  assert.equal(primary.readUInt16LE(510), 0xaa55);
  assert.equal(primary[446 + 4], 0xee);
});

test("a GUID's first three fields are little-endian", () => {
  const bytes = guidBytes("00112233-4455-6677-8899-aabbccddeeff");
  assert.equal(bytes.toString("hex"), "33221100554477668899aabbccddeeff");
});
