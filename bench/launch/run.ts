// node bench/launch/run.ts [--rounds N] [--parts abcd]: what a launch, a capture and a start of the server cost.
//
// Everything runs in one go, side by side, on a fresh data directory and the bundled server:
//   (a) run-instances → SSH answers, against the same QEMU command started by hand on a plain raw copy of the same disk
//   (b) create-image of a running guest with 50 MB changed → available; the longest gap in a guest's write loop meanwhile
//   (c) ten launches at once: how long each call takes
//   (d) process start → ready, with a thousand images in the catalogue; memory when idle
// Rounds of (a) are interleaved, medians are given. Writes bench/launch/results.md.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateImageCommand,
  CreateKeyPairCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeKeyPairsCommand,
  EC2Client,
  RegisterImageCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { bootByHand } from "./by-hand.ts";

const ROOT = dirname(dirname(import.meta.dirname));
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    parts: { type: "string", default: "abcd" },
    keep: { type: "boolean" },
  },
});
const asked = (part: string): boolean => values.parts.includes(part);
const rounds = Number(values.rounds);
const scratch = mkdtempSync(join(tmpdir(), "ingot-bench-"));
const data = join(scratch, "d");
const results: string[] = [];
const say = (line: string): void => {
  results.push(line);
  console.log(line);
};

const median = (numbers: readonly number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1
    ? (sorted[Math.floor(middle)] ?? 0)
    : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
};
const ms = (value: number): string => (value >= 10_000 ? `${(value / 1000).toFixed(2)} s` : `${Math.round(value)} ms`);

interface Server {
  readonly url: string;
  readonly pid: number;
  readonly readyMs: number;
  end(): Promise<void>;
}

async function startServer(...more: string[]): Promise<Server> {
  const started = performance.now();
  const child = spawn(join(ROOT, "ingot"), ["serve", "--data", data, "--port", "0", ...more], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  for await (const chunk of child.stdout) {
    said += String(chunk);
    const url = /Ingot is ready: (\S+)/.exec(said)?.[1];
    if (url === undefined) continue;
    const readyMs = performance.now() - started;
    return {
      url,
      pid: JSON.parse(readFileSync(join(data, "server.json"), "utf8")).pid,
      readyMs,
      async end() {
        child.kill("SIGTERM");
        if (child.exitCode === null) await once(child, "exit");
      },
    };
  }
  throw new Error(`the server did not start: ${said}`);
}

function client(server: Server): EC2Client {
  const { administrator } = JSON.parse(readFileSync(join(data, "credentials.json"), "utf8"));
  return new EC2Client({ endpoint: server.url, region: "us-east-1", credentials: administrator, maxAttempts: 1 });
}

/**
 * Holds the signed requests of `ec2` back until there are `count`, then sends all of them.
 * @returns how long each then waited for its answer, in milliseconds, and the client as it was
 */
function sentTogether(ec2: EC2Client, count: number) {
  const waits: number[] = [];
  const together = Promise.withResolvers<void>();
  let ready = 0;
  const name = "sent together";
  ec2.middlewareStack.add(
    (next) => async (call) => {
      if (++ready === count) together.resolve();
      await together.promise;
      const since = performance.now();
      const answer = await next(call);
      waits.push(performance.now() - since);
      return answer;
    },
    { step: "deserialize", priority: "low", name },
  );
  return { waits, alone: () => ec2.middlewareStack.remove(name) };
}

const SSH = [
  "-o",
  "StrictHostKeyChecking=no",
  "-o",
  "UserKnownHostsFile=/dev/null",
  "-o",
  "LogLevel=ERROR",
  "-o",
  "ConnectTimeout=2",
  "-o",
  "BatchMode=yes",
];
const keyFile = join(scratch, "key.pem");

/** Runs a command in a guest as root; throws when SSH does not answer. */
const inGuest = (address: string, port: number, command: string): string =>
  execFileSync("ssh", [...SSH, "-i", keyFile, "-p", String(port), `root@${address}`, command], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });

/** Milliseconds from `since` until a command runs in the guest. Asked without a pause: each try takes what SSH takes. */
async function untilSsh(address: string, port: number, since: number): Promise<number> {
  for (;;) {
    try {
      inGuest(address, port, "true");
      return performance.now() - since;
    } catch {
      if (performance.now() - since > 180_000) throw new Error(`no SSH at ${address}:${port} within three minutes`);
      await sleep(20);
    }
  }
}

async function waitFor(ec2: EC2Client, id: string, state: string): Promise<string> {
  for (;;) {
    const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    const instance = Reservations[0]?.Instances?.[0];
    if (instance?.State?.Name === state) return instance.PublicIpAddress ?? "";
    if (instance?.State?.Name === "terminated") throw new Error(`${id}: ${instance.StateReason?.Message}`);
    await sleep(10);
  }
}

async function terminate(ec2: EC2Client, ids: readonly string[]): Promise<void> {
  await ec2.send(new TerminateInstancesCommand({ InstanceIds: [...ids] }));
  for (const id of ids) await waitFor(ec2, id, "terminated");
}

async function launch(ec2: EC2Client, image: string, gib?: number) {
  const since = performance.now();
  const at = Date.now();
  const made = await ec2.send(
    new RunInstancesCommand({
      ImageId: image,
      InstanceType: "t3.nano",
      KeyName: "bench",
      MinCount: 1,
      MaxCount: 1,
      ...(gib === undefined
        ? {}
        : { BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { VolumeSize: gib, DeleteOnTermination: true } }] }),
    }),
  );
  const answeredMs = performance.now() - since;
  const instance = made.Instances?.[0];
  const id = instance?.InstanceId ?? "";
  const log = join(data, "machines", id, "qemu.log");
  while (!existsSync(log)) await sleep(1);
  return { id, since, answeredMs, address: instance?.PublicIpAddress ?? "", spawnedMs: statSync(log).birthtimeMs - at };
}

/** QEMU's own argument vector of a running instance, for the same machine started by hand. */
const argvOf = (id: string): string[] => {
  const pid = readFileSync(join(data, "machines", id, "pid"), "utf8").trim();
  return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
};

async function partA(ec2: EC2Client, image: string): Promise<void> {
  const small = await captured(ec2, image, "one-gib", 1, 1);
  const big = await captured(ec2, image, "ten-gib", 10, 1024);
  const { KeyPairs = [] } = await ec2.send(new DescribeKeyPairsCommand({ IncludePublicKey: true }));
  const publicKey = KeyPairs[0]?.PublicKey ?? "";
  const times = {
    ingot: [] as number[],
    floor: [] as number[],
    small: [] as number[],
    big: [] as number[],
    spawned: [] as number[],
  };
  for (let round = 0; round < rounds; round++) {
    const ours = await launch(ec2, image);
    times.ingot.push(await untilSsh(ours.address, 22, ours.since));
    times.spawned.push(ours.spawnedMs);
    const argv = argvOf(ours.id);
    await terminate(ec2, [ours.id]);
    times.floor.push(await bootByHand({ argv, scratch, cache: join(ROOT, ".cache"), publicKey, untilSsh }));
    for (const [of, into] of [
      [small, times.small],
      [big, times.big],
    ] as const) {
      const one = await launch(ec2, of);
      into.push(await untilSsh(one.address, 22, one.since));
      await terminate(ec2, [one.id]);
    }
  }
  const [ingot, byHand, oneGib, tenGib] = [times.ingot, times.floor, times.small, times.big].map(median) as [
    number,
    number,
    number,
    number,
  ];
  say(`| (a) launch → SSH, median of ${rounds} | time | ratio |`);
  say("|---|---|---|");
  say(`| the same QEMU command by hand, raw copy of the disk | ${ms(byHand)} | 1 |`);
  say(`| run-instances, ingot/tiny (1 GiB) | ${ms(ingot)} | ${(ingot / byHand).toFixed(2)} |`);
  say(`| run-instances, captured of it: 1 GiB | ${ms(oneGib)} | ${(oneGib / byHand).toFixed(2)} |`);
  say(`| run-instances, captured of it: 10 GiB with 1 GiB of data | ${ms(tenGib)} | ${(tenGib / byHand).toFixed(2)} |`);
  say(`| call → QEMU started (the API's own part) | ${ms(median(times.spawned))} | |`);
  say("");
}

async function partB(ec2: EC2Client, image: string): Promise<void> {
  const guest = await launch(ec2, image);
  await untilSsh(guest.address, 22, guest.since);
  const captures: number[] = [];
  const gaps: number[] = [];
  const idle: number[] = [];
  inGuest(guest.address, 22, WRITE_LOOP);
  for (let round = 0; round < rounds; round++) {
    inGuest(guest.address, 22, "dd if=/dev/urandom of=/root/fill bs=1M count=50 conv=fsync 2>/dev/null");
    inGuest(guest.address, 22, "> /tmp/gaps");
    await sleep(2_000);
    idle.push(longestGap(inGuest(guest.address, 22, "cat /tmp/gaps")));
    inGuest(guest.address, 22, "> /tmp/gaps");
    const since = performance.now();
    const { ImageId = "" } = await ec2.send(
      new CreateImageCommand({ InstanceId: guest.id, Name: `bench-${round}`, NoReboot: true }),
    );
    for (;;) {
      const { Images = [] } = await ec2.send(new DescribeImagesCommand({ ImageIds: [ImageId] }));
      if (Images[0]?.State === "available") break;
      if (Images[0]?.State === "failed") throw new Error(Images[0].StateReason?.Message);
      await sleep(50); // asked without a pause, the answers would take the processor that is measured
    }
    captures.push(performance.now() - since);
    await sleep(500);
    gaps.push(longestGap(inGuest(guest.address, 22, "cat /tmp/gaps")));
  }
  await terminate(ec2, [guest.id]);
  say(`| (b) create-image, 50 MB changed, median of ${rounds} | |`);
  say("|---|---|");
  say(`| call → available | ${ms(median(captures))} (first ${ms(captures[0] ?? 0)}) |`);
  say(`| longest gap in the guest's write loop, capture | ${ms(median(gaps))} |`);
  say(`| longest gap without a capture | ${ms(median(idle))} |`);
  say("");
}

/** Appends the guest's uptime (10 ms steps) after every synced 4 KiB write. */
const WRITE_LOOP =
  "(while true; do dd if=/dev/zero of=/root/loop bs=4k count=1 conv=notrunc,fsync 2>/dev/null; cut -d' ' -f1 /proc/uptime >> /tmp/gaps; done) >/dev/null 2>&1 </dev/null &";

function longestGap(text: string): number {
  const times = text.trim().split("\n").map(Number);
  let longest = 0;
  for (let n = 1; n < times.length; n++) longest = Math.max(longest, ((times[n] ?? 0) - (times[n - 1] ?? 0)) * 1000);
  return longest;
}

async function partC(ec2: EC2Client, image: string): Promise<void> {
  const calls = { middle: [] as number[], slowest: [] as number[] };
  const answers = { middle: [] as number[], slowest: [] as number[] };
  const tenLaunches = () => Promise.all(Array.from({ length: 10 }, () => launch(ec2, image)));
  const note = (figures: typeof calls, ten: readonly number[]) => {
    figures.middle.push(median(ten));
    figures.slowest.push(Math.max(...ten));
  };
  for (let round = 0; round < 2 * rounds; round++) {
    const together = round % 2 === 0 ? sentTogether(ec2, 10) : null;
    const launches = await tenLaunches();
    together?.alone();
    if (together !== null) note(answers, together.waits);
    else
      note(
        calls,
        launches.map((one) => one.answeredMs),
      );
    await terminate(
      ec2,
      launches.map((one) => one.id),
    );
  }
  say(`| (c) ten launches at once: median of the ten, slowest; medians of ${rounds} | |`);
  say("|---|---|");
  say(`| API answers ten requests sent together | ${ms(median(answers.middle))}, ${ms(median(answers.slowest))} |`);
  say(
    `| ten calls of one thread's SDK, which prepares them one by one | ${ms(median(calls.middle))}, ${ms(median(calls.slowest))} |`,
  );
  say("");
}

async function partD(): Promise<void> {
  const starts: number[] = [];
  let memory = 0;
  for (let round = 0; round < rounds; round++) {
    const server = await startServer();
    starts.push(server.readyMs);
    await sleep(8_000);
    const status = readFileSync(`/proc/${server.pid}/status`, "utf8");
    memory = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
    await server.end();
  }
  say(`| (d) start-up with 1,000 images, median of ${rounds} | |`);
  say("|---|---|");
  say(`| \`./ingot serve\` → ready | ${ms(median(starts))} |`);
  say(`| idle memory of the server | ${Math.round(memory)} MiB |`);
  say("");
}

/** A thousand in the catalogue. */
async function moreImages(ec2: EC2Client, tiny: string): Promise<void> {
  const { Images = [] } = await ec2.send(new DescribeImagesCommand({ ImageIds: [tiny] }));
  const root = Images[0]?.BlockDeviceMappings?.[0];
  // A snapshot of one's own, to register images from: foreign ones can be launched, not registered.
  const guest = await launch(ec2, tiny);
  await waitFor(ec2, guest.id, "running");
  const { ImageId = "" } = await ec2.send(
    new CreateImageCommand({ InstanceId: guest.id, Name: "own", NoReboot: true }),
  );
  let snapshot: string | undefined;
  while (snapshot === undefined) {
    const own = await ec2.send(new DescribeImagesCommand({ ImageIds: [ImageId] }));
    if (own.Images?.[0]?.State === "available") snapshot = own.Images[0].BlockDeviceMappings?.[0]?.Ebs?.SnapshotId;
    else await sleep(50);
  }
  await terminate(ec2, [guest.id]);
  const register = (name: string, gib: number) =>
    ec2.send(
      new RegisterImageCommand({
        Name: name,
        RootDeviceName: root?.DeviceName,
        VirtualizationType: "hvm",
        Architecture: "x86_64",
        BlockDeviceMappings: [{ DeviceName: root?.DeviceName, Ebs: { SnapshotId: snapshot, VolumeSize: gib } }],
      }),
    );
  for (let n = 0; n < 1000; n += 20) {
    await Promise.all(Array.from({ length: 20 }, (_, k) => register(`image-${n + k}`, 1)));
  }
}

/** An image captured of a machine that was launched from `tiny` with a root of `gib`, and then written `mib` of data to. */
async function captured(ec2: EC2Client, tiny: string, name: string, gib: number, mib: number): Promise<string> {
  const guest = await launch(ec2, tiny, gib);
  await untilSsh(guest.address, 22, guest.since);
  inGuest(guest.address, 22, `dd if=/dev/urandom of=/root/data bs=1M count=${mib} conv=fsync 2>/dev/null`);
  const { ImageId = "" } = await ec2.send(
    // Rebooted for it: else each launch of it replays the file system's journal too.
    new CreateImageCommand({ InstanceId: guest.id, Name: name, NoReboot: false }),
  );
  for (;;) {
    const { Images = [] } = await ec2.send(new DescribeImagesCommand({ ImageIds: [ImageId] }));
    if (Images[0]?.State === "available") break;
    await sleep(200);
  }
  await terminate(ec2, [guest.id]);
  return ImageId;
}

async function main(): Promise<void> {
  const server = await startServer();
  const ec2 = client(server);
  const { KeyMaterial = "" } = await ec2.send(new CreateKeyPairCommand({ KeyName: "bench", KeyType: "ed25519" }));
  writeFileSync(keyFile, `${KeyMaterial}\n`, { mode: 0o600 });
  await ec2.send(
    new AuthorizeSecurityGroupIngressCommand({
      GroupName: "default",
      IpProtocol: "tcp",
      FromPort: 22,
      ToPort: 22,
      CidrIp: "0.0.0.0/0",
    }),
  );
  const { Images = [] } = await ec2.send(new DescribeImagesCommand({ Owners: ["ingot"] }));
  const tiny = Images[0]?.ImageId ?? "";
  say(
    `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model}, ${new Date().toISOString().slice(0, 10)}; \`node bench/launch/run.ts\``,
  );
  say("");
  if (asked("a") || asked("d")) {
    await moreImages(ec2, tiny);
    if (asked("a")) await partA(ec2, tiny);
  }
  if (asked("b")) await partB(ec2, tiny);
  if (asked("c")) await partC(ec2, tiny);
  await server.end();
  if (asked("d")) await partD();
  if (values.parts === "abcd") writeFileSync(join(import.meta.dirname, "results.md"), `${results.join("\n")}\n`);
}

mkdirSync(data, { recursive: true });
try {
  await main();
} finally {
  execFileSync(join(ROOT, "ingot"), ["stop", "--all", "--now", "--data", data], { stdio: "ignore" });
  if (values.keep !== true) rmSync(scratch, { recursive: true, force: true });
}
