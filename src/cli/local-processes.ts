// The processes of a data directory on this machine, found by what they have written down about themselves: never by name,
// and never one whose pid has been given to another since.
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { instanceDirectory } from "../compute/instance-directory.ts";
import { identifyByPidFile } from "../compute/qemu-process.ts";
import { findProcess, startTicksOf } from "../network/process-record.ts";
import { type BlockServerGreeting, socketDirectory } from "../storage/block-server-protocol.ts";

export interface LocalProcess {
  readonly kind: "server" | "block server" | "network" | "guest" | "capture";
  /** Which one of its kind: an instance's id, or what the network calls it. */
  readonly name: string;
  readonly pid: number;
  /** With the pid it names one process for good. */
  readonly startTicks: string;
}

const NETWORK_PROCESSES = ["forwarder", "holder", "agent", "slirp4netns", "switch", "router"];
const GREETING_MS = 2_000;
const POLL_MS = 20;

export async function localProcesses(dataDirectory: string): Promise<LocalProcess[]> {
  const found: LocalProcess[] = [];
  const add = (kind: LocalProcess["kind"], name: string, pid: number, expected?: string) => {
    const startTicks = startTicksOf(pid);
    if (startTicks === null || (expected !== undefined && expected !== startTicks)) return;
    found.push({ kind, name, pid, startTicks });
  };
  const [pid, startTicks] = readWords(join(dataDirectory, "server.lock"));
  if (pid !== undefined && startTicks !== undefined) add("server", "server", Number(pid), startTicks);
  const blocks = await blockServerOf(dataDirectory);
  if (blocks !== null) add("block server", "block server", blocks.pid);
  for (const name of NETWORK_PROCESSES) {
    const record = findProcess(join(dataDirectory, "network"), name);
    if (record !== null) add("network", name, record.pid, record.startTicks);
  }
  for (const id of list(join(dataDirectory, "machines"))) {
    const directory = instanceDirectory(join(dataDirectory, "machines", id));
    // Both are started with the path of their pid file as an argument.
    for (const file of [directory.pid, directory.storageDaemonPid]) {
      const process = identifyByPidFile(file, file);
      if (process !== null) add(file === directory.pid ? "guest" : "capture", id, process.pid, process.startTime);
    }
  }
  return found;
}

/** Ends them: asks, and after `patienceMs` kills. Resolves when they are gone. */
export async function endProcesses(processes: readonly LocalProcess[], patienceMs: number): Promise<void> {
  const alive = () => processes.filter(({ pid, startTicks }) => startTicksOf(pid) === startTicks);
  const signal = (name: NodeJS.Signals) => {
    for (const { pid } of alive()) {
      try {
        process.kill(pid, name);
      } catch {
        // It was quicker.
      }
    }
  };
  signal("SIGTERM");
  const killAt = performance.now() + patienceMs;
  let killed = false;
  while (alive().length > 0) {
    if (!killed && performance.now() > killAt) {
      killed = true;
      signal("SIGKILL");
    }
    if (performance.now() > killAt + 10_000) {
      const names = alive().map(({ name, pid }) => `${name} (${pid})`);
      throw new Error(`these processes do not end: ${names.join(", ")}`);
    }
    await delay(POLL_MS);
  }
}

/** Who answers on the block server's control socket, or null. */
function blockServerOf(dataDirectory: string): Promise<BlockServerGreeting | null> {
  const socket = connect(join(socketDirectory(join(dataDirectory, "store")), "control.sock"));
  return new Promise((resolve) => {
    let said = "";
    const end = (greeting: BlockServerGreeting | null) => {
      socket.destroy();
      resolve(greeting);
    };
    socket.setTimeout(GREETING_MS, () => end(null));
    socket.on("data", (chunk) => {
      said += chunk.toString();
      if (said.includes("\n")) end(JSON.parse(said.slice(0, said.indexOf("\n"))) as BlockServerGreeting);
    });
    socket.on("error", () => end(null));
    socket.on("close", () => end(null));
  });
}

function readWords(path: string): string[] {
  try {
    return readFileSync(path, "utf8").trim().split(" ");
  } catch {
    return [];
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
