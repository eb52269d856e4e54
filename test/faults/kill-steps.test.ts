// kill -9 between any two steps of launches, captures, attachments and terminations: whatever was acknowledged comes to an
// end that its owner can see, a retry is no second one, and nothing is left running or lying about.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  AttachVolumeCommand,
  CreateImageCommand,
  CreateVolumeCommand,
  DeleteVolumeCommand,
  DeregisterImageCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeSnapshotsCommand,
  DescribeVolumesCommand,
  DetachVolumeCommand,
  type Instance,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { instanceIn, machineProcesses, startInstance, tinyImage, until } from "../support/instances.ts";
import { startPlatform } from "../support/platform.ts";

/** After the first call of a round: from before anything is written to after all of it is done. */
const KILLS_AFTER_MS = [0, 10, 25, 50, 90, 150, 250, 400, 700, 1200];

test(`${KILLS_AFTER_MS.length} kills in the midst of launches, captures, attachments and terminations`, async (t) => {
  const platform = await startPlatform(t, { image: true });
  const { ec2 } = platform;
  const ImageId = await tinyImage(platform);
  const source = await startInstance(platform, ImageId);
  const { Placement } = await instanceIn(platform, source, "running");
  const { VolumeId = "" } = await ec2.send(
    new CreateVolumeCommand({ AvailabilityZone: Placement?.AvailabilityZone, Size: 1 }),
  );
  const volume = async () => {
    const { Volumes: [found] = [] } = await ec2.send(new DescribeVolumesCommand({ VolumeIds: [VolumeId] }));
    return found;
  };
  const instances = async (): Promise<Instance[]> => {
    const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({}));
    return Reservations.flatMap(({ Instances = [] }) => Instances);
  };
  const images = async () => (await ec2.send(new DescribeImagesCommand({ Owners: ["self"] }))).Images ?? [];

  let previous: string | undefined;
  for (const [round, afterMs] of KILLS_AFTER_MS.entries()) {
    const launch = new RunInstancesCommand({
      ImageId,
      InstanceType: "t3.nano",
      MinCount: 1,
      MaxCount: 1,
      ClientToken: `round-${round}`,
    });
    const capture = new CreateImageCommand({ InstanceId: source, Name: `round-${round}`, NoReboot: true });
    const attached = (await volume())?.State === "in-use";
    const acknowledged: { image?: string | undefined; launched?: string | undefined; terminated?: string } = {};
    const calls = [
      ec2.send(launch).then(({ Instances }) => {
        acknowledged.launched = Instances?.[0]?.InstanceId;
      }),
      ec2.send(capture).then(({ ImageId: id }) => {
        acknowledged.image = id;
      }),
      attached
        ? ec2.send(new DetachVolumeCommand({ VolumeId, Force: true }))
        : ec2.send(new AttachVolumeCommand({ InstanceId: source, VolumeId, Device: "/dev/sdf" })),
      ...(previous === undefined
        ? []
        : [
            ec2.send(new TerminateInstancesCommand({ InstanceIds: [previous] })).then(() => {
              acknowledged.terminated = previous!;
            }),
          ]),
    ];
    const settled = Promise.allSettled(calls);
    await delay(afterMs);
    await platform.kill9();
    await settled;
    await platform.startServer();

    // Asked again, as a client does that has heard nothing: it is the same instance.
    const { Instances: [instance] = [] } = await ec2.send(launch);
    const id = instance?.InstanceId ?? "";
    if (acknowledged.launched !== undefined) assert.equal(id, acknowledged.launched);
    await instanceIn(platform, id, "running");
    if (acknowledged.terminated !== undefined) await instanceIn(platform, acknowledged.terminated, "terminated");
    else if (previous !== undefined) {
      await ec2.send(new TerminateInstancesCommand({ InstanceIds: [previous] }));
      await instanceIn(platform, previous, "terminated");
    }
    const captured = await until(`the image of round ${round}`, async () => {
      const found = (await images()).find(({ Name }) => Name === `round-${round}`);
      if (found === undefined) return "not there" as const;
      return found.State === "pending" ? undefined : found;
    });
    if (captured === "not there") assert.equal(acknowledged.image, undefined, "an acknowledged image is gone");
    else if (captured.State !== "available") {
      assert.equal(captured.State, "failed");
      assert.notEqual(captured.StateReason?.Message ?? "", "");
    }
    await until("the volume", async () => {
      const found = await volume();
      const state = found?.Attachments?.[0]?.State ?? found?.State;
      return state === "attached" || state === "available" ? true : undefined;
    });
    assert.equal((await instances()).find((each) => each.InstanceId === source)?.State?.Name, "running");
    const alive = (await instances()).filter(({ State }) => State?.Name !== "terminated");
    assert.deepEqual(alive.map((each) => each.InstanceId).sort(), [source, id].sort());
    previous = id;
  }

  // All of it goes, and with it all that it had.
  await ec2.send(new TerminateInstancesCommand({ InstanceIds: [source, previous ?? ""] }));
  for (const id of [source, previous ?? ""]) await instanceIn(platform, id, "terminated");
  assert.deepEqual(machineProcesses(platform), []);
  await until("the volume's freedom", async () => ((await volume())?.State === "available" ? true : undefined));
  await ec2.send(new DeleteVolumeCommand({ VolumeId }));
  for (const { ImageId: id } of await images()) {
    await ec2.send(new DeregisterImageCommand({ ImageId: id, DeleteAssociatedSnapshots: true }));
  }
  await until("the end of volumes and snapshots", async () => {
    const { Volumes = [] } = await ec2.send(new DescribeVolumesCommand({}));
    const { Snapshots = [] } = await ec2.send(new DescribeSnapshotsCommand({ OwnerIds: ["self"] }));
    return Volumes.length + Snapshots.length === 0 ? true : undefined;
  });
  assert.deepEqual(readdirSync(join(platform.dataDirectory, "volumes")), []);
  for (const id of readdirSync(join(platform.dataDirectory, "machines"))) {
    const left = readdirSync(join(platform.dataDirectory, "machines", id));
    assert.deepEqual(
      left.filter((name) => !["console.log", "qemu.log", "vars.fd"].includes(name)),
      [],
      `${id} has left more than its logs`,
    );
  }
});
