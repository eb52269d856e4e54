// A data directory on a full disk: calls are refused in words, work that was accepted fails with its reason or waits, nothing
// acknowledged is lost, and with room everything goes on.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import {
  CompleteSnapshotCommand,
  GetSnapshotBlockCommand,
  ListSnapshotBlocksCommand,
  PutSnapshotBlockCommand,
  StartSnapshotCommand,
} from "@aws-sdk/client-ebs";
import {
  CreateImageCommand,
  CreateKeyPairCommand,
  CreateVolumeCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeKeyPairsCommand,
  DescribeRegionsCommand,
  DescribeSnapshotsCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { CreateUserCommand } from "@aws-sdk/client-iam";
import { instanceIn, startInstance, tinyImage, until } from "../support/instances.ts";
import { launched } from "../support/launched.ts";
import type { Platform } from "../support/platform.ts";
import { cannotMount, platformOnSmallDisk } from "../support/small-disk.ts";

const BLOCK_BYTES = 512 * 1024;
const MIB = 1024 * 1024;

function put({ ebs }: Platform, snapshotId: string, index: number, block: Buffer) {
  return ebs.send(
    new PutSnapshotBlockCommand({
      SnapshotId: snapshotId,
      BlockIndex: index,
      BlockData: block,
      DataLength: BLOCK_BYTES,
      Checksum: createHash("sha256").update(block).digest("base64"),
      ChecksumAlgorithm: "SHA256",
    }),
  );
}

const full = { name: "ServiceUnavailable", message: /disk is full/ };

test("a full disk under the API: refused in words, kept what was acknowledged, works again with room", {
  skip: cannotMount,
}, async (t) => {
  const { platform, disk } = await platformOnSmallDisk(t, 96, {});
  const { ec2, ebs, iam } = platform;
  await ec2.send(new CreateKeyPairCommand({ KeyName: "before", KeyType: "ed25519" }));
  const { SnapshotId = "" } = await ebs.send(new StartSnapshotCommand({ VolumeSize: 1 }));
  const blocks = Array.from({ length: 8 }, () => randomBytes(BLOCK_BYTES));
  const acknowledged = new Set<number>();
  await put(platform, SnapshotId, 0, blocks[0]!);
  acknowledged.add(0);

  // Blocks until there is no more room for one.
  disk.fill(3 * MIB);
  for (const [index, block] of blocks.entries()) {
    if (index === 0) continue;
    try {
      await put(platform, SnapshotId, index, block);
      acknowledged.add(index);
    } catch (error) {
      assert.equal((error as Error).name, full.name, String(error));
      assert.match((error as Error).message, full.message);
    }
  }
  assert.ok(acknowledged.size < blocks.length, "the disk had room for all of them");

  disk.fill(0);
  const names = ["during-1", "during-2", "during-3"];
  for (const KeyName of names) {
    await assert.rejects(ec2.send(new CreateKeyPairCommand({ KeyName, KeyType: "ed25519" })), full);
  }
  await assert.rejects(ec2.send(new CreateVolumeCommand({ AvailabilityZone: "us-east-1a", Size: 1 })), full);
  await assert.rejects(iam.send(new CreateUserCommand({ UserName: "during" })), full);
  await assert.rejects(put(platform, SnapshotId, 7, blocks[7]!), full);

  // Even so it can be stopped; it starts again once it has room.
  await platform.kill9();
  disk.empty();
  await platform.startServer();
  const { KeyPairs = [] } = await ec2.send(new DescribeKeyPairsCommand({}));
  assert.deepEqual(
    KeyPairs.map(({ KeyName }) => KeyName),
    ["before"],
  );
  await ec2.send(new CreateKeyPairCommand({ KeyName: "after", KeyType: "ed25519" }));
  for (const [index, block] of blocks.entries()) {
    if (!acknowledged.has(index)) await put(platform, SnapshotId, index, block);
  }
  await ebs.send(new CompleteSnapshotCommand({ SnapshotId, ChangedBlocksCount: blocks.length }));
  await until("the snapshot", async () => {
    const { Snapshots: [snapshot] = [] } = await ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [SnapshotId] }));
    assert.notEqual(snapshot?.State, "error", snapshot?.StateMessage);
    return snapshot?.State === "completed" ? true : undefined;
  });
  const { Blocks = [] } = await ebs.send(new ListSnapshotBlocksCommand({ SnapshotId }));
  for (const { BlockIndex = -1, BlockToken } of Blocks) {
    const { BlockData } = await ebs.send(new GetSnapshotBlockCommand({ SnapshotId, BlockIndex, BlockToken }));
    assert.ok(blocks[BlockIndex]?.equals((await BlockData?.transformToByteArray()) ?? new Uint8Array()));
  }
  assert.equal(Blocks.length, blocks.length);
});

test("a disk that gets full while the server runs, and gets room again, needs no restart", {
  skip: cannotMount,
}, async (t) => {
  const { platform, disk } = await platformOnSmallDisk(t, 96, {});
  const { ec2 } = platform;
  disk.fill(0);
  const refusals = Array.from({ length: 20 }, (_, n) =>
    ec2.send(new CreateKeyPairCommand({ KeyName: `during-${n}`, KeyType: "ed25519" })),
  );
  for (const refusal of refusals) await assert.rejects(refusal, full);
  disk.empty();
  await ec2.send(new CreateKeyPairCommand({ KeyName: "after", KeyType: "ed25519" }));
  const { KeyPairs = [] } = await ec2.send(new DescribeKeyPairsCommand({}));
  assert.deepEqual(
    KeyPairs.map(({ KeyName }) => KeyName),
    ["after"],
  );
});

test("a full disk under machines: a capture or a launch fails with its reason, and guests run on", {
  skip: cannotMount,
}, async (t) => {
  const { platform, disk } = await platformOnSmallDisk(t, 256, { image: true });
  const { ec2 } = platform;
  const image = await tinyImage(platform);
  const guest = await launched(t, platform, { ImageId: image });
  await guest.run("head -c 30000000 /dev/urandom > /root/blob && sync");
  const blob = await guest.run("sha256sum < /root/blob");
  const boot = await guest.run("cat /proc/sys/kernel/random/boot_id");

  disk.fill(6 * MIB);
  const capture = async (name: string) => {
    const { ImageId = "" } = await ec2.send(
      new CreateImageCommand({ InstanceId: guest.instance.InstanceId, Name: name, NoReboot: true }),
    );
    return until(`the end of ${name}`, async () => {
      const { Images: [found] = [] } = await ec2.send(new DescribeImagesCommand({ ImageIds: [ImageId] }));
      return found?.State === "pending" ? undefined : found;
    });
  };
  const failed = await capture("too-large");
  assert.equal(failed?.State, "failed");
  assert.match(failed?.StateReason?.Message ?? "", /no space left/i);

  // A launch that is accepted when there is hardly any room ends with the reason, or, when the disk has not even room to
  // say so, is still pending; one that is refused left nothing.
  disk.fill(200 * 1024);
  const accepted: string[] = [];
  for (let n = 0; n < 3; n++) {
    try {
      accepted.push(await startInstance(platform, image));
    } catch (error) {
      assert.equal((error as Error).name, full.name, String(error));
    }
  }
  disk.fill(0);
  await assert.rejects(
    ec2.send(new RunInstancesCommand({ ImageId: image, InstanceType: "t3.nano", MinCount: 1, MaxCount: 1 })),
    full,
  );
  await assert.rejects(
    ec2.send(new CreateImageCommand({ InstanceId: guest.instance.InstanceId, Name: "refused", NoReboot: true })),
    full,
  );

  disk.empty();
  assert.ok((await ec2.send(new DescribeRegionsCommand({}))).Regions);
  for (const id of accepted) {
    const settled = await until(`${id} running or over`, async () => {
      const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
      const found = Reservations[0]?.Instances?.[0];
      return found?.State?.Name === "running" || found?.State?.Name === "terminated" ? found : undefined;
    });
    if (settled.State?.Name === "terminated") assert.match(settled.StateReason?.Message ?? "", /no space/i);
    await ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    await instanceIn(platform, id, "terminated");
  }
  const { Images = [] } = await ec2.send(new DescribeImagesCommand({ Owners: ["self"] }));
  assert.deepEqual(
    Images.map(({ Name }) => Name),
    ["too-large"],
  );
  assert.equal(await guest.run("cat /proc/sys/kernel/random/boot_id"), boot);
  const made = await capture("enough-room");
  assert.equal(made?.State, "available", made?.StateReason?.Message);
  await guest.terminate();
  const copy = await launched(t, platform, { ImageId: made?.ImageId ?? "" });
  assert.equal(await copy.run("sha256sum < /root/blob"), blob);
  await copy.terminate();
});
