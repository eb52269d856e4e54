// cloud-init and a whole Debian 12 as they are in a distribution: what they ask of the metadata service is what EC2 answers.
// Bakes the image (minutes, and a mirror), so it runs where its programs are and when it is asked for.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { CreateImageCommand, DescribeImagesCommand, RebootInstancesCommand } from "@aws-sdk/client-ec2";
import { AddRoleToInstanceProfileCommand, CreateInstanceProfileCommand, CreateRoleCommand } from "@aws-sdk/client-iam";
import { clientEnvironment, findProgram, scratchDirectory, succeed } from "../support/client-programs.ts";
import { launched } from "../support/launched.ts";
import { startPlatform } from "../support/platform.ts";

const REPOSITORY = join(import.meta.dirname, "..", "..");
const GIB = 1024 ** 3;

const USER_DATA = `#cloud-config
write_files:
  - path: /etc/told
    content: told
runcmd:
  - [sh, -c, "echo ran >> /etc/ran"]
`;

/** IMDSv2 by Python's standard library: the image has no curl. */
const metadata = (path: string) => `python3 -c "
import urllib.request as u
r = u.Request('http://169.254.169.254/latest/api/token', method='PUT', headers={'X-aws-ec2-metadata-token-ttl-seconds': '60'})
t = u.urlopen(r).read().decode()
print(u.urlopen(u.Request('http://169.254.169.254/latest/${path}', headers={'X-aws-ec2-metadata-token': t})).read().decode())"`;

test("Debian 12: cloud-init makes the instance what it was launched to be, once", async (t) => {
  if (findProgram("mmdebstrap") === undefined) return t.skip("mmdebstrap is not installed");
  const platform = await startPlatform(t);
  const { ec2, iam } = platform;
  const directory = scratchDirectory(t, "debian");
  const ingot = ["--disable-warning=ExperimentalWarning", join(REPOSITORY, "src/cli/main.ts"), "bake", "debian-12"];
  const argv = [...ingot, "--data", platform.dataDirectory, "--name", "debian-12", "--json"];
  await succeed(t, process.execPath, argv, { cwd: directory, env: clientEnvironment(platform, directory) });
  const { Images: [debian] = [] } = await ec2.send(
    new DescribeImagesCommand({ Filters: [{ Name: "name", Values: ["debian-12"] }] }),
  );
  assert.equal(debian?.State, "available");

  const trust = { Effect: "Allow", Action: "sts:AssumeRole", Principal: { Service: "ec2.amazonaws.com" } };
  const document = JSON.stringify({ Version: "2012-10-17", Statement: [trust] });
  await iam.send(new CreateRoleCommand({ RoleName: "guest", AssumeRolePolicyDocument: document }));
  await iam.send(new CreateInstanceProfileCommand({ InstanceProfileName: "guest" }));
  await iam.send(new AddRoleToInstanceProfileCommand({ InstanceProfileName: "guest", RoleName: "guest" }));

  const settings = {
    ImageId: debian.ImageId ?? "",
    InstanceType: "t3.small" as const,
    IamInstanceProfile: { Name: "guest" },
    MetadataOptions: { HttpTokens: "required" as const },
    BlockDeviceMappings: [{ DeviceName: debian.RootDeviceName, Ebs: { VolumeSize: 5, DeleteOnTermination: true } }],
    UserData: Buffer.from(USER_DATA).toString("base64"),
  };
  const machine = await launched(t, platform, settings, "admin");
  const { InstanceId = "", PrivateDnsName = "" } = machine.instance;

  await t.test("key, hostname, user data, root filesystem", async () => {
    assert.match(await machine.run("cloud-init status --wait"), /status: done/);
    assert.equal(await machine.run("cat /run/cloud-init/cloud-id"), "aws");
    assert.equal(await machine.run("cat /var/lib/cloud/data/instance-id"), InstanceId);
    assert.equal(await machine.run("hostname"), PrivateDnsName.split(".")[0]);
    assert.equal(await machine.run("cat /etc/told /etc/ran"), "toldran");
    const bytes = Number(await machine.run("df --output=size -B1 / | tail -1"));
    assert.ok(bytes > 4.5 * GIB, `/ has ${bytes} bytes`);
    assert.equal(await machine.run("sudo id -un"), "root");
    assert.equal(await machine.run("systemctl is-system-running --wait"), "running");
  });

  await t.test("role credentials of the metadata service", async () => {
    const given = JSON.parse(await machine.run(metadata("meta-data/iam/security-credentials/guest")));
    assert.equal(given.Code, "Success");
    assert.match(given.AccessKeyId, /^ASIA/);
  });

  const hostKey = "cat /etc/ssh/ssh_host_ed25519_key.pub";
  const key = await machine.run(hostKey);
  await t.test("a reboot changes nothing", async () => {
    const bootId = "cat /proc/sys/kernel/random/boot_id";
    const before = await machine.run(bootId);
    await ec2.send(new RebootInstancesCommand({ InstanceIds: [InstanceId] }));
    while ((await machine.run(bootId)) === before) await delay(500);
    assert.match(await machine.run("cloud-init status --wait"), /status: done/);
    assert.equal(await machine.run("cat /etc/ran"), "ran");
    assert.equal(await machine.run(hostKey), key);
  });

  await t.test("captured and launched again, it is another machine with the same disk", async () => {
    await machine.run("echo kept | sudo tee /etc/kept; sync");
    const { ImageId = "" } = await ec2.send(new CreateImageCommand({ InstanceId, Name: "captured", NoReboot: true }));
    for (;;) {
      const { Images: [image] = [] } = await ec2.send(new DescribeImagesCommand({ ImageIds: [ImageId] }));
      if (image?.State === "available") break;
      assert.equal(image?.State, "pending", image?.StateReason?.Message);
      await delay(200);
    }
    await machine.terminate();
    const { BlockDeviceMappings: _, UserData: __, ...same } = settings;
    const child = await launched(t, platform, { ...same, ImageId }, "admin");
    assert.match(await child.run("cloud-init status --wait"), /status: done/);
    assert.equal(await child.run("cat /etc/kept /etc/ran"), "kept\nran");
    assert.equal(await child.run("cat /var/lib/cloud/data/instance-id"), child.instance.InstanceId);
    assert.equal(await child.run("hostname"), child.instance.PrivateDnsName?.split(".")[0]);
    assert.notEqual(await child.run(hostKey), key);
    await child.terminate();
  });
});
