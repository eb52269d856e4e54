// Reaching an instance over SSH from this machine.
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { Instance } from "@aws-sdk/client-ec2";
import type { Connection } from "./connection.ts";
import { CliError } from "./failure.ts";
import { findPrivateKey, knownHostsFile } from "./keys.ts";

/** Where port 22 of a public address is when the host does not let us have 22: the server's stand-in for it. */
const PORTS = [22, 10_022];
const GREETING_MS = 5_000;
const POLL_MS = 300;

export const DEFAULT_USER = "ec2-user";

export interface SshTarget {
  readonly address: string;
  readonly port: number;
}

/** The address and port where an SSH server answers right now, or null. */
async function answeringTarget(address: string): Promise<SshTarget | null> {
  for (const port of PORTS) if (await greets(address, port)) return { address, port };
  return null;
}

/** @throws CliError when the instance has no public address */
export function publicAddress(instance: Instance): string {
  if (instance.PublicIpAddress) return instance.PublicIpAddress;
  const state = instance.State?.Name;
  const id = instance.InstanceId;
  throw new CliError(
    state === "running" || state === "pending"
      ? `${id} has no public address: launch with aws ec2 run-instances --associate-public-ip-address, or go through another instance`
      : state === "stopped"
        ? `${id} is stopped: ingot start ${id}`
        : `${id} is ${state}`,
  );
}

/** Waits until an SSH server says its version there. @throws CliError when none has within `limitMs` */
export async function waitForSsh(instance: Instance, limitMs: number): Promise<SshTarget> {
  const address = publicAddress(instance);
  const giveUpAt = performance.now() + limitMs;
  for (;;) {
    const target = await answeringTarget(address);
    if (target !== null) return target;
    if (performance.now() > giveUpAt) {
      throw new CliError(
        `no SSH server answers on ${instance.InstanceId} (${address}): does a security group open port 22? What it says: ingot console ${instance.InstanceId}`,
      );
    }
    await delay(POLL_MS);
  }
}

function greets(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, timeout: GREETING_MS });
    let said = "";
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.on("data", (chunk) => {
      said += chunk.toString("latin1");
      if (said.startsWith("SSH-")) end(true);
      else if (said.length >= 4) end(false);
    });
    socket.on("timeout", () => end(false));
    socket.on("error", () => end(false));
    socket.on("close", () => end(false));
  });
}

/** The arguments of `ssh` up to where a command would follow. */
export async function sshArgv(
  connection: Connection,
  instance: Instance,
  target: SshTarget,
  options: { readonly user: string; readonly identity?: string | undefined },
): Promise<string[]> {
  const key =
    options.identity ?? (instance.KeyName === undefined ? null : await findPrivateKey(connection, instance.KeyName));
  return [
    ...(key === null ? [] : ["-i", key, "-o", "IdentitiesOnly=yes"]),
    // An address is used again by another instance with another host key; an id is not.
    ...["-o", `HostKeyAlias=${instance.InstanceId}`],
    ...["-o", `UserKnownHostsFile=${quoted(knownHostsFile(connection))}`],
    ...["-o", "GlobalKnownHostsFile=/dev/null"],
    ...["-o", "StrictHostKeyChecking=accept-new"],
    // Else it says that it has added a host key.
    ...["-o", "LogLevel=ERROR"],
    ...["-p", String(target.port)],
    ...["-l", options.user],
    target.address,
  ];
}

/** As ssh_config has it: it splits the value at blanks. */
const quoted = (path: string): string => `"${path}"`;
