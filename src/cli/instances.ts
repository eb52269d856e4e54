// Which instance is meant, and waiting for one.

import { setTimeout as delay } from "node:timers/promises";
import {
  DescribeInstancesCommand,
  type EC2Client,
  type Filter,
  type Instance,
  type InstanceStateName,
  paginateDescribeInstances,
} from "@aws-sdk/client-ec2";
import { CliError } from "./failure.ts";

const POLL_MS = 500;

export async function allInstances(ec2: EC2Client, filters: readonly Filter[] = []): Promise<Instance[]> {
  const found: Instance[] = [];
  for await (const page of paginateDescribeInstances({ client: ec2, pageSize: 500 }, { Filters: [...filters] })) {
    for (const reservation of page.Reservations ?? []) found.push(...(reservation.Instances ?? []));
  }
  return found;
}

export const nameOf = (tagged: { readonly Tags?: Instance["Tags"] }): string =>
  tagged.Tags?.find(({ Key }) => Key === "Name")?.Value ?? "";

/**
 * The one instance that `word` names: its id, a beginning of it, or its Name tag. One that is over is only meant when no
 * other is.
 * @throws CliError when it names none, or several
 */
export async function findInstance(ec2: EC2Client, word: string): Promise<Instance> {
  const all = await allInstances(ec2);
  const prefix = word.startsWith("i-") ? word : `i-${word}`;
  const matches = (instance: Instance): boolean =>
    instance.InstanceId?.startsWith(prefix) === true || nameOf(instance) === word;
  const exact = all.find(({ InstanceId }) => InstanceId === word);
  if (exact !== undefined) return exact;
  const found = all.filter(matches);
  const alive = found.filter(({ State }) => State?.Name !== "terminated");
  const meant = alive.length > 0 ? alive : found;
  const [first, second] = meant;
  if (first === undefined) throw new CliError(`no instance is called ${word}: see ingot ps --all`);
  if (second !== undefined) {
    const ids = meant.map(({ InstanceId }) => InstanceId).join(", ");
    throw new CliError(`${word} can be any of ${ids}: give more of the id`);
  }
  return first;
}

/** The ids that these words name, in their order. @throws CliError as `findInstance` */
export async function findInstanceIds(ec2: EC2Client, words: readonly string[]): Promise<string[]> {
  const ids: string[] = [];
  for (const word of words) {
    // A whole id need not be looked for: the action itself says when there is none.
    ids.push(/^i-[0-9a-f]{17}$/.test(word) ? word : ((await findInstance(ec2, word)).InstanceId ?? ""));
  }
  return ids;
}

/**
 * Waits until all of them are in the state.
 * @param onChange how many of them are
 * @throws CliError when one ends up elsewhere, with the reason that EC2 gives
 */
export async function waitForState(
  ec2: EC2Client,
  ids: readonly string[],
  state: InstanceStateName,
  onChange: (reached: number) => void = () => {},
): Promise<Instance[]> {
  for (;;) {
    const answer = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [...ids] }));
    const instances = (answer.Reservations ?? []).flatMap(({ Instances = [] }) => Instances);
    for (const instance of instances) {
      const now = instance.State?.Name;
      const over = now === "terminated" || (now === "stopped" && state === "running" && isFailure(instance));
      if (over && now !== state) {
        const reason = instance.StateReason?.Message ?? instance.StateTransitionReason ?? "no reason given";
        throw new CliError(`${instance.InstanceId} is ${now} instead of ${state}: ${reason}`);
      }
    }
    const reached = instances.filter(({ State }) => State?.Name === state).length;
    onChange(reached);
    if (reached === ids.length) return instances;
    await delay(POLL_MS);
  }
}

/** Stopped by the host's doing: it will not run by itself. Before its start an instance is stopped, too. */
const isFailure = ({ StateReason }: Instance): boolean => StateReason?.Code?.startsWith("Server.") === true;
