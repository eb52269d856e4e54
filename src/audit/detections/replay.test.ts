import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { Grant } from "../../model/access.ts";
import { eventsOfFinding, suppress, updateFinding } from "./findings.ts";
import {
  builder,
  instanceRole,
  MEMBER,
  REGION,
  type Replay,
  replay,
  STRANGER,
  type Step,
  US,
} from "./replay.fixture.ts";
import { loadRules, shippedRules } from "./rule-files.ts";

const AMI = "ami-0123456789abcdef0";
const SNAPSHOT = "snap-0123456789abcdef0";
const INSTANCE = "i-0123456789abcdef0";
const grant = {} as Grant<never>;

const shareImage = (item: Record<string, string>, imageId = AMI): Step => ({
  name: "ModifyImageAttribute",
  request: { imageId, attributeType: "launchPermission", launchPermission: { add: { items: [item] } } },
  response: { _return: true },
});
const shareSnapshot = (item: Record<string, string>): Step => ({
  name: "ModifySnapshotAttribute",
  request: {
    snapshotId: SNAPSHOT,
    attributeType: "CREATE_VOLUME_PERMISSION",
    createVolumePermission: { add: { items: [item] } },
  },
  response: { _return: true },
});
const launch = (imageId: string, more: Partial<Step> = {}): Step => ({
  name: "RunInstances",
  request: { instancesSet: { items: [{ imageId, minCount: 1, maxCount: 1 }] }, instanceType: "t3.micro" },
  response: { instancesSet: { items: [{ instanceId: INSTANCE, imageId }] } },
  ...more,
});

const titles = async (world: Replay): Promise<string[]> => (await world.findings()).map((finding) => finding.title);

interface Attack {
  readonly name: string;
  readonly prepare?: (world: Replay) => Promise<void>;
  readonly steps: readonly Step[];
  readonly expected: readonly string[];
}

const describeUser = (n: number): Step => ({
  name: "DescribeInstanceAttribute",
  request: { instanceId: `i-0123456789abcde${String(n).padStart(2, "0")}`, attribute: "userData" },
});

const instanceRow = (world: Replay, privateIp: string) =>
  world.database.transaction((tx) =>
    tx
      .insertInto("instances")
      .values({
        id: INSTANCE,
        account_id: US,
        region: REGION,
        zone: "us-east-1a",
        reservation_id: "r-0123456789abcdef0",
        launch_index: 0,
        client_token: null,
        image_id: AMI,
        type: "t3.micro",
        state: "running",
        desired: "running",
        force: 0,
        state_reason_code: null,
        state_reason_message: null,
        transition_reason: "",
        launched_at: "2026-11-23T07:00:00.000Z",
        changed_at: "2026-11-23T07:00:00.000Z",
        key_name: null,
        public_key: null,
        user_data: null,
        architecture: "x86_64",
        boot_mode: "legacy-bios",
        root_device_name: "/dev/xvda",
        vpc_id: "vpc-00000000",
        subnet_id: "subnet-00000000",
        network_interface_id: "eni-0123456789abcdef0",
        attachment_id: "eni-attach-0123456789abcdef0",
        mac: "02:00:00:00:00:01",
        private_ip: privateIp,
        public_ip: null,
        wants_public_ip: 0,
        source_dest_check: 1,
        profile_arn: null,
        profile_id: null,
        profile_association_id: null,
        http_tokens: "required",
        http_hop_limit: 1,
        http_endpoint: "enabled",
        metadata_tags: "disabled",
        ebs_optimized: 0,
        monitoring: 0,
        disable_api_termination: 0,
        disable_api_stop: 0,
        shutdown_behavior: "stop",
      })
      .execute(),
  );

const ENUMERATION: readonly Step[] = [
  { name: "GetCallerIdentity", source: "sts.amazonaws.com" },
  { name: "ListBuckets", source: "s3.amazonaws.com" },
  { name: "GetAccountSummary", source: "iam.amazonaws.com" },
  { name: "ListRoles", source: "iam.amazonaws.com" },
  { name: "ListUsers", source: "iam.amazonaws.com" },
  { name: "GetAccountAuthorizationDetails", source: "iam.amazonaws.com" },
  { name: "DescribeSnapshots" },
  { name: "DescribeTrails", source: "cloudtrail.amazonaws.com" },
].map((step) => ({ ...step, who: instanceRole(INSTANCE), from: "172.31.0.9" }));

const ATTACKS: readonly Attack[] = [
  {
    name: "ec2-share-ami: an image is shared with a strange account",
    steps: [shareImage({ userId: STRANGER })],
    expected: ["Image shared outside the organization"],
  },
  {
    name: "ec2-share-ami, to everybody",
    steps: [shareImage({ group: "all" })],
    expected: ["Image made public"],
  },
  {
    name: "ec2-share-ebs-snapshot: a snapshot is shared with a strange account, then with everybody",
    steps: [shareSnapshot({ userId: STRANGER }), shareSnapshot({ group: "all" })],
    expected: ["Snapshot shared outside the organization", "Snapshot made public"],
  },
  {
    name: "ec2-deregister-ami: image and snapshots are destroyed",
    steps: [
      {
        name: "DisableImageDeregistrationProtection",
        request: { DisableImageDeregistrationProtectionRequest: { ImageId: AMI } },
      },
      { name: "DeregisterImage", request: { imageId: AMI, deleteAssociatedSnapshots: true } },
    ],
    expected: ["Deregistration protection removed from an image", "Image destroyed together with its snapshots"],
  },
  {
    name: "images are deregistered in bulk",
    steps: Array.from({ length: 12 }, (_, n) => ({
      name: "DeregisterImage",
      request: { imageId: `ami-0123456789abcde${String(n).padStart(2, "0")}`, deleteAssociatedSnapshots: false },
    })),
    expected: ["Images deregistered in bulk"],
  },
  {
    name: "cloudtrail-stop and cloudtrail-delete",
    steps: [
      { name: "StopLogging", source: "cloudtrail.amazonaws.com", request: { name: "main" } },
      { name: "DeleteTrail", source: "cloudtrail.amazonaws.com", request: { name: "main" } },
    ],
    expected: ["Trail stopped or deleted"],
  },
  {
    name: "cloudtrail-event-selectors",
    steps: [{ name: "PutEventSelectors", source: "cloudtrail.amazonaws.com", request: { trailName: "main" } }],
    expected: ["Trail changed"],
  },
  {
    name: "ec2-enumerate-from-instance",
    prepare: async (world) => void (await instanceRow(world, "172.31.0.9")),
    steps: ENUMERATION,
    expected: ["An instance enumerates the account"],
  },
  {
    name: "ec2-steal-instance-credentials: used from elsewhere",
    prepare: async (world) => void (await instanceRow(world, "172.31.0.9")),
    steps: [
      { name: "DescribeInstances", who: instanceRole(INSTANCE), from: "172.31.0.9" },
      { name: "GetCallerIdentity", source: "sts.amazonaws.com", who: instanceRole(INSTANCE), from: "203.0.113.7" },
      { name: "DescribeInstances", who: instanceRole(INSTANCE), from: "203.0.113.7" },
    ],
    expected: ["Credentials of an instance used elsewhere"],
  },
  {
    name: "ec2-steal-instance-credentials: used on the host that the instance runs on",
    prepare: async (world) => void (await instanceRow(world, "172.31.0.9")),
    steps: [{ name: "DescribeInstances", who: instanceRole(INSTANCE), from: "127.0.0.1" }],
    expected: ["Credentials of an instance used elsewhere"],
  },
  {
    name: "ec2-download-user-data",
    steps: Array.from({ length: 15 }, (_, n) => describeUser(n)),
    expected: ["User data of an instance read"],
  },
  {
    name: "ec2-get-password-data, refused each time",
    steps: Array.from({ length: 30 }, (_, n) => ({
      name: "GetPasswordData",
      request: { instanceId: `i-0123456789abcde${String(n).padStart(2, "0")}` },
      error: "Client.UnauthorizedOperation",
    })),
    expected: ["Consoles of many instances read", "Burst of denied calls"],
  },
  {
    name: "whoAMI: a machine from a public image of somebody with the right name",
    prepare: (world) => world.image({ id: AMI, account_id: STRANGER, name: "ubuntu/images/hvm-ssd/ubuntu-24.04" }),
    steps: [launch(AMI)],
    expected: ["Machine launched from an image of an unknown owner"],
  },
  {
    name: "an image is exported, stored in a bucket, and copied by a stranger",
    steps: [
      { name: "ExportImage", request: { imageId: AMI } },
      {
        name: "CopyImage",
        who: { type: "AWSAccount", principalId: "AIDASTRANGER", accountId: STRANGER, arn: "arn:aws:iam::x:user/x" },
        request: { sourceImageId: AMI },
      },
    ],
    expected: ["Image exported or stored in a bucket", "Another account copied our image or snapshot"],
  },
  {
    name: "iam-backdoor-user: a key is made",
    steps: [
      {
        name: "CreateAccessKey",
        source: "iam.amazonaws.com",
        request: { userName: "bob" },
        response: { accessKey: { accessKeyId: "AKIABOB", status: "Active", userName: "bob" } },
      },
    ],
    expected: ["Access key created"],
  },
  {
    name: "the root user is used",
    steps: [
      { name: "DescribeImages", who: { type: "Root", accountId: US, arn: `arn:aws:iam::${US}:root` } },
      { name: "DescribeInstances", who: { type: "Root", accountId: US, arn: `arn:aws:iam::${US}:root` } },
    ],
    expected: ["Root user used"],
  },
  {
    name: "credentials are fetched without a session token",
    prepare: async (world) => void (await instanceRow(world, "172.31.0.9")),
    steps: [{ name: "DescribeInstances", who: instanceRole(INSTANCE, "1.0"), from: "172.31.0.9" }],
    expected: ["Credentials handed out by the metadata service version 1"],
  },
  {
    name: "a deprecated image is launched",
    prepare: (world) => world.image({ id: AMI, deprecate_at: "2026-11-20T00:00:00.000Z" }),
    steps: [launch(AMI)],
    expected: ["Machine launched from a deprecated image"],
  },
  {
    name: "version 1 of the metadata service is used, hour after hour, and was allowed before",
    steps: [
      {
        name: "ModifyInstanceMetadataOptions",
        request: { ModifyInstanceMetadataOptionsRequest: { InstanceId: INSTANCE, HttpTokens: "optional" } },
      },
      ...[1, 2, 3].map(
        (requests): Step => ({
          name: "InstanceMetadataVersion1Used",
          after: 3600,
          who: { accountId: US, invokedBy: "ec2.amazonaws.com" },
          service: { instanceId: INSTANCE, imageId: AMI, requests, path: "/latest/meta-data" },
        }),
      ),
    ],
    expected: ["Metadata service version 1 allowed", "Metadata service version 1 used"],
  },
  {
    name: "an image is copied from somebody whom nobody knows",
    prepare: (world) => world.image({ id: AMI, account_id: STRANGER }),
    steps: [{ name: "CopyImage", request: { sourceImageId: AMI, sourceRegion: REGION, name: "ours now" } }],
    expected: ["Image copied from an unknown owner"],
  },
  {
    name: "ebs-direct exfiltration: a stranger reads a shared snapshot block by block",
    steps: [1, 2].map((page) => ({
      name: "ListSnapshotBlocks",
      source: "ebs.amazonaws.com",
      who: { type: "AWSAccount", principalId: "AIDASTRANGER", accountId: STRANGER, arn: "arn:aws:iam::x:user/x" },
      request: { snapshotId: SNAPSHOT, startingBlockIndex: page },
    })),
    expected: ["Another account reads our snapshot block by block"],
  },
  {
    name: "ec2-user-data: the start-up script of an instance is replaced",
    steps: [
      { name: "StopInstances", request: { instancesSet: { items: [{ instanceId: INSTANCE }] } } },
      {
        name: "ModifyInstanceAttribute",
        request: { instanceId: INSTANCE, userData: "<sensitiveDataRemoved>" },
      },
      { name: "StartInstances", request: { instancesSet: { items: [{ instanceId: INSTANCE }] } } },
    ],
    expected: ["Start-up script of an instance changed"],
  },
  {
    name: "ransom: the snapshots are deleted in bulk",
    steps: Array.from({ length: 25 }, (_, n) => ({
      name: "DeleteSnapshot",
      request: { snapshotId: `snap-0123456789abcde${String(n).padStart(2, "0")}` },
    })),
    expected: ["Snapshots deleted in bulk"],
  },
  {
    name: "the guards are turned off before an image is made public",
    steps: [{ name: "DisableImageBlockPublicAccess" }, shareImage({ group: "all" })],
    expected: ["A guard against public or foreign images turned off", "Image made public"],
  },
  {
    name: "keys are guessed",
    steps: Array.from({ length: 40 }, () => ({
      name: "DescribeInstances",
      who: { type: "Unknown", accessKeyId: "AKIAGUESSED" },
      from: "203.0.113.9",
      error: "Client.AuthFailure",
    })),
    expected: ["Burst of calls without valid credentials"],
  },
  {
    name: "an instance's role makes keys for a user",
    prepare: async (world) => void (await instanceRow(world, "172.31.0.9")),
    steps: [
      {
        name: "CreateAccessKey",
        source: "iam.amazonaws.com",
        who: instanceRole(INSTANCE),
        from: "172.31.0.9",
        request: { userName: "bob" },
      },
    ],
    expected: ["Access key created", "Access key created for another user"],
  },
];

test("every rule that is shipped finds something in some attack", () => {
  // Asked only where there is no organization; tried below.
  const elsewhere = ["Image shared with a new account", "Snapshot shared with a new account"];
  const found = new Set([...elsewhere, ...ATTACKS.flatMap(({ expected }) => expected)]);
  const making = loadRules([shippedRules()]).filter((rule) => rule.kind === "correlation" || rule.generates);
  assert.deepEqual(
    making.map(({ title }) => title).filter((title) => !found.has(title)),
    [],
  );
});

for (const attack of ATTACKS) {
  test(`attack: ${attack.name}`, async (t) => {
    const world = await replay(t);
    await attack.prepare?.(world);
    await world.play(attack.steps);
    // What one event raises has no order.
    const expected = [...attack.expected].sort();
    assert.deepEqual((await titles(world)).sort(), expected);
    // Judged again, by this process or another, nothing is found twice.
    await world.another().run();
    assert.deepEqual((await titles(world)).sort(), expected);
  });
}

/** What people and their tools do in a week. */
async function ordinaryWeek(world: Replay): Promise<Step[]> {
  const steps: Step[] = [];
  for (let day = 0; day < 7; day++) {
    for (let round = 0; round < 4; round++) {
      const imageId = `ami-0123456789abc${day}${round}00`;
      const instanceId = `i-0123456789abc${day}${round}00`;
      await world.image({ id: imageId, name: `web-${day}-${round}` });
      steps.push(
        { after: 3600, who: builder, name: "DescribeImages", request: { ownersSet: { items: [{ owner: "self" }] } } },
        launch(imageId, { who: builder, after: 5 }),
        { who: builder, name: "GetConsoleOutput", request: { instanceId } },
        { who: builder, name: "StopInstances", request: { instancesSet: { items: [{ instanceId }] } } },
        { who: builder, name: "CreateImage", request: { instanceId, name: `web-${day}-${round}` }, after: 30 },
        { who: builder, name: "TerminateInstances", request: { instancesSet: { items: [{ instanceId }] } } },
        { ...shareImage({ userId: MEMBER }, imageId), who: builder },
        {
          ...shareImage({ organizationArn: "arn:aws:organizations::111122223333:organization/o-aaaaaaaaaa" }, imageId),
          who: builder,
        },
        {
          who: builder,
          name: "EnableImageDeprecation",
          request: { EnableImageDeprecationRequest: { ImageId: imageId, DeprecateAt: "2027-01-01T00:00:00Z" } },
        },
        launch(imageId, { after: 600 }),
        { name: "DescribeInstances", after: 20 },
        { name: "DescribeVolumes" },
        // Now and then somebody may not do something.
        { name: "TerminateInstances", error: "Client.UnauthorizedOperation" },
        {
          name: "CopyImage",
          who: { type: "AWSAccount", principalId: "AROAMEMBER:ci", accountId: MEMBER, arn: "arn:aws:iam::x:user/x" },
          request: { sourceImageId: imageId },
        },
        { name: "DescribeParameters", source: "ssm.amazonaws.com", who: instanceRole(INSTANCE), from: "172.31.0.9" },
      );
      // Old ones go, one after another.
      steps.push({
        who: builder,
        name: "DeregisterImage",
        request: { imageId: `ami-0fedcba987654${day}${round}0`, deleteAssociatedSnapshots: true },
        after: 900,
      });
    }
  }
  return steps;
}

test("a week of ordinary work: nothing is found", async (t) => {
  const world = await replay(t);
  await instanceRow(world, "172.31.0.9");
  await world.play(await ordinaryWeek(world));
  assert.deepEqual(await titles(world), []);
});

test("without an organization, only the first share with an account is one with a new account", async (t) => {
  const world = await replay(t, { surroundings: { organization: async () => null } });
  await world.play([
    shareImage({ userId: STRANGER }),
    { ...shareImage({ userId: STRANGER }, "ami-0123456789abcdef1"), after: 100_000 },
    shareSnapshot({ userId: MEMBER }),
    shareSnapshot({ userId: STRANGER }),
  ]);
  assert.deepEqual((await titles(world)).sort(), [
    "Image shared with a new account",
    "Snapshot shared with a new account",
  ]);
});

test("what happens again soon goes into the finding; after a while, or once it is closed, it is a new one", async (t) => {
  const world = await replay(t);
  await world.play([shareImage({ group: "all" }), shareImage({ group: "all" })]);
  const [first] = await world.findings();
  assert.ok(first);
  assert.equal(first.events, 2);
  assert.equal((await eventsOfFinding(world.database.read, first.id)).length, 2);
  await world.database.transaction((tx) =>
    updateFinding(grant, tx, first.id, { state: "closed" }, { arn: "arn:aws:iam::1:user/a", at: world.now }),
  );
  await world.play([shareImage({ group: "all" })]);
  assert.equal((await world.findings()).length, 2);
  await world.play([{ ...shareImage({ group: "all" }), after: 7200 }]);
  assert.equal((await world.findings()).length, 3);
});

test("a suppression holds for findings that have all that it names, and for no others", async (t) => {
  const world = await replay(t);
  await world.play([shareImage({ userId: STRANGER })]);
  const [finding] = await world.findings();
  assert.ok(finding);
  await world.database.transaction((tx) =>
    suppress(
      grant,
      tx,
      {
        accountId: US,
        ruleId: finding.ruleId,
        subject: { "ingot.share.with": STRANGER },
        reason: "a customer",
        expiresAt: null,
      },
      { arn: "arn:aws:iam::1:user/a", at: world.now },
    ),
  );
  await world.play([
    { ...shareImage({ userId: STRANGER }, "ami-0123456789abcdef1"), after: 7200 },
    shareImage({ userId: "888877776666" }),
  ]);
  assert.deepEqual(
    (await world.findings()).map(({ state, subject }) => [state, subject["ingot.share.with"]]),
    [
      ["suppressed", STRANGER],
      ["suppressed", STRANGER],
      ["open", "888877776666"],
    ],
  );
});

test("two processes at once: every finding once", async (t) => {
  const world = await replay(t);
  const steps = Array.from({ length: 250 }, (_, n) =>
    shareImage({ group: "all" }, `ami-0123456789abc${String(n).padStart(4, "0")}`),
  );
  await world.play(steps);
  await Promise.all([world.detections.run(), world.another().run(), world.another().run()]);
  const found = await world.findings();
  assert.equal(found.length, 250);
  assert.equal(new Set(found.map(({ subject }) => subject["requestParameters.imageId"])).size, 250);
  assert.ok(found.every(({ events }) => events === 1));
});

test("the webhook gets a finding once it answers; a refusal is tried again", async (t) => {
  const got: { id: string | undefined; body: string }[] = [];
  let status = 500;
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => {
      body += part;
    });
    request.on("end", () => {
      got.push({ id: request.headers["x-ingot-finding"] as string | undefined, body });
      response.writeHead(status).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const world = await replay(t, { webhook: { url, secret: "s" } });
  await world.play([shareImage({ group: "all" })]);
  const [finding] = await world.findings();
  await until(world, { notice: "due", notice_attempts: 1 });
  assert.equal(got[0]?.id, finding?.id);
  assert.equal((JSON.parse(got[0]?.body ?? "") as { Title: string }).Title, "Image made public");
  status = 200;
  world.now = new Date(world.now.getTime() + 10_000);
  await world.detections.run();
  await until(world, { notice: "sent", notice_attempts: 1 });
  assert.equal(got.length, 2);
});

/** Waits for the only finding's notice. */
async function until(world: Replay, expected: { notice: string; notice_attempts: number }): Promise<void> {
  for (;;) {
    const rows = await world.database.read.selectFrom("findings").select(["notice", "notice_attempts"]).execute();
    assert.equal(rows.length, 1);
    if (rows[0]?.notice === expected.notice && Number(rows[0].notice_attempts) === expected.notice_attempts) return;
    await setImmediate();
  }
}

test("another account's calls count for its own findings only", async (t) => {
  const world = await replay(t);
  await world.play([{ ...shareImage({ group: "all" }), recipient: STRANGER }]);
  assert.deepEqual(await titles(world), []);
});
