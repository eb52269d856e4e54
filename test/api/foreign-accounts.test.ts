// Of everything that an account can own, nothing is another's to see or to change, whatever policies it writes for itself:
// each attempt is made over the wire, by a user whose policies fast-check draws.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CloudTrailClient,
  CreateTrailCommand,
  DeleteTrailCommand,
  DescribeTrailsCommand,
  GetEventSelectorsCommand,
  GetTrailCommand,
  GetTrailStatusCommand,
  LookupEventsCommand,
  StartLoggingCommand,
  StopLoggingCommand,
  UpdateTrailCommand,
} from "@aws-sdk/client-cloudtrail";
import { EBSClient } from "@aws-sdk/client-ebs";
import {
  AssociateIamInstanceProfileCommand,
  AttachVolumeCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateImageCommand,
  CreateKeyPairCommand,
  CreateLaunchTemplateCommand,
  CreateLaunchTemplateVersionCommand,
  CreateSecurityGroupCommand,
  CreateSnapshotCommand,
  CreateTagsCommand,
  DeleteKeyPairCommand,
  DeleteLaunchTemplateCommand,
  DeleteSecurityGroupCommand,
  DeleteSnapshotCommand,
  DeleteTagsCommand,
  DeleteVolumeCommand,
  DescribeImagesCommand,
  DescribeInstanceAttributeCommand,
  DescribeInstancesCommand,
  DescribeKeyPairsCommand,
  DescribeLaunchTemplatesCommand,
  DescribeLaunchTemplateVersionsCommand,
  DescribeNetworkInterfacesCommand,
  DescribeSecurityGroupsCommand,
  DescribeSnapshotsCommand,
  DescribeSubnetsCommand,
  DescribeTagsCommand,
  DescribeVolumesCommand,
  DescribeVpcsCommand,
  DetachVolumeCommand,
  EC2Client,
  GetConsoleOutputCommand,
  GetLaunchTemplateDataCommand,
  ModifyInstanceAttributeCommand,
  ModifyInstanceMetadataOptionsCommand,
  ModifySnapshotAttributeCommand,
  ModifyVolumeCommand,
  RebootInstancesCommand,
  RegisterImageCommand,
  RevokeSecurityGroupIngressCommand,
  RunInstancesCommand,
  StartInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import {
  AddRoleToInstanceProfileCommand,
  AttachUserPolicyCommand,
  CreateAccessKeyCommand,
  CreateInstanceProfileCommand,
  CreatePolicyCommand,
  CreatePolicyVersionCommand,
  CreateRoleCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  DeletePolicyCommand,
  GetAccessKeyLastUsedCommand,
  GetPolicyCommand,
  GetPolicyVersionCommand,
  GetRoleCommand,
  GetUserCommand,
  IAMClient,
  ListAttachedRolePoliciesCommand,
  ListUsersCommand,
  PutUserPolicyCommand,
  SimulatePrincipalPolicyCommand,
  UpdateAccessKeyCommand,
} from "@aws-sdk/client-iam";
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import {
  DeleteParameterCommand,
  GetParameterCommand,
  GetParametersByPathCommand,
  PutParameterCommand,
  SSMClient,
} from "@aws-sdk/client-ssm";
import { AssumeRoleCommand, STSClient } from "@aws-sdk/client-sts";
import fc from "fast-check";
import { type Keys, type Platform, startPlatform } from "../support/platform.ts";
import { smallSnapshot } from "../support/small-snapshot.ts";

/** One of each of what an account can own. */
async function belongings(platform: Platform) {
  const { ec2, iam, ssm, cloudtrail } = platform;
  const snapshot = await smallSnapshot(platform);
  const { ImageId: image = "" } = await ec2.send(
    new RegisterImageCommand({
      Name: "private",
      Architecture: "x86_64",
      RootDeviceName: "/dev/xvda",
      VirtualizationType: "hvm",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: snapshot } }],
    }),
  );
  const { KeyPairId: keyPair = "" } = await ec2.send(new CreateKeyPairCommand({ KeyName: "private" }));
  const { GroupId: group = "" } = await ec2.send(
    new CreateSecurityGroupCommand({ GroupName: "private", Description: "private" }),
  );
  const { Instances: [made] = [] } = await ec2.send(
    new RunInstancesCommand({
      ImageId: image,
      InstanceType: "t3.nano",
      MinCount: 1,
      MaxCount: 1,
      KeyName: "private",
      SecurityGroupIds: [group],
      TagSpecifications: [{ ResourceType: "instance", Tags: [{ Key: "secret", Value: "plan" }] }],
    }),
  );
  const instance = made?.InstanceId ?? "";
  const volume = await rootVolume(platform, instance);
  const { LaunchTemplate } = await ec2.send(
    new CreateLaunchTemplateCommand({
      LaunchTemplateName: "private",
      LaunchTemplateData: { ImageId: image, InstanceType: "t3.nano", UserData: "cGxhbg==" },
    }),
  );
  const PolicyDocument = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Action: "*", Resource: "*" }],
  });
  const { Policy } = await iam.send(new CreatePolicyCommand({ PolicyName: "private", PolicyDocument }));
  const trust = { Effect: "Allow", Action: "sts:AssumeRole", Principal: { Service: "ec2.amazonaws.com" } };
  const AssumeRolePolicyDocument = JSON.stringify({ Version: "2012-10-17", Statement: [trust] });
  await iam.send(new CreateRoleCommand({ RoleName: "private", AssumeRolePolicyDocument }));
  const { InstanceProfile } = await iam.send(new CreateInstanceProfileCommand({ InstanceProfileName: "private" }));
  await iam.send(new AddRoleToInstanceProfileCommand({ InstanceProfileName: "private", RoleName: "private" }));
  await ssm.send(new PutParameterCommand({ Name: "/private", Value: "secret", Type: "String" }));
  const s3 = platform.client(S3Client);
  await s3.send(new CreateBucketCommand({ Bucket: "private" }));
  await s3.send(new PutObjectCommand({ Bucket: "private", Key: "key", Body: "secret" }));
  const { TrailARN: trail = "" } = await cloudtrail.send(
    new CreateTrailCommand({ Name: "private", S3BucketName: "private" }),
  );
  return {
    snapshot,
    image,
    keyPair,
    group,
    instance,
    volume,
    subnet: made?.SubnetId ?? "",
    template: LaunchTemplate?.LaunchTemplateId ?? "",
    policy: Policy?.Arn ?? "",
    profile: InstanceProfile?.Arn ?? "",
    trail,
  };
}

async function rootVolume({ ec2 }: Platform, instance: string): Promise<string> {
  const Filters = [{ Name: "attachment.instance-id", Values: [instance] }];
  return (await ec2.send(new DescribeVolumesCommand({ Filters }))).Volumes?.[0]?.VolumeId ?? assert.fail("no volume");
}

type Belongings = Awaited<ReturnType<typeof belongings>>;

/** Everything that might reach another account's things by naming them. */
function attempts(platform: Platform, eve: Keys, has: Belongings, own: { readonly image: string; instance: string }) {
  const ec2 = platform.client(EC2Client, eve);
  const iam = platform.client(IAMClient, eve);
  const ssm = platform.client(SSMClient, eve);
  const s3 = platform.client(S3Client, eve);
  const sts = platform.client(STSClient, eve);
  const trails = platform.client(CloudTrailClient, eve);
  const owner = platform.accountId;
  const InstanceIds = [has.instance];
  const Tags = [{ Key: "eve", Value: "was here" }];
  const rule = { GroupId: has.group, IpProtocol: "tcp", FromPort: 22, ToPort: 22, CidrIp: "0.0.0.0/0" };
  const launch = { ImageId: own.image, InstanceType: "t3.nano" as const, MinCount: 1, MaxCount: 1, DryRun: true };
  const parameter = `arn:aws:ssm:us-east-1:${owner}:parameter/private`;
  const object = { Bucket: "private", Key: "key" };
  const document = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Action: "*", Resource: "*" }],
  });
  return Object.entries<() => Promise<unknown>>({
    "describe an instance": () => ec2.send(new DescribeInstancesCommand({ InstanceIds })),
    "read its user data": () =>
      ec2.send(new DescribeInstanceAttributeCommand({ InstanceId: has.instance, Attribute: "userData" })),
    "read its console": () => ec2.send(new GetConsoleOutputCommand({ InstanceId: has.instance })),
    "terminate it": () => ec2.send(new TerminateInstancesCommand({ InstanceIds })),
    "stop it": () => ec2.send(new StopInstancesCommand({ InstanceIds })),
    "start it": () => ec2.send(new StartInstancesCommand({ InstanceIds })),
    "reboot it": () => ec2.send(new RebootInstancesCommand({ InstanceIds })),
    "change it": () =>
      ec2.send(
        new ModifyInstanceAttributeCommand({ InstanceId: has.instance, DisableApiTermination: { Value: true } }),
      ),
    "change its metadata service": () =>
      ec2.send(new ModifyInstanceMetadataOptionsCommand({ InstanceId: has.instance, HttpTokens: "optional" })),
    "capture it": () => ec2.send(new CreateImageCommand({ InstanceId: has.instance, Name: "stolen", NoReboot: true })),
    "give it a profile": () =>
      ec2.send(
        new AssociateIamInstanceProfileCommand({ InstanceId: has.instance, IamInstanceProfile: { Name: "private" } }),
      ),
    "give an own instance its profile": () =>
      ec2.send(
        new AssociateIamInstanceProfileCommand({
          InstanceId: own.instance,
          IamInstanceProfile: { Arn: has.profile },
        }),
      ),
    "launch with its profile": () =>
      ec2.send(new RunInstancesCommand({ ...launch, IamInstanceProfile: { Arn: has.profile } })),
    "launch with its group": () => ec2.send(new RunInstancesCommand({ ...launch, SecurityGroupIds: [has.group] })),
    "launch in its subnet": () => ec2.send(new RunInstancesCommand({ ...launch, SubnetId: has.subnet })),
    "launch with its key": () => ec2.send(new RunInstancesCommand({ ...launch, KeyName: "private" })),
    "launch its image": () => ec2.send(new RunInstancesCommand({ ...launch, ImageId: has.image })),
    "describe a volume": () => ec2.send(new DescribeVolumesCommand({ VolumeIds: [has.volume] })),
    "capture a volume": () => ec2.send(new CreateSnapshotCommand({ VolumeId: has.volume })),
    "attach it": () =>
      ec2.send(new AttachVolumeCommand({ VolumeId: has.volume, InstanceId: own.instance, Device: "/dev/sdf" })),
    "detach it": () => ec2.send(new DetachVolumeCommand({ VolumeId: has.volume, Force: true })),
    "grow it": () => ec2.send(new ModifyVolumeCommand({ VolumeId: has.volume, Size: 20 })),
    "delete it": () => ec2.send(new DeleteVolumeCommand({ VolumeId: has.volume })),
    "delete a snapshot": () => ec2.send(new DeleteSnapshotCommand({ SnapshotId: has.snapshot })),
    "share a snapshot": () =>
      ec2.send(
        new ModifySnapshotAttributeCommand({
          SnapshotId: has.snapshot,
          Attribute: "createVolumePermission",
          OperationType: "add",
          GroupNames: ["all"],
        }),
      ),
    "describe a key pair": () => ec2.send(new DescribeKeyPairsCommand({ KeyPairIds: [has.keyPair] })),
    "describe it by name": () => ec2.send(new DescribeKeyPairsCommand({ KeyNames: ["private"] })),
    "describe a security group": () => ec2.send(new DescribeSecurityGroupsCommand({ GroupIds: [has.group] })),
    "open it": () => ec2.send(new AuthorizeSecurityGroupIngressCommand(rule)),
    "close it": () => ec2.send(new RevokeSecurityGroupIngressCommand(rule)),
    "delete the group": () => ec2.send(new DeleteSecurityGroupCommand({ GroupId: has.group })),
    "describe a subnet": () => ec2.send(new DescribeSubnetsCommand({ SubnetIds: [has.subnet] })),
    ...Object.fromEntries(
      [has.instance, has.volume, has.snapshot, has.image, has.keyPair, has.group, has.template].flatMap((id) => [
        [`tag ${id}`, () => ec2.send(new CreateTagsCommand({ Resources: [id], Tags }))],
      ]),
    ),
    "launch by a template": () =>
      ec2.send(new RunInstancesCommand({ ...launch, LaunchTemplate: { LaunchTemplateId: has.template } })),
    "read a template": () =>
      ec2.send(new DescribeLaunchTemplateVersionsCommand({ LaunchTemplateId: has.template, Versions: ["1"] })),
    "describe it": () => ec2.send(new DescribeLaunchTemplatesCommand({ LaunchTemplateIds: [has.template] })),
    "add a version": () =>
      ec2.send(
        new CreateLaunchTemplateVersionCommand({
          LaunchTemplateId: has.template,
          LaunchTemplateData: { KeyName: "x" },
        }),
      ),
    "delete the template": () => ec2.send(new DeleteLaunchTemplateCommand({ LaunchTemplateId: has.template })),
    "make a template of an instance": () => ec2.send(new GetLaunchTemplateDataCommand({ InstanceId: has.instance })),
    "take a tag": () => ec2.send(new DeleteTagsCommand({ Resources: [has.instance], Tags: [{ Key: "secret" }] })),
    "read a parameter": () => ssm.send(new GetParameterCommand({ Name: parameter, WithDecryption: true })),
    "read it by name": () => ssm.send(new GetParameterCommand({ Name: "/private" })),
    "overwrite it": () =>
      ssm.send(new PutParameterCommand({ Name: parameter, Value: "x", Type: "String", Overwrite: true })),
    "delete the parameter": () => ssm.send(new DeleteParameterCommand({ Name: parameter })),
    "list a bucket": () => s3.send(new ListObjectsV2Command({ Bucket: "private" })),
    "read an object": () => s3.send(new GetObjectCommand(object)),
    "look at an object": () => s3.send(new HeadObjectCommand(object)),
    "write an object": () => s3.send(new PutObjectCommand({ ...object, Body: "x" })),
    "delete an object": () => s3.send(new DeleteObjectCommand(object)),
    "delete the bucket": () => s3.send(new DeleteBucketCommand({ Bucket: "private" })),
    "take the bucket": () => s3.send(new CreateBucketCommand({ Bucket: "private" })),
    "read a policy": () => iam.send(new GetPolicyCommand({ PolicyArn: has.policy })),
    "read its document": () => iam.send(new GetPolicyVersionCommand({ PolicyArn: has.policy, VersionId: "v1" })),
    "change a policy": () =>
      iam.send(new CreatePolicyVersionCommand({ PolicyArn: has.policy, PolicyDocument: document, SetAsDefault: true })),
    "delete a policy": () => iam.send(new DeletePolicyCommand({ PolicyArn: has.policy })),
    "attach a policy": () => iam.send(new AttachUserPolicyCommand({ UserName: "eve", PolicyArn: has.policy })),
    "read a role": () => iam.send(new GetRoleCommand({ RoleName: "private" })),
    "read its policies": () => iam.send(new ListAttachedRolePoliciesCommand({ RoleName: "private" })),
    "be a role": () =>
      sts.send(new AssumeRoleCommand({ RoleArn: `arn:aws:iam::${owner}:role/private`, RoleSessionName: "eve" })),
    "ask about a user": () =>
      iam.send(
        new SimulatePrincipalPolicyCommand({
          PolicySourceArn: `arn:aws:iam::${owner}:user/admin`,
          ActionNames: ["ec2:RunInstances"],
        }),
      ),
    "ask about a key": () =>
      iam.send(new GetAccessKeyLastUsedCommand({ AccessKeyId: platform.credentials.accessKeyId })),
    "disable a key": () =>
      iam.send(new UpdateAccessKeyCommand({ AccessKeyId: platform.credentials.accessKeyId, Status: "Inactive" })),
    "delete a key": () => iam.send(new DeleteAccessKeyCommand({ AccessKeyId: platform.credentials.accessKeyId })),
    "read a trail": () => trails.send(new GetTrailCommand({ Name: has.trail })),
    "read its state": () => trails.send(new GetTrailStatusCommand({ Name: has.trail })),
    "read its selectors": () => trails.send(new GetEventSelectorsCommand({ TrailName: has.trail })),
    "start a trail": () => trails.send(new StartLoggingCommand({ Name: has.trail })),
    "stop a trail": () => trails.send(new StopLoggingCommand({ Name: has.trail })),
    "change a trail": () => trails.send(new UpdateTrailCommand({ Name: has.trail, IsMultiRegionTrail: true })),
    "delete a trail": () => trails.send(new DeleteTrailCommand({ Name: has.trail })),
    "deliver into its bucket": () => trails.send(new CreateTrailCommand({ Name: "spying", S3BucketName: "private" })),
  });
}

/** Lists that name nothing: what is in them of the other account's? */
async function found(platform: Platform, eve: Keys, has: Belongings): Promise<string[]> {
  const ec2 = platform.client(EC2Client, eve);
  const ssm = platform.client(SSMClient, eve);
  const s3 = platform.client(S3Client, eve);
  const trails = platform.client(CloudTrailClient, eve);
  const iam = platform.client(IAMClient, eve);
  const owner = platform.accountId;
  const lists: readonly Promise<unknown>[] = [
    ec2.send(new DescribeInstancesCommand({})),
    ec2.send(new DescribeVolumesCommand({})),
    ec2.send(new DescribeSnapshotsCommand({})),
    ec2.send(new DescribeSnapshotsCommand({ OwnerIds: [owner] })),
    ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [has.snapshot] })),
    ec2.send(new DescribeImagesCommand({})),
    ec2.send(new DescribeImagesCommand({ Owners: [owner] })),
    ec2.send(new DescribeImagesCommand({ ImageIds: [has.image] })),
    ec2.send(new DescribeKeyPairsCommand({})),
    ec2.send(new DescribeSecurityGroupsCommand({})),
    ec2.send(new DescribeNetworkInterfacesCommand({})),
    ec2.send(new DescribeVpcsCommand({})),
    ec2.send(new DescribeTagsCommand({})),
    ec2.send(new DescribeLaunchTemplatesCommand({})),
    ssm.send(new GetParametersByPathCommand({ Path: "/", Recursive: true })),
    s3.send(new ListBucketsCommand({})),
    trails.send(new DescribeTrailsCommand({})),
    // Not all events: those of eve's own policies name what they are after.
    trails.send(
      new LookupEventsCommand({ LookupAttributes: [{ AttributeKey: "EventName", AttributeValue: "RegisterImage" }] }),
    ),
    iam.send(new ListUsersCommand({})),
    iam.send(new GetUserCommand({})),
  ];
  const answers = await Promise.all(lists.map((list) => list.catch(() => ({}))));
  const text = JSON.stringify(answers);
  return [owner, "plan", ...Object.values(has)].filter((secret) => text.includes(secret));
}

const refused = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "no error",
    // What would have been done counts as done.
    (error: Error) => (error.name === "DryRunOperation" ? "no error" : error.name),
  );

test("no policy of one account yields anything of another's", async (t) => {
  const platform = await startPlatform(t);
  const has = await belongings(platform);
  const other = await platform.createAccount("other");
  const iam = platform.client(IAMClient, other.credentials);
  await iam.send(new CreateUserCommand({ UserName: "eve" }));
  const { AccessKey: key } = await iam.send(new CreateAccessKeyCommand({ UserName: "eve" }));
  const eve: Keys = { accessKeyId: key?.AccessKeyId ?? "", secretAccessKey: key?.SecretAccessKey ?? "" };
  const own = await ownMachine(platform, other.credentials);
  const asEve = platform.client(EC2Client, eve);
  const tries = attempts(platform, eve, has, own);

  const owner = platform.accountId;
  const resource = fc.constantFrom(
    "*",
    "arn:aws:*",
    `arn:aws:*:*:${owner}:*`,
    `arn:aws:*::${owner}:*`,
    "arn:aws:ec2:*::*",
    "arn:aws:s3:::private/*",
    has.policy,
    has.trail,
    `arn:aws:ec2:*:${owner}:instance/${has.instance}`,
  );
  const condition = fc.option(
    fc.constantFrom({ StringEquals: { "aws:ResourceAccount": owner } }, { StringLike: { "ec2:Owner": "*" } }),
    { nil: undefined },
  );
  const allow = fc.record({
    Effect: fc.constant("Allow"),
    Action: fc.constantFrom("*", ["ec2:*", "iam:*", "sts:*"], ["ssm:*", "s3:*", "cloudtrail:*"]),
    Resource: fc.array(resource, { minLength: 1, maxLength: 3 }),
    Condition: condition,
  });
  const everything = { Effect: "Allow", Action: "*", Resource: "*" };
  const policies = fc.array(allow, { maxLength: 2 }).map((some) => [everything, ...some]);
  await fc.assert(
    fc.asyncProperty(fc.oneof(policies, fc.array(allow, { minLength: 1, maxLength: 3 })), async (Statement) => {
      const PolicyDocument = JSON.stringify({ Version: "2012-10-17", Statement });
      await iam.send(new PutUserPolicyCommand({ UserName: "eve", PolicyName: "policy", PolicyDocument }));
      for (const [what, attempt] of tries) assert.notEqual(await refused(attempt()), "no error", what);
      // EC2 is content when there is no such key; the owner's must be there at the end.
      await refused(asEve.send(new DeleteKeyPairCommand({ KeyPairId: has.keyPair })));
      assert.deepEqual(await found(platform, eve, has), []);
    }),
    { numRuns: 6 },
  );
  assert.deepEqual(
    await found(platform, platform.credentials, has),
    [owner, "plan", ...Object.values(has)].filter((secret) => secret !== has.policy && secret !== has.profile),
    "its owner finds it all where it was",
  );
  // Nor does anything of a Region show in another, to the owner himself.
  const west = platform.client(EC2Client, platform.credentials, "eu-west-1");
  const lists = [
    west.send(new DescribeInstancesCommand({})),
    west.send(new DescribeVolumesCommand({})),
    west.send(new DescribeSnapshotsCommand({ OwnerIds: ["self"] })),
    west.send(new DescribeImagesCommand({ Owners: ["self"] })),
    west.send(new DescribeKeyPairsCommand({})),
    west.send(new DescribeSecurityGroupsCommand({})),
    west.send(new DescribeSubnetsCommand({})),
    west.send(new DescribeTagsCommand({})),
    platform.client(SSMClient, platform.credentials, "eu-west-1").send(new GetParametersByPathCommand({ Path: "/" })),
  ];
  const there = JSON.stringify(await Promise.all<unknown>(lists));
  assert.deepEqual(
    ["/private", ...Object.values(has)].filter((name) => there.includes(name)),
    [],
  );
  const s3 = platform.client(S3Client);
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: "private", Key: "key" }));
  assert.equal(await Body?.transformToString(), "secret");
  assert.ok(await platform.iam.send(new GetPolicyCommand({ PolicyArn: has.policy })));
});

/** An image and an instance of eve's own account, for what needs one. */
async function ownMachine(platform: Platform, keys: Keys): Promise<{ image: string; instance: string }> {
  const ec2 = platform.client(EC2Client, keys);
  const SnapshotId = await smallSnapshot({ ec2, ebs: platform.client(EBSClient, keys) }, 2);
  const { ImageId: image = "" } = await ec2.send(
    new RegisterImageCommand({
      Name: "own",
      Architecture: "x86_64",
      RootDeviceName: "/dev/xvda",
      VirtualizationType: "hvm",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId } }],
    }),
  );
  const { Instances: [made] = [] } = await ec2.send(
    new RunInstancesCommand({ ImageId: image, InstanceType: "t3.nano", MinCount: 1, MaxCount: 1 }),
  );
  return { image, instance: made?.InstanceId ?? "" };
}
