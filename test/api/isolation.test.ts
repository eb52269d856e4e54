// Whatever an account writes into its own policies, another's private things stay out of reach: through the door, with
// the official SDK. And one request is one request: a copy of it is worth nothing later.
import assert from "node:assert/strict";
import { test } from "node:test";
import { EBSClient, GetSnapshotBlockCommand, ListSnapshotBlocksCommand } from "@aws-sdk/client-ebs";
import {
  CopyImageCommand,
  CopySnapshotCommand,
  CreateKeyPairCommand,
  CreateSecurityGroupCommand,
  CreateTagsCommand,
  CreateVolumeCommand,
  DeregisterImageCommand,
  DescribeImageAttributeCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeKeyPairsCommand,
  DescribeSecurityGroupsCommand,
  DescribeSnapshotAttributeCommand,
  DescribeSnapshotsCommand,
  DescribeVolumesCommand,
  EC2Client,
  ModifyImageAttributeCommand,
  RegisterImageCommand,
  RunInstancesCommand,
} from "@aws-sdk/client-ec2";
import { CreateAccessKeyCommand, CreateUserCommand, IAMClient, PutUserPolicyCommand } from "@aws-sdk/client-iam";
import { GetParameterCommand, PutParameterCommand, SSMClient } from "@aws-sdk/client-ssm";
import { AssumeRoleCommand, STSClient } from "@aws-sdk/client-sts";
import fc from "fast-check";
import { type Keys, startPlatform } from "../support/platform.ts";
import { type RawCall, send, signedHeaders } from "../support/sign.ts";
import { smallSnapshot } from "../support/small-snapshot.ts";

const refused = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "no error",
    (error: unknown) => (error instanceof Error ? error.name : "?"),
  );

test("no policy of one account yields another's private images, snapshots, volumes and parameters", async (t) => {
  const platform = await startPlatform(t);
  const snapshot = await smallSnapshot(platform);
  const { ImageId: image = "" } = await platform.ec2.send(
    new RegisterImageCommand({
      Name: "private",
      Architecture: "x86_64",
      RootDeviceName: "/dev/xvda",
      VirtualizationType: "hvm",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: snapshot } }],
    }),
  );
  const { VolumeId: volume = "" } = await platform.ec2.send(
    new CreateVolumeCommand({ AvailabilityZone: "us-east-1a", SnapshotId: snapshot }),
  );
  await platform.ssm.send(new PutParameterCommand({ Name: "/private", Value: "secret", Type: "String" }));

  const other = await platform.createAccount("other");
  const iam = platform.client(IAMClient, other.credentials);
  await iam.send(new CreateUserCommand({ UserName: "eve" }));
  const { AccessKey: key } = await iam.send(new CreateAccessKeyCommand({ UserName: "eve" }));
  const eve: Keys = { accessKeyId: key?.AccessKeyId ?? "", secretAccessKey: key?.SecretAccessKey ?? "" };
  const ec2 = platform.client(EC2Client, eve);
  const ebs = platform.client(EBSClient, eve);
  const ssm = platform.client(SSMClient, eve);
  const sts = platform.client(STSClient, eve);

  const blocks = await platform.ebs.send(new ListSnapshotBlocksCommand({ SnapshotId: snapshot }));
  const BlockToken = blocks.Blocks?.[0]?.BlockToken ?? "";
  const owner = platform.accountId;
  const instance = { ImageId: image, InstanceType: "t3.micro", MinCount: 1, MaxCount: 1 } as const;
  const attempts: Readonly<Record<string, () => Promise<unknown>>> = {
    launch: () => ec2.send(new RunInstancesCommand({ ...instance, DryRun: true })),
    copy: () => ec2.send(new CopyImageCommand({ Name: "stolen", SourceImageId: image, SourceRegion: "us-east-1" })),
    "copy a snapshot": () =>
      ec2.send(new CopySnapshotCommand({ SourceSnapshotId: snapshot, SourceRegion: "us-east-1" })),
    "a volume of it": () => ec2.send(new CreateVolumeCommand({ AvailabilityZone: "us-east-1a", SnapshotId: snapshot })),
    "list its blocks": () => ebs.send(new ListSnapshotBlocksCommand({ SnapshotId: snapshot })),
    "read a block": () => ebs.send(new GetSnapshotBlockCommand({ SnapshotId: snapshot, BlockIndex: 0, BlockToken })),
    "share it": () =>
      ec2.send(new ModifyImageAttributeCommand({ ImageId: image, LaunchPermission: { Add: [{ Group: "all" }] } })),
    deregister: () => ec2.send(new DeregisterImageCommand({ ImageId: image })),
    "its permissions": () =>
      ec2.send(new DescribeImageAttributeCommand({ ImageId: image, Attribute: "launchPermission" })),
    "a snapshot's permissions": () =>
      ec2.send(new DescribeSnapshotAttributeCommand({ SnapshotId: snapshot, Attribute: "createVolumePermission" })),
    "tag it": () => ec2.send(new CreateTagsCommand({ Resources: [image], Tags: [{ Key: "a", Value: "b" }] })),
    "describe a volume": () => ec2.send(new DescribeVolumesCommand({ VolumeIds: [volume] })),
    parameter: () => ssm.send(new GetParameterCommand({ Name: `arn:aws:ssm:us-east-1:${owner}:parameter/private` })),
    "assume a role": () =>
      sts.send(new AssumeRoleCommand({ RoleArn: `arn:aws:iam::${owner}:role/admin`, RoleSessionName: "eve" })),
  };

  const resource = fc.oneof(
    fc.constantFrom("*", "arn:aws:*", `arn:aws:*:*:${owner}:*`, `arn:aws:*::${owner}:*`, "arn:aws:ec2:*::*"),
    fc.constantFrom(`arn:aws:ec2:us-east-1::image/${image}`, `arn:aws:ec2:us-east-1::snapshot/${snapshot}`),
    fc.constantFrom(`arn:aws:ec2:us-east-1:${owner}:volume/${volume}`, `arn:aws:ssm:us-east-1:${owner}:parameter/*`),
  );
  const condition = fc.option(
    fc.constantFrom(
      { StringEquals: { "ec2:Owner": owner } },
      { StringEquals: { "aws:ResourceAccount": owner } },
      { Bool: { "ec2:Public": "false" } },
    ),
    { nil: undefined },
  );
  const allow = fc.record({
    Effect: fc.constant("Allow"),
    Action: fc.constantFrom("*", "*:*", ["ec2:*", "ebs:*", "ssm:*", "sts:*"]),
    Resource: fc.array(resource, { minLength: 1, maxLength: 3 }),
    Condition: condition,
  });
  const everything = { Effect: "Allow", Action: "*", Resource: "*" };
  const policies = fc.array(allow, { minLength: 0, maxLength: 2 }).map((some) => [everything, ...some]);
  await fc.assert(
    fc.asyncProperty(fc.oneof(policies, fc.array(allow, { minLength: 1, maxLength: 3 })), async (Statement) => {
      const PolicyDocument = JSON.stringify({ Version: "2012-10-17", Statement });
      await iam.send(new PutUserPolicyCommand({ UserName: "eve", PolicyName: "policy", PolicyDocument }));
      for (const [what, attempt] of Object.entries(attempts)) {
        assert.ok(!["no error", "DryRunOperation"].includes(await refused(attempt())), what);
      }
      const seen = await Promise.all([
        // What is there but not to be seen is left out, as EC2 does.
        ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [snapshot] })).then(
          (found) => found.Snapshots,
          () => [],
        ),
        ec2.send(new DescribeImagesCommand({ ImageIds: [image] })).then(
          (found) => found.Images,
          () => [],
        ),
        ec2.send(new DescribeImagesCommand({ Owners: [owner] })).then(
          (found) => found.Images,
          () => [],
        ),
        ec2.send(new DescribeSnapshotsCommand({ OwnerIds: [owner] })).then(
          (found) => found.Snapshots,
          () => [],
        ),
        ec2.send(new DescribeVolumesCommand({})).then(
          (found) => found.Volumes,
          () => [],
        ),
      ]);
      assert.deepEqual(seen, [[], [], [], [], []]);
    }),
    { numRuns: 12 },
  );
  // Each of them is possible: for the owner.
  assert.equal(
    await refused(platform.ec2.send(new RunInstancesCommand({ ...instance, DryRun: true }))),
    "DryRunOperation",
  );
  assert.equal((await platform.ec2.send(new DescribeImagesCommand({ ImageIds: [image] }))).Images?.length, 1);
  assert.ok(await platform.ebs.send(new GetSnapshotBlockCommand({ SnapshotId: snapshot, BlockIndex: 0, BlockToken })));
});

const describeRegions: RawCall = {
  method: "POST",
  path: "/",
  headers: { "content-type": "application/x-www-form-urlencoded" },
  body: "Action=DescribeRegions&Version=2016-11-15",
};

test("by id: what is not to be seen is EC2's NotFound, but images and snapshots are left out", async (t) => {
  const platform = await startPlatform(t);
  const snapshot = await smallSnapshot(platform);
  const { ImageId: image = "" } = await platform.ec2.send(
    new RegisterImageCommand({
      Name: "private",
      RootDeviceName: "/dev/xvda",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: snapshot } }],
    }),
  );
  const { VolumeId: volume = "" } = await platform.ec2.send(
    new CreateVolumeCommand({ AvailabilityZone: "us-east-1a", SnapshotId: snapshot }),
  );
  const { KeyPairId: key = "" } = await platform.ec2.send(new CreateKeyPairCommand({ KeyName: "private" }));
  const { GroupId: group = "" } = await platform.ec2.send(
    new CreateSecurityGroupCommand({ GroupName: "private", Description: "private" }),
  );
  const stranger = platform.client(EC2Client, (await platform.createAccount()).credentials);
  const nobodys = (id: string) => id.replace(/-.*/, "-0123456789abcdef0");
  // Its reference says so of snapshots, and said so of images; it is what people see (agentsea/surfkit#88).
  assert.deepEqual((await stranger.send(new DescribeImagesCommand({ ImageIds: [image] }))).Images, []);
  assert.deepEqual((await stranger.send(new DescribeSnapshotsCommand({ SnapshotIds: [snapshot] }))).Snapshots, []);
  const said: Readonly<Record<string, (id: string) => Promise<unknown>>> = {
    "InvalidAMIID.NotFound": () => stranger.send(new DescribeImagesCommand({ ImageIds: [nobodys(image)] })),
    "InvalidSnapshot.NotFound": () => stranger.send(new DescribeSnapshotsCommand({ SnapshotIds: [nobodys(snapshot)] })),
    "InvalidVolume.NotFound": (id) => stranger.send(new DescribeVolumesCommand({ VolumeIds: [id] })),
    "InvalidInstanceID.NotFound": () =>
      stranger.send(new DescribeInstancesCommand({ InstanceIds: ["i-0123456789abcdef0"] })),
    "InvalidKeyPair.NotFound": (id) => stranger.send(new DescribeKeyPairsCommand({ KeyPairIds: [id] })),
    "InvalidGroup.NotFound": (id) => stranger.send(new DescribeSecurityGroupsCommand({ GroupIds: [id] })),
  };
  for (const [code, describe] of Object.entries(said)) {
    const foreign = {
      "InvalidVolume.NotFound": volume,
      "InvalidKeyPair.NotFound": key,
      "InvalidGroup.NotFound": group,
    };
    const id = foreign[code as keyof typeof foreign] ?? "";
    assert.equal(await refused(describe(id)), code);
    assert.equal(await refused(describe(nobodys(id))), code);
  }
});

test("a request that is old, early, altered or of another time is worth nothing", async (t) => {
  const platform = await startPlatform(t);
  const at = (minutes: number) =>
    signedHeaders(platform, "ec2", describeRegions, platform.credentials, new Date(Date.now() + minutes * 60_000));
  const said = async (headers: Record<string, string>, call: RawCall = describeRegions) =>
    (await send(platform, call, headers)).code;
  assert.equal(await said(await at(0)), undefined);
  assert.equal(await said(await at(-4)), undefined);
  assert.equal(await said(await at(4)), undefined);
  // A request that was overheard is no use once its five minutes are over.
  assert.equal(await said(await at(-6)), "RequestExpired");
  assert.equal(await said(await at(6)), "RequestExpired");
  const good = await at(0);
  assert.equal(await said({ ...good, "x-amz-date": (await at(-1))["x-amz-date"] ?? "" }), "AuthFailure");
  assert.equal(
    await said(good, { ...describeRegions, body: "Action=DescribeImages&Version=2016-11-15" }),
    "AuthFailure",
  );
  const { authorization = "", ...unsigned } = good;
  assert.equal(await said(unsigned), "MissingAuthenticationToken");
  assert.equal(
    await said({ ...unsigned, authorization: authorization.replace("/us-east-1/", "/eu-west-1/") }),
    "AuthFailure",
  );
  assert.notEqual(await said({ ...unsigned, authorization: authorization.replace("/ec2/", "/iam/") }), undefined);
});

test("garbage for an Authorization header or a policy document ends in a refusal, and the server goes on", async (t) => {
  const platform = await startPlatform(t);
  const good = await signedHeaders(platform, "ec2", describeRegions, platform.credentials);
  const { authorization = "", ...rest } = good;
  const printable = fc.string({ unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)) });
  const mangled = fc.oneof(
    printable,
    printable.map((text) => `AWS4-HMAC-SHA256 ${text}`),
    fc.tuple(fc.nat(authorization.length - 1), printable).map(([place, text]) => authorization.slice(0, place) + text),
    fc
      .tuple(fc.nat(authorization.length - 1), fc.nat(40))
      .map(([place, length]) => authorization.slice(0, place) + authorization.slice(place + length + 1)),
  );
  await fc.assert(
    fc.asyncProperty(mangled, async (header) => {
      fc.pre(header.trim() !== authorization);
      const { status, code } = await send(platform, describeRegions, { ...rest, authorization: header });
      assert.ok(status >= 400 && status < 500, `${status} ${code}`);
    }),
    { numRuns: 150 },
  );
  await platform.iam.send(new CreateUserCommand({ UserName: "bob" }));
  const element = fc.oneof(
    fc.constantFrom("*", "ec2:*", "arn:aws:ec2:::*", "Allow", "2012-10-17", `${"$"}{aws:username}`, "****a*b*c*d*"),
    fc.string({ maxLength: 20 }),
    fc.jsonValue({ maxDepth: 2 }),
  );
  const document = fc.oneof(
    fc.json({ maxDepth: 4 }),
    fc.string({ maxLength: 60 }),
    fc
      .dictionary(
        fc.constantFrom("Effect", "Action", "NotAction", "Resource", "Condition", "Principal", "Sid"),
        element,
      )
      .map((Statement) => JSON.stringify({ Version: "2012-10-17", Statement })),
    fc.nat(3000).map((depth) => "[".repeat(depth) + "]".repeat(depth)),
  );
  await fc.assert(
    fc.asyncProperty(document, async (PolicyDocument) => {
      const said = await refused(
        platform.iam.send(new PutUserPolicyCommand({ UserName: "bob", PolicyName: "p", PolicyDocument })),
      );
      const known = [
        "no error",
        "MalformedPolicyDocumentException",
        "MalformedPolicyDocument",
        "ValidationError",
        "LimitExceededException",
        "LimitExceeded",
      ];
      assert.ok(known.includes(said), `${said}: ${PolicyDocument.slice(0, 200)}`);
    }),
    { numRuns: 150 },
  );
  assert.equal(
    (await send(platform, describeRegions, await signedHeaders(platform, "ec2", describeRegions, platform.credentials)))
      .status,
    200,
  );
});
