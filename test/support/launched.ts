// One instance of an image, and what a command says on it: for tests whose subject ends with an image.
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateKeyPairCommand,
  CreateSecurityGroupCommand,
  DescribeInstancesCommand,
  type Instance,
  RunInstancesCommand,
  type RunInstancesCommandInput,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { scratchDirectory } from "./client-programs.ts";
import type { Platform } from "./platform.ts";

const PATIENCE_MS = 300_000;

export interface Launched {
  readonly instance: Instance;
  /** Over SSH, once it answers. */
  run(command: string): Promise<string>;
  terminate(): Promise<void>;
}

/** An instance that runs, with a key of its own and SSH open to everybody. One at a time per platform. */
export async function launched(
  t: TestContext,
  { ec2 }: Platform,
  input: Partial<RunInstancesCommandInput> & { readonly ImageId: string },
  user = "root",
): Promise<Launched> {
  const name = `launched-${input.ImageId}`;
  const key = join(scratchDirectory(t, "key"), "key");
  const { KeyMaterial = "" } = await ec2.send(new CreateKeyPairCommand({ KeyName: name, KeyType: "ed25519" }));
  writeFileSync(key, `${KeyMaterial}\n`, { mode: 0o600 });
  const { GroupId = "" } = await ec2.send(new CreateSecurityGroupCommand({ GroupName: name, Description: "SSH" }));
  const ssh = { IpProtocol: "tcp", FromPort: 22, ToPort: 22, CidrIp: "0.0.0.0/0" };
  await ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId, ...ssh }));
  const { Instances: [made] = [] } = await ec2.send(
    new RunInstancesCommand({
      InstanceType: "t3.nano",
      MinCount: 1,
      MaxCount: 1,
      KeyName: name,
      SecurityGroupIds: [GroupId],
      ...input,
    }),
  );
  const id = made?.InstanceId ?? "";
  const reached = async (state: string): Promise<Instance> => {
    const giveUpAt = performance.now() + PATIENCE_MS;
    for (;;) {
      const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
      const instance = Reservations[0]?.Instances?.[0];
      if (instance?.State?.Name === state) return instance;
      if (instance?.State?.Name === "terminated" || performance.now() > giveUpAt) {
        throw new Error(`${id} is ${instance?.State?.Name}, not ${state}: ${instance?.StateReason?.Message}`);
      }
      await delay(100);
    }
  };
  const instance = await reached("running");
  return {
    instance,
    run: (command) => overSsh(`${user}@${instance.PublicIpAddress}`, key, command),
    async terminate() {
      await ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
      await reached("terminated");
    },
  };
}

/** What a command says over SSH, once that answers. @throws Error when the command fails, or nobody answers in time */
export async function overSsh(destination: string, keyFile: string, command: string): Promise<string> {
  const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=10"];
  // A guest that is reset in the middle says nothing more: asked every five seconds, it says that it knows of no session.
  const alive = ["ServerAliveInterval=5", "ServerAliveCountMax=12"];
  const settings = [...options, ...alive, "BatchMode=yes"].flatMap((option) => ["-o", option]);
  const argv = ["-F", "none", "-i", keyFile, ...settings, destination, command];
  const giveUpAt = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      return (await promisify(execFile)("ssh", argv, { timeout: 120_000 })).stdout.trim();
    } catch (cause) {
      // 255: not the command's own failure, but SSH's.
      const unreachable = (cause as { code?: unknown }).code === 255;
      if (!unreachable || performance.now() > giveUpAt) throw new Error(`${command} on ${destination}`, { cause });
      await delay(500);
    }
  }
}

/** What `command` says on an instance of the image, which is gone again afterwards. */
export async function bootedOver(
  t: TestContext,
  platform: Platform,
  imageId: string,
  command: string,
): Promise<string> {
  const machine = await launched(t, platform, { ImageId: imageId });
  try {
    return await machine.run(command);
  } finally {
    await machine.terminate();
  }
}
