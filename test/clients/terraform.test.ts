// Terraform with HashiCorp's AWS provider: apply, an empty plan, and a destroy that leaves nothing.
import assert from "node:assert/strict";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  DescribeImageAttributeCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeLaunchTemplatesCommand,
  DescribeLaunchTemplateVersionsCommand,
  DescribeSnapshotsCommand,
  DescribeVolumesCommand,
} from "@aws-sdk/client-ec2";
import { ListRolesCommand } from "@aws-sdk/client-iam";
import { clientEnvironment, findProgram, runProgram, scratchDirectory, succeed } from "../support/client-programs.ts";
import { overSsh } from "../support/launched.ts";
import { startPlatform } from "../support/platform.ts";

/** Where the provider lies on machines that cannot ask a registry; see `provider_installation` in Terraform's manual. */
const MIRROR = process.env.TF_PLUGIN_MIRROR ?? "/opt/tf-plugins";

/** Terraform, where it and the provider are; else the test is skipped. */
function installed(t: TestContext): string | undefined {
  const program = findProgram("terraform");
  if (program === undefined) t.skip("terraform is not installed");
  else if (existsSync(join(MIRROR, "registry.terraform.io/hashicorp/aws"))) return program;
  else t.skip(`the AWS provider is not in ${MIRROR}`);
  return undefined;
}

test("Terraform: images, copies, shares, volumes, roles, a machine with provisioners", async (t) => {
  const program = installed(t);
  if (program === undefined) return;
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

/** Terraform in a directory of its own, with one file that may be written anew. */
async function small(t: TestContext, program: string) {
  const platform = await startPlatform(t);
  const directory = scratchDirectory(t, "terraform");
  writeFileSync(join(directory, "rc"), `provider_installation { filesystem_mirror { path = "${MIRROR}" } }\n`);
  const write = (resource: string) =>
    writeFileSync(join(directory, "main.tf"), `provider "aws" {\n  region = "us-east-1"\n}\n${resource}\n`);
  const env = clientEnvironment(platform, directory, {
    CHECKPOINT_DISABLE: "1",
    TF_CLI_CONFIG_FILE: join(directory, "rc"),
  });
  write("");
  await succeed(t, program, ["init", "-no-color"], { cwd: directory, env });
  const run = (command: string, ...argv: string[]) =>
    runProgram(t, program, [command, "-no-color", ...argv], { cwd: directory, env });
  return { platform, write, run };
}

test("Terraform: a launch template gets a version for each change", async (t) => {
  const program = installed(t);
  if (program === undefined) return;
  const { platform, write, run } = await small(t, program);
  const template = (userData: string) => `resource "aws_launch_template" "web" {
    name                   = "web"
    image_id               = "ami-0123456789abcdef0"
    instance_type          = "t3.nano"
    user_data              = base64encode("${userData}")
    update_default_version = true
    metadata_options {
      http_tokens                 = "required"
      http_put_response_hop_limit = 2
    }
    block_device_mappings {
      device_name = "/dev/xvda"
      ebs { volume_size = 2 }
    }
    tag_specifications {
      resource_type = "instance"
      tags          = { Name = "web" }
    }
    tags = { by = "terraform" }
  }`;
  for (const [version, userData] of [
    [1, "one"],
    [2, "two"],
  ] as const) {
    write(template(userData));
    const applied = await run("apply", "-auto-approve");
    assert.equal(applied.code, 0, applied.stdout + applied.stderr);
    const plan = await run("plan", "-detailed-exitcode");
    assert.equal(plan.code, 0, plan.stdout + plan.stderr);
    const { LaunchTemplateVersions: [found] = [] } = await platform.ec2.send(
      new DescribeLaunchTemplateVersionsCommand({ LaunchTemplateName: "web", Versions: ["$Default"] }),
    );
    assert.equal(found?.VersionNumber, version);
    assert.equal(Buffer.from(found.LaunchTemplateData?.UserData ?? "", "base64").toString(), userData);
  }
  assert.equal((await run("destroy", "-auto-approve")).code, 0);
  assert.deepEqual((await platform.ec2.send(new DescribeLaunchTemplatesCommand({}))).LaunchTemplates, []);
});

test("Terraform: what Ingot does not have is refused by name, at once", async (t) => {
  const program = installed(t);
  if (program === undefined) return;
  const { write, run } = await small(t, program);
  write('resource "aws_eip" "address" {}');
  const { code, stderr } = await run("apply", "-auto-approve");
  assert.equal(code, 1);
  assert.match(stderr.replaceAll(/\s+/g, " "), /UnsupportedOperation.*AllocateAddress/);
});
