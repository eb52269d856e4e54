// Volumes, snapshots and tags through the door. No guest is booted: what machines do with volumes is tested with guests.
import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { GetSnapshotBlockCommand, ListSnapshotBlocksCommand } from "@aws-sdk/client-ebs";
import {
  CopySnapshotCommand,
  CreateSnapshotCommand,
  CreateTagsCommand,
  CreateVolumeCommand,
  DeleteSnapshotCommand,
  DeleteTagsCommand,
  DeleteVolumeCommand,
  DescribeSnapshotsCommand,
  DescribeTagsCommand,
  DescribeVolumesCommand,
  EC2Client,
  ModifySnapshotAttributeCommand,
  ModifyVolumeCommand,
  waitUntilVolumeAvailable,
  waitUntilVolumeDeleted,
} from "@aws-sdk/client-ec2";
import { registerImage, snapshotCompleted, uploadSnapshot, userWith } from "../support/catalogue.ts";
import { type Platform, startPlatform } from "../support/platform.ts";

const WAIT = { maxWaitTime: 60, minDelay: 1, maxDelay: 1 };

async function firstBlock({ ebs }: Platform, id: string): Promise<Buffer | undefined> {
  const { Blocks = [] } = await ebs.send(new ListSnapshotBlocksCommand({ SnapshotId: id }));
  const token = Blocks[0]?.BlockToken;
  if (token === undefined) return undefined;
  const block = await ebs.send(new GetSnapshotBlockCommand({ SnapshotId: id, BlockIndex: 0, BlockToken: token }));
  return Buffer.from((await block.BlockData?.transformToByteArray()) ?? []);
}

test("Volumes and snapshots", async (t: TestContext) => {
  const platform = await startPlatform(t);
  const { ec2, region } = platform;
  const zone = `${region}a`;
  const second = await platform.createAccount();
  const guest = platform.client(EC2Client, second.credentials);

  await t.test("a volume of a snapshot, captured again, holds the same bytes", async () => {
    const source = await uploadSnapshot(platform, 7);
    const { VolumeId = "" } = await ec2.send(
      new CreateVolumeCommand({ AvailabilityZone: zone, SnapshotId: source, VolumeType: "gp3" }),
    );
    await waitUntilVolumeAvailable({ client: ec2, ...WAIT }, { VolumeIds: [VolumeId] });
    // The snapshot goes; what the volume reads of it stays.
    await ec2.send(new DeleteSnapshotCommand({ SnapshotId: source }));
    const { SnapshotId = "" } = await ec2.send(new CreateSnapshotCommand({ VolumeId, Description: "again" }));
    await snapshotCompleted(ec2, SnapshotId);
    assert.deepEqual(await firstBlock(platform, SnapshotId), Buffer.alloc(512 * 1024, 7));
    const [snapshot] = (await ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [SnapshotId] }))).Snapshots ?? [];
    assert.deepEqual(
      [snapshot?.VolumeId, snapshot?.Description, snapshot?.FullSnapshotSizeInBytes],
      [VolumeId, "again", 512 * 1024],
    );
    await ec2.send(new DeleteVolumeCommand({ VolumeId }));
    await waitUntilVolumeDeleted({ client: ec2, ...WAIT }, { VolumeIds: [VolumeId] });
    await assert.rejects(ec2.send(new DescribeVolumesCommand({ VolumeIds: [VolumeId] })), {
      name: "InvalidVolume.NotFound",
      message: `The volume '${VolumeId}' does not exist.`,
    });
  });

  await t.test("an empty volume grows, and its snapshot is as large", async () => {
    const { VolumeId = "" } = await ec2.send(new CreateVolumeCommand({ AvailabilityZone: zone, Size: 1 }));
    const { VolumeModification } = await ec2.send(new ModifyVolumeCommand({ VolumeId, Size: 3 }));
    assert.equal(VolumeModification?.ModificationState, "completed");
    const { SnapshotId = "" } = await ec2.send(new CreateSnapshotCommand({ VolumeId }));
    await snapshotCompleted(ec2, SnapshotId);
    const [snapshot] = (await ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [SnapshotId] }))).Snapshots ?? [];
    assert.deepEqual([snapshot?.VolumeSize, snapshot?.FullSnapshotSizeInBytes], [3, 0]);
  });

  await t.test("a snapshot is shared, listed, copied to another Region, and no more than that", async () => {
    const id = await uploadSnapshot(platform);
    const list = (client: EC2Client, input: object = {}) =>
      client
        .send(new DescribeSnapshotsCommand(input))
        .then(({ Snapshots = [] }) => Snapshots.map((snapshot) => snapshot.SnapshotId));
    assert.deepEqual(await list(guest, { SnapshotIds: [id] }), []);
    await ec2.send(
      new ModifySnapshotAttributeCommand({
        SnapshotId: id,
        CreateVolumePermission: { Add: [{ UserId: second.accountId }] },
      }),
    );
    assert.deepEqual(await list(guest, { RestorableByUserIds: ["self"] }), [id]);
    assert.deepEqual(await list(guest, { OwnerIds: ["self"] }), []);
    await assert.rejects(guest.send(new DeleteSnapshotCommand({ SnapshotId: id })), { name: "AuthFailure" });
    const west = platform.client(EC2Client, second.credentials, "us-west-2");
    const { SnapshotId: copy = "" } = await west.send(
      new CopySnapshotCommand({ SourceRegion: region, SourceSnapshotId: id, Description: "mine" }),
    );
    await snapshotCompleted(west, copy);
    assert.deepEqual(await list(west, { OwnerIds: ["self"] }), [copy]);
    await ec2.send(new DeleteSnapshotCommand({ SnapshotId: id }));
    assert.deepEqual(await list(west), [copy]);
  });

  await t.test("tags on everything, found by everything, gone as asked", async () => {
    const image = await registerImage(platform, "tagged");
    const { VolumeId: volume = "" } = await ec2.send(
      new CreateVolumeCommand({
        AvailabilityZone: zone,
        Size: 1,
        TagSpecifications: [{ ResourceType: "volume", Tags: [{ Key: "made", Value: "with" }] }],
      }),
    );
    await ec2.send(
      new CreateTagsCommand({
        Resources: [image, volume],
        Tags: [
          { Key: "Name", Value: "both" },
          { Key: "empty", Value: "" },
        ],
      }),
    );
    const tags = async (input: object) =>
      ((await ec2.send(new DescribeTagsCommand(input))).Tags ?? []).map(
        (tag) => `${tag.ResourceType} ${tag.Key}=${tag.Value}`,
      );
    const of = (id: string) => ({ Filters: [{ Name: "resource-id", Values: [id] }] });
    assert.deepEqual(await tags(of(volume)), ["volume Name=both", "volume empty=", "volume made=with"]);
    assert.deepEqual(await tags({ Filters: [{ Name: "tag:Name", Values: ["b*"] }] }), [
      "image Name=both",
      "volume Name=both",
    ]);
    await ec2.send(
      new DeleteTagsCommand({
        Resources: [volume],
        Tags: [{ Key: "Name", Value: "another" }, { Key: "empty" }],
      }),
    );
    assert.deepEqual(await tags(of(volume)), ["volume Name=both", "volume made=with"]);
    await ec2.send(new DeleteTagsCommand({ Resources: [volume] }));
    assert.deepEqual(await tags(of(volume)), []);
    const tag = (resource: string, key: string) =>
      ec2.send(new CreateTagsCommand({ Resources: [resource], Tags: [{ Key: key, Value: "" }] }));
    await assert.rejects(tag("vol-0123456789abcdef0", "a"), { name: "InvalidVolume.NotFound" });
    await assert.rejects(tag("ami-0123456789abcdef0", "a"), { name: "InvalidAMIID.NotFound" });
    await assert.rejects(tag("elephant-1", "a"), { name: "InvalidID", message: "The ID 'elephant-1' is not valid" });
    await assert.rejects(tag(volume, "aws:a"), { name: "InvalidParameterValue" });
    await assert.rejects(
      ec2.send(
        new CreateTagsCommand({
          Resources: [volume],
          Tags: Array.from({ length: 51 }, (_, n) => ({ Key: `k${n}`, Value: "" })),
        }),
      ),
      { name: "TagLimitExceeded" },
    );
  });

  await t.test("who may tag only while creating, and only with what is required, may just that", async () => {
    const keys = await userWith(platform, "careful", [
      {
        Effect: "Allow",
        Action: "ec2:CreateVolume",
        Resource: `arn:aws:ec2:${region}:${platform.accountId}:volume/*`,
        Condition: { StringEquals: { "aws:RequestTag/team": "blue" } },
      },
      {
        Effect: "Allow",
        Action: "ec2:CreateTags",
        Resource: "*",
        Condition: { StringEquals: { "ec2:CreateAction": "CreateVolume" } },
      },
    ]);
    const user = platform.client(EC2Client, keys);
    const create = (value: string | undefined) =>
      user.send(
        new CreateVolumeCommand({
          AvailabilityZone: zone,
          Size: 1,
          ...(value === undefined
            ? {}
            : { TagSpecifications: [{ ResourceType: "volume", Tags: [{ Key: "team", Value: value }] }] }),
        }),
      );
    await assert.rejects(create(undefined), { name: "UnauthorizedOperation" });
    await assert.rejects(create("red"), { name: "UnauthorizedOperation" });
    const { VolumeId = "", Tags } = await create("blue");
    assert.deepEqual(Tags, [{ Key: "team", Value: "blue" }]);
    await assert.rejects(
      user.send(new CreateTagsCommand({ Resources: [VolumeId], Tags: [{ Key: "team", Value: "green" }] })),
      { name: "UnauthorizedOperation" },
    );
  });
});
