// Launch templates through the door: versions and their merging, launches from them, who may launch from which, and what
// refers to an image by one. The image holds nothing that boots: the one launch that is no dry run is ended at once.
import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import {
  CreateImageUsageReportCommand,
  CreateKeyPairCommand,
  CreateLaunchTemplateCommand,
  CreateLaunchTemplateVersionCommand,
  CreateTagsCommand,
  DeleteLaunchTemplateCommand,
  DeleteLaunchTemplateVersionsCommand,
  DeleteTagsCommand,
  DescribeImageReferencesCommand,
  DescribeImageUsageReportEntriesCommand,
  DescribeInstancesCommand,
  DescribeLaunchTemplatesCommand,
  DescribeLaunchTemplateVersionsCommand,
  type DescribeLaunchTemplateVersionsCommandInput,
  EC2Client,
  GetLaunchTemplateDataCommand,
  ModifyImageAttributeCommand,
  ModifyLaunchTemplateCommand,
  type RequestLaunchTemplateData,
  RunInstancesCommand,
  type RunInstancesCommandInput,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { PutParameterCommand } from "@aws-sdk/client-ssm";
import { registerImage, userWith } from "../support/catalogue.ts";
import { type Platform, startPlatform } from "../support/platform.ts";

const ends: (() => unknown)[] = [];
let platform: Platform;
let ec2: EC2Client;
let image: string;

before(async () => {
  platform = await startPlatform({ after: (end: () => unknown) => ends.push(end) } as unknown as TestContext);
  ec2 = platform.ec2;
  image = await registerImage(platform, "templated");
  await ec2.send(new CreateKeyPairCommand({ KeyName: "ours" }));
});
after(async () => {
  for (const end of ends.reverse()) await end();
});

const create = async (LaunchTemplateName: string, LaunchTemplateData: RequestLaunchTemplateData, more: object = {}) => {
  const { LaunchTemplate: made, Warning } = await ec2.send(
    new CreateLaunchTemplateCommand({ LaunchTemplateName, LaunchTemplateData, ...more }),
  );
  assert.ok(made?.LaunchTemplateId !== undefined);
  return { ...made, id: made.LaunchTemplateId, warnings: (Warning?.Errors ?? []).map(({ Code }) => Code) };
};

const addVersion = (LaunchTemplateId: string, LaunchTemplateData: RequestLaunchTemplateData, more: object = {}) =>
  ec2.send(new CreateLaunchTemplateVersionCommand({ LaunchTemplateId, LaunchTemplateData, ...more }));

const versions = async (input: DescribeLaunchTemplateVersionsCommandInput): Promise<(number | undefined)[]> =>
  ((await ec2.send(new DescribeLaunchTemplateVersionsCommand(input))).LaunchTemplateVersions ?? []).map(
    (version) => version.VersionNumber,
  );

const launch = (input: Omit<RunInstancesCommandInput, "MinCount" | "MaxCount">, client = ec2) =>
  client.send(new RunInstancesCommand({ MinCount: 1, MaxCount: 1, ...input }));

const arnOf = (id: string): string => `arn:aws:ec2:${platform.region}:${platform.accountId}:launch-template/${id}`;

test("a template is made with its first version, shown, named twice in vain, and deleted", async () => {
  const made = await create(
    "web/front-end.(1)",
    { ImageId: image, InstanceType: "t3.nano" },
    {
      VersionDescription: "the first",
      TagSpecifications: [{ ResourceType: "launch-template", Tags: [{ Key: "team", Value: "web" }] }],
    },
  );
  assert.match(made.id, /^lt-[0-9a-f]{17}$/);
  assert.deepEqual([made.DefaultVersionNumber, made.LatestVersionNumber], [1, 1]);
  assert.deepEqual(made.Tags, [{ Key: "team", Value: "web" }]);
  assert.match(made.CreatedBy ?? "", /^arn:aws:iam::111122223333:/);
  assert.deepEqual(made.warnings, []);
  await assert.rejects(create("web/front-end.(1)", { KeyName: "ours" }), {
    name: "InvalidLaunchTemplateName.AlreadyExistsException",
    message: "Launch template name already in use.",
  });
  await assert.rejects(create("no spaces", { KeyName: "ours" }), {
    name: "InvalidLaunchTemplateName.MalformedException",
  });
  await assert.rejects(create("empty", {}), { name: "MissingParameter" });
  await assert.rejects(create("no-base64", { UserData: "%%%" }), { name: "InvalidUserData.Malformed" });

  const found = await ec2.send(
    new DescribeLaunchTemplatesCommand({ Filters: [{ Name: "tag:team", Values: ["web"] }] }),
  );
  assert.deepEqual(
    found.LaunchTemplates?.map((template) => template.LaunchTemplateName),
    ["web/front-end.(1)"],
  );
  await ec2.send(new CreateTagsCommand({ Resources: [made.id], Tags: [{ Key: "team", Value: "back" }] }));
  const { LaunchTemplate: gone } = await ec2.send(
    new DeleteLaunchTemplateCommand({ LaunchTemplateName: "web/front-end.(1)" }),
  );
  assert.deepEqual(gone?.Tags, [{ Key: "team", Value: "back" }]);
  await assert.rejects(ec2.send(new DescribeLaunchTemplatesCommand({ LaunchTemplateIds: [made.id] })), {
    name: "InvalidLaunchTemplateId.NotFound",
    message: `The specified launch template, with template ID ${made.id}, does not exist.`,
  });
  await assert.rejects(ec2.send(new DescribeLaunchTemplatesCommand({ LaunchTemplateNames: ["web/front-end.(1)"] })), {
    name: "InvalidLaunchTemplateName.NotFoundException",
  });
  await assert.rejects(ec2.send(new DeleteLaunchTemplateCommand({ LaunchTemplateId: "lt-1" })), {
    name: "InvalidLaunchTemplateId.Malformed",
  });
  await assert.rejects(ec2.send(new DeleteLaunchTemplateCommand({})), { name: "MissingParameter" });
});

test("a call said again with its token makes nothing new; with other parameters it is refused", async () => {
  const first = await create("once", { KeyName: "ours" }, { ClientToken: "t1" });
  assert.equal((await create("once", { KeyName: "ours" }, { ClientToken: "t1" })).id, first.id);
  await assert.rejects(create("once-more", { KeyName: "ours" }, { ClientToken: "t1" }), {
    name: "IdempotentParameterMismatch",
  });
  for (let time = 0; time < 2; time++) {
    const { LaunchTemplateVersion: made } = await addVersion(first.id, { ImageId: image }, { ClientToken: "t2" });
    assert.equal(made?.VersionNumber, 2);
  }
  assert.deepEqual(await versions({ LaunchTemplateId: first.id }), [2, 1]);
  await assert.rejects(create("dry", { KeyName: "ours" }, { DryRun: true }), { name: "DryRunOperation" });
  await assert.rejects(ec2.send(new DescribeLaunchTemplatesCommand({ LaunchTemplateNames: ["dry"] })), {
    name: "InvalidLaunchTemplateName.NotFoundException",
  });
});

test("versions: made of another, chosen by number, name, range and filter, and deleted but for the default", async () => {
  const { id } = await create("versioned", {
    InstanceType: "t3.nano",
    KeyName: "ours",
    BlockDeviceMappings: [{ DeviceName: "/dev/xvdb", Ebs: { SnapshotId: "snap-0123456789abcdef0", VolumeSize: 9 } }],
  });
  const { LaunchTemplateVersion: second } = await addVersion(id, { InstanceType: "t3.micro" }, { SourceVersion: "1" });
  assert.deepEqual(second?.LaunchTemplateData, {
    InstanceType: "t3.micro",
    KeyName: "ours",
    BlockDeviceMappings: [{ DeviceName: "/dev/xvdb", Ebs: { VolumeSize: 9 } }],
  });
  await addVersion(id, { KeyName: "ours" }, { VersionDescription: "anew" });
  await addVersion(id, { EbsOptimized: true }, { SourceVersion: "$Latest" });
  await assert.rejects(addVersion(id, { KeyName: "ours" }, { SourceVersion: "9" }), {
    name: "InvalidLaunchTemplateId.VersionNotFound",
    message: `Could not find the specified version 9 for the launch template with ID ${id}.`,
  });

  assert.deepEqual(await versions({ LaunchTemplateId: id }), [4, 3, 2, 1]);
  assert.deepEqual(await versions({ LaunchTemplateName: "versioned", Versions: ["$Default", "$Latest"] }), [4, 1]);
  assert.deepEqual(await versions({ LaunchTemplateId: id, MinVersion: "2", MaxVersion: "3" }), [3, 2]);
  assert.deepEqual(
    await versions({ LaunchTemplateId: id, Filters: [{ Name: "instance-type", Values: ["t3.micro"] }] }),
    [2],
  );
  await assert.rejects(versions({ LaunchTemplateId: id, Versions: ["7"] }), {
    name: "InvalidLaunchTemplateId.VersionNotFound",
  });
  await assert.rejects(versions({ Versions: ["1"] }), { name: "MissingParameter" });
  await assert.rejects(versions({ LaunchTemplateId: id, Versions: ["newest"] }), { name: "InvalidParameterValue" });

  const { LaunchTemplate: moved } = await ec2.send(
    new ModifyLaunchTemplateCommand({ LaunchTemplateId: id, DefaultVersion: "2" }),
  );
  assert.equal(moved?.DefaultVersionNumber, 2);
  await assert.rejects(ec2.send(new ModifyLaunchTemplateCommand({ LaunchTemplateId: id, DefaultVersion: "666" })), {
    name: "InvalidLaunchTemplateId.VersionNotFound",
  });
  const deleted = await ec2.send(
    new DeleteLaunchTemplateVersionsCommand({ LaunchTemplateId: id, Versions: ["2", "4", "8"] }),
  );
  assert.deepEqual(
    deleted.SuccessfullyDeletedLaunchTemplateVersions?.map((one) => one.VersionNumber),
    [4],
  );
  assert.deepEqual(
    deleted.UnsuccessfullyDeletedLaunchTemplateVersions?.map((one) => [one.VersionNumber, one.ResponseError?.Code]),
    [
      [2, "unexpectedError"],
      [8, "launchTemplateVersionDoesNotExist"],
    ],
  );
  // A number is not given twice.
  const { LaunchTemplateVersion: next } = await addVersion(id, { KeyName: "ours" });
  assert.equal(next?.VersionNumber, 5);
  const everywhere = await ec2.send(new DescribeLaunchTemplateVersionsCommand({ Versions: ["$Latest"] }));
  assert.ok(everywhere.LaunchTemplateVersions?.some((one) => one.LaunchTemplateId === id && one.VersionNumber === 5));

  const pages: (number | undefined)[] = [];
  for (let size = 6; size <= 8; size++) await addVersion(id, { KeyName: "ours" });
  let NextToken: string | undefined;
  do {
    const page = await ec2.send(
      new DescribeLaunchTemplateVersionsCommand({ LaunchTemplateId: id, MaxResults: 5, NextToken }),
    );
    pages.push(...(page.LaunchTemplateVersions ?? []).map((one) => one.VersionNumber));
    NextToken = page.NextToken;
  } while (NextToken !== undefined);
  assert.deepEqual(pages, [8, 7, 6, 5, 3, 2, 1]);
});

test("what would not launch is kept, and its maker is told", async () => {
  const { warnings } = await create("dubious", {
    ImageId: "ami-0123456789abcdef0",
    KeyName: "theirs",
    InstanceType: "t9.huge" as never,
    InstanceMarketOptions: { MarketType: "spot", SpotOptions: { ValidUntil: new Date("2030-01-01T00:00:00Z") } },
  });
  assert.deepEqual(warnings, [
    "UnsupportedOperation",
    "InvalidParameterValue",
    "InvalidAMIID.NotFound",
    "InvalidKeyPair.NotFound",
  ]);
  const { LaunchTemplateVersions: [kept] = [] } = await ec2.send(
    new DescribeLaunchTemplateVersionsCommand({ LaunchTemplateName: "dubious" }),
  );
  assert.deepEqual(kept?.LaunchTemplateData?.InstanceMarketOptions, {
    MarketType: "spot",
    SpotOptions: { ValidUntil: new Date("2030-01-01T00:00:00Z") },
  });
});

test("an image by its parameter: shown as named, or as the image that it is now", async () => {
  await platform.ssm.send(new PutParameterCommand({ Name: "/golden", Type: "String", Value: image }));
  const { id } = await create("by-parameter", { ImageId: "resolve:ssm:/golden", InstanceType: "t3.nano" });
  const shown = async (ResolveAlias: boolean) =>
    (await ec2.send(new DescribeLaunchTemplateVersionsCommand({ LaunchTemplateId: id, ResolveAlias })))
      .LaunchTemplateVersions?.[0]?.LaunchTemplateData?.ImageId;
  assert.equal(await shown(false), "resolve:ssm:/golden");
  assert.equal(await shown(true), image);
  await assert.rejects(launch({ LaunchTemplate: { LaunchTemplateId: id }, DryRun: true }), { name: "DryRunOperation" });
  const reader = await userWith(platform, "reader", [
    { Effect: "Allow", Action: "ec2:DescribeLaunchTemplateVersions", Resource: "*" },
  ]);
  const client = platform.client(EC2Client, reader);
  await client.send(new DescribeLaunchTemplateVersionsCommand({ LaunchTemplateId: id }));
  await assert.rejects(
    client.send(new DescribeLaunchTemplateVersionsCommand({ LaunchTemplateId: id, ResolveAlias: true })),
    { name: "UnauthorizedOperation", message: /ssm:GetParameters/ },
  );
});

test("a launch takes from the template what the request leaves open, and is marked with it", async () => {
  const { id } = await create("launched", {
    ImageId: image,
    InstanceType: "t3.nano",
    KeyName: "ours",
    UserData: Buffer.from("#!/bin/sh\n").toString("base64"),
    MetadataOptions: { HttpTokens: "required", HttpPutResponseHopLimit: 3 },
    BlockDeviceMappings: [
      { DeviceName: "/dev/xvda", Ebs: { VolumeSize: 2 } },
      { DeviceName: "/dev/xvdb", Ebs: { VolumeSize: 3 } },
    ],
    TagSpecifications: [
      {
        ResourceType: "instance",
        Tags: [
          { Key: "from", Value: "template" },
          { Key: "env", Value: "dev" },
        ],
      },
      { ResourceType: "volume", Tags: [{ Key: "disk", Value: "yes" }] },
    ],
  });
  await addVersion(id, { ImageId: "ami-0123456789abcdef0" });
  await assert.rejects(launch({ LaunchTemplate: { LaunchTemplateId: id, Version: "$Latest" } }), {
    name: "InvalidAMIID.NotFound",
  });
  await assert.rejects(launch({ LaunchTemplate: { LaunchTemplateId: id, Version: "3" } }), {
    name: "InvalidLaunchTemplateId.VersionNotFound",
  });
  await assert.rejects(launch({ LaunchTemplate: { LaunchTemplateName: "nobody's" } }), {
    name: "InvalidLaunchTemplateName.NotFoundException",
  });
  const { Instances: [made] = [] } = await launch({
    LaunchTemplate: { LaunchTemplateName: "launched" },
    InstanceType: "t3.micro",
    MetadataOptions: { HttpPutResponseHopLimit: 5 },
    BlockDeviceMappings: [
      { DeviceName: "/dev/xvdb", Ebs: { VolumeSize: 5 } },
      { DeviceName: "/dev/xvdc", Ebs: { VolumeSize: 1 } },
    ],
    TagSpecifications: [{ ResourceType: "instance", Tags: [{ Key: "env", Value: "prod" }] }],
  });
  const instanceId = made?.InstanceId ?? "";
  assert.deepEqual([made?.ImageId, made?.InstanceType, made?.KeyName], [image, "t3.micro", "ours"]);
  assert.deepEqual(
    [made?.MetadataOptions?.HttpTokens, made?.MetadataOptions?.HttpPutResponseHopLimit],
    ["required", 5],
  );
  const tags = async () => {
    const { Reservations } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [instanceId] }));
    return Object.fromEntries((Reservations?.[0]?.Instances?.[0]?.Tags ?? []).map((tag) => [tag.Key, tag.Value]));
  };
  const system = { "aws:ec2launchtemplate:id": id, "aws:ec2launchtemplate:version": "1" };
  assert.deepEqual(await tags(), { ...system, from: "template", env: "prod" });
  // They are EC2's: nobody takes them off, and there is room for 50 of one's own beside them.
  await assert.rejects(
    ec2.send(new DeleteTagsCommand({ Resources: [instanceId], Tags: [{ Key: "aws:ec2launchtemplate:id" }] })),
    { name: "InvalidParameterValue" },
  );
  await ec2.send(new DeleteTagsCommand({ Resources: [instanceId] }));
  assert.deepEqual(await tags(), system);
  await ec2.send(
    new CreateTagsCommand({
      Resources: [instanceId],
      Tags: Array.from({ length: 50 }, (_, index) => ({ Key: `tag-${index}`, Value: "" })),
    }),
  );

  const { LaunchTemplateData: data } = await ec2.send(new GetLaunchTemplateDataCommand({ InstanceId: instanceId }));
  assert.deepEqual(
    data?.BlockDeviceMappings?.map((device) => [device.DeviceName, device.Ebs?.VolumeSize]),
    [
      ["/dev/xvda", 2],
      ["/dev/xvdb", 5],
      ["/dev/xvdc", 1],
    ],
  );
  assert.deepEqual(
    [data?.ImageId, data?.InstanceType, data?.KeyName, Buffer.from(data?.UserData ?? "", "base64").toString()],
    [image, "t3.micro", "ours", "#!/bin/sh\n"],
  );
  await ec2.send(new TerminateInstancesCommand({ InstanceIds: [instanceId] }));
  // It is a template itself: what it says launches.
  const { warnings } = await create("copied", data as RequestLaunchTemplateData);
  assert.deepEqual(warnings, []);
  await assert.rejects(launch({ LaunchTemplate: { LaunchTemplateName: "copied" }, DryRun: true }), {
    name: "DryRunOperation",
  });
  await assert.rejects(launch({ LaunchTemplate: { LaunchTemplateName: "copied" }, SecurityGroups: ["default"] }), {
    name: "InvalidParameterCombination",
  });
});

describe("who may launch from which template", () => {
  let kept: string;
  let other: string;
  let bound: EC2Client;
  before(async () => {
    kept = (await create("kept-to", { ImageId: image, InstanceType: "t3.nano", KeyName: "ours" })).id;
    other = (await create("another", { ImageId: image, InstanceType: "t3.nano", KeyName: "ours" })).id;
    const keys = await userWith(platform, "bound", [
      {
        Effect: "Allow",
        Action: "ec2:RunInstances",
        Resource: "*",
        Condition: {
          ArnEquals: { "ec2:LaunchTemplate": arnOf(kept) },
          Bool: { "ec2:IsLaunchTemplateResource": "true" },
        },
      },
    ]);
    bound = platform.client(EC2Client, keys);
  });
  const dry = (input: Omit<RunInstancesCommandInput, "MinCount" | "MaxCount">) =>
    launch({ ...input, DryRun: true }, bound);
  const denied = { name: "UnauthorizedOperation" };

  test("from the one, with a size of one's own", async () => {
    await assert.rejects(dry({ LaunchTemplate: { LaunchTemplateId: kept } }), { name: "DryRunOperation" });
    await assert.rejects(dry({ LaunchTemplate: { LaunchTemplateName: "kept-to" }, InstanceType: "t3.micro" }), {
      name: "DryRunOperation",
    });
  });
  test("not from another, and not without", async () => {
    await assert.rejects(dry({ LaunchTemplate: { LaunchTemplateId: other } }), denied);
    await assert.rejects(dry({ ImageId: image, InstanceType: "t3.nano" }), denied);
  });
  for (const [what, input] of Object.entries({
    image: () => ({ ImageId: image }),
    "key pair": () => ({ KeyName: "ours" }),
    "security group": () => ({ SecurityGroups: ["default"] }),
    interface: () => ({ NetworkInterfaces: [{ DeviceIndex: 0, AssociatePublicIpAddress: true }] }),
    zone: () => ({ Placement: { AvailabilityZone: "us-east-1b" } }),
    volume: () => ({ BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { VolumeSize: 2 } }] }),
  })) {
    test(`not with another ${what} than the template's`, () =>
      assert.rejects(dry({ LaunchTemplate: { LaunchTemplateId: kept }, ...input() }), denied));
  }
  test("the template itself is asked about", async () => {
    const keys = await userWith(platform, "elsewhere", [
      { Effect: "Allow", Action: "ec2:RunInstances", Resource: "*" },
      { Effect: "Deny", Action: "ec2:RunInstances", Resource: arnOf(kept) },
    ]);
    const client = platform.client(EC2Client, keys);
    await assert.rejects(launch({ LaunchTemplate: { LaunchTemplateId: kept }, DryRun: true }, client), denied);
    await assert.rejects(launch({ LaunchTemplate: { LaunchTemplateId: other }, DryRun: true }, client), {
      name: "DryRunOperation",
    });
    await assert.rejects(launch({ ImageId: image, DryRun: true }, client), { name: "DryRunOperation" });
  });
  test("another account sees none of it", async () => {
    const { credentials } = await platform.createAccount();
    const stranger = platform.client(EC2Client, credentials);
    assert.deepEqual((await stranger.send(new DescribeLaunchTemplatesCommand({}))).LaunchTemplates, []);
    await assert.rejects(launch({ LaunchTemplate: { LaunchTemplateId: kept } }, stranger), {
      name: "InvalidLaunchTemplateId.NotFound",
    });
    await assert.rejects(stranger.send(new DeleteLaunchTemplateCommand({ LaunchTemplateId: kept })), {
      name: "InvalidLaunchTemplateId.NotFound",
    });
  });
});

test("references and usage reports count templates whose newest versions name the image", async () => {
  const shared = await registerImage(platform, "shared-by-template");
  const { id: old } = await create("referred-once", { ImageId: shared });
  await addVersion(old, { KeyName: "ours" });
  const { id: current } = await create("referred", { ImageId: shared });
  const references = async (depth?: string) => {
    const options = depth === undefined ? [] : [{ OptionName: "version-depth" as const, OptionValues: [depth] }];
    const { ImageReferences } = await ec2.send(
      new DescribeImageReferencesCommand({
        ImageIds: [shared],
        ResourceTypes: [{ ResourceType: "ec2:LaunchTemplate", ResourceTypeOptions: options }],
      }),
    );
    return ImageReferences?.map((one) => one.Arn);
  };
  assert.deepEqual(await references(), [old, current].sort().map(arnOf));
  assert.deepEqual(await references("1"), [arnOf(current)]);

  const guest = await platform.createAccount();
  await ec2.send(
    new ModifyImageAttributeCommand({ ImageId: shared, LaunchPermission: { Add: [{ UserId: guest.accountId }] } }),
  );
  await platform
    .client(EC2Client, guest.credentials)
    .send(new CreateLaunchTemplateCommand({ LaunchTemplateName: "guest", LaunchTemplateData: { ImageId: shared } }));
  const { ReportId = "" } = await ec2.send(
    new CreateImageUsageReportCommand({ ImageId: shared, ResourceTypes: [{ ResourceType: "ec2:LaunchTemplate" }] }),
  );
  const { ImageUsageReportEntries = [] } = await ec2.send(
    new DescribeImageUsageReportEntriesCommand({ ReportIds: [ReportId] }),
  );
  assert.deepEqual(Object.fromEntries(ImageUsageReportEntries.map((entry) => [entry.AccountId, entry.UsageCount])), {
    [platform.accountId]: 2,
    [guest.accountId]: 1,
  });
});
