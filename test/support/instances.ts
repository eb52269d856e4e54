// Instances as a test of faults needs them: started, looked at, waited for; nobody logs in.
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import {
  DescribeImagesCommand,
  DescribeInstancesCommand,
  type Instance,
  RunInstancesCommand,
} from "@aws-sdk/client-ec2";
import type { Platform } from "./platform.ts";
import { processesOf } from "./processes.ts";

const PATIENCE_MS = 240_000;

/** What `look` gives, once it gives anything. */
export async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    assert.ok(performance.now() < giveUpAt, `${what}: not within ${PATIENCE_MS / 1000} s`);
    await delay(50);
  }
}

export async function instanceOf({ ec2 }: Platform, id: string): Promise<Instance> {
  const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
  const instance = Reservations[0]?.Instances?.[0];
  assert.ok(instance);
  return instance;
}

export const instanceIn = (platform: Platform, id: string, state: string): Promise<Instance> =>
  until(`${id} ${state}`, async () => {
    const instance = await instanceOf(platform, id);
    return instance.State?.Name === state ? instance : undefined;
  });

export async function tinyImage({ ec2 }: Platform): Promise<string> {
  const { Images: [tiny] = [] } = await ec2.send(new DescribeImagesCommand({ Owners: ["ingot"] }));
  return tiny?.ImageId ?? "";
}

/** A new instance's id, whatever becomes of it; of `ingot/tiny` unless another image is named. */
export async function startInstance(platform: Platform, imageId?: string): Promise<string> {
  const ImageId = imageId ?? (await tinyImage(platform));
  const { Instances: [made] = [] } = await platform.ec2.send(
    new RunInstancesCommand({ ImageId, InstanceType: "t3.nano", MinCount: 1, MaxCount: 1 }),
  );
  return made?.InstanceId ?? "";
}

/** QEMUs and whatever else works for an instance. */
export const machineProcesses = (platform: Platform) =>
  processesOf(platform.dataDirectory).filter(({ command }) => command.includes("/machines/i-"));
