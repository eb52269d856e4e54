// Every call leaves a record: seen from outside, with the official SDK and the stock AWS CLI.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { CloudTrailClient, type LookupAttributeKey, paginateLookupEvents } from "@aws-sdk/client-cloudtrail";
import { CompleteSnapshotCommand, PutSnapshotBlockCommand, StartSnapshotCommand } from "@aws-sdk/client-ebs";
import {
  CopyImageCommand,
  CreateKeyPairCommand,
  CreateSecurityGroupCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeRegionsCommand,
  EC2Client,
  ModifyImageAttributeCommand,
  ModifySnapshotAttributeCommand,
  RegisterImageCommand,
  TerminateInstancesCommand,
  waitUntilSnapshotCompleted,
} from "@aws-sdk/client-ec2";
import { CreateAccessKeyCommand, CreateUserCommand } from "@aws-sdk/client-iam";
import { awsCli, awsCliVersion } from "../support/aws-cli.ts";
import { type Platform, startPlatform } from "../support/platform.ts";

/** What these tests look at of a record. */
type CloudTrailRecord = Readonly<Record<string, unknown>> & {
  readonly userIdentity?: { readonly accountId?: string };
  readonly requestParameters?: { readonly value?: string } | null;
};

/** Records found by one attribute, newest first, parsed. */
async function records(cloudtrail: CloudTrailClient, key: LookupAttributeKey, value: string) {
  const found: CloudTrailRecord[] = [];
  const LookupAttributes = [{ AttributeKey: key, AttributeValue: value }];
  for await (const page of paginateLookupEvents({ client: cloudtrail }, { LookupAttributes })) {
    for (const event of page.Events ?? []) found.push(JSON.parse(event.CloudTrailEvent ?? ""));
  }
  return found;
}

const failing = async (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "no error",
    (error: unknown) => (error instanceof Error ? error.name : "?"),
  );

/** A snapshot of one block, through the EBS direct API. */
async function smallSnapshot({ ebs, ec2 }: Platform): Promise<string> {
  const { SnapshotId: id = "" } = await ebs.send(new StartSnapshotCommand({ VolumeSize: 1 }));
  const block = Buffer.alloc(512 * 1024, 1);
  await ebs.send(
    new PutSnapshotBlockCommand({
      SnapshotId: id,
      BlockIndex: 0,
      BlockData: block,
      DataLength: block.length,
      Checksum: createHash("sha256").update(block).digest("base64"),
      ChecksumAlgorithm: "SHA256",
    }),
  );
  await ebs.send(new CompleteSnapshotCommand({ SnapshotId: id, ChangedBlocksCount: 1 }));
  await waitUntilSnapshotCompleted({ client: ec2, maxWaitTime: 60, minDelay: 1 }, { SnapshotIds: [id] });
  return id;
}

test("success, error, denial, dry run and a forged signature: each call has its record at once", async (t) => {
  const platform = await startPlatform(t);
  const { ec2, iam, cloudtrail } = platform;
  await ec2.send(new DescribeRegionsCommand({}));
  const missing = "i-00000000000000000";
  assert.equal(
    await failing(ec2.send(new TerminateInstancesCommand({ InstanceIds: [missing] }))),
    "InvalidInstanceID.NotFound",
  );
  const dryRun = new CreateSecurityGroupCommand({ GroupName: "g", Description: "d", DryRun: true });
  assert.equal(await failing(ec2.send(dryRun)), "DryRunOperation");

  await iam.send(new CreateUserCommand({ UserName: "nobody" }));
  const { AccessKey: key } = await iam.send(new CreateAccessKeyCommand({ UserName: "nobody" }));
  const credentials = { accessKeyId: key?.AccessKeyId ?? "", secretAccessKey: key?.SecretAccessKey ?? "" };
  const denied = platform.client(EC2Client, credentials);
  assert.equal(await failing(denied.send(new DescribeInstancesCommand({}))), "UnauthorizedOperation");
  const forged = platform.client(EC2Client, { ...credentials, secretAccessKey: "guessed" });
  assert.equal(await failing(forged.send(new DescribeImagesCommand({}))), "AuthFailure");

  const [regions] = await records(cloudtrail, "EventName", "DescribeRegions");
  assert.deepEqual([regions?.errorCode, regions?.readOnly, regions?.responseElements], [undefined, true, null]);
  assert.match(String(regions?.userAgent), /^aws-sdk-js\//);
  const [terminate] = await records(cloudtrail, "ResourceName", missing);
  assert.equal(terminate?.errorCode, "Client.InvalidInstanceID.NotFound");
  const [group] = await records(cloudtrail, "EventName", "CreateSecurityGroup");
  assert.equal(group?.errorCode, "Client.DryRunOperation");
  const [nobody] = await records(cloudtrail, "Username", "nobody");
  assert.deepEqual([nobody?.eventName, nobody?.errorCode], ["DescribeInstances", "Client.UnauthorizedOperation"]);
  const byKey = await records(cloudtrail, "AccessKeyId", credentials.accessKeyId);
  assert.deepEqual(
    byKey.map((record) => [record.eventName, record.errorCode]),
    [
      ["DescribeImages", "Client.AuthFailure"],
      ["DescribeInstances", "Client.UnauthorizedOperation"],
    ],
  );
  assert.deepEqual(byKey[0]?.userIdentity, { type: "Unknown", accessKeyId: credentials.accessKeyId });
});

test("records outlive a kill, and hold no secret", async (t) => {
  const platform = await startPlatform(t);
  const { KeyMaterial: material = "" } = await platform.ec2.send(new CreateKeyPairCommand({ KeyName: "k" }));
  await platform.iam.send(new CreateUserCommand({ UserName: "u" }));
  const { AccessKey: key } = await platform.iam.send(new CreateAccessKeyCommand({ UserName: "u" }));
  assert.notEqual(material, "");
  await platform.kill9();
  await platform.startServer();
  const found = [
    ...(await records(platform.cloudtrail, "EventName", "CreateKeyPair")),
    ...(await records(platform.cloudtrail, "EventName", "CreateAccessKey")),
  ];
  assert.equal(found.length, 2);
  const text = JSON.stringify(found);
  assert.match(text, /<sensitiveDataRemoved>/);
  assert.ok(!text.includes(material.split("\n")[1] ?? "?"));
  assert.ok(!text.includes(key?.SecretAccessKey ?? "?"));
});

test("the owner of a shared image sees who copied it", async (t) => {
  const platform = await startPlatform(t);
  const { ec2, cloudtrail } = platform;
  const SnapshotId = await smallSnapshot(platform);
  const { ImageId: image = "" } = await ec2.send(
    new RegisterImageCommand({
      Name: "shared",
      Architecture: "x86_64",
      RootDeviceName: "/dev/xvda",
      VirtualizationType: "hvm",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId } }],
    }),
  );
  const other = await platform.createAccount();
  await ec2.send(
    new ModifyImageAttributeCommand({ ImageId: image, LaunchPermission: { Add: [{ UserId: other.accountId }] } }),
  );
  // A copy reads the storage too.
  await ec2.send(
    new ModifySnapshotAttributeCommand({
      SnapshotId,
      CreateVolumePermission: { Add: [{ UserId: other.accountId }] },
    }),
  );
  const copy = new CopyImageCommand({ Name: "taken", SourceImageId: image, SourceRegion: platform.region });
  await platform.client(EC2Client, other.credentials).send(copy);

  const history = await records(cloudtrail, "ResourceName", image);
  assert.deepEqual(
    history.map((record) => record.eventName),
    ["CopyImage", "ModifyImageAttribute", "RegisterImage"],
  );
  const [copied, shared] = history;
  assert.deepEqual(shared?.requestParameters, {
    imageId: image,
    attributeType: "launchPermission",
    launchPermission: { add: { items: [{ userId: other.accountId }] } },
  });
  assert.equal(copied?.userIdentity?.accountId, other.accountId);
  assert.equal(copied?.recipientAccountId, platform.accountId);
  const theirs = await records(platform.client(CloudTrailClient, other.credentials), "EventName", "CopyImage");
  assert.equal(theirs.length, 1);
  assert.equal(theirs[0]?.sharedEventID, copied?.sharedEventID);
});

test("the stock AWS CLI looks events up, page by page", async (t) => {
  const platform = await startPlatform(t);
  if ((await awsCliVersion()) === null) {
    t.skip("the AWS CLI is not installed");
    return;
  }
  const aws = async (...words: string[]) => JSON.parse(await awsCli(platform, [...words, "--output", "json"]));
  for (let n = 0; n < 5; n++) await platform.ec2.send(new DescribeRegionsCommand({}));
  const found = await aws(
    ...["cloudtrail", "lookup-events", "--lookup-attributes", "AttributeKey=EventName,AttributeValue=DescribeRegions"],
    ...["--page-size", "2"],
  );
  assert.equal(found.Events.length, 5);
  assert.equal(found.Events[0].EventSource, "ec2.amazonaws.com");
  await aws("ssm", "put-parameter", "--name", "/web/size", "--type", "String", "--value", "3");
  assert.equal((await aws("ssm", "get-parameter", "--name", "/web/size")).Parameter.Value, "3");
  const listed = await aws("ssm", "get-parameters-by-path", "--path", "/web");
  assert.deepEqual(
    listed.Parameters.map((one: { Name: string }) => one.Name),
    ["/web/size"],
  );
  const [put] = await records(platform.cloudtrail, "EventName", "PutParameter");
  assert.equal(put?.requestParameters?.value, "HIDDEN_DUE_TO_SECURITY_REASONS");
});
