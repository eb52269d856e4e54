// An image's whole life, told: who made it of what, shared, copied, launched, disabled and deregistered it; also by others.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { EBSClient, ListSnapshotBlocksCommand } from "@aws-sdk/client-ebs";
import {
  CopyImageCommand,
  CreateTagsCommand,
  DeregisterImageCommand,
  DescribeImageAttributeCommand,
  DescribeInstancesCommand,
  DisableImageCommand,
  EC2Client,
  EnableImageCommand,
  EnableImageDeprecationCommand,
  ModifyImageAttributeCommand,
  ModifySnapshotAttributeCommand,
  RegisterImageCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { startPlatform } from "../support/platform.ts";
import { smallSnapshot } from "../support/small-snapshot.ts";

const run = promisify(execFile);
const INGOT = join(import.meta.dirname, "..", "..", "ingot");

test("ingot history tells an image's life from its making to its end, other accounts' part in it too", async (t) => {
  const platform = await startPlatform(t);
  const { ec2 } = platform;
  const SnapshotId = await smallSnapshot(platform);
  const { ImageId: id = "" } = await ec2.send(
    new RegisterImageCommand({
      ...{ Name: "web", Architecture: "x86_64", RootDeviceName: "/dev/xvda", VirtualizationType: "hvm" },
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId } }],
    }),
  );
  const other = await platform.createAccount("Partner");
  const theirs = platform.client(EC2Client, other.credentials);
  await ec2.send(new CreateTagsCommand({ Resources: [id], Tags: [{ Key: "team", Value: "web" }] }));
  const shared = [{ UserId: other.accountId }];
  await ec2.send(new ModifyImageAttributeCommand({ ImageId: id, LaunchPermission: { Add: shared } }));
  await ec2.send(new ModifySnapshotAttributeCommand({ SnapshotId, CreateVolumePermission: { Add: shared } }));
  await platform.client(EBSClient, other.credentials).send(new ListSnapshotBlocksCommand({ SnapshotId }));
  const copy = await theirs.send(
    new CopyImageCommand({ Name: "taken", SourceImageId: id, SourceRegion: platform.region }),
  );
  const launch = async (client: EC2Client) => {
    const { Instances = [] } = await client.send(
      new RunInstancesCommand({ ImageId: id, InstanceType: "t3.nano", MinCount: 1, MaxCount: 1 }),
    );
    return { client, instance: Instances[0]?.InstanceId ?? "" };
  };
  const nextYear = new Date(Math.floor(Date.now() / 60_000) * 60_000 + 365 * 86_400_000);
  const ours = await launch(ec2);
  const partners = await launch(theirs);
  await ec2.send(new EnableImageDeprecationCommand({ ImageId: id, DeprecateAt: nextYear }));
  await ec2.send(new DisableImageCommand({ ImageId: id }));
  await assert.rejects(theirs.send(new RunInstancesCommand({ ImageId: id, MinCount: 1, MaxCount: 1 })));

  // What runs on it, as table, JSON and CSV; and when it was launched last, without EC2's day of delay.
  const ingot = (words: readonly string[], credentials = platform.credentials) =>
    run(INGOT, words, {
      env: { ...platform.environment(credentials), INGOT_DATA: platform.dataDirectory },
    }).then(({ stdout }) => stdout.trimEnd().split("\n"));
  const [head = "", row = "", ...rest] = await ingot(["report"]);
  assert.match(head, /^INSTANCE +ACCOUNT +REGION +STATE +IMAGE +NAME +OWNER +AGE IN DAYS +PROBLEMS$/);
  assert.match(row, new RegExp(`^${ours.instance} +${platform.accountId} +us-east-1 .* ${id} +web .* disabled$`));
  assert.ok(rest.includes("No image has been idle for 90 days."));
  const report = JSON.parse((await ingot(["report", "--json", "--everybody"])).join("\n")) as {
    Instances: { InstanceId: string; Problems: string[] }[];
  };
  assert.deepEqual(
    report.Instances.map(({ InstanceId, Problems }) => [InstanceId, Problems]).sort(),
    [ours.instance, partners.instance].sort().map((instance) => [instance, ["disabled"]]),
  );
  const lines = (await ingot(["report", "--csv"])).map((line) => line.split(","));
  assert.deepEqual(
    lines.map(([kind, instance]) => [kind, instance]),
    [
      ["Kind", "InstanceId"],
      ["instance", ours.instance],
    ],
  );
  const { LastLaunchedTime } = await ec2.send(
    new DescribeImageAttributeCommand({ ImageId: id, Attribute: "lastLaunchedTime" }),
  );
  assert.ok(Date.now() - Date.parse(LastLaunchedTime?.Value ?? "") < 600_000);
  for (const { client, instance } of [ours, partners]) {
    await client.send(new TerminateInstancesCommand({ InstanceIds: [instance] }));
  }

  await ec2.send(new EnableImageCommand({ ImageId: id }));
  await ec2.send(new DeregisterImageCommand({ ImageId: id }));

  const told = (await ingot(["history", id])).map((line) =>
    line.replace(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}us-east-1 {2}/, ""),
  );
  const us = `admin (${platform.accountId})`;
  const them = `admin (${other.accountId})`;
  const expected = [
    `${us} began its snapshot ${SnapshotId}`,
    `${us} finished its snapshot ${SnapshotId}`,
    `${us} registered it on ${SnapshotId}, named web`,
    `${us} tagged it: team=web`,
    `${us} shared it with ${other.accountId}`,
    `${us} shared its snapshot ${SnapshotId} with ${other.accountId}`,
    `${them} read the list of blocks of ${SnapshotId}`,
    `${them} copied it`,
    `${us} launched an instance of it: ${ours.instance}`,
    `${them} launched it`,
    `${us} had it deprecated from ${nextYear.toISOString().slice(0, 16)}Z on`,
    `${us} disabled it`,
    `${us} enabled it`,
    `${us} deregistered it`,
  ];
  assert.deepEqual(
    told.filter((line) => !line.includes("REFUSED")),
    expected,
  );
  // The partner's history of its copy begins with where it came from.
  const [copied = ""] = await ingot(["history", copy.ImageId ?? ""], other.credentials);
  assert.match(copied, new RegExp(`copied it from ${id} in us-east-1, named taken$`));

  for (const { client, instance } of [ours, partners]) {
    for (let state = ""; state !== "terminated"; ) {
      const { Reservations = [] } = await client.send(new DescribeInstancesCommand({ InstanceIds: [instance] }));
      state = Reservations[0]?.Instances?.[0]?.State?.Name ?? "";
    }
  }
});
