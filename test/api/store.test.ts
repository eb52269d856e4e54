// The block store's own door: what it holds, and its upkeep, for the operator alone; and nothing readable on the disk.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import {
  CompleteSnapshotCommand,
  GetSnapshotBlockCommand,
  ListSnapshotBlocksCommand,
  PutSnapshotBlockCommand,
  StartSnapshotCommand,
} from "@aws-sdk/client-ebs";
import { DeleteSnapshotCommand, DescribeSnapshotsCommand, RegisterImageCommand } from "@aws-sdk/client-ec2";
import { CreateAccessKeyCommand, CreateUserCommand } from "@aws-sdk/client-iam";
import { ingotClient } from "../../src/cli/clients/ingot.ts";
import {
  CollectStore$,
  DescribeStoreTasks$,
  GetStoreUsage$,
  RebuildStoreIndex$,
  ScrubStore$,
} from "../../src/services/ingot/store-schema.ts";
import { type Platform, startPlatform } from "../support/platform.ts";

const BLOCK = 512 * 1024;
const SECRET = "the ferry leaves at nine, tell nobody ";

async function snapshotOf({ ebs, ec2 }: Platform, blocks: readonly Buffer[]): Promise<string> {
  const { SnapshotId: id = "" } = await ebs.send(new StartSnapshotCommand({ VolumeSize: 1 }));
  for (const [BlockIndex, BlockData] of blocks.entries()) {
    await ebs.send(
      new PutSnapshotBlockCommand({
        SnapshotId: id,
        BlockIndex,
        BlockData,
        DataLength: BLOCK,
        Checksum: createHash("sha256").update(BlockData).digest("base64"),
        ChecksumAlgorithm: "SHA256",
      }),
    );
  }
  await ebs.send(new CompleteSnapshotCommand({ SnapshotId: id, ChangedBlocksCount: blocks.length }));
  for (;;) {
    const { Snapshots = [] } = await ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [id] }));
    if (Snapshots[0]?.State === "completed") return id;
    assert.equal(Snapshots[0]?.State, "pending");
  }
}

test("the store's door", async (t) => {
  const platform = await startPlatform(t);
  const { ec2, iam } = platform;
  const connection = { endpoint: platform.url, region: platform.region, credentials: platform.credentials };
  const ingot = ingotClient(connection);
  const ended = async (id: string) => {
    for (;;) {
      const { Tasks } = await ingot.send(DescribeStoreTasks$, { TaskIds: [id] });
      if (Tasks[0]?.State !== "running") return Tasks[0]!;
    }
  };

  const secret = Buffer.alloc(BLOCK, SECRET);
  const shared = randomBytes(BLOCK);
  const one = await snapshotOf(platform, [secret, shared]);
  const two = await snapshotOf(platform, [shared, randomBytes(BLOCK)]);
  const { ImageId: image = "" } = await ec2.send(
    new RegisterImageCommand({
      Name: "accounted",
      RootDeviceName: "/dev/xvda",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: two } }],
    }),
  );

  await t.test("usage names every snapshot and image, with its owner", async () => {
    const usage = await ingot.send(GetStoreUsage$, {});
    const of = new Map(usage.Snapshots.map((snapshot) => [snapshot.SnapshotId, snapshot]));
    assert.equal(of.get(one)?.AllocatedBytes, 2 * BLOCK);
    const { Snapshots = [] } = await ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [one] }));
    assert.equal(Snapshots[0]?.FullSnapshotSizeInBytes, 2 * BLOCK);
    assert.equal(of.get(one)?.OwnerId, platform.accountId);
    const bytes = of.get(two)!;
    // The first chunk of what is shared begins before it in one of them.
    assert.ok(bytes.SharedBytes > 0.8 * BLOCK && bytes.SharedBytes < 1.05 * BLOCK, `${bytes.SharedBytes}`);
    assert.ok(bytes.ExclusiveBytes > 0.95 * BLOCK && bytes.ExclusiveBytes < 1.3 * BLOCK, `${bytes.ExclusiveBytes}`);
    const named = usage.Images.find(({ ImageId }) => ImageId === image)!;
    assert.deepEqual(
      [named.Name, named.SnapshotIds, named.ExclusiveBytes, named.SharedBytes],
      ["accounted", [two], bytes.ExclusiveBytes, bytes.SharedBytes],
    );
    const just = await ingot.send(GetStoreUsage$, { SnapshotIds: [one] });
    assert.deepEqual([just.Snapshots.map(({ SnapshotId }) => SnapshotId), just.Images], [[one], []]);
  });

  await t.test("nothing of a disk is readable in the store's files", async () => {
    const home = join(platform.dataDirectory, "store");
    for (const entry of await readdir(home, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      assert.equal((await readFile(join(entry.parentPath, entry.name))).includes("tell nobody"), false, entry.name);
    }
  });

  await t.test("a collection plans, then frees what is deleted", async () => {
    await ec2.send(new DeleteSnapshotCommand({ SnapshotId: one }));
    const held = async () =>
      (await ingot.send(GetStoreUsage$, {})).Snapshots.some(({ SnapshotId }) => SnapshotId === one);
    while (await held());
    const before = (await ingot.send(GetStoreUsage$, {})).TotalBytes;
    const plan = await ended((await ingot.send(CollectStore$, { PlanOnly: true })).Task.TaskId);
    assert.equal(plan.State, "completed");
    assert.equal((await ingot.send(GetStoreUsage$, {})).TotalBytes, before);
    const done = await ended((await ingot.send(CollectStore$, {})).Task.TaskId);
    assert.equal(done.FreedBytes, plan.FreedBytes);
  });

  await t.test("a scrub reads everything, a rebuild finds every pack", async () => {
    const scrub = await ended((await ingot.send(ScrubStore$, { BytesPerSecond: 2 ** 30 })).Task.TaskId);
    assert.deepEqual([scrub.State, scrub.Damage, scrub.Faults], ["completed", [], []]);
    const rebuild = await ended((await ingot.send(RebuildStoreIndex$, {})).Task.TaskId);
    assert.ok((rebuild.Packs ?? 0) > 0 && (rebuild.Blobs ?? 0) > 0);
  });

  await t.test("a damaged block is an error to its reader, and a scrub names the image that has it", async () => {
    const { ebs } = platform;
    const packs = join(platform.dataDirectory, "store", "packs");
    const flip = async () => {
      for (const entry of await readdir(packs, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const path = join(entry.parentPath, entry.name);
        const bytes = await readFile(path);
        bytes[bytes.length >> 1]! ^= 1;
        await writeFile(path, bytes);
      }
    };
    await flip();
    const scrub = await ended((await ingot.send(ScrubStore$, { BytesPerSecond: 2 ** 30 })).Task.TaskId);
    assert.equal(scrub.State, "completed");
    assert.ok((scrub.Damage ?? []).length > 0);
    assert.deepEqual([scrub.AffectedSnapshotIds, scrub.AffectedImageIds], [[two], [image]]);
    const { Blocks = [] } = await ebs.send(new ListSnapshotBlocksCommand({ SnapshotId: two }));
    const reads = await Promise.allSettled(
      Blocks.map(({ BlockIndex, BlockToken }) =>
        ebs.send(new GetSnapshotBlockCommand({ SnapshotId: two, BlockIndex, BlockToken })),
      ),
    );
    const failed = reads.flatMap((read) => (read.status === "rejected" ? [read.reason.name] : []));
    assert.ok(failed.length > 0 && failed.every((name) => name === "InternalServerException"), `${failed}`);
    await flip();
    const again = await ended((await ingot.send(ScrubStore$, { BytesPerSecond: 2 ** 30 })).Task.TaskId);
    assert.deepEqual(again.Damage, []);
  });

  await t.test("who has no permission learns nothing; who asks wrongly hears why", async () => {
    await iam.send(new CreateUserCommand({ UserName: "mallory" }));
    const { AccessKey: key } = await iam.send(new CreateAccessKeyCommand({ UserName: "mallory" }));
    const credentials = { accessKeyId: key?.AccessKeyId ?? "", secretAccessKey: key?.SecretAccessKey ?? "" };
    const mallory = ingotClient({ ...connection, credentials });
    await assert.rejects(mallory.send(GetStoreUsage$, {}), { name: "AccessDeniedException" });
    await assert.rejects(mallory.send(CollectStore$, {}), { name: "AccessDeniedException" });
    await assert.rejects(ingot.send(ScrubStore$, { BytesPerSecond: 1 }), { name: "ValidationException" });
    await assert.rejects(ingot.send(DescribeStoreTasks$, { TaskIds: ["none"] }), { name: "ValidationException" });
  });
});
