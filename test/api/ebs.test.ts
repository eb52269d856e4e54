// EBS direct through the door, with the official SDK.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import test, { type TestContext } from "node:test";
import {
  CompleteSnapshotCommand,
  EBSClient,
  GetSnapshotBlockCommand,
  ListChangedBlocksCommand,
  ListSnapshotBlocksCommand,
  PutSnapshotBlockCommand,
  StartSnapshotCommand,
} from "@aws-sdk/client-ebs";
import {
  CopySnapshotCommand,
  DescribeImagesCommand,
  DescribeSnapshotsCommand,
  ModifySnapshotAttributeCommand,
  RegisterImageCommand,
  waitUntilSnapshotCompleted,
} from "@aws-sdk/client-ec2";
import { type Platform, startPlatform } from "../support/platform.ts";

const BLOCK = 512 * 1024;
const sha256 = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

/** A disk as its blocks by index; what is absent is zero. */
type Disk = ReadonlyMap<number, Buffer>;

const put = (ebs: EBSClient, snapshotId: string, index: number, block: Buffer, claimed = sha256(block)) =>
  ebs.send(
    new PutSnapshotBlockCommand({
      SnapshotId: snapshotId,
      BlockIndex: index,
      BlockData: block,
      DataLength: block.length,
      Checksum: claimed.toString("base64"),
      ChecksumAlgorithm: "SHA256",
    }),
  );

const linear = (disk: Disk): string =>
  createHash("sha256")
    .update(Buffer.concat([...disk].sort(([a], [b]) => a - b).map(([, block]) => sha256(block))))
    .digest("base64");

async function upload(platform: Platform, disk: Disk, parent?: string): Promise<string> {
  const { ebs } = platform;
  const { SnapshotId: id = "" } = await ebs.send(
    new StartSnapshotCommand({ VolumeSize: 1, ...(parent === undefined ? {} : { ParentSnapshotId: parent }) }),
  );
  await Promise.all([...disk].map(([index, block]) => put(ebs, id, index, block)));
  await ebs.send(
    new CompleteSnapshotCommand({
      SnapshotId: id,
      ChangedBlocksCount: disk.size,
      Checksum: linear(disk),
      ChecksumAlgorithm: "SHA256",
      ChecksumAggregationMethod: "LINEAR",
    }),
  );
  await completed(platform, id);
  return id;
}

const completed = (platform: Platform, id: string) =>
  waitUntilSnapshotCompleted(
    { client: platform.ec2, maxWaitTime: 60, minDelay: 1, maxDelay: 1 },
    { SnapshotIds: [id] },
  );

async function blocksOf(ebs: EBSClient, id: string, maxResults?: number): Promise<Map<number, string>> {
  const tokens = new Map<number, string>();
  let next: string | undefined;
  do {
    const page = await ebs.send(
      new ListSnapshotBlocksCommand({ SnapshotId: id, MaxResults: maxResults, NextToken: next }),
    );
    for (const { BlockIndex = -1, BlockToken = "" } of page.Blocks ?? []) tokens.set(BlockIndex, BlockToken);
    next = page.NextToken;
  } while (next !== undefined);
  return tokens;
}

async function read(ebs: EBSClient, id: string): Promise<Map<number, Buffer>> {
  const disk = new Map<number, Buffer>();
  for (const [index, token] of await blocksOf(ebs, id)) {
    const got = await ebs.send(new GetSnapshotBlockCommand({ SnapshotId: id, BlockIndex: index, BlockToken: token }));
    const block = Buffer.from((await got.BlockData?.transformToByteArray()) ?? []);
    assert.equal(got.DataLength, BLOCK);
    assert.equal(got.Checksum, sha256(block).toString("base64"));
    disk.set(index, block);
  }
  return disk;
}

const refusal = (name: string, reason?: string) => (error: { name: string; Reason?: string }) => {
  assert.deepEqual([error.name, error.Reason], [name, reason]);
  return true;
};

test("EBS direct", async (t: TestContext) => {
  const platform = await startPlatform(t);

  await t.test("What a client writes is what is read, block by block, by 64 writers at once", async () => {
    const disk = new Map(Array.from({ length: 96 }, (_, n) => [n * 21, randomBytes(BLOCK)] as const));
    const id = await upload(platform, disk);
    assert.deepEqual(await read(platform.ebs, id), disk);
    const [snapshot] = (await platform.ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [id] }))).Snapshots ?? [];
    assert.equal(snapshot?.State, "completed");
    assert.equal(snapshot?.Progress, "100%");
    assert.equal(snapshot?.VolumeSize, 1);
    assert.equal(snapshot?.VolumeId, "vol-ffffffff");
    assert.equal(snapshot?.FullSnapshotSizeInBytes, 96 * BLOCK);
  });

  await t.test("A child holds its parent's blocks; only what differs is listed as changed", async () => {
    const { ebs } = platform;
    const base = new Map([0, 1, 2, 300].map((index) => [index, randomBytes(BLOCK)] as const));
    const parent = await upload(platform, base);
    const changes = new Map([
      [1, randomBytes(BLOCK)],
      [2, Buffer.alloc(BLOCK)],
      [7, randomBytes(BLOCK)],
    ]);
    const child = await upload(platform, changes, parent);
    const expected = new Map([...base, ...changes].filter(([index]) => index !== 2).sort(([a], [b]) => a - b));
    assert.deepEqual(await read(ebs, child), expected);

    const { ChangedBlocks = [], BlockSize } = await ebs.send(
      new ListChangedBlocksCommand({ FirstSnapshotId: parent, SecondSnapshotId: child }),
    );
    assert.equal(BlockSize, BLOCK);
    assert.deepEqual(
      ChangedBlocks.map((block) => [
        block.BlockIndex,
        block.FirstBlockToken !== undefined,
        block.SecondBlockToken !== undefined,
      ]),
      [
        [1, true, true],
        [2, true, false],
        [7, false, true],
      ],
    );
    const dropped = ChangedBlocks[1];
    const old = await ebs.send(
      new GetSnapshotBlockCommand({ SnapshotId: parent, BlockIndex: 2, BlockToken: dropped?.FirstBlockToken }),
    );
    assert.deepEqual(Buffer.from((await old.BlockData?.transformToByteArray()) ?? []), base.get(2));

    const stranger = await upload(platform, new Map([[0, randomBytes(BLOCK)]]));
    await assert.rejects(
      ebs.send(new ListChangedBlocksCommand({ FirstSnapshotId: stranger, SecondSnapshotId: child })),
      refusal("ValidationException", "UNRELATED_SNAPSHOTS"),
    );
    // A copy is of the same line.
    const { SnapshotId: copy = "" } = await platform.ec2.send(
      new CopySnapshotCommand({ SourceRegion: platform.region, SourceSnapshotId: parent }),
    );
    await completed(platform, copy);
    const same = await ebs.send(new ListChangedBlocksCommand({ FirstSnapshotId: parent, SecondSnapshotId: copy }));
    assert.deepEqual(same.ChangedBlocks, []);
  });

  await t.test("Lists come in pages; a start index and a token say where", async () => {
    const { ebs } = platform;
    const block = randomBytes(BLOCK);
    const id = await upload(platform, new Map(Array.from({ length: 250 }, (_, n) => [n * 3, block] as const)));
    const all = Array.from({ length: 250 }, (_, n) => n * 3);
    assert.deepEqual([...(await blocksOf(ebs, id, 100)).keys()], all);
    const from = await ebs.send(new ListSnapshotBlocksCommand({ SnapshotId: id, StartingBlockIndex: 301 }));
    assert.equal(from.Blocks?.[0]?.BlockIndex, 303);
    const list = (more: object) => ebs.send(new ListSnapshotBlocksCommand({ SnapshotId: id, ...more }));
    await assert.rejects(list({ MaxResults: 99 }), refusal("ValidationException"));
    await assert.rejects(list({ NextToken: "bm90LW91cnM" }), refusal("ValidationException", "INVALID_PAGE_TOKEN"));
  });

  await t.test("Blocks that are not what they claim are refused, and nothing of them stays", async () => {
    const { ebs } = platform;
    const { SnapshotId: id = "", BlockSize, Status } = await ebs.send(new StartSnapshotCommand({ VolumeSize: 1 }));
    assert.deepEqual([BlockSize, Status], [BLOCK, "pending"]);
    const block = randomBytes(BLOCK);
    await assert.rejects(
      put(ebs, id, 0, block, sha256(Buffer.alloc(1))),
      refusal("ValidationException", "INVALID_BLOCK"),
    );
    await assert.rejects(put(ebs, id, 2048, block), refusal("ValidationException", "INVALID_BLOCK"));
    await assert.rejects(put(ebs, id, 0, block.subarray(1)), refusal("ValidationException", "INVALID_BLOCK"));
    await assert.rejects(
      put(ebs, "snap-00000000000000000", 0, block),
      refusal("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"),
    );
    await assert.rejects(put(ebs, "snap-x", 0, block), refusal("ValidationException", "INVALID_SNAPSHOT_ID"));
    await put(ebs, id, 0, block);
    const complete = (count: number, checksum?: string) =>
      ebs.send(new CompleteSnapshotCommand({ SnapshotId: id, ChangedBlocksCount: count, Checksum: checksum }));
    await assert.rejects(complete(2), refusal("ValidationException", "INVALID_PARAMETER_VALUE"));
    await assert.rejects(
      complete(1, sha256(block).toString("base64")),
      refusal("ValidationException", "INVALID_PARAMETER_VALUE"),
    );
    // Refused, it is still open.
    await put(ebs, id, 1, block);
    await complete(2);
    await completed(platform, id);
    assert.equal((await complete(2)).Status, "completed");
    await assert.rejects(put(ebs, id, 2, block), refusal("ValidationException", "INVALID_SNAPSHOT_ID"));
    assert.deepEqual([...(await blocksOf(ebs, id)).keys()], [0, 1]);
  });

  await t.test("A block token is of one block of one snapshot", async () => {
    const { ebs } = platform;
    const one = await upload(platform, new Map([0, 1].map((n) => [n, randomBytes(BLOCK)] as const)));
    const other = await upload(platform, new Map([[0, randomBytes(BLOCK)]]));
    const tokens = await blocksOf(ebs, one);
    const get = (id: string, index: number, token: string | undefined) =>
      ebs.send(new GetSnapshotBlockCommand({ SnapshotId: id, BlockIndex: index, BlockToken: token }));
    const wrong = refusal("ValidationException", "INVALID_BLOCK_TOKEN");
    await assert.rejects(get(one, 1, tokens.get(0)), wrong);
    await assert.rejects(get(other, 0, tokens.get(0)), wrong);
    await assert.rejects(get(one, 0, "AAAA"), wrong);
    await get(one, 0, tokens.get(0));
  });

  await t.test("StartSnapshot: sizes, timeouts, encryption and client tokens", async () => {
    const { ebs } = platform;
    const start = (input: object) => ebs.send(new StartSnapshotCommand({ VolumeSize: 1, ...input }));
    await assert.rejects(start({ VolumeSize: 65_537 }), refusal("ValidationException", "INVALID_VOLUME_SIZE"));
    await assert.rejects(start({ VolumeSize: 0 }), refusal("ValidationException", "INVALID_VOLUME_SIZE"));
    await assert.rejects(start({ Timeout: 9 }), refusal("ValidationException", "INVALID_PARAMETER_VALUE"));
    await assert.rejects(start({ Encrypted: true }), refusal("ValidationException", "INVALID_CUSTOMER_KEY"));
    await assert.rejects(start({ Tags: [{ Key: "aws:x", Value: "" }] }), refusal("ValidationException", "INVALID_TAG"));
    await assert.rejects(
      start({ ParentSnapshotId: "snap-00000000000000000" }),
      refusal("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"),
    );
    const input = { ClientToken: "token", Description: "mine", Tags: [{ Key: "a", Value: "1" }] };
    const first = await start(input);
    assert.equal((await start(input)).SnapshotId, first.SnapshotId);
    await assert.rejects(start({ ...input, Description: "other" }), refusal("ConflictException"));
  });

  await t.test("Other accounts read the blocks of what is shared with them, not of what is public", async () => {
    const id = await upload(platform, new Map([[0, randomBytes(BLOCK)]]));
    const { accountId, credentials } = await platform.createAccount();
    const guest = platform.client(EBSClient, credentials);
    const list = () => guest.send(new ListSnapshotBlocksCommand({ SnapshotId: id }));
    const share = (permission: object) =>
      platform.ec2.send(
        new ModifySnapshotAttributeCommand({ SnapshotId: id, CreateVolumePermission: { Add: [permission] } }),
      );
    await assert.rejects(list(), refusal("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"));
    await share({ Group: "all" });
    await assert.rejects(list(), refusal("AccessDeniedException", "UNAUTHORIZED_ACCOUNT"));
    await share({ UserId: accountId });
    assert.equal((await list()).Blocks?.length, 1);
    // A token of the owner's is of no use to anybody else.
    const [token] = (await blocksOf(platform.ebs, id)).values();
    await assert.rejects(
      guest.send(new GetSnapshotBlockCommand({ SnapshotId: id, BlockIndex: 0, BlockToken: token })),
      refusal("ValidationException", "INVALID_BLOCK_TOKEN"),
    );
  });

  await t.test("An upload outlives a killed server, and what was written becomes an image", async () => {
    const { ebs, ec2 } = platform;
    const { SnapshotId: id = "" } = await ebs.send(new StartSnapshotCommand({ VolumeSize: 1 }));
    const disk = new Map([0, 5].map((n) => [n, randomBytes(BLOCK)] as const));
    await put(ebs, id, 0, disk.get(0) ?? Buffer.alloc(0));
    await platform.kill9();
    await platform.startServer();
    await put(ebs, id, 5, disk.get(5) ?? Buffer.alloc(0));
    await ebs.send(new CompleteSnapshotCommand({ SnapshotId: id, ChangedBlocksCount: 2, Checksum: linear(disk) }));
    await completed(platform, id);
    assert.deepEqual(await read(ebs, id), disk);
    const { ImageId = "" } = await ec2.send(
      new RegisterImageCommand({
        Name: "uploaded",
        RootDeviceName: "/dev/xvda",
        VirtualizationType: "hvm",
        Architecture: "x86_64",
        BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: id } }],
      }),
    );
    const [image] = (await ec2.send(new DescribeImagesCommand({ ImageIds: [ImageId] }))).Images ?? [];
    assert.equal(image?.State, "available");
  });
});
