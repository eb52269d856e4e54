// Images through the door: what the wire, the policies and the second account add to what the actions' own tests show.
import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import {
  CopyImageCommand,
  CreateTagsCommand,
  DeleteSnapshotCommand,
  DeregisterImageCommand,
  DescribeImageAttributeCommand,
  DescribeImagesCommand,
  EC2Client,
  EnableImageDeprecationCommand,
  GetInstanceUefiDataCommand,
  ModifyImageAttributeCommand,
  ModifySnapshotAttributeCommand,
  waitUntilImageAvailable,
} from "@aws-sdk/client-ec2";
import { awsCli } from "../support/aws-cli.ts";
import { registerImage, uploadSnapshot, userWith } from "../support/catalogue.ts";
import { startPlatform } from "../support/platform.ts";

const idsOf = async (ec2: EC2Client, input: object = {}): Promise<string[]> =>
  ((await ec2.send(new DescribeImagesCommand(input))).Images ?? []).map((image) => image.ImageId ?? "");

test("Images", async (t: TestContext) => {
  const platform = await startPlatform(t);
  const { ec2, accountId } = platform;
  const second = await platform.createAccount();
  const guest = platform.client(EC2Client, second.credentials);
  const image = await registerImage(platform, "first", {
    Description: "An image",
    TagSpecifications: [{ ResourceType: "image", Tags: [{ Key: "env", Value: "dev" }] }],
  });

  await t.test("DescribeImages shows what RegisterImage was told", async () => {
    const [shown] = (await ec2.send(new DescribeImagesCommand({ ImageIds: [image] }))).Images ?? [];
    assert.equal(shown?.OwnerId, accountId);
    assert.equal(shown?.Description, "An image");
    assert.deepEqual(shown?.Tags, [{ Key: "env", Value: "dev" }]);
    assert.equal(shown?.BlockDeviceMappings?.[0]?.Ebs?.VolumeSize, 1);
    assert.match(shown?.CreationDate ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  await t.test("an id nobody has, and one that is none", async () => {
    const id = "ami-0123456789abcdef0";
    await assert.rejects(idsOf(ec2, { ImageIds: [id] }), {
      name: "InvalidAMIID.NotFound",
      message: `The image id '[${id}]' does not exist`,
    });
    await assert.rejects(idsOf(ec2, { ImageIds: ["ami-zzz"] }), {
      name: "InvalidAMIID.Malformed",
      message: 'Invalid id: "ami-zzz" (expecting "ami-...")',
    });
  });

  await t.test("shared, seen, copied and unshared again", async () => {
    assert.deepEqual(await idsOf(guest), []);
    await ec2.send(
      new ModifyImageAttributeCommand({
        ImageId: image,
        Attribute: "launchPermission",
        OperationType: "add",
        UserIds: [second.accountId],
        LaunchPermission: { Add: [{ UserId: second.accountId }] },
      }),
    );
    assert.deepEqual(await idsOf(guest), [image]);
    assert.deepEqual(await idsOf(guest, { ExecutableUsers: ["self"] }), [image]);
    const { LaunchPermissions } = await ec2.send(
      new DescribeImageAttributeCommand({ ImageId: image, Attribute: "launchPermission" }),
    );
    assert.deepEqual(LaunchPermissions, [{ UserId: second.accountId }]);
    const copy = () =>
      guest.send(new CopyImageCommand({ SourceImageId: image, SourceRegion: platform.region, Name: "copy" }));
    await assert.rejects(copy(), {
      name: "InvalidRequest",
      message: "You do not have permission to access the storage of this ami",
    });
    const [shown] = (await ec2.send(new DescribeImagesCommand({ ImageIds: [image] }))).Images ?? [];
    const snapshotId = shown?.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId;
    await ec2.send(
      new ModifySnapshotAttributeCommand({
        SnapshotId: snapshotId,
        CreateVolumePermission: { Add: [{ UserId: second.accountId }] },
      }),
    );
    const { ImageId: theirs = "" } = await copy();
    await waitUntilImageAvailable({ client: guest, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { ImageIds: [theirs] });
    await ec2.send(
      new ModifyImageAttributeCommand({
        ImageId: image,
        LaunchPermission: { Remove: [{ UserId: second.accountId }] },
      }),
    );
    assert.deepEqual(await idsOf(guest), [theirs]);
    assert.deepEqual(await idsOf(ec2), [image]);
  });

  await t.test("policies decide by the image's tags and attribute, and say which", async () => {
    const keys = await userWith(platform, "tagged", [
      { Effect: "Allow", Action: "ec2:DescribeImages", Resource: "*" },
      {
        Effect: "Allow",
        Action: ["ec2:DeregisterImage", "ec2:ModifyImageAttribute"],
        Resource: "arn:aws:ec2:*::image/*",
        Condition: { StringEquals: { "ec2:ResourceTag/env": "dev", "ec2:Owner": accountId } },
      },
      {
        Effect: "Deny",
        Action: "ec2:ModifyImageAttribute",
        Resource: "*",
        Condition: { StringNotEqualsIfExists: { "ec2:Add/userId": second.accountId } },
      },
    ]);
    const user = platform.client(EC2Client, keys);
    const production = await registerImage(platform, "production");
    const tryOn = (id: string) => user.send(new DeregisterImageCommand({ ImageId: id, DryRun: true }));
    await assert.rejects(tryOn(image), { name: "DryRunOperation" });
    await assert.rejects(tryOn(production), { name: "UnauthorizedOperation" });
    // Who may do nothing with images does not learn which there are.
    await assert.rejects(tryOn("ami-0123456789abcdef0"), { name: "UnauthorizedOperation" });
    const add = (id: string) =>
      user.send(new ModifyImageAttributeCommand({ ImageId: image, LaunchPermission: { Add: [{ UserId: id }] } }));
    await add(second.accountId);
    await assert.rejects(add("999999999999"), { name: "UnauthorizedOperation" });
    await ec2.send(new CreateTagsCommand({ Resources: [production], Tags: [{ Key: "env", Value: "dev" }] }));
    await assert.rejects(tryOn(production), { name: "DryRunOperation" });
  });

  await t.test("what Terraform asks an image's UEFI data for is refused cleanly", async () => {
    await assert.rejects(ec2.send(new GetInstanceUefiDataCommand({ InstanceId: image })), {
      name: "InvalidInstanceID.Malformed",
    });
  });

  await t.test("the AWS CLI lists, filters and pages", async () => {
    const aws = async (...words: string[]): Promise<unknown> => {
      const said = await awsCli(platform, ["ec2", ...words, "--output", "json"]);
      return said === "" ? undefined : JSON.parse(said);
    };
    const named = await aws("describe-images", "--filters", "Name=name,Values=fir*", "--query", "Images[].ImageId");
    assert.deepEqual(named, [image]);
    const all = await aws("describe-images", "--owners", "self", "--page-size", "1", "--query", "length(Images)");
    assert.equal(all, 2);
  });

  await t.test("deprecation travels as a date", async () => {
    const at = new Date(Date.UTC(2032, 4, 3, 2, 1, 0));
    await ec2.send(new EnableImageDeprecationCommand({ ImageId: image, DeprecateAt: at }));
    const [shown] = (await ec2.send(new DescribeImagesCommand({ ImageIds: [image] }))).Images ?? [];
    assert.equal(shown?.DeprecationTime, "2032-05-03T02:01:00.000Z");
  });

  await t.test("a snapshot in use stays; deregistered with its snapshots, all of it is gone", async () => {
    const [shown] = (await ec2.send(new DescribeImagesCommand({ ImageIds: [image] }))).Images ?? [];
    const snapshotId = shown?.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId ?? "";
    await assert.rejects(ec2.send(new DeleteSnapshotCommand({ SnapshotId: snapshotId })), {
      name: "InvalidSnapshot.InUse",
      message: `The snapshot ${snapshotId} is currently in use by ${image}`,
    });
    const gone = await ec2.send(new DeregisterImageCommand({ ImageId: image, DeleteAssociatedSnapshots: true }));
    assert.equal(gone.Return, true);
    assert.deepEqual(gone.DeleteSnapshotResults, [{ SnapshotId: snapshotId, ReturnCode: "success" }]);
    assert.deepEqual(await idsOf(ec2, { ImageIds: [image] }), []);
    await assert.rejects(ec2.send(new DeleteSnapshotCommand({ SnapshotId: snapshotId })), {
      name: "InvalidSnapshot.NotFound",
    });
    assert.ok(await uploadSnapshot(platform));
  });
});
