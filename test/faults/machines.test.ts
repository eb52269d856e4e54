// Machines that do not come up, and disks that are not what they should be: told as EC2 tells it, and nothing is left.
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  AttachVolumeCommand,
  CreateVolumeCommand,
  DescribeVolumesCommand,
  StartInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { instanceIn, instanceOf, machineProcesses, startInstance, until } from "../support/instances.ts";
import { startPlatform } from "../support/platform.ts";

/** A `qemu-system-x86_64` that comes before the real one, until it is taken away. */
function fakeQemu(t: TestContext, script: string) {
  const directory = mkdtempSync(join(tmpdir(), "ingot-fake-qemu-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, "qemu-system-x86_64");
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return { environment: { PATH: `${directory}:${process.env.PATH}` }, remove: () => rmSync(path) };
}

for (const [what, script, said] of [
  ["ends with a word", "echo 'this program is broken' >&2; exit 3", /\(status 3\): this program is broken/],
  ["is killed", "kill -9 $$", /\(SIGKILL\)/],
] as const) {
  test(`a QEMU that ${what} at its start: terminated with the reason, nothing left, and the next launch is as good as any`, async (t) => {
    const fake = fakeQemu(t, `case "$*" in *isa-debug-exit*) exit 1;; esac\n${script}`);
    const platform = await startPlatform(t, { image: true, environment: fake.environment });
    const { ec2 } = platform;
    const id = await startInstance(platform);
    const ended = await instanceIn(platform, id, "terminated");
    assert.equal(ended.StateReason?.Code, "Server.InternalError");
    assert.match(ended.StateReason?.Message ?? "", said);
    assert.deepEqual(machineProcesses(platform), []);
    await until("its volume's end", async () => {
      const { Volumes = [] } = await ec2.send(new DescribeVolumesCommand({}));
      return Volumes.length === 0 ? true : undefined;
    });
    assert.deepEqual(readdirSync(join(platform.dataDirectory, "volumes")), []);
    fake.remove();
    const next = await startInstance(platform);
    await instanceIn(platform, next, "running");
    await ec2.send(new TerminateInstancesCommand({ InstanceIds: [next] }));
    await instanceIn(platform, next, "terminated");
  });
}

test("an instance that ran before and does not start again is stopped, with the reason, and starts once it can", async (t) => {
  const platform = await startPlatform(t, { image: true });
  const { ec2 } = platform;
  const id = await startInstance(platform);
  await instanceIn(platform, id, "running");
  await ec2.send(new StopInstancesCommand({ InstanceIds: [id], Force: true }));
  const stopped = await instanceIn(platform, id, "stopped");
  const volume = stopped.BlockDeviceMappings?.[0]?.Ebs?.VolumeId ?? "";
  const overlay = join(platform.dataDirectory, "volumes", `${volume}.qcow2`);
  const whole = readFileSync(overlay);
  writeFileSync(overlay, "not a disk at all");
  await ec2.send(new StartInstancesCommand({ InstanceIds: [id] }));
  const refused = await until("its fall", async () => {
    const instance = await instanceOf(platform, id);
    return instance.State?.Name === "stopped" && instance.StateReason?.Code === "Server.InternalError"
      ? instance
      : undefined;
  });
  assert.match(refused.StateReason?.Message ?? "", /is not a qcow2 image/);
  writeFileSync(overlay, whole);
  await ec2.send(new StartInstancesCommand({ InstanceIds: [id] }));
  await instanceIn(platform, id, "running");
  await ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
  await instanceIn(platform, id, "terminated");
});

test("a volume that a running machine cannot take is available again; one that it can take is attached", async (t) => {
  const platform = await startPlatform(t, { image: true });
  const { ec2 } = platform;
  const id = await startInstance(platform);
  const { Placement } = await instanceIn(platform, id, "running");
  const { VolumeId = "" } = await ec2.send(
    new CreateVolumeCommand({ AvailabilityZone: Placement?.AvailabilityZone, Size: 1 }),
  );
  const shown = async () => {
    const { Volumes: [volume] = [] } = await ec2.send(new DescribeVolumesCommand({ VolumeIds: [VolumeId] }));
    return volume;
  };
  await until("the volume", async () => ((await shown())?.State === "available" ? true : undefined));
  const overlay = join(platform.dataDirectory, "volumes", `${VolumeId}.qcow2`);
  assert.equal(existsSync(overlay), false);
  writeFileSync(overlay, Buffer.alloc(1 << 16, "garbage"));
  const attached = await ec2.send(new AttachVolumeCommand({ InstanceId: id, VolumeId, Device: "/dev/sdf" }));
  assert.equal(attached.State, "attaching");
  const free = await until("the volume's return", async () => {
    const volume = await shown();
    return volume?.State === "available" ? volume : undefined;
  });
  assert.deepEqual(free.Attachments, []);
  assert.equal((await instanceOf(platform, id)).State?.Name, "running");
  assert.match(readFileSync(join(platform.dataDirectory, "server.log"), "utf8"), /could not attach a volume/);
  rmSync(overlay);
  await ec2.send(new AttachVolumeCommand({ InstanceId: id, VolumeId, Device: "/dev/sdf" }));
  await until("the attachment", async () =>
    (await shown())?.Attachments?.[0]?.State === "attached" ? true : undefined,
  );
  await ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
  await instanceIn(platform, id, "terminated");
});
