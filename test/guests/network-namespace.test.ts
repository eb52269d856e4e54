// The kernel network without guests: what its processes and interfaces do when one of them goes, and when two fabrics
// share a machine.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readlinkSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { InstanceId, SecurityGroupId, VpcId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import type { Nic, SecurityGroupRules } from "../../src/model/nic.ts";
import { type Fabric, openFabric } from "../../src/network/fabric.ts";
import { probeKernel } from "../../src/network/namespace.ts";
import { startTicksOf } from "../../src/network/process-record.ts";

const refusal = (await probeKernel("root")) === null ? null : await probeKernel("rootless");
const skip = refusal ?? false;

const sg = "sg-000000000000000a1" as SecurityGroupId;
const open22: SecurityGroupRules = {
  groupId: sg,
  ingress: [{ protocol: 6, fromPort: 22, toPort: 22, peer: { kind: "cidr", cidr: "0.0.0.0/0" } }],
  egress: [],
};
const nic = (last: number): Nic => ({
  instanceId: `i-${last.toString(16).padStart(17, "0")}` as InstanceId,
  mac: `02:00:00:00:01:${last.toString(16).padStart(2, "0")}`,
  privateIp: `172.31.5.${last}`,
  publicIp: null,
  vpcId: "vpc-00000001" as VpcId,
  vpcCidr: "172.31.0.0/16",
  subnetCidr: "172.31.0.0/20",
  hostname: `ip-172-31-5-${last}.ec2.internal`,
  securityGroups: [sg],
  metadata: { enabled: true, hopLimit: 1 },
});

interface Place {
  open(): Promise<Fabric>;
}

/** A data directory; the fabrics opened on it are stopped before it is removed. */
function place(t: TestContext): Place {
  const directory = mkdtempSync("/tmp/network-ns-");
  const opened: Fabric[] = [];
  t.after(async () => {
    for (const fabric of opened) await fabric.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  return {
    async open() {
      const fabric = await openFabric({
        directory: join(directory, "net"),
        log: silentLog,
        metadataSocket: join(directory, "md.sock"),
        apiSocket: join(directory, "api.sock"),
        prefer: "kernel",
      });
      opened.push(fabric);
      return fabric;
    },
  };
}

const pidOf = (fabric: Fabric, name: string) => fabric.status().processes.find((p) => p.name === name)?.pid ?? null;

/** Runs a program in the fabric's namespace. */
async function inside(fabric: Fabric, ...argv: string[]): Promise<string> {
  const { launcher } = await fabric.addInstance(nic(250));
  await fabric.removeInstance(nic(250).instanceId);
  return execFileSync(launcher[0]!, [...launcher.slice(1), ...argv], { encoding: "utf8" });
}

const taps = async (fabric: Fabric): Promise<string[]> =>
  Array.from((await inside(fabric, "ip", "-o", "link")).matchAll(/(tap[0-9a-f]{8}):/g), (m) => m[1]!)
    .filter((tap) => tap !== "tapac1f05fa")
    .sort();

async function until(what: string, is: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + 30_000;
  while (!(await is())) {
    if (performance.now() > giveUpAt) throw new Error(`not so after 30 s: ${what}`);
    await delay(20);
  }
}

test("the holder may be killed: the namespace lives on and gets another", { skip }, async (t) => {
  const fabric = await place(t).open();
  await fabric.setRules([open22]);
  await fabric.addInstance(nic(1));
  const holder = pidOf(fabric, "holder")!;
  const namespace = readlinkSync(`/proc/${holder}/ns/net`);
  process.kill(holder, "SIGKILL");
  await until(
    "another holder",
    () => ![null, holder].includes(pidOf(fabric, "holder")) && startTicksOf(pidOf(fabric, "holder")!) !== null,
  );
  assert.equal(readlinkSync(`/proc/${pidOf(fabric, "holder")}/ns/net`), namespace);
  await fabric.addInstance(nic(2));
  assert.deepEqual(await taps(fabric), ["tapac1f0501", "tapac1f0502"]);
});

test("when all of it was killed, everything is made again", { skip }, async (t) => {
  const here = place(t);
  const fabric = await here.open();
  await fabric.setRules([open22]);
  await fabric.addInstance(nic(1));
  await until("all run", () => fabric.status().processes.every(({ pid }) => pid !== null));
  const { processes } = fabric.status();
  await fabric.close();
  for (const { pid } of processes) process.kill(pid!, "SIGKILL");
  await until("they are gone", () => processes.every(({ pid }) => startTicksOf(pid!) === null));
  const again = await here.open();
  assert.deepEqual(await taps(again), ["tapac1f0501"]);
  assert.match(await inside(again, "nft", "list", "table", "inet", "ingot"), /tcp dport 22 accept/);
  await until("all run again", () => again.status().processes.every(({ pid }) => pid !== null));
});

test("rules and interfaces of what was removed are gone, also of what a dead server had left", { skip }, async (t) => {
  const here = place(t);
  const first = await here.open();
  await first.setRules([open22]);
  await Promise.all([1, 2, 3].map((last) => first.addInstance(nic(last))));
  await first.removeInstance(nic(3).instanceId);
  await until("its tap is gone", async () => (await taps(first)).length === 2);
  await first.close();
  const second = await here.open();
  await second.sync([nic(2)], [open22]);
  await until("so is the other's", async () => (await taps(second)).join() === "tapac1f0502");
  const rules = await inside(second, "nft", "list", "table", "inet", "ingot");
  assert.match(rules, /tapac1f0502/);
  assert.doesNotMatch(rules, /ac1f0501|ac1f0503|172\.31\.5\.1\b/);
  await second.sync([], []);
  assert.doesNotMatch(await inside(second, "nft", "list", "table", "inet", "ingot"), /sg_0/);
});

test("two data directories with the same addresses do not disturb one another", { skip }, async (t) => {
  const one = await place(t).open();
  const two = await place(t).open();
  await Promise.all([one.addInstance(nic(1)), two.addInstance(nic(1)), two.addInstance(nic(2))]);
  assert.deepEqual(await taps(one), ["tapac1f0501"]);
  await two.stop();
  assert.deepEqual(await taps(one), ["tapac1f0501"]);
  await until("all of the other's run", () => one.status().processes.every(({ pid }) => pid !== null));
});

// In a user namespace nft 1.0.6 cannot send that much at once; EC2's own limit is 60 rules each way unless raised.
test("a group with a thousand rules is loaded", {
  skip: skip || (process.geteuid?.() !== 0 && "not root"),
}, async (t) => {
  const fabric = await place(t).open();
  await fabric.addInstance(nic(1));
  const ingress = Array.from({ length: 1000 }, (_, i) => ({
    protocol: 6,
    fromPort: 1000 + i,
    toPort: 1000 + i,
    peer: { kind: "cidr", cidr: `10.${i >> 8}.${i & 255}.0/24` } as const,
  }));
  await fabric.setRules([{ groupId: sg, ingress, egress: [] }]);
  assert.match(await inside(fabric, "nft", "list", "table", "inet", "ingot"), /tcp dport 1999 /);
});

test("a network whose data directory was deleted ends by itself, and by stop", { skip }, async (t) => {
  const directory = mkdtempSync("/tmp/network-ns-");
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const open = () =>
    openFabric({
      directory: join(directory, "net"),
      log: silentLog,
      metadataSocket: join(directory, "md"),
      apiSocket: join(directory, "api"),
      prefer: "kernel",
    });
  const stopped = await open();
  await until("all run", () => stopped.status().processes.every(({ pid }) => pid !== null));
  const first = stopped.status().processes;
  rmSync(directory, { recursive: true });
  await stopped.stop();
  assert.deepEqual(
    first.filter(({ pid }) => startTicksOf(pid!) !== null),
    [],
  );

  mkdirSync(directory);
  const left = await open();
  await until("all run", () => left.status().processes.every(({ pid }) => pid !== null));
  const second = left.status().processes;
  await left.close();
  rmSync(directory, { recursive: true });
  await until("they have ended", () => second.every(({ pid }) => startTicksOf(pid!) === null));
});
