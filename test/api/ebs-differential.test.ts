// EBS direct against plain files: snapshots written block by block over one another, by any sequence of uploads, list and
// read exactly what a file with the same writes holds.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import {
  CompleteSnapshotCommand,
  GetSnapshotBlockCommand,
  ListChangedBlocksCommand,
  ListSnapshotBlocksCommand,
  PutSnapshotBlockCommand,
  StartSnapshotCommand,
} from "@aws-sdk/client-ebs";
import { waitUntilSnapshotCompleted } from "@aws-sdk/client-ec2";
import fc from "fast-check";
import { startPlatform } from "../support/platform.ts";

const BLOCK = 512 * 1024;
/** Of the 2048 blocks of 1 GiB: the first, the last, both sides of an 8 MiB segment's end, and some between. */
const PLACES = [0, 1, 2, 15, 16, 17, 31, 32, 700, 2046, 2047];

/** A block's content by its number; 0 is all zero. Some differ from others in a few bytes only, at either end. */
function content(seed: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  if (seed === 0) return block;
  let x = (seed >> 2) + 1;
  for (let at = 0; at < BLOCK; at += 4) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    block.writeUInt32LE(x, at);
  }
  if (seed & 1) block[0]! ^= 0xff;
  if (seed & 2) block[BLOCK - 1]! ^= 0xff;
  return block;
}

const upload = fc.record({
  /** Which of the earlier snapshots it lies over; none for most of the first ones. */
  parent: fc.option(fc.nat(9), { nil: null, freq: 4 }),
  writes: fc.array(fc.record({ place: fc.constantFrom(...PLACES), seed: fc.nat(11) }), { maxLength: 9 }),
});

test("any uploads list and read as plain files with the same writes", async (t) => {
  const { ebs, ec2 } = await startPlatform(t);
  await fc.assert(
    fc.asyncProperty(fc.array(upload, { minLength: 2, maxLength: 5 }), async (uploads) => {
      const kept: { id: string; line: number; disk: Map<number, Buffer> }[] = [];
      for (const [line, { parent, writes }] of uploads.entries()) {
        const base = parent === null || kept.length === 0 ? undefined : kept[parent % kept.length];
        const { SnapshotId: id = "" } = await ebs.send(
          new StartSnapshotCommand({ VolumeSize: 1, ...(base && { ParentSnapshotId: base.id }) }),
        );
        // The same place twice: the later one counts, so these go one after another.
        const last = new Map(writes.map(({ place, seed }) => [place, content(seed)]));
        for (const { place, seed } of writes) {
          const block = content(seed);
          await ebs.send(
            new PutSnapshotBlockCommand({
              SnapshotId: id,
              BlockIndex: place,
              BlockData: block,
              DataLength: BLOCK,
              Checksum: createHash("sha256").update(block).digest("base64"),
              ChecksumAlgorithm: "SHA256",
            }),
          );
        }
        await ebs.send(new CompleteSnapshotCommand({ SnapshotId: id, ChangedBlocksCount: last.size }));
        await waitUntilSnapshotCompleted({ client: ec2, maxWaitTime: 60, minDelay: 1 }, { SnapshotIds: [id] });
        const disk = new Map(base?.disk);
        for (const [place, block] of last) disk.set(place, block);
        for (const [place, block] of disk) if (block.every((byte) => byte === 0)) disk.delete(place);
        kept.push({ id, line: base?.line ?? line, disk });
      }

      const places = (disk: ReadonlyMap<number, Buffer>) => [...disk.keys()].sort((a, b) => a - b);
      for (const { id, disk } of kept) {
        const { Blocks = [], NextToken } = await ebs.send(new ListSnapshotBlocksCommand({ SnapshotId: id }));
        assert.equal(NextToken, undefined);
        assert.deepEqual(
          Blocks.map((block) => block.BlockIndex),
          places(disk),
        );
        for (const { BlockIndex = -1, BlockToken } of Blocks) {
          const got = await ebs.send(new GetSnapshotBlockCommand({ SnapshotId: id, BlockIndex, BlockToken }));
          assert.ok(Buffer.from(await got.BlockData!.transformToByteArray()).equals(disk.get(BlockIndex)!));
        }
      }
      for (const one of kept) {
        for (const other of kept) {
          if (one.line !== other.line) continue;
          const { ChangedBlocks = [] } = await ebs.send(
            new ListChangedBlocksCommand({ FirstSnapshotId: one.id, SecondSnapshotId: other.id }),
          );
          const differ = places(new Map([...one.disk, ...other.disk])).filter((place) => {
            const [a, b] = [one.disk.get(place), other.disk.get(place)];
            return a === undefined || b === undefined || !a.equals(b);
          });
          assert.deepEqual(
            ChangedBlocks.map(({ BlockIndex, FirstBlockToken, SecondBlockToken }) => [
              BlockIndex,
              FirstBlockToken !== undefined,
              SecondBlockToken !== undefined,
            ]),
            differ.map((place) => [place, one.disk.has(place), other.disk.has(place)]),
          );
        }
      }
    }),
    { numRuns: 6 },
  );
});
