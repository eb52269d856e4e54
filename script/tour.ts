// npm run tour: from a fresh server to a machine launched from an image captured from a machine, and what may go wrong on the
// way. Each command is one that a person would type; each line with a tick was checked. Leaves nothing behind.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Event as TrailEvent } from "@aws-sdk/client-cloudtrail";
import type { Image, Instance, Reservation, Snapshot } from "@aws-sdk/client-ec2";
import { chain } from "../src/base/errors.ts";
import { Stage } from "./tour-stage.ts";

const stage = new Stage();
const claim = (text: string, holds: boolean, found?: unknown) => stage.claim(text, holds, found);
const ec2 = <T>(...words: readonly string[]) => stage.aws<T>("ec2", ...words);

const instancesOf = (answer: { Reservations?: Reservation[] }): Instance[] =>
  (answer.Reservations ?? []).flatMap(({ Instances = [] }) => Instances);
const describe = async (...ids: readonly string[]): Promise<Instance[]> => {
  const found = instancesOf(await ec2("describe-instances", "--instance-ids", ...ids));
  return ids.map((id) => found.find(({ InstanceId }) => InstanceId === id) ?? {});
};
const idsOf = (instances: readonly Instance[]): string[] => instances.map(({ InstanceId = "" }) => InstanceId);
/** Changes with each boot and with nothing else. */
const BOOT_ID = "cat /proc/sys/kernel/random/boot_id";
const bootId = (instance: Instance) => stage.ssh(instance, BOOT_ID);
const imageState = async (id: string): Promise<Image> =>
  (await ec2<{ Images: Image[] }>("describe-images", "--image-ids", id)).Images[0] ?? {};

const USER_DATA = `#!/bin/sh
echo "user data ran on $(hostname)" > /var/tmp/user-data
`;

async function tour(): Promise<void> {
  let group = "";
  let first: Instance = {};
  let second: Instance = {};
  let captured = "";
  let three: Instance[] = [];

  await stage.step(0, "A server", async () => {
    await stage.serve("--account", "111122223333");
    const lines = await stage.ingot("env");
    stage.evaluate(lines);
    const { Account } = await stage.aws<{ Account: string }>("sts", "get-caller-identity");
    claim("the credentials are those of the account that was asked for", Account === "111122223333", Account);
  });

  await stage.step(1, "Two machines from ingot/tiny", async () => {
    // What does not need one another is typed in four shells at once: the AWS CLI takes half a second to start.
    const makeKey = async () => {
      const words = ["create-key-pair", "--key-name", "tour", "--key-type", "ed25519"];
      stage.keepKey((await ec2<{ KeyMaterial: string }>(...words)).KeyMaterial);
    };
    const makeGroup = async () => {
      const words = ["create-security-group", "--group-name", "tour", "--description", "SSH from anywhere"];
      group = (await ec2<{ GroupId: string }>(...words)).GroupId;
      const ssh = ["--protocol", "tcp", "--port", "22", "--cidr", "0.0.0.0/0"];
      await ec2("authorize-security-group-ingress", "--group-id", group, ...ssh);
    };
    const makeRole = async () => {
      const trust = { Effect: "Allow", Principal: { Service: "ec2.amazonaws.com" }, Action: "sts:AssumeRole" };
      const [role, profile] = [
        ["--role-name", "tour-role"],
        ["--instance-profile-name", "tour-profile"],
      ];
      const document = ["--assume-role-policy-document", JSON.stringify({ Version: "2012-10-17", Statement: [trust] })];
      await Promise.all([
        stage.aws("iam", "create-role", ...role, ...document),
        stage.aws("iam", "create-instance-profile", ...profile),
      ]);
      await stage.aws("iam", "add-role-to-instance-profile", ...profile, ...role);
    };
    const [{ Images }] = await Promise.all([
      ec2<{ Images: Image[] }>("describe-images", "--owners", "ingot", "--filters", "Name=name,Values=ingot/tiny"),
      makeKey(),
      makeGroup(),
      makeRole(),
    ]);
    writeFileSync(join(stage.directory, "user-data.sh"), USER_DATA);
    const tiny = Images[0]?.ImageId ?? "";
    const { Instances } = await ec2<{ Instances: Instance[] }>(
      ...["run-instances", "--image-id", tiny, "--count", "2", "--instance-type", "t3.nano", "--key-name", "tour"],
      ...["--security-group-ids", group, "--iam-instance-profile", "Name=tour-profile"],
      ...["--metadata-options", "HttpTokens=required,InstanceMetadataTags=enabled"],
      ...["--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=tour}]"],
      ...["--user-data", `file://${join(stage.directory, "user-data.sh")}`],
    );
    await ec2("wait", "instance-running", "--instance-ids", ...idsOf(Instances));
    [first = {}, second = {}] = await describe(...idsOf(Instances));
    claim("both run, each with an address of its own", first.PublicIpAddress !== second.PublicIpAddress, [
      first,
      second,
    ]);
  });

  await stage.step(2, "SSH into one; what its metadata service says", async () => {
    const user = await stage.ssh(first, "until [ -s /var/tmp/user-data ]; do sleep 0.2; done; cat /var/tmp/user-data");
    const host = first.PrivateDnsName?.split(".")[0];
    claim("user data ran, on a machine of that name", user === `user data ran on ${host}`, user);
    const paths = ["instance-id", "local-ipv4", "iam/security-credentials/", "tags/instance/Name"];
    const said = await stage.ssh(
      first,
      `ec2-metadata ${paths.map((path) => `meta-data/${path}`).join(" ")} | cat; echo`,
    );
    const compact = said.replaceAll(/\s/g, "");
    const expected = `${first.InstanceId}${first.PrivateIpAddress}tour-roletour`;
    claim("it names this instance, its address, its role and its tag", compact === expected, said);
    const without = await stage.trySsh(first, "wget -q -O - http://169.254.169.254/latest/meta-data/ 2>&1");
    claim(
      "and says nothing without a session token (IMDSv2)",
      without.code !== 0 && /401/.test(without.stdout),
      without,
    );
    const role = JSON.parse(await stage.ssh(first, "ec2-metadata meta-data/iam/security-credentials/tour-role")) as {
      Code?: string;
    };
    claim("the role's credentials are there", role.Code === "Success", role);
  });

  await stage.step(3, "A change: a file, and something that happens at each boot", async () => {
    await stage.ssh(first, "echo 'made on the first machine' > made-here && sync");
    const atBoot =
      "::once:/bin/sh -c 'cat /proc/sys/kernel/random/boot_id > /run/made-at-boot; chmod 644 /run/made-at-boot'";
    await stage.ssh(first, `echo "${atBoot}" | sudo tee -a /etc/inittab && sync`);
  });

  await stage.step(4, "Images: of the running machine, and with a reboot", async () => {
    const before = await bootId(first);
    const running = await ec2<{ ImageId: string }>(
      ...["create-image", "--instance-id", first.InstanceId ?? "", "--name", "tour-image", "--no-reboot"],
    );
    captured = running.ImageId;
    await ec2("wait", "image-available", "--image-ids", captured);
    claim("the machine ran on meanwhile", (await bootId(first)) === before);
    const bootedBefore = await bootId(second);
    const rebooted = await ec2<{ ImageId: string }>(
      ...["create-image", "--instance-id", second.InstanceId ?? "", "--name", "tour-rebooted", "--reboot"],
    );
    await ec2("wait", "image-available", "--image-ids", rebooted.ImageId);
    claim("the other one was rebooted for its image", (await bootId(second)) !== bootedBefore);
    const image = await imageState(captured);
    const snapshotId = image.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId ?? "";
    const { Snapshots } = await ec2<{ Snapshots: Snapshot[] }>("describe-snapshots", "--snapshot-ids", snapshotId);
    claim("and the image has a snapshot", Snapshots[0]?.State === "completed", Snapshots);
  });

  await stage.step(5, "Three machines from the new image", async () => {
    const { Instances } = await ec2<{ Instances: Instance[] }>(
      ...["run-instances", "--image-id", captured, "--count", "3", "--instance-type", "t3.nano", "--key-name", "tour"],
      ...["--security-group-ids", group],
    );
    await ec2("wait", "instance-running", "--instance-ids", ...idsOf(Instances));
    three = await describe(...idsOf(Instances));
    const ask =
      "cat made-here; cat /run/made-at-boot; cat /proc/sys/kernel/random/boot_id; hostname; ec2-metadata -i; sudo cat /etc/dropbear/host_key.pub; hostname -i";
    const answers = await Promise.all(three.map((each) => stage.ssh(each, ask)));
    const hostKeys = new Set<string>();
    for (const [index, answer] of answers.entries()) {
      const instance = three[index] ?? {};
      const [made, atBoot, boot, host, id, hostKey = ""] = answer.split("\n");
      claim(
        `${instance.InstanceId} has the file, and did what is done at boot`,
        made === "made on the first machine" && atBoot === boot,
        answer,
      );
      const own = host === instance.PrivateDnsName?.split(".")[0] && id === `instance-id: ${instance.InstanceId}`;
      claim(`${instance.InstanceId} knows its own name and id`, own, answer);
      hostKeys.add(hostKey.split(" ")[1] ?? "");
    }
    const original = (await stage.ssh(first, "sudo cat /etc/dropbear/host_key.pub")).split(" ")[1] ?? "";
    claim("host keys: four machines, four keys", hostKeys.add(original).size === 4, [...hostKeys]);
    const [from = {}, to = {}] = three;
    const ping = `/usr/bin/ping -c 1 -W 2 ${to.PrivateIpAddress}`;
    const silence = await stage.trySsh(from, ping);
    claim("they do not reach one another: no group says so", / 100% packet loss/.test(silence.stdout), silence);
    await ec2("authorize-security-group-ingress", "--group-id", group, "--protocol", "-1", "--source-group", group);
    // A rule is in force a moment after the answer.
    const answer = await stage.trySsh(from, `for try in 1 2 3 4 5; do ${ping} && exit; done; exit 1`);
    claim("now they do, by private address", / 0% packet loss/.test(answer.stdout), answer);
  });

  await stage.step(6, "Terminate, stop, start, reboot", async () => {
    const [changing = {}, ending = {}] = three;
    const volumes = (ending.BlockDeviceMappings ?? []).map(({ Ebs }) => Ebs?.VolumeId ?? "");
    await stage.ingot("terminate", ending.InstanceId ?? "", first.InstanceId ?? "", second.InstanceId ?? "", "--wait");
    await stage.awsRefused("InvalidVolume.NotFound", "ec2", "describe-volumes", "--volume-ids", ...volumes);
    const id = changing.InstanceId ?? "";
    const before = await bootId(changing);
    await stage.ingot("stop-instance", id, "--wait");
    await stage.ingot("start", id, "--wait");
    const [again = {}] = await describe(id);
    claim(
      "after stop and start it keeps its private address",
      again.PrivateIpAddress === changing.PrivateIpAddress,
      again,
    );
    const started = await bootId(again);
    claim(
      "it has booted anew, with its disk as it was",
      started !== before && (await stage.ssh(again, "cat made-here")) !== "",
    );
    await ec2("reboot-instances", "--instance-ids", id);
    // The connection may end in the middle of it.
    for (let now = started; now === started || now === ""; ) now = (await stage.trySsh(again, BOOT_ID)).stdout.trim();
    claim("it has rebooted", true);
    const console = await ec2<{ Output: string }>("get-console-output", "--instance-id", id, "--latest");
    claim(
      "its console shows the kernel's boot",
      console.Output.includes("Linux version"),
      console.Output.slice(0, 200),
    );
  });

  await stage.step(7, "Share the image with a second account, not with a third", async () => {
    const account = async (name: string) => {
      const made = JSON.parse(await stage.ingot("account", "create", "--name", name, "--json"));
      stage.profile(name, { accessKeyId: made.AccessKeyId, secretAccessKey: made.SecretAccessKey });
      return made.AccountId as string;
    };
    const [second] = await Promise.all([account("second"), account("third")]);
    const launch = (profile: string, ...more: readonly string[]) => [
      "--profile",
      profile,
      "ec2",
      "run-instances",
      "--image-id",
      captured,
      "--instance-type",
      "t3.nano",
      ...more,
    ];
    await stage.awsRefused("AuthFailure", ...launch("second"));
    await ec2(
      ...["modify-image-attribute", "--image-id", captured],
      ...["--launch-permission", `Add=[{UserId=${second}}]`],
    );
    const { Instances } = await stage.aws<{ Instances: Instance[] }>(...launch("second"));
    await stage.aws("--profile", "second", "ec2", "wait", "instance-running", "--instance-ids", ...idsOf(Instances));
    claim("the second account runs a machine of its own from it", Instances.length === 1);
    await stage.awsRefused("AuthFailure", ...launch("third"));
    await stage.aws("--profile", "second", "ec2", "terminate-instances", "--instance-ids", ...idsOf(Instances));
  });

  await stage.step(8, "Deny; and look it all up", async () => {
    await stage.aws("iam", "create-user", "--user-name", "intern");
    const look = { Effect: "Allow", Action: "ec2:Describe*", Resource: "*" };
    await stage.aws(
      ...["iam", "put-user-policy", "--user-name", "intern", "--policy-name", "look"],
      ...["--policy-document", JSON.stringify({ Version: "2012-10-17", Statement: [look] })],
    );
    const { AccessKey } = await stage.aws<{ AccessKey: { AccessKeyId: string; SecretAccessKey: string } }>(
      ...["iam", "create-access-key", "--user-name", "intern"],
    );
    stage.profile("intern", { accessKeyId: AccessKey.AccessKeyId, secretAccessKey: AccessKey.SecretAccessKey });
    const seen = await stage.aws<{ Images: Image[] }>(
      "--profile",
      "intern",
      "ec2",
      "describe-images",
      "--owners",
      "self",
    );
    claim("a user with ec2:Describe* sees the images", seen.Images.length === 2, seen.Images.length);
    await stage.awsRefused(
      "UnauthorizedOperation",
      "--profile",
      "intern",
      "ec2",
      "run-instances",
      "--image-id",
      captured,
    );
    const lookUp = async (key: string, value: string): Promise<TrailEvent[]> => {
      const attribute = `AttributeKey=${key},AttributeValue=${value}`;
      const words = ["cloudtrail", "lookup-events", "--lookup-attributes", attribute];
      return (await stage.aws<{ Events: TrailEvent[] }>(...words)).Events;
    };
    const detail = (event: TrailEvent) => JSON.parse(event.CloudTrailEvent ?? "{}") as Record<string, unknown>;
    const [byIntern, launches, about] = await Promise.all([
      lookUp("Username", "intern"),
      lookUp("EventName", "RunInstances"),
      lookUp("ResourceName", captured),
    ]);
    const denied = byIntern.find(({ EventName }) => EventName === "RunInstances");
    const code = denied === undefined ? undefined : detail(denied).errorCode;
    claim("the trail has the refusal", code === "Client.UnauthorizedOperation", denied);
    claim("every launch that was asked for is in it", launches.length >= 3, launches.length);
    const names = new Set(about.map(({ EventName }) => EventName));
    claim("and what became of the image", names.has("CreateImage") && names.has("ModifyImageAttribute"), [...names]);
  });

  await stage.step(9, "The server restarts, and is killed in the middle of a capture", async () => {
    const survivor = three[2] ?? {};
    const before = await bootId(survivor);
    await stage.ingot("stop");
    await stage.serverEnded();
    const alone = JSON.parse(await stage.ingot("status", "--json")) as {
      server: unknown;
      processes: { name: string }[];
    };
    const runsOn = alone.processes.some(({ name }) => name === survivor.InstanceId);
    claim("without a server the guests run on", alone.server === null && runsOn, alone);
    await stage.serve();
    const [found = {}] = await describe(survivor.InstanceId ?? "");
    claim("the new server finds them running", found.State?.Name === "running", found.State);
    claim("and they never noticed", (await bootId(survivor)) === before);

    await stage.ssh(survivor, "dd if=/dev/urandom of=data bs=1M count=48 2>/dev/null; sync");
    const id = survivor.InstanceId ?? "";
    stage.awsInBackground("ec2", "create-image", "--instance-id", id, "--name", "tour-killed", "--no-reboot");
    const image = await appearing("tour-killed");
    stage.killServer();
    await stage.serverEnded();
    stage.say(`   (killed while the image was ${image.State})`);
    await stage.serve();
    const end = await settled(image.ImageId ?? "");
    const fine = end.State === "available" || (end.State === "failed" && (end.StateReason?.Message ?? "") !== "");
    claim(
      `afterwards the image is ${end.State}${end.StateReason?.Message ? ` (${end.StateReason.Message})` : ""}, not stuck`,
      fine,
      end,
    );
    claim("the guest runs on", (await bootId(survivor)) === before);
    const status = JSON.parse(await stage.ingot("status", "--json")) as { processes: { kind: string }[] };
    claim("no capture is left half done", !status.processes.some(({ kind }) => kind === "capture"), status.processes);
    const retry = await ec2<{ ImageId: string }>(
      "create-image",
      "--instance-id",
      id,
      "--name",
      "tour-again",
      "--no-reboot",
    );
    await ec2("wait", "image-available", "--image-ids", retry.ImageId);
    claim("and the next image of it is made", (await settled(retry.ImageId)).State === "available");
  });

  await stage.step(10, "And nothing is left", async () => {
    await stage.ingot("stop", "--all", "--now");
    const left = await stage.clear();
    claim("no process, no mount, no file", left.length === 0, left);
  });
}

/** Looked for with the SDK, which asks 50 times in the time that the AWS CLI takes to start. */
async function appearing(name: string): Promise<Image> {
  const { EC2Client, DescribeImagesCommand } = await import("@aws-sdk/client-ec2");
  const client = new EC2Client(stage.clientConfiguration());
  try {
    for (;;) {
      const { Images = [] } = await client.send(
        new DescribeImagesCommand({ Owners: ["self"], Filters: [{ Name: "name", Values: [name] }] }),
      );
      if (Images[0] !== undefined) return Images[0];
      await delay(5);
    }
  } finally {
    client.destroy();
  }
}

async function settled(id: string): Promise<Image> {
  for (;;) {
    const image = await imageState(id);
    if (image.State !== "pending") return image;
    await delay(500);
  }
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => void stage.clear().finally(() => process.exit(130)));
}
const started = performance.now();
try {
  await tour();
  stage.say(`\nThe tour took ${Math.round((performance.now() - started) / 1000)} s; ${stage.claims} claims held.`);
} catch (error) {
  stage.say(`\n✗ ${chain(error)}`);
  process.exitCode = 1;
} finally {
  await stage.clear();
}
