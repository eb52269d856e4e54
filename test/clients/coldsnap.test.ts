// The exact calls of coldsnap 0.6 (Rust, so not run here): how it uploads a disk image as a snapshot and downloads one. Its
// waits and widths are its own: StartSnapshot with a timeout of ten minutes, 64 blocks under way, a LINEAR checksum, then
// DescribeSnapshots until completed; blocks of zeros are not sent. What it uploads must boot, what it downloads be the same.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  CompleteSnapshotCommand,
  EBSClient,
  GetSnapshotBlockCommand,
  ListSnapshotBlocksCommand,
  PutSnapshotBlockCommand,
  StartSnapshotCommand,
} from "@aws-sdk/client-ebs";
import {
  CreateSnapshotCommand,
  DeleteSnapshotCommand,
  DeregisterImageCommand,
  DescribeImagesCommand,
  DescribeSnapshotsCommand,
  RegisterImageCommand,
} from "@aws-sdk/client-ec2";
import { bootedOver, launched } from "../support/launched.ts";
import { type Platform, startPlatform } from "../support/platform.ts";

const BLOCK = 512 * 1024;
const GIB = 1024 ** 3;
const WORKERS = 64;
const sha256 = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

/** All of `work`, 64 at a time, as a stream of futures would. */
async function each<T>(work: readonly T[], act: (one: T) => Promise<void>): Promise<void> {
  const left = [...work].reverse();
  const worker = async () => {
    for (let one = left.pop(); one !== undefined; one = left.pop()) await act(one);
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
}

async function download(ebs: EBSClient, snapshotId: string): Promise<Buffer> {
  const blocks: { index: number; token: string }[] = [];
  let next: string | undefined;
  let bytes = 0;
  do {
    const page = await ebs.send(new ListSnapshotBlocksCommand({ SnapshotId: snapshotId, NextToken: next }));
    assert.equal(page.BlockSize, BLOCK);
    bytes = (page.VolumeSize ?? 0) * GIB;
    for (const { BlockIndex = -1, BlockToken = "" } of page.Blocks ?? []) {
      blocks.push({ index: BlockIndex, token: BlockToken });
    }
    next = page.NextToken;
  } while (next !== undefined);
  const disk = Buffer.alloc(bytes);
  await each(blocks, async ({ index, token }) => {
    const got = await ebs.send(
      new GetSnapshotBlockCommand({ SnapshotId: snapshotId, BlockIndex: index, BlockToken: token }),
    );
    const data = Buffer.from((await got.BlockData?.transformToByteArray()) ?? []);
    assert.equal(got.DataLength, data.length);
    assert.equal(got.ChecksumAlgorithm, "SHA256");
    assert.equal(got.Checksum, sha256(data).toString("base64"));
    data.copy(disk, index * BLOCK);
  });
  return disk;
}

async function upload({ ebs, ec2 }: Platform, disk: Buffer): Promise<string> {
  const started = await ebs.send(
    new StartSnapshotCommand({ VolumeSize: disk.length / GIB, Description: "coldsnap", Timeout: 10 }),
  );
  assert.equal(started.BlockSize, BLOCK);
  const SnapshotId = started.SnapshotId ?? "";
  const sums: { index: number; sum: Buffer }[] = [];
  const indexes = Array.from({ length: disk.length / BLOCK }, (_, index) => index);
  await each(indexes, async (index) => {
    const data = disk.subarray(index * BLOCK, (index + 1) * BLOCK);
    if (data.equals(ZEROS)) return;
    const sum = sha256(data);
    const put = await ebs.send(
      new PutSnapshotBlockCommand({
        SnapshotId,
        BlockIndex: index,
        BlockData: data,
        DataLength: data.length,
        Checksum: sum.toString("base64"),
        ChecksumAlgorithm: "SHA256",
      }),
    );
    assert.equal(put.Checksum, sum.toString("base64"));
    sums.push({ index, sum });
  });
  sums.sort((a, b) => a.index - b.index);
  await ebs.send(
    new CompleteSnapshotCommand({
      SnapshotId,
      ChangedBlocksCount: sums.length,
      Checksum: sha256(Buffer.concat(sums.map(({ sum }) => sum))).toString("base64"),
      ChecksumAlgorithm: "SHA256",
      ChecksumAggregationMethod: "LINEAR",
    }),
  );
  await completed({ ec2 }, SnapshotId);
  return SnapshotId;
}

async function completed({ ec2 }: Pick<Platform, "ec2">, id: string): Promise<void> {
  for (;;) {
    const { Snapshots: [shown] = [] } = await ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [id] }));
    if (shown?.State === "completed") return;
    assert.notEqual(shown?.State, "error", shown?.StateMessage);
    await delay(100);
  }
}

const ZEROS = Buffer.alloc(BLOCK);

test("coldsnap: a disk downloaded, uploaded again, registered and booted", async (t: TestContext) => {
  const platform = await startPlatform(t, { image: true });
  const { ec2 } = platform;
  const ebs = platform.client(EBSClient);
  const { Images: [tiny] = [] } = await ec2.send(new DescribeImagesCommand({ Owners: ["ingot"] }));
  // Nobody may read the snapshot of a public image, in EC2 neither: one of a machine's own is needed.
  const machine = await launched(t, platform, { ImageId: tiny?.ImageId ?? "" });
  await machine.run("echo kept > /etc/kept; sync");
  const VolumeId = machine.instance.BlockDeviceMappings?.[0]?.Ebs?.VolumeId;
  const { SnapshotId: source = "" } = await ec2.send(new CreateSnapshotCommand({ VolumeId }));
  await completed(platform, source);
  await machine.terminate();
  const disk = await download(ebs, source);
  assert.ok(disk.length === GIB && !disk.subarray(0, BLOCK).equals(ZEROS));
  const snapshot = await upload(platform, disk);
  assert.ok((await download(ebs, snapshot)).equals(disk));

  const { ImageId = "" } = await ec2.send(
    new RegisterImageCommand({
      Name: "uploaded",
      Architecture: "x86_64",
      VirtualizationType: "hvm",
      EnaSupport: true,
      RootDeviceName: "/dev/xvda",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: snapshot, DeleteOnTermination: true } }],
    }),
  );
  assert.equal(await bootedOver(t, platform, ImageId, "cat /etc/kept"), "kept");
  await ec2.send(new DeregisterImageCommand({ ImageId }));
  for (const SnapshotId of [source, snapshot]) await ec2.send(new DeleteSnapshotCommand({ SnapshotId }));
});
