// ingot stop: ends the server; with --all everything else of the data directory, too.

import { StopInstancesCommand } from "@aws-sdk/client-ec2";
import { ec2Client } from "../clients/ec2.ts";
import { connect, dataDirectoryOf, notRunning } from "../connection.ts";
import { allInstances, waitForState } from "../instances.ts";
import { endProcesses, type LocalProcess, localProcesses } from "../local-processes.ts";
import { Output } from "../output.ts";
import type { CommonOptions } from "../session.ts";

/** The server waits for the requests under way. */
const SERVER_PATIENCE_MS = 60_000;
/** QEMU writes out what it holds when asked to end. */
const PATIENCE_MS = 10_000;
/** A guest that does not hear its power button is switched off by then. */
const SHUTDOWN_LIMIT_MS = 120_000;

export interface StopOptions extends CommonOptions {
  readonly all?: boolean;
  /** Guests lose their power instead of being shut down. */
  readonly now?: boolean;
}

export async function stop(options: StopOptions): Promise<void> {
  const output = new Output(options.json === true);
  const dataDirectory = dataDirectoryOf(options.data);
  const ended: LocalProcess[] = [];
  const end = async (kinds: readonly LocalProcess["kind"][], patienceMs: number) => {
    const chosen = (await localProcesses(dataDirectory)).filter(({ kind }) => kinds.includes(kind));
    await endProcesses(chosen, patienceMs);
    ended.push(...chosen);
  };
  const running = (await localProcesses(dataDirectory)).some(({ kind }) => kind === "server");
  if (!running && !options.all) throw notRunning(dataDirectory, options.data);
  if (options.all && running && !options.now) await shutGuestsDown(dataDirectory, output);
  await end(["server"], SERVER_PATIENCE_MS);
  if (options.all) {
    // In this order: a guest must not lose its disk or its cable while it still writes.
    await end(["guest", "capture"], PATIENCE_MS);
    await end(["block server", "network"], PATIENCE_MS);
  }
  const guests = (await localProcesses(dataDirectory)).filter(({ kind }) => kind === "guest").length;
  const runOn = guests === 0 ? "" : ` ${guests === 1 ? "One guest runs" : `${guests} guests run`} on.`;
  output.result({ ended }, ended.length === 0 ? "Nothing ran." : `Ended ${listed(ended)}.${runOn}`);
}

/** As `ingot stop-instance` does, as far as our account goes: the others' are switched off afterwards. */
async function shutGuestsDown(dataDirectory: string, output: Output): Promise<void> {
  const ec2 = ec2Client(connect(dataDirectory));
  const instances = await allInstances(ec2, [{ Name: "instance-state-name", Values: ["pending", "running"] }]);
  const ids = instances.map(({ InstanceId = "" }) => InstanceId);
  if (ids.length === 0) return;
  const progress = output.progress(`Shutting ${ids.length === 1 ? "the guest" : `${ids.length} guests`} down`, "steps");
  let given = false;
  const limit = new Promise<void>((resolve) => {
    setTimeout(() => {
      given = true;
      resolve();
    }, SHUTDOWN_LIMIT_MS).unref();
  });
  try {
    await ec2.send(new StopInstancesCommand({ InstanceIds: ids }));
    await Promise.race([
      waitForState(ec2, ids, "stopped", (count) => progress.update(count, ids.length)).catch((error) => {
        if (!given) throw error;
      }),
      limit,
    ]);
    progress.done();
  } catch (error) {
    progress.failed();
    // One that has been terminated meanwhile, or may not be stopped: what still runs is switched off.
    output.note(error instanceof Error ? error.message : String(error));
  }
}

function listed(processes: readonly LocalProcess[]): string {
  const counts = new Map<string, number>();
  for (const { kind } of processes) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const parts: string[] = [];
  for (const [kind, count] of counts) {
    if (kind === "network") parts.push("the network");
    else if (kind === "guest") parts.push(count === 1 ? "one guest" : `${count} guests`);
    else parts.push(`the ${kind}`);
  }
  return parts.join(", ");
}
