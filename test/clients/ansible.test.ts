// Ansible with its amazon.aws and community.aws collections: a playbook that asks for most things twice.
import assert from "node:assert/strict";
import { cpSync, existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { DescribeImagesCommand, DescribeSnapshotsCommand, DescribeVolumesCommand } from "@aws-sdk/client-ec2";
import { clientEnvironment, findProgram, runProgram, scratchDirectory, succeed } from "../support/client-programs.ts";
import { startPlatform } from "../support/platform.ts";

/** The Python that Ansible's packages belong to has boto3, or the modules cannot run. */
const PYTHON = "/usr/bin/python3";

test("Ansible: key, group, instance, image, copy, snapshot, volume, and all of it away again", async (t) => {
  const program = findProgram("ansible-playbook");
  if (program === undefined) return t.skip("ansible is not installed");
  const here = { cwd: import.meta.dirname, env: process.env };
  const python = existsSync(PYTHON) && (await runProgram(t, PYTHON, ["-c", "import boto3"], here)).code === 0;
  if (!python) return t.skip("boto3 is not installed for the system's Python");
  const platform = await startPlatform(t, { image: true });
  const { ec2 } = platform;
  const friend = await platform.createAccount();
  const directory = scratchDirectory(t, "ansible");
  cpSync(join(import.meta.dirname, "ansible"), directory, { recursive: true });
  const keygen = ["-q", "-t", "ed25519", "-N", "", "-f", "key"];
  await succeed(t, "ssh-keygen", keygen, { cwd: directory, env: process.env });
  const env = clientEnvironment(platform, directory, {
    ANSIBLE_LOCALHOST_WARNING: "false",
    ANSIBLE_NOCOLOR: "1",
    ANSIBLE_PYTHON_INTERPRETER: PYTHON,
    ANSIBLE_SSH_CONTROL_PATH_DIR: directory,
    ANSIBLE_SSH_ARGS: "-o ControlMaster=no",
    EXPECTED_ACCOUNT: platform.accountId,
    SHARE: friend.accountId,
  });
  const said = await succeed(t, program, ["-i", "localhost,", "images.yml"], { cwd: directory, env });
  assert.match(said, /localhost +: ok=\d+ .*failed=0/);
  assert.deepEqual((await ec2.send(new DescribeImagesCommand({ Owners: ["self"] }))).Images, []);
  assert.deepEqual((await ec2.send(new DescribeSnapshotsCommand({ OwnerIds: ["self"] }))).Snapshots, []);
  assert.deepEqual((await ec2.send(new DescribeVolumesCommand({}))).Volumes, []);
});
