// The whole way: real guests from images, through the official SDK and real SSH. Emulated guests cost seconds each, so a test
// here tells one story and asserts along it.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { LookupEventsCommand } from "@aws-sdk/client-cloudtrail";
import {
  AttachVolumeCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateImageCommand,
  CreateKeyPairCommand,
  CreateSecurityGroupCommand,
  CreateVolumeCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeVolumesCommand,
  DetachVolumeCommand,
  EC2Client,
  GetConsoleOutputCommand,
  type Instance,
  ModifyImageAttributeCommand,
  RebootInstancesCommand,
  RevokeSecurityGroupIngressCommand,
  RunInstancesCommand,
  type RunInstancesCommandInput,
  StartInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import {
  AddRoleToInstanceProfileCommand,
  CreateInstanceProfileCommand,
  CreateRoleCommand,
  PutRolePolicyCommand,
} from "@aws-sdk/client-iam";
import { awsCli } from "../support/aws-cli.ts";
import { startPlatform } from "../support/platform.ts";

const PATIENCE_MS = 240_000;

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    assert.ok(performance.now() < giveUpAt, `${what}: not within ${PATIENCE_MS / 1000} s`);
    await delay(100);
  }
}

const SSH_OPTIONS = [
  ...["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=10"],
  "BatchMode=yes",
].flatMap((option) => ["-o", option]);

/** An SSH session that says each line again. */
function echoing(t: TestContext, address: string, key: string) {
  const child = spawn("ssh", [...SSH_OPTIONS, "-i", key, `root@${address}`, "cat"], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  t.after(() => child.kill());
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async says(line: string) {
      child.stdin.write(`${line}\n`);
      assert.equal((await lines.next()).value, line);
    },
  };
}

/** One platform with ingot/tiny, a key, and a group that lets SSH in. */
async function world(t: TestContext) {
  const platform = await startPlatform(t, { image: true });
  const { ec2 } = platform;
  const directory = mkdtempSync(join(tmpdir(), "ingot-keys-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const { KeyMaterial = "" } = await ec2.send(new CreateKeyPairCommand({ KeyName: "k", KeyType: "ed25519" }));
  const key = join(directory, "key");
  writeFileSync(key, `${KeyMaterial}\n`);
  chmodSync(key, 0o600);
  const { GroupId: group = "" } = await ec2.send(
    new CreateSecurityGroupCommand({ GroupName: "ssh", Description: "SSH" }),
  );
  await ec2.send(
    new AuthorizeSecurityGroupIngressCommand({
      GroupId: group,
      IpProtocol: "tcp",
      FromPort: 22,
      ToPort: 22,
      CidrIp: "0.0.0.0/0",
    }),
  );
  const { Images: [tiny] = [] } = await ec2.send(new DescribeImagesCommand({ Owners: ["ingot"] }));
  const image = tiny?.ImageId ?? "";

  const describe = async (id: string, client: EC2Client = ec2): Promise<Instance> => {
    const { Reservations = [] } = await client.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    const instance = Reservations[0]?.Instances?.[0];
    assert.ok(instance);
    return instance;
  };
  const inState = (id: string, state: string, client: EC2Client = ec2) =>
    until(`${id} ${state}`, async () => {
      const instance = await describe(id, client);
      if (instance.State?.Name === state) return instance;
      assert.notEqual(instance.State?.Name, "terminated", instance.StateReason?.Message);
      return undefined;
    });
  const launch = async (
    input: Partial<RunInstancesCommandInput> = {},
    client: EC2Client = ec2,
  ): Promise<Instance[]> => {
    const { Instances = [] } = await client.send(
      new RunInstancesCommand({
        ImageId: image,
        InstanceType: "t3.nano",
        MinCount: 1,
        MaxCount: 1,
        KeyName: "k",
        SecurityGroupIds: [group],
        ...input,
      }),
    );
    return Promise.all(Instances.map(({ InstanceId = "" }) => inState(InstanceId, "running", client)));
  };
  /** Runs a command as root; undefined when SSH does not answer, or the command fails. */
  const tryRun = async (address: string, command: string): Promise<string | undefined> => {
    const argv = [...SSH_OPTIONS, "-i", key, `root@${address}`, command];
    try {
      return (await promisify(execFile)("ssh", argv, { timeout: 60_000 })).stdout.trim();
    } catch {
      return undefined;
    }
  };
  /** The same, once SSH answers. */
  const run = (instance: Instance, command: string) =>
    until(`SSH on ${instance.InstanceId}`, () => tryRun(instance.PublicIpAddress ?? "", command));
  const imageAvailable = (id: string) =>
    until(`${id} available`, async () => {
      const { Images: [found] = [] } = await ec2.send(new DescribeImagesCommand({ ImageIds: [id] }));
      assert.notEqual(found?.State, "failed", found?.StateReason?.Message);
      return found?.State === "available" ? found : undefined;
    });
  const terminate = async (ids: readonly string[], client: EC2Client = ec2) => {
    await client.send(new TerminateInstancesCommand({ InstanceIds: [...ids] }));
    await Promise.all(
      ids.map((id) =>
        until(`${id} terminated`, async () =>
          (await describe(id, client)).State?.Name === "terminated" ? true : undefined,
        ),
      ),
    );
  };
  return { platform, ec2, key, group, image, describe, inState, launch, run, tryRun, imageAvailable, terminate };
}

test("an image captured from a machine launches machines that have its change and an identity of their own", async (t) => {
  const { platform, ec2, group, launch, run, tryRun, imageAvailable, terminate } = await world(t);
  const [source] = await launch({
    UserData: Buffer.from("#!/bin/sh\necho from-user-data > /etc/greeting\n").toString("base64"),
    MetadataOptions: { HttpTokens: "required", InstanceMetadataTags: "enabled" },
    TagSpecifications: [{ ResourceType: "instance", Tags: [{ Key: "Name", Value: "source" }] }],
  });
  assert.ok(source);
  assert.equal(await run(source, "cat /etc/greeting"), "from-user-data");
  const imds = (path: string) =>
    `T=$(printf 'PUT /latest/api/token HTTP/1.0\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n\\r\\n' | nc 169.254.169.254 80 | tail -n 1); wget -qO- --header "X-aws-ec2-metadata-token: $T" http://169.254.169.254/latest/${path}`;
  assert.equal(await run(source, imds("meta-data/instance-id")), source.InstanceId);
  assert.equal(await run(source, imds("meta-data/tags/instance/Name")), "source");
  assert.equal(
    await tryRun(source.PublicIpAddress ?? "", "wget -qO- http://169.254.169.254/latest/meta-data/"),
    undefined,
  );
  await run(source, "echo changed > /etc/marker && head -c 5000000 /dev/urandom > /root/blob && sync");
  const blob = await run(source, "sha256sum < /root/blob");

  // What it writes is in nobody's reach who has the data directory and not the key.
  const needle = `needle-${randomBytes(16).toString("hex")}`;
  await run(source, `yes ${needle} | head -n 5000 > /root/needles && sync`);
  const files = readdirSync(platform.dataDirectory, { recursive: true, withFileTypes: true });
  const overlays = files.filter((file) => file.isFile() && file.name.endsWith(".qcow2"));
  assert.equal(overlays.length, 1);
  for (const file of files) {
    if (!file.isFile()) continue;
    assert.equal(readFileSync(join(file.parentPath, file.name)).includes(needle), false, file.name);
  }

  const made = await ec2.send(
    new CreateImageCommand({ InstanceId: source.InstanceId, Name: "captured", NoReboot: true }),
  );
  const image = await imageAvailable(made.ImageId ?? "");
  assert.equal(image.SourceInstanceId, source.InstanceId);

  const copies = await launch({ ImageId: made.ImageId, MinCount: 2, MaxCount: 2 });
  const keys = new Set<string>();
  for (const copy of copies) {
    assert.equal(await run(copy, "cat /etc/marker"), "changed");
    assert.equal(await run(copy, "sha256sum < /root/blob"), blob);
    assert.equal(await run(copy, "hostname"), copy.PrivateDnsName?.split(".")[0]);
    keys.add(await run(copy, "cat /etc/dropbear/*.pub | cut -d' ' -f2"));
  }
  keys.add(await run(source, "cat /etc/dropbear/*.pub | cut -d' ' -f2"));
  assert.equal(keys.size, 3, "every machine has a host key of its own");

  // From guest to guest: by their group's rules, at once when these change.
  const [one, two] = copies;
  assert.ok(one && two);
  await run(two, "(while true; do echo pong | nc -l -p 7777; done) >/dev/null 2>&1 </dev/null & echo started");
  const ask = `nc -w 3 ${two.PrivateIpAddress} 7777 </dev/null`;
  assert.equal(await tryRun(one.PublicIpAddress ?? "", ask), undefined);
  const rule = { IpProtocol: "tcp", FromPort: 7777, ToPort: 7777, UserIdGroupPairs: [{ GroupId: group }] };
  await ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId: group, IpPermissions: [rule] }));
  assert.equal(await until("the opened port", () => tryRun(one.PublicIpAddress ?? "", ask)), "pong");
  await ec2.send(new RevokeSecurityGroupIngressCommand({ GroupId: group, IpPermissions: [rule] }));
  await until("the closed port", async () =>
    (await tryRun(one.PublicIpAddress ?? "", ask)) === undefined ? true : undefined,
  );

  await terminate([source, ...copies].map((instance) => instance.InstanceId ?? ""));
  await until("root volumes going with their instances", async () => {
    const { Volumes = [] } = await ec2.send(new DescribeVolumesCommand({}));
    return Volumes.length === 0 ? true : undefined;
  });
});

test("a captured image does without firmware as its origin does, until its guest has changed what the boot loader starts", async (t) => {
  const { ec2, launch, run, imageAvailable, terminate } = await world(t);
  const [source] = await launch();
  assert.ok(source);
  const captureAfter = async (command: string, name: string): Promise<string> => {
    await run(source, `${command} && sync && echo done`);
    // With a reboot: a boot loader does not read the journal, in which the change would lie otherwise.
    const { ImageId = "" } = await ec2.send(
      new CreateImageCommand({ InstanceId: source.InstanceId, Name: name, NoReboot: false }),
    );
    await imageAvailable(ImageId);
    return ImageId;
  };
  const grown = { BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { VolumeSize: 3 } }] };
  const same = await captureAfter("echo changed > /etc/marker", "same-boot");
  const other = await captureAfter("sed -i 's/ rw / rw ingot.test=1 /' /boot/grub/grub.cfg", "other-boot");
  const [first] = await launch({ ImageId: same, ...grown });
  const [second] = await launch({ ImageId: other });
  assert.ok(first && second);
  assert.equal(await run(first, "cat /etc/marker"), "changed");
  // GRUB says which file it has started.
  assert.doesNotMatch(await run(first, "cat /proc/cmdline"), /BOOT_IMAGE=|ingot\.test/);
  assert.match(await run(second, "cat /proc/cmdline"), /BOOT_IMAGE=.* ingot\.test=1 /);
  await terminate([source, first, second].map((instance) => instance.InstanceId ?? ""));
});

test("stop, start, reboot, console, a second volume, and power off from within", async (t) => {
  const { ec2, launch, run, inState, describe, terminate } = await world(t);
  const [instance] = await launch();
  assert.ok(instance);
  const id = instance.InstanceId ?? "";
  await run(instance, "echo kept > /root/kept && sync");

  const { VolumeId = "" } = await ec2.send(
    new CreateVolumeCommand({ AvailabilityZone: instance.Placement?.AvailabilityZone, Size: 1 }),
  );
  const volumeIs = (state: string) =>
    until(`${VolumeId} ${state}`, async () => {
      const { Volumes: [volume] = [] } = await ec2.send(new DescribeVolumesCommand({ VolumeIds: [VolumeId] }));
      const attached = volume?.Attachments?.[0]?.State ?? volume?.State;
      return attached === state ? true : undefined;
    });
  await volumeIs("available");
  await ec2.send(new AttachVolumeCommand({ InstanceId: id, VolumeId, Device: "/dev/sdf" }));
  await volumeIs("attached");
  const disk = await until("the disk in the guest", () =>
    run(instance, `grep -l ${VolumeId.replace("-", "")} /sys/block/*/device/serial | cut -d/ -f4`).then(
      (found) => found || undefined,
    ),
  );
  await run(instance, `echo data-on-${VolumeId} | dd of=/dev/${disk} bs=512 conv=sync 2>/dev/null && sync`);
  await ec2.send(new DetachVolumeCommand({ VolumeId }));
  await volumeIs("available");

  await ec2.send(new StopInstancesCommand({ InstanceIds: [id] }));
  const stopped = await inState(id, "stopped");
  assert.equal(stopped.PublicIpAddress, undefined);
  assert.match(stopped.StateTransitionReason ?? "", /^User initiated \(/);
  await ec2.send(new AttachVolumeCommand({ InstanceId: id, VolumeId, Device: "/dev/sdf" }));
  await volumeIs("attached");
  await ec2.send(new StartInstancesCommand({ InstanceIds: [id] }));
  const started = await inState(id, "running");
  assert.equal(started.PrivateIpAddress, instance.PrivateIpAddress);
  assert.equal(await run(started, "cat /root/kept"), "kept");
  assert.match(
    await run(started, "for d in /dev/nvme*n1; do head -c 30 $d | strings; done"),
    new RegExp(`data-on-${VolumeId}`),
  );

  const boot = await run(started, "cat /proc/sys/kernel/random/boot_id");
  await ec2.send(new RebootInstancesCommand({ InstanceIds: [id] }));
  await until("another boot", async () =>
    (await run(started, "cat /proc/sys/kernel/random/boot_id")) !== boot ? true : undefined,
  );
  const { Output = "" } = await ec2.send(new GetConsoleOutputCommand({ InstanceId: id, Latest: true }));
  assert.match(Buffer.from(Output, "base64").toString(), /login:/);

  await run(started, "(sleep 1; poweroff) >/dev/null 2>&1 </dev/null & echo going");
  await inState(id, "stopped");
  assert.equal((await describe(id)).StateReason?.Code, "Client.InstanceInitiatedShutdown");
  await terminate([id]);
});

test("a role's credentials reach its own instance and do exactly what the role may", async (t) => {
  const { platform, launch, run, terminate } = await world(t);
  const { iam } = platform;
  const trust = {
    Version: "2012-10-17",
    Statement: { Effect: "Allow", Principal: { Service: "ec2.amazonaws.com" }, Action: "sts:AssumeRole" },
  };
  await iam.send(new CreateRoleCommand({ RoleName: "guest", AssumeRolePolicyDocument: JSON.stringify(trust) }));
  const policy = { Version: "2012-10-17", Statement: { Effect: "Allow", Action: "ec2:DescribeImages", Resource: "*" } };
  await iam.send(
    new PutRolePolicyCommand({ RoleName: "guest", PolicyName: "p", PolicyDocument: JSON.stringify(policy) }),
  );
  await iam.send(new CreateInstanceProfileCommand({ InstanceProfileName: "guest" }));
  await iam.send(new AddRoleToInstanceProfileCommand({ InstanceProfileName: "guest", RoleName: "guest" }));
  const [instance] = await launch({ IamInstanceProfile: { Name: "guest" } });
  assert.ok(instance);
  const text = await run(instance, "wget -qO- http://169.254.169.254/latest/meta-data/iam/security-credentials/guest");
  // Asked without a token: that is in the account's events, and a finding.
  const { Events = [] } = await platform.cloudtrail.send(
    new LookupEventsCommand({
      LookupAttributes: [{ AttributeKey: "ResourceName", AttributeValue: instance.InstanceId ?? "" }],
    }),
  );
  const told = Events.filter(({ EventName }) => EventName === "InstanceMetadataVersion1Used");
  assert.equal(told.length, 1);
  const { eventType, serviceEventDetails } = JSON.parse(told[0]?.CloudTrailEvent ?? "{}");
  assert.equal(eventType, "AwsServiceEvent");
  assert.deepEqual(
    [serviceEventDetails.instanceId, serviceEventDetails.imageId, serviceEventDetails.path],
    [instance.InstanceId, instance.ImageId, "/latest/meta-data/iam/security-credentials/guest"],
  );
  const credentials = JSON.parse(text) as Record<"AccessKeyId" | "SecretAccessKey" | "Token", string>;
  const keys = {
    accessKeyId: credentials.AccessKeyId,
    secretAccessKey: credentials.SecretAccessKey,
    sessionToken: credentials.Token,
  };
  const guest = platform.client(EC2Client, keys);
  const { Images = [] } = await guest.send(new DescribeImagesCommand({ Owners: ["ingot"] }));
  assert.equal(Images.length, 1);
  await assert.rejects(guest.send(new DescribeInstancesCommand({})), (error: Error) => {
    assert.equal(error.name, "UnauthorizedOperation");
    assert.match(error.message, new RegExp(`assumed-role/guest/${instance.InstanceId}`));
    return true;
  });
  assert.match(text, /"Expiration"/);
  // The stock tools, with nothing configured but what the instance was handed.
  const tool = (program: string, ...words: string[]) =>
    promisify(execFile)(program, words, { env: platform.environment(keys), timeout: 120_000 });
  const aws = (...words: string[]) => awsCli(platform, words, platform.environment(keys));
  const who = JSON.parse(await aws("sts", "get-caller-identity", "--output", "json"));
  assert.match(who.Arn, new RegExp(`assumed-role/guest/${instance.InstanceId}$`));
  await assert.rejects(aws("ec2", "describe-instances"), /UnauthorizedOperation/);
  const script = `
import boto3, botocore, os
ec2 = boto3.client("ec2", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
print(len(ec2.describe_images(Owners=["ingot"])["Images"]))
try:
    ec2.describe_instances()
except botocore.exceptions.ClientError as error:
    print(error.response["Error"]["Code"])
`;
  assert.equal((await tool("python3", "-c", script)).stdout, "1\nUnauthorizedOperation\n");
  await terminate([instance.InstanceId ?? ""]);
});

test("a shared image launches in the account that it is shared with, and in no other", async (t) => {
  const { platform, ec2, launch, imageAvailable, terminate } = await world(t);
  const [source] = await launch();
  const { ImageId = "" } = await ec2.send(
    new CreateImageCommand({ InstanceId: source?.InstanceId, Name: "shared", NoReboot: true }),
  );
  await imageAvailable(ImageId);
  const friend = await platform.createAccount("friend");
  const stranger = await platform.createAccount("stranger");
  await ec2.send(
    new ModifyImageAttributeCommand({ ImageId, LaunchPermission: { Add: [{ UserId: friend.accountId }] } }),
  );
  const friendly = platform.client(EC2Client, friend.credentials);
  const [theirs] = await launch({ ImageId, KeyName: undefined, SecurityGroupIds: undefined }, friendly);
  assert.equal(theirs?.State?.Name, "running");
  const strange = platform.client(EC2Client, stranger.credentials);
  const attempt = { ImageId, KeyName: undefined, SecurityGroupIds: undefined };
  await assert.rejects(launch(attempt, strange), {
    name: "AuthFailure",
    message: `Not authorized for images: [${ImageId}]`,
  });
  await ec2.send(
    new ModifyImageAttributeCommand({ ImageId, LaunchPermission: { Remove: [{ UserId: friend.accountId }] } }),
  );
  await assert.rejects(launch(attempt, friendly), { name: "AuthFailure" });
  await terminate([theirs?.InstanceId ?? ""], friendly);
  await terminate([source?.InstanceId ?? ""]);
});

test("guests and their connections outlive the server; an image whose capture a kill -9 interrupted is finished or has a reason", async (t) => {
  const { platform, ec2, key, launch, run, describe, terminate } = await world(t);
  const [instance] = await launch();
  assert.ok(instance);
  const boot = await run(instance, "cat /proc/sys/kernel/random/boot_id");
  await platform.restart();
  assert.equal(await run(instance, "cat /proc/sys/kernel/random/boot_id"), boot);
  await run(instance, "head -c 60000000 /dev/urandom > /root/fill && sync");
  const { ImageId = "" } = await ec2.send(
    new CreateImageCommand({ InstanceId: instance.InstanceId, Name: "interrupted", NoReboot: true }),
  );
  const session = echoing(t, instance.PublicIpAddress ?? "", key);
  await session.says("a server runs");
  await platform.kill9();
  await session.says("it is gone");
  assert.equal(await run(instance, "cat /proc/sys/kernel/random/boot_id"), boot, "reached while no server runs");
  await platform.startServer();
  await session.says("another runs");
  const settled = await until("the image's end", async () => {
    const { Images: [image] = [] } = await ec2.send(new DescribeImagesCommand({ ImageIds: [ImageId] }));
    return image?.State === "pending" ? undefined : image;
  });
  assert.ok(settled?.State === "available" || (settled?.StateReason?.Message ?? "") !== "", JSON.stringify(settled));
  assert.equal((await describe(instance.InstanceId ?? "")).State?.Name, "running");
  assert.equal(await run(instance, "cat /proc/sys/kernel/random/boot_id"), boot);
  await terminate([instance.InstanceId ?? ""]);
});

test("QEMU missing, and more memory than the host has, are told as EC2 tells them", async (t) => {
  // All of the system's programs but QEMU's.
  const programs = mkdtempSync(join(tmpdir(), "ingot-path-"));
  t.after(() => rmSync(programs, { recursive: true, force: true }));
  for (const directory of ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"]) {
    for (const name of existsSync(directory) ? readdirSync(directory) : []) {
      if (!name.startsWith("qemu-") && !existsSync(join(programs, name)))
        symlinkSync(join(directory, name), join(programs, name));
    }
  }
  const platform = await startPlatform(t, {
    image: true,
    environment: { PATH: programs },
    args: ["--memory", "1024"],
  });
  const { ec2 } = platform;
  const { Images: [tiny] = [] } = await ec2.send(new DescribeImagesCommand({ Owners: ["ingot"] }));
  const input = { ImageId: tiny?.ImageId, MinCount: 1, MaxCount: 1 } as const;
  await assert.rejects(ec2.send(new RunInstancesCommand({ ...input, InstanceType: "t3.large" })), {
    name: "InsufficientInstanceCapacity",
  });
  const { Instances: [instance] = [] } = await ec2.send(new RunInstancesCommand({ ...input, InstanceType: "t3.nano" }));
  const ended = await until("its end", async () => {
    const { Reservations = [] } = await ec2.send(
      new DescribeInstancesCommand({ InstanceIds: [instance?.InstanceId ?? ""] }),
    );
    const found = Reservations[0]?.Instances?.[0];
    return found?.State?.Name === "terminated" ? found : undefined;
  });
  assert.equal(ended.StateReason?.Code, "Server.InternalError");
  assert.match(ended.StateReason?.Message ?? "", /qemu-system-x86_64/);
});
