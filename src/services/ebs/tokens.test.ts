// Tokens of EBS direct go out of date: a block's after a week, a list's after an hour. And an upload that nobody writes to.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { actionWorld } from "../../../test/support/action-world.ts";
import { BLOCK_BYTES } from "../../base/units.ts";
import { completeSnapshot } from "./complete-snapshot.ts";
import { getSnapshotBlock } from "./get-snapshot-block.ts";
import { listSnapshotBlocks } from "./list-blocks.ts";
import { putSnapshotBlock } from "./put-snapshot-block.ts";
import { startSnapshot } from "./start-snapshot.ts";

const HOUR = 3600;
const reason = (Reason: string) => (error: { code?: string; fields?: object }) => {
  assert.deepEqual([error.code, error.fields], ["ValidationException", { Reason }]);
  return true;
};

test("tokens and uploads run out when they say so, and not a second earlier", async (t) => {
  const world = await actionWorld(t);
  const { SnapshotId = "" } = await world.call(startSnapshot, { VolumeSize: 1, Timeout: 10 });
  const block = randomBytes(BLOCK_BYTES);
  const put = (BlockIndex: number) =>
    world.call(putSnapshotBlock, {
      SnapshotId,
      BlockIndex,
      BlockData: block as never,
      DataLength: BLOCK_BYTES,
      Checksum: createHash("sha256").update(block).digest("base64"),
      ChecksumAlgorithm: "SHA256",
    });
  for (let index = 0; index < 101; index++) await put(index);
  // Each write begins the ten minutes anew.
  world.pass(9 * 60);
  await put(101);
  world.pass(9 * 60);
  await put(102);
  await world.call(completeSnapshot, { SnapshotId, ChangedBlocksCount: 103 });
  await world.store.completeDraft(SnapshotId as never);
  await world.finishSnapshots();

  const first = await world.call(listSnapshotBlocks, { SnapshotId, MaxResults: 100 });
  assert.equal(first.ExpiryTime?.getTime(), world.now.getTime() + 7 * 24 * HOUR * 1000);
  const { BlockIndex, BlockToken } = first.Blocks?.[5] ?? {};
  const next = () => world.call(listSnapshotBlocks, { SnapshotId, MaxResults: 100, NextToken: first.NextToken });
  const get = () => world.call(getSnapshotBlock, { SnapshotId, BlockIndex, BlockToken });
  world.pass(HOUR - 1);
  assert.deepEqual(
    (await next()).Blocks?.map((one) => one.BlockIndex),
    [100, 101, 102],
  );
  world.pass(1);
  await assert.rejects(next(), reason("INVALID_PAGE_TOKEN"));
  world.pass(7 * 24 * HOUR - HOUR - 1);
  assert.deepEqual((await get()).BlockData as unknown, block);
  world.pass(1);
  await assert.rejects(get(), reason("INVALID_BLOCK_TOKEN"));
});

test("an upload that nobody has written to for its timeout takes no more", async (t) => {
  const world = await actionWorld(t);
  const { SnapshotId = "" } = await world.call(startSnapshot, { VolumeSize: 1, Timeout: 10 });
  world.pass(10 * 60 + 1);
  await assert.rejects(
    world.call(completeSnapshot, { SnapshotId, ChangedBlocksCount: 0 }),
    reason("WRITE_REQUEST_TIMEOUT"),
  );
});
