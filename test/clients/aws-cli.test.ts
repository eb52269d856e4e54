// The AWS CLI: a day's work with images typed with each one that is installed. Version 1 and any since 2.13 read
// AWS_ENDPOINT_URL; older ones, such as Debian 12's, must be told each time, so all of them are.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  clientEnvironment,
  findProgram,
  type Ran,
  runProgram,
  scratchDirectory,
  succeed,
} from "../support/client-programs.ts";
import { overSsh } from "../support/launched.ts";
import { type Platform, startPlatform } from "../support/platform.ts";

function installed(): string[] {
  const paths = (process.env.PATH ?? "").split(delimiter).map((directory) => join(directory, "aws"));
  const found = new Map(paths.flatMap((path) => (findProgram(path) ? [[realpathSync(path), path] as const] : [])));
  return [...found.values()];
}

function typed(t: TestContext, program: string, platform: Platform) {
  const directory = scratchDirectory(t, "aws");
  const options = { cwd: directory, env: clientEnvironment(platform, directory, { AWS_DEFAULT_OUTPUT: "json" }) };
  const words = (line: readonly string[]) => [...line, "--endpoint-url", platform.url];
  return {
    directory,
    /** Its answer as text. */
    text: async (...line: string[]) =>
      (await succeed(t, program, words([...line, "--output", "text"]), options)).trim(),
    json: async <T>(...line: string[]) => JSON.parse(await succeed(t, program, words(line), options)) as T,
    done: (...line: string[]) => succeed(t, program, words(line), options),
    run: (...line: string[]): Promise<Ran> => runProgram(t, program, words(line), options),
  };
}

const programs = installed();
if (programs.length === 0) test("the AWS CLI", { skip: "the AWS CLI is not installed" }, () => {});

for (const program of programs) {
  test(`${program}: launch, look, capture, copy, share, find it all in the audit`, async (t) => {
    const platform = await startPlatform(t, { image: true });
    const aws = typed(t, program, platform);
    const version = (await aws.done("--version")).trim();
    t.diagnostic(version);
    // What a service refuses: version 2 tells it from all other failures.
    const refused = version.startsWith("aws-cli/1.") ? 255 : 254;
    const friend = await platform.createAccount();

    const me = await aws.json<{ Account: string }>("sts", "get-caller-identity");
    assert.equal(me.Account, platform.accountId);
    const byName = ["--owners", "ingot", "--filters", "Name=name,Values=ingot/tiny"];
    const tiny = await aws.text("ec2", "describe-images", ...byName, "--query", "Images[0].ImageId");
    const material = await aws.text("ec2", "create-key-pair", "--key-name", "cli", "--query", "KeyMaterial");
    const key = join(aws.directory, "cli.pem");
    writeFileSync(key, `${material}\n`);
    chmodSync(key, 0o600);
    const group = await aws.text("ec2", "create-security-group", "--group-name", "cli", "--description", "SSH");
    const groupId = group.split(/\s/)[0] ?? "";
    const open = ["--protocol", "tcp", "--port", "22", "--cidr", "0.0.0.0/0"];
    await aws.done("ec2", "authorize-security-group-ingress", "--group-id", groupId, ...open);
    writeFileSync(join(aws.directory, "user-data"), "#!/bin/sh\necho told > /etc/told\n");

    const launch = ["--image-id", tiny, "--instance-type", "t3.nano", "--key-name", "cli"];
    const more = ["--security-group-ids", groupId, "--user-data", "file://user-data"];
    const tags = ["--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=cli}]"];
    const id = await aws.text(
      "ec2",
      "run-instances",
      ...launch,
      ...more,
      ...tags,
      "--query",
      "Instances[0].InstanceId",
    );
    await aws.done("ec2", "wait", "instance-running", "--instance-ids", id);
    await aws.done("ec2", "wait", "instance-status-ok", "--instance-ids", id);
    const found = ["--filters", "Name=tag:Name,Values=cli", "--query", "Reservations[].Instances[].PublicIpAddress"];
    const address = await aws.text("ec2", "describe-instances", ...found);

    await t.test("SSH with the key that the CLI has written, and the console's log", async () => {
      assert.equal(await overSsh(`ec2-user@${address}`, key, "cat /etc/told"), "told");
      assert.match(await aws.text("ec2", "get-console-output", "--instance-id", id, "--latest"), /login:/);
    });

    const image = await aws.text("ec2", "create-image", "--instance-id", id, "--name", "from-cli", "--no-reboot");
    await aws.done("ec2", "wait", "image-exists", "--image-ids", image);
    await aws.done("ec2", "wait", "image-available", "--image-ids", image);
    const from = ["--source-image-id", image, "--source-region", "us-east-1", "--region", "eu-west-1"];
    const copy = await aws.text("ec2", "copy-image", ...from, "--name", "copied");
    await aws.done("ec2", "wait", "image-available", "--image-ids", copy, "--region", "eu-west-1");
    const add = `Add=[{UserId=${friend.accountId}}]`;
    await aws.done("ec2", "modify-image-attribute", "--image-id", image, "--launch-permission", add);
    const attribute = ["--image-id", image, "--attribute", "launchPermission"];
    const shared = await aws.text(
      "ec2",
      "describe-image-attribute",
      ...attribute,
      "--query",
      "LaunchPermissions[].UserId",
    );
    assert.equal(shared, friend.accountId);

    await t.test("pages of any size are the whole list", async () => {
      type Types = { InstanceTypes: { InstanceType: string }[]; NextToken?: string };
      const list = ["ec2", "describe-instance-types"];
      const whole = await aws.json<Types>(...list);
      assert.deepEqual(await aws.json<Types>(...list, "--page-size", "5"), whole);
      const some = await aws.json<Types>(...list, "--max-items", "6");
      assert.deepEqual(some.InstanceTypes, whole.InstanceTypes.slice(0, 6));
      assert.ok(some.NextToken);
      const rest = await aws.json<Types>(...list, "--starting-token", some.NextToken);
      assert.deepEqual(rest.InstanceTypes, whole.InstanceTypes.slice(6));
    });

    await t.test("refusals: the CLI's exit code and EC2's", async () => {
      const unknown = await aws.run("ec2", "describe-images", "--image-ids", "ami-0123456789abcdef0");
      assert.equal(unknown.code, refused);
      assert.match(unknown.stderr, /\(InvalidAMIID.NotFound\) when calling the DescribeImages operation: The image id/);
      const dry = await aws.run("ec2", "run-instances", ...launch, "--dry-run");
      assert.equal(dry.code, refused);
      assert.match(dry.stderr, /\(DryRunOperation\)/);
      const unanswered = await aws.run("ec2", "describe-vpn-gateways");
      assert.equal(unanswered.code, refused);
      assert.match(unanswered.stderr, /\(UnsupportedOperation\)/);
    });

    await t.test("EBS direct: a block goes in and comes out", async () => {
      const block = randomBytes(512 * 1024);
      writeFileSync(join(aws.directory, "block"), block);
      const started = await aws.text("ebs", "start-snapshot", "--volume-size", "1", "--query", "SnapshotId");
      const sum = createHash("sha256").update(block).digest("base64");
      const put = ["--snapshot-id", started, "--block-index", "3", "--block-data", "block", "--data-length", "524288"];
      await aws.done("ebs", "put-snapshot-block", ...put, "--checksum", sum, "--checksum-algorithm", "SHA256");
      await aws.done("ebs", "complete-snapshot", "--snapshot-id", started, "--changed-blocks-count", "1");
      await aws.done("ec2", "wait", "snapshot-completed", "--snapshot-ids", started);
      const list = await aws.json<{ Blocks: { BlockIndex: number; BlockToken: string }[] }>(
        ...["ebs", "list-snapshot-blocks", "--snapshot-id", started],
      );
      assert.deepEqual(
        list.Blocks.map(({ BlockIndex }) => BlockIndex),
        [3],
      );
      const token = list.Blocks[0]?.BlockToken ?? "";
      const get = ["--snapshot-id", started, "--block-index", "3", "--block-token", token];
      await aws.done("ebs", "get-snapshot-block", ...get, "back");
      assert.deepEqual(readFileSync(join(aws.directory, "back")), block);
    });

    await t.test("IAM, STS and SSM", async () => {
      const trust = JSON.stringify({
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Action: "sts:AssumeRole", Principal: { AWS: platform.accountId } }],
      });
      const made = ["--role-name", "looker", "--assume-role-policy-document", trust, "--query", "Role.Arn"];
      const role = await aws.text("iam", "create-role", ...made);
      const policy = JSON.stringify({
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Action: "ec2:Describe*", Resource: "*" }],
      });
      await aws.done(
        ...["iam", "put-role-policy", "--role-name", "looker", "--policy-name", "look"],
        ...["--policy-document", policy],
      );
      assert.equal(await aws.text("iam", "list-roles", "--query", "Roles[?RoleName=='looker'].Arn"), role);
      const assume = ["--role-arn", role, "--role-session-name", "cli", "--query", "AssumedRoleUser.Arn"];
      const assumed = await aws.text("sts", "assume-role", ...assume);
      assert.equal(assumed, `arn:aws:sts::${platform.accountId}:assumed-role/looker/cli`);
      const parameter = ["--name", "/images/web", "--type", "String", "--data-type", "aws:ec2:image", "--value", image];
      await aws.done("ssm", "put-parameter", ...parameter);
      const read = await aws.text("ssm", "get-parameter", "--name", "/images/web", "--query", "Parameter.Value");
      assert.equal(read, image);
      const resolved = ["--image-id", "resolve:ssm:/images/web", "--instance-type", "t3.nano", "--dry-run"];
      assert.match((await aws.run("ec2", "run-instances", ...resolved)).stderr, /\(DryRunOperation\)/);
    });

    await t.test("all of it is in the audit", async () => {
      const by = ["--lookup-attributes", "AttributeKey=EventName,AttributeValue=CreateImage"];
      const events = await aws.json<{ Events: { CloudTrailEvent: string }[] }>("cloudtrail", "lookup-events", ...by);
      assert.equal(events.Events.length, 1);
      const event = JSON.parse(events.Events[0]?.CloudTrailEvent ?? "{}");
      assert.equal(event.responseElements.imageId, image);
      assert.match(event.userAgent, /aws-cli/);
    });

    await aws.done("ec2", "stop-instances", "--instance-ids", id);
    await aws.done("ec2", "wait", "instance-stopped", "--instance-ids", id);
    await aws.done("ec2", "terminate-instances", "--instance-ids", id);
    await aws.done("ec2", "wait", "instance-terminated", "--instance-ids", id);
    await aws.done("ec2", "deregister-image", "--image-id", image);
    await aws.done("ec2", "delete-security-group", "--group-id", groupId);
    await aws.done("ec2", "delete-key-pair", "--key-name", "cli");
  });
}
