import assert from "node:assert/strict";
import { test } from "node:test";
import { type ActionWorld, actionWorld, GUEST, OWNER, STRANGER } from "../../../../test/support/action-world.ts";
import { newId } from "../../../base/ids.ts";
import { getComplianceReport } from "../../ingot/compliance.ts";
import { imageOperations as images } from "./operations.ts";

async function anImage(world: ActionWorld, name: string, over: object = {}): Promise<string> {
  const id = newId("image");
  await world.database.transaction((tx) =>
    tx
      .insertInto("images")
      .values({
        id,
        account_id: OWNER,
        region: "us-east-1",
        name,
        description: null,
        state: "available",
        state_reason: null,
        architecture: "x86_64",
        virtualization_type: "hvm",
        boot_mode: null,
        root_device_name: "/dev/xvda",
        block_devices: "[]",
        ena_support: 1,
        sriov_net_support: null,
        tpm_support: null,
        imds_support: null,
        uefi_data: null,
        location: name,
        owner_alias: null,
        source_instance_id: null,
        source_image_id: null,
        source_image_region: null,
        direct_kernel: null,
        reboot: 0,
        created_at: "2026-11-01T00:00:00.000Z",
        deprecate_at: null,
        deregistration_protection: null,
        last_launched_at: null,
        deregistered_at: null,
        ...over,
      })
      .execute(),
  );
  return id;
}

test("usage reports count living instances by account, and stay as they were", async (t) => {
  const world = await actionWorld(t);
  const image = await anImage(world, "web");
  const use = (account_id: string, state: "running" | "stopped" | "terminated") =>
    world.instance({ image_id: image, account_id, state });
  for (const state of ["running", "stopped", "terminated"] as const) await use(GUEST, state);
  await use(STRANGER, "running");
  const create = (input: object) =>
    world.call(images.CreateImageUsageReport, {
      ImageId: image,
      ResourceTypes: [{ ResourceType: "ec2:Instance" }, { ResourceType: "ec2:LaunchTemplate" }],
      ...input,
    });
  const { ReportId: all } = await create({ ClientToken: "once" });
  assert.match(all ?? "", /^amiur-[0-9a-f]{17}$/);
  assert.equal((await create({ ClientToken: "once" })).ReportId, all);
  await assert.rejects(create({ ClientToken: "once", AccountIds: [GUEST] }), { code: "IdempotentParameterMismatch" });
  const { ReportId: one } = await create({
    AccountIds: [GUEST],
    TagSpecifications: [{ ResourceType: "image-usage-report", Tags: [{ Key: "for", Value: "audit" }] }],
  });
  await use(STRANGER, "running");
  const entries = async (input: object) =>
    (await world.call(images.DescribeImageUsageReportEntries, input)).ImageUsageReportEntries?.map((entry) => [
      entry.AccountId,
      entry.UsageCount,
      entry.ResourceType,
    ]);
  assert.deepEqual(await entries({ ReportIds: [all ?? ""] }), [
    [GUEST, 2, "ec2:Instance"],
    [STRANGER, 1, "ec2:Instance"],
  ]);
  assert.deepEqual(await entries({ ReportIds: [one ?? ""] }), [[GUEST, 2, "ec2:Instance"]]);
  assert.deepEqual(await entries({ Filters: [{ Name: "account-id", Values: [STRANGER] }] }), [
    [STRANGER, 1, "ec2:Instance"],
  ]);
  const tagged = await world.call(images.DescribeImageUsageReports, {
    Filters: [{ Name: "tag:for", Values: ["audit"] }],
  });
  assert.deepEqual(
    tagged.ImageUsageReports?.map(({ ReportId, State, AccountIds }) => ({ ReportId, State, AccountIds })),
    [{ ReportId: one, State: "available", AccountIds: [GUEST] }],
  );
  // Others neither see nor make reports of it.
  assert.deepEqual((await world.call(images.DescribeImageUsageReports, {}, GUEST)).ImageUsageReports, []);
  await assert.rejects(world.call(images.DeleteImageUsageReport, { ReportId: all }, GUEST), {
    code: "InvalidParameterValue",
  });
  await world.call(images.DeleteImageUsageReport, { ReportId: all });
  await assert.rejects(entries({ ReportIds: [all ?? ""] }), { code: "InvalidParameterValue" });
  world.pass(31 * 86_400);
  assert.deepEqual((await world.call(images.DescribeImageUsageReports, {})).ImageUsageReports, []);
});

test("usage reports: refusals", async (t) => {
  const world = await actionWorld(t);
  const image = await anImage(world, "web");
  const create = (input: object, account = OWNER) =>
    world.call(
      images.CreateImageUsageReport,
      { ImageId: image, ResourceTypes: [{ ResourceType: "ec2:Instance" }], ...input },
      account,
    );
  await assert.rejects(create({}, GUEST), { code: "InvalidAMIID.NotFound" });
  await assert.rejects(create({ ResourceTypes: [{ ResourceType: "ec2:Volume" }] }), { code: "InvalidParameterValue" });
  await assert.rejects(create({ ResourceTypes: [] }), { code: "MissingParameter" });
  await assert.rejects(create({ AccountIds: ["12"] }), { code: "InvalidParameterValue" });
});

test("references: own instances and parameters, by type and state; pages", async (t) => {
  const world = await actionWorld(t);
  const image = await anImage(world, "web");
  const { id: running } = await world.instance({ image_id: image });
  const { id: stopped } = await world.instance({ image_id: image, state: "stopped" });
  await world.instance({ image_id: image, account_id: GUEST });
  await world.database.transaction(async (tx) => {
    const mine = { account_id: OWNER, region: "us-east-1", name: "/images/web" };
    const at = "2026-11-24T08:00:00.000Z";
    await tx
      .insertInto("ssm_parameters")
      .values({ ...mine, version: 2, tags: "{}", created_at: at })
      .execute();
    for (const [version, value] of [
      [1, "ami-00000000"],
      [2, image],
    ] as const) {
      await tx
        .insertInto("ssm_parameter_versions")
        .values({
          ...{ ...mine, version, value, type: "String", data_type: "aws:ec2:image", tier: "Standard" },
          ...{ description: null, allowed_pattern: null, labels: "[]", modified_at: at, modified_by: "x" },
        })
        .execute();
    }
  });
  const references = async (input: object) =>
    (await world.call(images.DescribeImageReferences, { ImageIds: [image], ...input })).ImageReferences?.map(
      (one) => one.Arn,
    );
  const arnOf = (id: string) => `arn:aws:ec2:us-east-1:${OWNER}:instance/${id}`;
  const parameter = `arn:aws:ssm:us-east-1:${OWNER}:parameter/images/web`;
  assert.deepEqual(await references({ IncludeAllResourceTypes: true }), [
    ...[arnOf(running), arnOf(stopped)].sort(),
    parameter,
  ]);
  assert.deepEqual(await references({ ResourceTypes: [{ ResourceType: "ssm:Parameter" }] }), [parameter]);
  assert.deepEqual(
    await references({
      ResourceTypes: [
        {
          ResourceType: "ec2:Instance",
          ResourceTypeOptions: [{ OptionName: "state-name", OptionValues: ["stopped"] }],
        },
      ],
    }),
    [arnOf(stopped)],
  );
  assert.deepEqual(await references({ ImageIds: ["ami-00000000"], IncludeAllResourceTypes: true }), []);
  await assert.rejects(references({}), { code: "MissingParameter" });
  await assert.rejects(references({ ResourceTypes: [{ ResourceType: "ec2:Volume" }] }), {
    code: "InvalidParameterValue",
  });
});

test("compliance: ages and problems of images in use, and images that nobody uses", async (t) => {
  const world = await actionWorld(t);
  const old = await anImage(world, "old", {
    created_at: "2026-01-01T00:00:00.000Z",
    deprecate_at: "2026-06-01T00:00:00.000Z",
    last_launched_at: "2026-02-01T00:00:00.000Z",
  });
  const foreign = await anImage(world, "foreign", { account_id: STRANGER });
  const idle = await anImage(world, "idle", {
    created_at: "2026-01-01T00:00:00.000Z",
    last_launched_at: "2026-03-01T00:00:00.000Z",
  });
  const never = await anImage(world, "never", { created_at: "2026-02-01T00:00:00.000Z" });
  await anImage(world, "fresh");
  await world.call(images.EnableAllowedImagesSettings, { AllowedImagesSettingsState: "audit-mode" });
  const { id: first } = await world.instance({ image_id: old });
  const { id: second } = await world.instance({ image_id: foreign });
  await world.instance({ image_id: foreign, account_id: GUEST });
  await world.instance({ image_id: idle, state: "terminated" });
  const report = await world.call(getComplianceReport, {});
  assert.deepEqual(
    report.Instances.map((one) => [one.InstanceId, one.ImageAgeDays, one.Problems]),
    [
      [first, 327, ["old", "deprecated"]],
      [second, 23, ["not-allowed"]],
    ],
  );
  assert.deepEqual(
    report.UnusedImages.map((one) => [one.ImageId, one.IdleDays]),
    [
      [never, 296],
      [idle, 268],
    ],
  );
  assert.deepEqual((await world.call(getComplianceReport, { UnusedDays: 280 })).UnusedImages.length, 1);
});
