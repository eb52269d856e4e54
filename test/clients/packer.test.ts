// Packer, as somebody's template in version control would have it: only the endpoint is new.
import assert from "node:assert/strict";
import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  DescribeImageAttributeCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeKeyPairsCommand,
  DescribeSecurityGroupsCommand,
  DescribeSnapshotAttributeCommand,
  DescribeSnapshotsCommand,
  DescribeVolumesCommand,
} from "@aws-sdk/client-ec2";
import { clientEnvironment, findProgram, scratchDirectory, succeed } from "../support/client-programs.ts";
import { bootedOver } from "../support/launched.ts";
import { type Platform, startPlatform } from "../support/platform.ts";

const TEMPLATES = join(import.meta.dirname, "packer");

/** Packer with a template, in a directory of its own. */
function packer(t: TestContext, program: string, platform: Platform) {
  const directory = scratchDirectory(t, "packer");
  cpSync(TEMPLATES, directory, { recursive: true });
  writeFileSync(join(directory, "packed.txt"), "from packer\n");
  const env = clientEnvironment(platform, directory, {
    AWS_POLL_DELAY_SECONDS: "1",
    CHECKPOINT_DISABLE: "1",
    PACKER_CACHE_DIR: join(directory, "cache"),
  });
  return (template: string, variables: Record<string, string> = {}) => {
    const given = Object.entries({ endpoint: platform.url, ...variables }).flatMap(([k, v]) => ["-var", `${k}=${v}`]);
    return succeed(t, program, ["build", "-color=false", ...given, template], { cwd: directory, env });
  };
}

async function ownImages({ ec2 }: Platform) {
  return (await ec2.send(new DescribeImagesCommand({ Owners: ["self"] }))).Images ?? [];
}

/** Of what a build makes for itself nothing may be left. */
async function assertTidy({ ec2 }: Platform): Promise<void> {
  const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({}));
  const states = Reservations.flatMap(({ Instances = [] }) => Instances.map(({ State }) => State?.Name));
  assert.deepEqual([...new Set(states)], ["terminated"]);
  assert.deepEqual((await ec2.send(new DescribeKeyPairsCommand({}))).KeyPairs, []);
  assert.deepEqual((await ec2.send(new DescribeVolumesCommand({}))).Volumes, []);
  const { SecurityGroups = [] } = await ec2.send(new DescribeSecurityGroupsCommand({}));
  assert.deepEqual(
    SecurityGroups.map(({ GroupName }) => GroupName),
    ["default"],
  );
}

test("Packer, amazon-ebs: provisioned over SSH, captured, tagged, shared; a second build replaces the first", async (t) => {
  const program = findProgram("packer");
  if (program === undefined) return t.skip("packer is not installed");
  const platform = await startPlatform(t, { image: true });
  const { ec2 } = platform;
  const friend = await platform.createAccount();
  const build = packer(t, program, platform);

  const said = await build("amazon-ebs.json", { share: friend.accountId });
  const [first, ...others] = await ownImages(platform);
  assert.ok(first);
  assert.deepEqual(others, []);
  assert.match(said, new RegExp(`us-east-1: ${first.ImageId}`));
  const [tiny] = (await ec2.send(new DescribeImagesCommand({ Owners: ["ingot"] }))).Images ?? [];
  assert.equal(first.Description, "Made by Packer");
  const tags = Object.fromEntries((first.Tags ?? []).map(({ Key, Value }) => [Key, Value]));
  assert.deepEqual(tags, { by: "packer", from: tiny?.ImageId });
  const { LaunchPermissions } = await ec2.send(
    new DescribeImageAttributeCommand({ ImageId: first.ImageId, Attribute: "launchPermission" }),
  );
  assert.deepEqual(LaunchPermissions, [{ UserId: friend.accountId }]);
  const snapshot = first.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId ?? "";
  const { CreateVolumePermissions } = await ec2.send(
    new DescribeSnapshotAttributeCommand({ SnapshotId: snapshot, Attribute: "createVolumePermission" }),
  );
  assert.deepEqual(CreateVolumePermissions, [{ UserId: friend.accountId }]);
  const { Snapshots: [shown] = [] } = await ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [snapshot] }));
  assert.ok(shown?.Tags?.some(({ Key, Value }) => Key === "kind" && Value === "snapshot"));
  await assertTidy(platform);

  await build("amazon-ebs.json", { share: friend.accountId });
  const images = await ownImages(platform);
  assert.equal(images.length, 1);
  assert.notEqual(images[0]?.ImageId, first.ImageId);
  const { Snapshots = [] } = await ec2.send(new DescribeSnapshotsCommand({ OwnerIds: ["self"] }));
  assert.deepEqual(
    Snapshots.map(({ SnapshotId }) => SnapshotId),
    [images[0]?.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId],
  );
  const told = await bootedOver(t, platform, images[0]?.ImageId ?? "", "cat /etc/packed");
  assert.equal(told, "from packer");
});

test("Packer, amazon-ebssurrogate: a disk filled beside the running one becomes an image that boots", async (t) => {
  const program = findProgram("packer");
  if (program === undefined) return t.skip("packer is not installed");
  const platform = await startPlatform(t, { image: true });
  const build = packer(t, program, platform);
  await build("amazon-ebssurrogate.json");
  const [made] = await ownImages(platform);
  assert.equal(made?.Name, "packed-surrogate");
  assert.equal(made?.RootDeviceName, "/dev/xvda");
  assert.equal(await bootedOver(t, platform, made?.ImageId ?? "", "id -un"), "root");
});
