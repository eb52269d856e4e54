// Disks in and out through a bucket: files of other worlds become snapshots and images, images become files, and an image
// stored in one place is restored in another, byte for byte. By the role and the policies that EC2 asks for, and on after
// the server was killed in the middle. No guest is booted.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createWriteStream, mkdtempSync, rmSync } from "node:fs";
import { open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { after, before, describe, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { GetSnapshotBlockCommand, ListSnapshotBlocksCommand } from "@aws-sdk/client-ebs";
import {
  CancelImportTaskCommand,
  CreateRestoreImageTaskCommand,
  CreateStoreImageTaskCommand,
  DescribeExportImageTasksCommand,
  DescribeImagesCommand,
  DescribeImportImageTasksCommand,
  DescribeImportSnapshotTasksCommand,
  DescribeSnapshotsCommand,
  DescribeStoreImageTasksCommand,
  EC2Client,
  ExportImageCommand,
  ImportImageCommand,
  ImportSnapshotCommand,
  waitUntilImageAvailable,
  waitUntilSnapshotImported,
  waitUntilStoreImageTaskComplete,
} from "@aws-sdk/client-ec2";
import { CreateRoleCommand, DeleteRolePolicyCommand, PutRolePolicyCommand } from "@aws-sdk/client-iam";
import {
  CreateBucketCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { registerImage, uploadSnapshot, userWith } from "../support/catalogue.ts";
import { type Platform, startPlatform } from "../support/platform.ts";

const run = promisify(execFile);
const MIB = 1024 * 1024;
const BUCKET = "disks-of-ours";
const WAIT = { maxWaitTime: 240, minDelay: 1, maxDelay: 1 };

const ends: (() => unknown)[] = [];
const scratch = mkdtempSync(join(tmpdir(), "ingot-transfers-"));
let platform: Platform;
let ec2: EC2Client;
let s3: S3Client;

/** A disk of 3 MiB: something, a hole, something. */
const disk = Buffer.concat([randomBytes(MIB), Buffer.alloc(MIB), randomBytes(MIB)]);

async function fetchObject(Key: string, path: string): Promise<void> {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: BUCKET, Key }));
  await pipeline(Body as Readable, createWriteStream(path));
}
const putObject = (Key: string, Body: Buffer) => s3.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body }));

/** What a snapshot holds, from its beginning. */
async function contentOf(SnapshotId: string, bytes: number): Promise<Buffer> {
  const content = Buffer.alloc(bytes);
  const { Blocks = [] } = await platform.ebs.send(new ListSnapshotBlocksCommand({ SnapshotId }));
  for (const { BlockIndex = 0, BlockToken } of Blocks) {
    const { BlockData } = await platform.ebs.send(new GetSnapshotBlockCommand({ SnapshotId, BlockIndex, BlockToken }));
    content.set(
      (await BlockData?.transformToByteArray())?.subarray(0, bytes - BlockIndex * (MIB / 2)) ?? [],
      BlockIndex * (MIB / 2),
    );
  }
  return content;
}

const importTask = async (id: string) =>
  (await ec2.send(new DescribeImportImageTasksCommand({ ImportTaskIds: [id] }))).ImportImageTasks?.[0];
const exportTask = async (id: string) =>
  (await ec2.send(new DescribeExportImageTasksCommand({ ExportImageTaskIds: [id] }))).ExportImageTasks?.[0];

/** The task once it is not active any more. */
async function ended<T extends { readonly Status?: string | undefined }>(
  look: () => Promise<T | undefined>,
): Promise<T> {
  for (let tries = 0; tries < 600; tries++) {
    const task = await look();
    if (task !== undefined && task.Status !== "active" && task.Status !== "deleting") return task;
    await delay(200);
  }
  throw new Error("the task does not end");
}

async function giveRole(name = "vmimport", trusted = "vmie.amazonaws.com"): Promise<void> {
  const trust = {
    Version: "2012-10-17",
    Statement: {
      Effect: "Allow",
      Principal: { Service: trusted },
      Action: "sts:AssumeRole",
      Condition: { StringEquals: { "sts:ExternalId": "vmimport" } },
    },
  };
  await platform.iam.send(new CreateRoleCommand({ RoleName: name, AssumeRolePolicyDocument: JSON.stringify(trust) }));
}

const allowRole = (RoleName: string, Action: readonly string[]) =>
  platform.iam.send(
    new PutRolePolicyCommand({
      RoleName,
      PolicyName: "bucket",
      PolicyDocument: JSON.stringify({
        Version: "2012-10-17",
        Statement: { Effect: "Allow", Action, Resource: [`arn:aws:s3:::${BUCKET}`, `arn:aws:s3:::${BUCKET}/*`] },
      }),
    }),
  );

before(async () => {
  platform = await startPlatform({ after: (end: () => unknown) => ends.push(end) } as unknown as TestContext);
  ec2 = platform.ec2;
  s3 = new S3Client({
    endpoint: platform.url,
    region: platform.region,
    credentials: platform.credentials,
    forcePathStyle: true,
    maxAttempts: 1,
  });
  ends.push(() => s3.destroy());
  await s3.send(new CreateBucketCommand({ Bucket: BUCKET }));
  await writeFile(join(scratch, "disk.raw"), disk);
  await putObject("disk.raw", disk);
});
after(async () => {
  for (const end of ends.reverse()) await end();
  rmSync(scratch, { recursive: true, force: true });
});

const container = (S3Key: string, Format: string) => ({ Format, UserBucket: { S3Bucket: BUCKET, S3Key } });

test("a role is asked for: that it is there, trusts the service, and may read the object", async () => {
  const ask = (more: object = {}) =>
    ec2.send(new ImportSnapshotCommand({ DiskContainer: container("disk.raw", "RAW"), ...more }));
  const missing = {
    name: "InvalidParameter",
    message: "The service role vmimport provided does not exist or does not have sufficient permissions",
  };
  await assert.rejects(ask(), missing);
  await giveRole("trusts-another", "ec2.amazonaws.com");
  await assert.rejects(ask({ RoleName: "trusts-another" }), { name: "InvalidParameter", message: /trusts-another/ });
  await giveRole();
  await assert.rejects(ask(), { name: "InvalidParameter", message: /does not have access to the S3 object/ });
  await allowRole("vmimport", ["s3:GetObject", "s3:PutObject", "s3:GetBucketLocation", "s3:ListBucket"]);
  await assert.rejects(ask({ DryRun: true }), { name: "DryRunOperation" });
  await assert.rejects(ask({ DiskContainer: container("nothing.raw", "RAW") }), { name: "InvalidParameter" });
  await assert.rejects(ask({ DiskContainer: container("disk.raw", "QCOW2") }), { name: "InvalidParameter" });
  await assert.rejects(ask({ DiskContainer: { Format: "RAW", Url: "file:///etc/passwd" } }), {
    name: "InvalidParameter",
  });
  await assert.rejects(ask({ DiskContainer: undefined }), { name: "MissingParameter" });

  // Whoever may not read the object himself does not import it by the role.
  const keys = await userWith(platform, "importer", [{ Effect: "Allow", Action: "ec2:ImportSnapshot", Resource: "*" }]);
  const client = platform.client(EC2Client, keys);
  await assert.rejects(client.send(new ImportSnapshotCommand({ DiskContainer: container("disk.raw", "RAW") })), {
    name: "UnauthorizedOperation",
    message: /s3:GetObject/,
  });
});

describe("ImportSnapshot", () => {
  for (const [format, ...argv] of [
    ["raw"],
    ["vmdk", "-O", "vmdk", "-o", "subformat=streamOptimized"],
    ["vhd", "-O", "vpc", "-o", "subformat=dynamic,force_size=on"],
  ] as const) {
    test(`of a ${format} file: the snapshot holds its bytes`, async () => {
      const key = `in/disk.${format}`;
      const path = join(scratch, `disk.${format}`);
      if (format !== "raw") await run("qemu-img", ["convert", "-f", "raw", ...argv, join(scratch, "disk.raw"), path]);
      await putObject(key, await readFile(path));
      const { ImportTaskId = "", SnapshotTaskDetail: begun } = await ec2.send(
        new ImportSnapshotCommand({
          Description: "ours",
          DiskContainer: { Format: format.toUpperCase(), Url: `s3://${BUCKET}/${key}` },
          TagSpecifications: [{ ResourceType: "import-snapshot-task", Tags: [{ Key: "from", Value: format }] }],
        }),
      );
      assert.match(ImportTaskId, /^import-snap-[0-9a-f]{17}$/);
      assert.equal(begun?.Status, "active");
      await waitUntilSnapshotImported({ client: ec2, ...WAIT }, { ImportTaskIds: [ImportTaskId] });
      const { ImportSnapshotTasks: [task] = [] } = await ec2.send(
        new DescribeImportSnapshotTasksCommand({ Filters: [{ Name: "tag:from", Values: [format] }] }),
      );
      const { SnapshotId = "", Description, Url, Format } = task?.SnapshotTaskDetail ?? {};
      assert.deepEqual([Description, Url, Format], ["ours", `s3://${BUCKET}/${key}`, format.toUpperCase()]);
      const { Snapshots: [snapshot] = [] } = await ec2.send(
        new DescribeSnapshotsCommand({ SnapshotIds: [SnapshotId] }),
      );
      assert.deepEqual([snapshot?.State, snapshot?.VolumeSize, snapshot?.Description], ["completed", 1, "ours"]);
      assert.ok((await contentOf(SnapshotId, disk.length)).equals(disk));
      await assert.rejects(ec2.send(new CancelImportTaskCommand({ ImportTaskId })), { name: "IncorrectState" });
    });
  }

  test("of what is no disk fails, says why, and leaves no snapshot", async () => {
    await putObject("text.vmdk", Buffer.from("not a disk at all"));
    const { ImportTaskId = "" } = await ec2.send(
      new ImportSnapshotCommand({ DiskContainer: container("text.vmdk", "VMDK"), ClientToken: "once" }),
    );
    const again = await ec2.send(
      new ImportSnapshotCommand({ DiskContainer: container("text.vmdk", "VMDK"), ClientToken: "once" }),
    );
    assert.equal(again.ImportTaskId, ImportTaskId);
    await assert.rejects(
      ec2.send(new ImportSnapshotCommand({ DiskContainer: container("disk.raw", "RAW"), ClientToken: "once" })),
      { name: "IdempotentParameterMismatch" },
    );
    const look = async () =>
      (await ec2.send(new DescribeImportSnapshotTasksCommand({ ImportTaskIds: [ImportTaskId] })))
        .ImportSnapshotTasks?.[0]?.SnapshotTaskDetail;
    const task = await ended(look);
    assert.equal(task.Status, "error");
    assert.match(task.StatusMessage ?? "", /^ClientError: /);
    assert.equal(task.SnapshotId, undefined);
  });
});

test("ImportImage makes an image of a disk and of a snapshot; ExportImage gives a disk back; others see no task", async () => {
  const data = await uploadSnapshot(platform, 7);
  const { ImportTaskId = "", Status } = await ec2.send(
    new ImportImageCommand({
      Description: "from elsewhere",
      BootMode: "uefi",
      Platform: "Linux",
      DiskContainers: [container("disk.raw", "raw"), { SnapshotId: data, DeviceName: "/dev/sdk" }],
    }),
  );
  assert.match(ImportTaskId, /^import-ami-[0-9a-f]{17}$/);
  assert.equal(Status, "active");
  const task = await ended(() => importTask(ImportTaskId));
  assert.equal(task.Status, "completed", task.StatusMessage);
  const { Images: [image] = [] } = await ec2.send(new DescribeImagesCommand({ ImageIds: [task.ImageId ?? ""] }));
  assert.deepEqual(
    [image?.Name, image?.State, image?.Description, image?.BootMode, image?.RootDeviceName, image?.Architecture],
    [ImportTaskId, "available", "from elsewhere", "uefi", "/dev/sda1", "x86_64"],
  );
  const [root, second] = image?.BlockDeviceMappings ?? [];
  assert.ok((await contentOf(root?.Ebs?.SnapshotId ?? "", disk.length)).equals(disk));
  assert.equal(second?.DeviceName, "/dev/sdk");
  assert.notEqual(second?.Ebs?.SnapshotId, data);
  assert.equal((await contentOf(second?.Ebs?.SnapshotId ?? "", MIB))[0], 7);

  const { credentials } = await platform.createAccount();
  const stranger = platform.client(EC2Client, credentials);
  assert.deepEqual((await stranger.send(new DescribeImportImageTasksCommand({}))).ImportImageTasks, []);
  await assert.rejects(stranger.send(new CancelImportTaskCommand({ ImportTaskId })), {
    name: "InvalidConversionTaskId",
  });
  await assert.rejects(importTask("import-ami-1"), { name: "InvalidConversionTaskId.Malformed" });
  // Two disks do not fit into one file.
  const location = { S3Bucket: BUCKET, S3Prefix: "out/" };
  await assert.rejects(
    ec2.send(new ExportImageCommand({ ImageId: image?.ImageId, DiskImageFormat: "RAW", S3ExportLocation: location })),
    { name: "NotExportable" },
  );
});

for (const format of ["RAW", "VMDK", "VHD"] as const) {
  test(`ExportImage to ${format}: the file holds what the image does`, async () => {
    const ImageId = await registerImage(platform, `exported-${format}`);
    const { ExportImageTaskId = "", Status } = await ec2.send(
      new ExportImageCommand({
        ImageId,
        DiskImageFormat: format,
        S3ExportLocation: { S3Bucket: BUCKET, S3Prefix: "out/" },
      }),
    );
    assert.equal(Status, "active");
    const task = await ended(() => exportTask(ExportImageTaskId));
    assert.equal(task.Status, "completed", task.StatusMessage);
    const suffix = format.toLowerCase();
    const path = join(scratch, `exported.${suffix}`);
    await fetchObject(`out/${ExportImageTaskId}.${suffix}`, path);
    const raw = join(scratch, `exported.${suffix}.raw`);
    const qemuFormat = { RAW: "raw", VMDK: "vmdk", VHD: "vpc" }[format];
    // qemu-img leaves holes where there is nothing: what is not a hole is all that the file holds.
    await run("qemu-img", ["convert", "-f", qemuFormat, "-O", "raw", path, raw]);
    const file = await open(raw, "r");
    const { size, blocks } = await file.stat();
    const { buffer: begin } = await file.read(Buffer.alloc(MIB), 0, MIB, 0);
    await file.close();
    assert.equal(size, 1024 * MIB);
    assert.ok(blocks * 512 <= MIB, `${blocks} blocks`);
    assert.ok(begin.equals(Buffer.concat([Buffer.alloc(MIB / 2, 1), Buffer.alloc(MIB / 2)])));
    for (const gone of [path, raw]) await rm(gone);
  });
}

describe("CreateStoreImageTask and CreateRestoreImageTask", () => {
  let ImageId: string;
  before(async () => {
    const data = await uploadSnapshot(platform, 9);
    ImageId = await registerImage(platform, "stored", {
      Description: "to be kept",
      EnaSupport: true,
      BootMode: "uefi",
      BlockDeviceMappings: [
        {
          DeviceName: "/dev/xvda",
          Ebs: { SnapshotId: await uploadSnapshot(platform, 5), VolumeSize: 3, VolumeType: "gp3" },
        },
        { DeviceName: "/dev/xvdb", Ebs: { SnapshotId: data, DeleteOnTermination: false } },
        { DeviceName: "/dev/xvdc", Ebs: { VolumeSize: 4 } },
      ],
      TagSpecifications: [{ ResourceType: "image", Tags: [{ Key: "release", Value: "7" }] }],
    });
  });

  test("an image is stored, and restored in another Region as the same machine", async () => {
    const { ObjectKey } = await ec2.send(
      new CreateStoreImageTaskCommand({ ImageId, Bucket: BUCKET, S3ObjectTags: [{ Key: "kept", Value: "yes" }] }),
    );
    assert.equal(ObjectKey, `${ImageId}.bin`);
    await waitUntilStoreImageTaskComplete({ client: ec2, ...WAIT }, { ImageIds: [ImageId] });
    const { StoreImageTaskResults: [task] = [] } = await ec2.send(
      new DescribeStoreImageTasksCommand({ Filters: [{ Name: "task-state", Values: ["Completed"] }] }),
    );
    assert.deepEqual(
      [task?.AmiId, task?.Bucket, task?.S3objectKey, task?.ProgressPercentage],
      [ImageId, BUCKET, ObjectKey, 100],
    );
    const head = await s3.send(new HeadObjectCommand({ Bucket: BUCKET, Key: ObjectKey }));
    assert.equal(head.Metadata?.["ami-name"], "stored");
    assert.ok((head.ContentLength ?? 0) < MIB);

    const elsewhere = platform.client(EC2Client, platform.credentials, "eu-west-1");
    const restore = (more: object = {}) =>
      elsewhere.send(new CreateRestoreImageTaskCommand({ Bucket: BUCKET, ObjectKey, ...more }));
    const { ImageId: restored = "" } = await restore({
      TagSpecifications: [{ ResourceType: "image", Tags: [{ Key: "back", Value: "yes" }] }],
    });
    await waitUntilImageAvailable({ client: elsewhere, ...WAIT }, { ImageIds: [restored] });
    const shown = async (client: EC2Client, id: string) => {
      const { Images: [image] = [] } = await client.send(new DescribeImagesCommand({ ImageIds: [id] }));
      const {
        ImageId: _id,
        CreationDate: _at,
        ImageLocation: _where,
        BlockDeviceMappings: devices = [],
        Tags,
        ...rest
      } = image ?? {};
      const mapping = devices.map(({ Ebs: { SnapshotId: _snapshot, ...ebs } = {}, ...device }) => ({ ...device, ebs }));
      const snapshots = devices.flatMap(({ Ebs }) => Ebs?.SnapshotId ?? []);
      return { same: { ...rest, mapping }, tags: Tags, snapshots };
    };
    const [before, then] = [await shown(ec2, ImageId), await shown(elsewhere, restored)];
    assert.deepEqual(then.same, before.same);
    assert.deepEqual(then.tags, [
      { Key: "back", Value: "yes" },
      { Key: "release", Value: "7" },
    ]);
    const ebs = platform.client((await import("@aws-sdk/client-ebs")).EBSClient, platform.credentials, "eu-west-1");
    for (const [index, byte] of [5, 9].entries()) {
      const SnapshotId = then.snapshots[index] ?? "";
      const { Blocks = [] } = await ebs.send(new ListSnapshotBlocksCommand({ SnapshotId }));
      assert.deepEqual(
        Blocks.map(({ BlockIndex }) => BlockIndex),
        [0],
      );
      const { BlockData } = await ebs.send(
        new GetSnapshotBlockCommand({ SnapshotId, BlockIndex: 0, BlockToken: Blocks[0]?.BlockToken }),
      );
      assert.ok((await BlockData?.transformToByteArray())?.every((one) => one === byte));
    }
    await assert.rejects(restore(), { name: "InvalidAMIName.Duplicate" });
    await assert.rejects(restore({ ObjectKey: "disk.raw", Name: "no-image" }), { name: "InvalidParameter" });
    await assert.rejects(restore({ ObjectKey: "nothing", Name: "no-image" }), { name: "InvalidParameter" });
  });

  test("one that is damaged is not restored: the image fails, and says why", async () => {
    const path = join(scratch, "whole.bin");
    await fetchObject(`${ImageId}.bin`, path);
    const whole = await readFile(path);
    whole[whole.length - 100] = (whole[whole.length - 100] ?? 0) ^ 1;
    await putObject("damaged.bin", whole);
    const { ImageId: restored = "" } = await ec2.send(
      new CreateRestoreImageTaskCommand({ Bucket: BUCKET, ObjectKey: "damaged.bin", Name: "damaged" }),
    );
    for (let tries = 0; ; tries++) {
      const { Images: [image] = [] } = await ec2.send(new DescribeImagesCommand({ ImageIds: [restored] }));
      if (image?.State === "failed") {
        assert.match(image.StateReason?.Message ?? "", /damaged\.bin/);
        break;
      }
      assert.ok(image?.State === "pending" && tries < 300, `it is ${image?.State}`);
      await delay(200);
    }
  });

  test("both need the bucket's permission and the blocks'", async () => {
    const all = ["ec2:CreateStoreImageTask", "ec2:CreateRestoreImageTask", "s3:PutObject", "s3:GetObject", "ebs:*"];
    for (const lacking of ["s3:PutObject", "s3:GetObject", "ebs:*"]) {
      const keys = await userWith(platform, `without-${lacking.replace(/\W/g, "-")}`, [
        { Effect: "Allow", Action: all.filter((action) => action !== lacking), Resource: "*" },
      ]);
      const client = platform.client(EC2Client, keys);
      const store = client.send(new CreateStoreImageTaskCommand({ ImageId, Bucket: BUCKET, DryRun: true }));
      const restore = client.send(
        new CreateRestoreImageTaskCommand({ Bucket: BUCKET, ObjectKey: `${ImageId}.bin`, Name: "back", DryRun: true }),
      );
      const denied = { name: "UnauthorizedOperation" };
      const fine = { name: "DryRunOperation" };
      await assert.rejects(store, lacking === "s3:GetObject" ? fine : denied);
      await assert.rejects(restore, lacking === "s3:PutObject" ? fine : denied);
    }
  });
});

test("a killed server's tasks go on with the next one; what was cancelled leaves nothing", async () => {
  // Long enough that a kill, a few calls later, finds it under way.
  const big = randomBytes(96 * MIB);
  await putObject("big.raw", big);
  const ImageId = await registerImage(platform, "exported-through-a-kill");
  const begin = async () =>
    (await ec2.send(new ImportSnapshotCommand({ DiskContainer: container("big.raw", "RAW") }))).ImportTaskId ?? "";
  const [first, second, third] = [await begin(), await begin(), await begin()];
  const { State } = await ec2.send(new CancelImportTaskCommand({ ImportTaskId: third }));
  assert.equal(State, "deleting");
  const { ExportImageTaskId = "" } = await ec2.send(
    new ExportImageCommand({
      ImageId,
      DiskImageFormat: "VMDK",
      S3ExportLocation: { S3Bucket: BUCKET, S3Prefix: "k/" },
    }),
  );
  await platform.kill9();
  await platform.startServer();
  await waitUntilSnapshotImported({ client: ec2, ...WAIT }, { ImportTaskIds: [first, second] });
  const { ImportSnapshotTasks = [] } = await ec2.send(
    new DescribeImportSnapshotTasksCommand({ ImportTaskIds: [first, second] }),
  );
  for (const task of ImportSnapshotTasks) {
    const content = await contentOf(task.SnapshotTaskDetail?.SnapshotId ?? "", big.length);
    assert.ok(content.equals(big));
  }
  const exported = await ended(() => exportTask(ExportImageTaskId));
  assert.equal(exported.Status, "completed", exported.StatusMessage);
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: "k/" }));
  assert.equal(Contents.length, 1);
  const { Uploads = [] } = await s3.send(new ListMultipartUploadsCommand({ Bucket: BUCKET }));
  assert.deepEqual(Uploads, []);
  const look = async () =>
    (await ec2.send(new DescribeImportSnapshotTasksCommand({ ImportTaskIds: [third] }))).ImportSnapshotTasks?.[0]
      ?.SnapshotTaskDetail;
  const cancelled = await ended(look);
  assert.deepEqual([cancelled.Status, cancelled.SnapshotId], ["deleted", undefined]);
  // The role is asked at the call.
  await platform.iam.send(new DeleteRolePolicyCommand({ RoleName: "vmimport", PolicyName: "bucket" }));
  await assert.rejects(begin(), { name: "InvalidParameter" });
});
