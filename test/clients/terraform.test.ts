// Terraform with HashiCorp's AWS provider: apply, an empty plan, and a destroy that leaves nothing.
import assert from "node:assert/strict";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  DescribeImageAttributeCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeSnapshotsCommand,
  DescribeVolumesCommand,
} from "@aws-sdk/client-ec2";
import { ListRolesCommand } from "@aws-sdk/client-iam";
import { clientEnvironment, findProgram, runProgram, scratchDirectory, succeed } from "../support/client-programs.ts";
import { overSsh } from "../support/launched.ts";
import { startPlatform } from "../support/platform.ts";

/** Where the provider lies on machines that cannot ask a registry; see `provider_installation` in Terraform's manual. */
const MIRROR = process.env.TF_PLUGIN_MIRROR ?? "/opt/tf-plugins";

test("Terraform: images, copies, shares, volumes, roles, a machine with provisioners", async (t) => {
  const program = findProgram("terraform");
  if (program === undefined) return t.skip("terraform is not installed");
  if (!existsSync(join(MIRROR, "registry.terraform.io/hashicorp/aws"))) {
    return t.skip(`the AWS provider is not in ${MIRROR}`);
  }
  const platform = await startPlatform(t, { image: true });
  const { ec2, iam } = platform;
  const friend = await platform.createAccount();
  const directory = scratchDirectory(t, "terraform");
  cpSync(join(import.meta.dirname, "terraform"), directory, { recursive: true });
  writeFileSync(join(directory, "rc"), `provider_installation { filesystem_mirror { path = "${MIRROR}" } }\n`);
  const keygen = ["-q", "-t", "ed25519", "-N", "", "-f", "key"];
  const key = join(directory, "key");
  await succeed(t, "ssh-keygen", keygen, { cwd: directory, env: process.env });
  const env = clientEnvironment(platform, directory, {
    CHECKPOINT_DISABLE: "1",
    TF_IN_AUTOMATION: "1",
    TF_CLI_CONFIG_FILE: join(directory, "rc"),
    TF_VAR_endpoint: platform.url,
    TF_VAR_share: friend.accountId,
    TF_VAR_public_key: readFileSync(`${key}.pub`, "utf8").trim(),
  });
  const terraform = (command: string, ...argv: string[]) => [command, "-no-color", ...argv];
  const done = (...argv: string[]) => succeed(t, program, argv, { cwd: directory, env });

  await done(...terraform("init"));
  const applied = await done(...terraform("apply", "-auto-approve"));
  assert.match(applied, /Apply complete! Resources: 17 added, 0 changed, 0 destroyed\./);
  const outputs = JSON.parse(await done("output", "-json"));
  assert.equal(outputs.account.value, platform.accountId);
  assert.equal(outputs.current.value, outputs.copy.value);
  const told = await overSsh(`ec2-user@${outputs.address.value}`, key, "cat /etc/told /etc/terraformed");
  assert.equal(told, "told\nfrom terraform");
  const { LaunchPermissions } = await ec2.send(
    new DescribeImageAttributeCommand({ ImageId: outputs.copy.value, Attribute: "launchPermission" }),
  );
  assert.deepEqual(LaunchPermissions, [{ UserId: friend.accountId }]);

  // 0: nothing to change. 2: what Ingot answers is not what was asked for.
  const plan = await runProgram(t, program, terraform("plan", "-detailed-exitcode"), { cwd: directory, env });
  assert.equal(plan.code, 0, plan.stdout + plan.stderr);

  const destroyed = await done(...terraform("destroy", "-auto-approve"));
  assert.match(destroyed, /Destroy complete! Resources: 17 destroyed\./);
  assert.deepEqual((await ec2.send(new DescribeImagesCommand({ Owners: ["self"] }))).Images, []);
  assert.deepEqual((await ec2.send(new DescribeVolumesCommand({}))).Volumes, []);
  const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({}));
  assert.equal(Reservations[0]?.Instances?.[0]?.State?.Name, "terminated");
  const roles = (await iam.send(new ListRolesCommand({}))).Roles ?? [];
  assert.ok(!roles.some(({ RoleName }) => RoleName === "terraform-builder"));
  // aws_ami leaves its snapshots to whoever made them; here that is aws_ami_from_instance, which takes them along.
  const { Snapshots = [] } = await ec2.send(new DescribeSnapshotsCommand({ OwnerIds: ["self"] }));
  assert.deepEqual(Snapshots, []);
});

test("Terraform: what Ingot does not have is refused by name, at once", async (t) => {
  const program = findProgram("terraform");
  if (program === undefined) return t.skip("terraform is not installed");
  if (!existsSync(join(MIRROR, "registry.terraform.io/hashicorp/aws"))) {
    return t.skip(`the AWS provider is not in ${MIRROR}`);
  }
  const platform = await startPlatform(t);
  const directory = scratchDirectory(t, "terraform");
  writeFileSync(join(directory, "rc"), `provider_installation { filesystem_mirror { path = "${MIRROR}" } }\n`);
  writeFileSync(
    join(directory, "main.tf"),
    `provider "aws" {
      region = "us-east-1"
    }
    resource "aws_launch_template" "t" {
      name     = "web"
      image_id = "ami-0123456789abcdef0"
    }\n`,
  );
  const env = clientEnvironment(platform, directory, {
    CHECKPOINT_DISABLE: "1",
    TF_CLI_CONFIG_FILE: join(directory, "rc"),
  });
  await succeed(t, program, ["init", "-no-color"], { cwd: directory, env });
  const { code, stderr } = await runProgram(t, program, ["apply", "-auto-approve", "-no-color"], {
    cwd: directory,
    env,
  });
  assert.equal(code, 1);
  assert.match(stderr.replaceAll(/\s+/g, " "), /UnsupportedOperation.*CreateLaunchTemplate/);
});
