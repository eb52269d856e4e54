// Trails from outside: made with the official SDK, delivered into a bucket of the same server, proven by the stock CLI.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import {
  AddTagsCommand,
  CloudTrailClient,
  CreateTrailCommand,
  DeleteTrailCommand,
  DescribeTrailsCommand,
  GetEventSelectorsCommand,
  GetTrailCommand,
  GetTrailStatusCommand,
  ListTagsCommand,
  ListTrailsCommand,
  PutEventSelectorsCommand,
  RemoveTagsCommand,
  StartLoggingCommand,
  StopLoggingCommand,
  UpdateTrailCommand,
} from "@aws-sdk/client-cloudtrail";
import {
  CreateSecurityGroupCommand,
  DeleteSecurityGroupCommand,
  DescribeRegionsCommand,
  EC2Client,
} from "@aws-sdk/client-ec2";
import {
  CreateBucketCommand,
  DeleteBucketPolicyCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { ingotClient } from "../../src/cli/clients/ingot.ts";
import { DeliverTrails$, FindEvents$, VerifyEvents$ } from "../../src/services/ingot/schema.ts";
import { awsCliVersion, readsEndpointVariable } from "../support/aws-cli.ts";
import { type Platform, startPlatform } from "../support/platform.ts";

const REPOSITORY = join(import.meta.dirname, "..", "..");
const run = promisify(execFile);

const failing = async (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "no error",
    (error: unknown) => (error instanceof Error ? error.name : "?"),
  );

const own = (platform: Platform) =>
  ingotClient({ endpoint: platform.url, region: platform.region, credentials: platform.credentials });

const deliver = (platform: Platform, Digests = false) => own(platform).send(DeliverTrails$, { Digests });

function bucketsOf(platform: Platform): S3Client {
  const { accessKeyId, secretAccessKey } = platform.credentials;
  return new S3Client({
    endpoint: platform.url,
    region: platform.region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
    maxAttempts: 1,
  });
}

async function objectText(s3: S3Client, Bucket: string, Key: string): Promise<string> {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }));
  return gunzipSync((await Body?.transformToByteArray()) ?? Buffer.alloc(0)).toString();
}

async function keysOf(s3: S3Client, Bucket: string, kind: "CloudTrail" | "CloudTrail-Digest"): Promise<string[]> {
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket }));
  return Contents.map(({ Key = "" }) => Key).filter((key) => key.includes(`/${kind}/`));
}

test("a trail's life, and what CloudTrail refuses", async (t) => {
  const platform = await startPlatform(t);
  const { cloudtrail } = platform;
  const s3 = bucketsOf(platform);
  t.after(() => s3.destroy());
  await s3.send(new CreateBucketCommand({ Bucket: "logs" }));
  const create = (Name: string, S3BucketName = "logs", more: object = {}) =>
    cloudtrail.send(new CreateTrailCommand({ Name, S3BucketName, ...more }));
  assert.equal(await failing(create("a")), "InvalidTrailNameException");
  assert.equal(await failing(create("two..dots")), "InvalidTrailNameException");
  assert.equal(await failing(create("main", "nowhere")), "S3BucketDoesNotExistException");
  assert.equal(await failing(create("main", "Not A Bucket")), "InvalidS3BucketNameException");
  assert.equal(await failing(create("main", "logs", { S3KeyPrefix: "a/" })), "InvalidS3PrefixException");
  assert.equal(
    await failing(create("main", "logs", { IsMultiRegionTrail: true, IncludeGlobalServiceEvents: false })),
    "InvalidParameterCombinationException",
  );
  assert.equal(await failing(create("main", "logs", { SnsTopicName: "topic" })), "InvalidSnsTopicNameException");

  const made = await create("main", "logs", {
    TagsList: [{ Key: "team", Value: "sec" }],
    EnableLogFileValidation: true,
  });
  const arn = `arn:aws:cloudtrail:us-east-1:${platform.accountId}:trail/main`;
  assert.deepEqual(
    [made.TrailARN, made.IncludeGlobalServiceEvents, made.IsMultiRegionTrail, made.LogFileValidationEnabled],
    [arn, true, false, true],
  );
  assert.equal(await failing(create("main")), "TrailAlreadyExistsException");
  assert.equal(await failing(cloudtrail.send(new GetTrailCommand({ Name: "other" }))), "TrailNotFoundException");
  const status = await cloudtrail.send(new GetTrailStatusCommand({ Name: "main" }));
  assert.deepEqual([status.IsLogging, status.LatestDeliveryTime], [false, undefined]);

  await cloudtrail.send(new AddTagsCommand({ ResourceId: arn, TagsList: [{ Key: "env", Value: "prod" }] }));
  await cloudtrail.send(new RemoveTagsCommand({ ResourceId: arn, TagsList: [{ Key: "team" }] }));
  const { ResourceTagList } = await cloudtrail.send(new ListTagsCommand({ ResourceIdList: [arn] }));
  assert.deepEqual(ResourceTagList, [{ ResourceId: arn, TagsList: [{ Key: "env", Value: "prod" }] }]);

  const byDefault = await cloudtrail.send(new GetEventSelectorsCommand({ TrailName: "main" }));
  assert.deepEqual(byDefault.EventSelectors, [
    { ReadWriteType: "All", IncludeManagementEvents: true, DataResources: [], ExcludeManagementEventSources: [] },
  ]);
  const select = (FieldSelectors: { Field: string; Equals?: string[]; StartsWith?: string[] }[]) =>
    cloudtrail.send(new PutEventSelectorsCommand({ TrailName: "main", AdvancedEventSelectors: [{ FieldSelectors }] }));
  const invalid = "InvalidEventSelectorsException";
  assert.equal(await failing(select([{ Field: "eventName", Equals: ["RunInstances"] }])), invalid);
  assert.equal(await failing(select([{ Field: "eventCategory", Equals: ["Data"] }])), invalid);
  assert.equal(await failing(select([{ Field: "eventCategory", StartsWith: ["Man"] }])), invalid);
  assert.equal(
    await failing(
      select([
        { Field: "eventCategory", Equals: ["Management"] },
        { Field: "readOnly", Equals: ["x"] },
      ]),
    ),
    invalid,
  );
  await select([
    { Field: "eventCategory", Equals: ["Management"] },
    { Field: "readOnly", Equals: ["false"] },
  ]);
  const { Trail: trail } = await cloudtrail.send(new GetTrailCommand({ Name: arn }));
  assert.deepEqual([trail?.HasCustomEventSelectors, trail?.HomeRegion], [true, "us-east-1"]);

  // Elsewhere, a multi-Region trail is seen and cannot be changed.
  await cloudtrail.send(new UpdateTrailCommand({ Name: "main", IsMultiRegionTrail: true }));
  const elsewhere = platform.client(CloudTrailClient, platform.credentials, "eu-west-1");
  const { trailList } = await elsewhere.send(new DescribeTrailsCommand({}));
  assert.deepEqual(
    trailList?.map(({ Name, HomeRegion }) => [Name, HomeRegion]),
    [["main", "us-east-1"]],
  );
  const without = await elsewhere.send(new DescribeTrailsCommand({ includeShadowTrails: false }));
  assert.deepEqual(without.trailList, []);
  assert.equal(await failing(elsewhere.send(new StopLoggingCommand({ Name: arn }))), "InvalidHomeRegionException");
  assert.equal((await elsewhere.send(new ListTrailsCommand({}))).Trails?.length, 1);

  // Another account neither sees nor fills it.
  const other = await platform.createAccount();
  const stranger = platform.client(CloudTrailClient, other.credentials);
  assert.deepEqual((await stranger.send(new DescribeTrailsCommand({}))).trailList, []);
  assert.equal(await failing(stranger.send(new GetTrailStatusCommand({ Name: arn }))), "AccessDeniedException");
  assert.equal(
    await failing(stranger.send(new CreateTrailCommand({ Name: "theirs", S3BucketName: "logs" }))),
    "InsufficientS3BucketPolicyException",
  );

  await cloudtrail.send(new DeleteTrailCommand({ Name: "main" }));
  assert.equal(await failing(cloudtrail.send(new GetTrailCommand({ Name: "main" }))), "TrailNotFoundException");
  await create("main");
});

test("what happens is in the bucket once, over a kill, and the stock CLI proves it", async (t) => {
  const platform = await startPlatform(t);
  const { cloudtrail, ec2 } = platform;
  const s3 = bucketsOf(platform);
  t.after(() => s3.destroy());
  await s3.send(new CreateBucketCommand({ Bucket: "logs" }));
  const started = new Date(Math.floor(Date.now() / 1000) * 1000 - 2000);
  const { TrailARN: arn = "" } = await cloudtrail.send(
    new CreateTrailCommand({ Name: "main", S3BucketName: "logs", EnableLogFileValidation: true }),
  );
  await cloudtrail.send(new StartLoggingCommand({ Name: "main" }));
  await ec2.send(new CreateSecurityGroupCommand({ GroupName: "g", Description: "d" }));
  await deliver(platform);
  await ec2.send(new DescribeRegionsCommand({}));
  // Killed in the middle of a delivery.
  const under = deliver(platform).catch(() => {});
  await platform.kill9();
  await under;
  await platform.startServer();
  await ec2.send(new DeleteSecurityGroupCommand({ GroupName: "g" }));
  await deliver(platform, true);

  const delivered: string[] = [];
  for (const key of await keysOf(s3, "logs", "CloudTrail")) {
    const { Records } = JSON.parse(await objectText(s3, "logs", key)) as {
      Records: { eventID: string; eventName: string }[];
    };
    for (const { eventID } of Records) delivered.push(eventID);
  }
  assert.equal(new Set(delivered).size, delivered.length, "an event was delivered twice");
  const { Events } = await own(platform).send(FindEvents$, {
    Category: "Management",
    StartTime: started,
    MaxResults: 1000,
  });
  const names = new Map(Events.map((event) => [event.EventId, event.EventName]));
  const got = delivered.map((id) => names.get(id) ?? id);
  for (const name of ["StartLogging", "CreateSecurityGroup", "DescribeRegions", "DeleteSecurityGroup"]) {
    assert.equal(got.filter((one) => one === name).length, 1, name);
  }

  const { Digests } = { Digests: await keysOf(s3, "logs", "CloudTrail-Digest") };
  assert.equal(Digests.length, 1);
  const digest = JSON.parse(await objectText(s3, "logs", Digests[0] ?? ""));
  const proof = await own(platform).send(VerifyEvents$, {
    Sequence: digest.ingotAuditChain.sequence,
    Hash: digest.ingotAuditChain.hash,
  });
  assert.deepEqual([proof.Damage, proof.MissingDigests], [[], []]);

  const version = await awsCliVersion();
  if (version === null || !readsEndpointVariable(version)) {
    t.diagnostic("no AWS CLI that takes its endpoints from the environment: validate-logs was not run");
    return;
  }
  const validate = () =>
    run(
      "aws",
      ["cloudtrail", "validate-logs", "--trail-arn", arn, "--start-time", started.toISOString(), "--verbose"],
      {
        env: platform.environment(),
      },
    ).then(
      ({ stdout, stderr }) => ({ code: 0, said: stdout + stderr }),
      (error: { code: number; stdout: string; stderr: string }) => ({
        code: error.code,
        said: error.stdout + error.stderr,
      }),
    );
  const valid = await validate();
  assert.equal(valid.code, 0, valid.said);
  assert.match(valid.said, /1\/1 digest files valid/);
  assert.doesNotMatch(valid.said, /INVALID/);
  const [log = ""] = await keysOf(s3, "logs", "CloudTrail");
  await s3.send(new PutObjectCommand({ Bucket: "logs", Key: log, Body: Buffer.from("{}") }));
  const touched = await validate();
  assert.equal(touched.code, 1);
  assert.match(touched.said, new RegExp(`s3://logs/${log}\\tINVALID`));
});

test("one bucket for the trails of many accounts: its policy lets CloudTrail in, for the trail that it names", async (t) => {
  const platform = await startPlatform(t);
  const s3 = bucketsOf(platform);
  t.after(() => s3.destroy());
  await s3.send(new CreateBucketCommand({ Bucket: "central" }));
  const member = await platform.createAccount("Member");
  const cloudtrail = platform.client(CloudTrailClient, member.credentials);
  const ec2 = platform.client(EC2Client, member.credentials);
  const arn = `arn:aws:cloudtrail:us-east-1:${member.accountId}:trail/main`;
  const create = (more: object = {}) =>
    cloudtrail.send(new CreateTrailCommand({ Name: "main", S3BucketName: "central", ...more }));
  const refused = "InsufficientS3BucketPolicyException";
  assert.equal(await failing(create()), refused);
  // As AWS's documentation has it, for more than one account.
  const policy = (sourceArn: string, account = member.accountId) =>
    s3.send(
      new PutBucketPolicyCommand({
        Bucket: "central",
        Policy: JSON.stringify({
          Version: "2012-10-17",
          Statement: [
            {
              Effect: "Allow",
              Principal: { Service: "cloudtrail.amazonaws.com" },
              Action: "s3:GetBucketAcl",
              Resource: "arn:aws:s3:::central",
              Condition: { StringEquals: { "aws:SourceArn": sourceArn } },
            },
            {
              Effect: "Allow",
              Principal: { Service: "cloudtrail.amazonaws.com" },
              Action: "s3:PutObject",
              Resource: `arn:aws:s3:::central/AWSLogs/${account}/*`,
              Condition: {
                StringEquals: { "s3:x-amz-acl": "bucket-owner-full-control", "aws:SourceArn": sourceArn },
              },
            },
          ],
        }),
      }),
    );
  await policy(`${arn}-other`);
  assert.equal(await failing(create()), refused);
  await policy(arn, platform.accountId);
  assert.equal(await failing(create()), refused);
  await policy(arn);
  assert.equal(await failing(create({ S3KeyPrefix: "elsewhere" })), refused);
  await create();
  await cloudtrail.send(new StartLoggingCommand({ Name: "main" }));
  await ec2.send(new CreateSecurityGroupCommand({ GroupName: "g", Description: "d" }));
  await deliver(platform, true);
  const [key = ""] = await keysOf(s3, "central", "CloudTrail");
  assert.ok(key.startsWith(`AWSLogs/${member.accountId}/CloudTrail/`));
  const { Records } = JSON.parse(await objectText(s3, "central", key)) as {
    Records: { eventName: string; recipientAccountId: string }[];
  };
  assert.ok(Records.some(({ eventName }) => eventName === "CreateSecurityGroup"));
  assert.ok(Records.every(({ recipientAccountId }) => recipientAccountId === member.accountId));

  // The policy is asked before each file.
  await s3.send(new DeleteBucketPolicyCommand({ Bucket: "central" }));
  await ec2.send(new DeleteSecurityGroupCommand({ GroupName: "g" }));
  await deliver(platform);
  const { LatestDeliveryError } = await cloudtrail.send(new GetTrailStatusCommand({ Name: "main" }));
  assert.equal(LatestDeliveryError, "AccessDenied");
  assert.equal((await keysOf(s3, "central", "CloudTrail")).length, 1);
});

test("ingot history, audit find and audit verify", async (t) => {
  const platform = await startPlatform(t);
  const ingot = async (...words: string[]) =>
    (
      await run(join(REPOSITORY, "ingot"), words, {
        env: { ...platform.environment(), INGOT_DATA: platform.dataDirectory },
      })
    ).stdout;
  await platform.ec2.send(new CreateSecurityGroupCommand({ GroupName: "g", Description: "d" }));
  assert.match(
    await ingot("audit", "find", "--name", "CreateSecurityGroup", "--since", "1h"),
    /CreateSecurityGroup .*sg-/,
  );
  const found = JSON.parse(await ingot("audit", "find", "--source", "ec2", "--writes", "--json"));
  assert.equal(found.Events.length, 1);
  assert.match(await ingot("audit", "verify"), /all are as they were written/);
});
