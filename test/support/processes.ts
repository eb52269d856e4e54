// Which processes belong to a data directory: those that name it in their command line, or hold a file of it open.
// Independent of what the program itself writes down about its processes, so that a test sees what was forgotten.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

export interface FoundProcess {
  readonly pid: number;
  readonly command: string;
}

/** Processes of the data directory, without the calling one. One look at /proc: some 20 ms. */
export function processesOf(directory: string): FoundProcess[] {
  const found: FoundProcess[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      if (command.includes(`${directory}/`) || holdsFileIn(name, directory)) found.push({ pid: Number(name), command });
    } catch {
      // It has ended meanwhile, or is not ours to look at.
    }
  }
  return found;
}

function holdsFileIn(pid: string, directory: string): boolean {
  return readdirSync(`/proc/${pid}/fd`).some((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(`${directory}/`);
    } catch {
      return false;
    }
  });
}

/** Zombies are gone as far as anyone is concerned: whoever has started them has not looked yet. */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !["Z", "X"].includes(stat.slice(stat.lastIndexOf(")") + 2)[0] ?? "X");
  } catch {
    return false;
  }
}

/** Kills them, and resolves when they are gone. @throws Error when one is still there after ten seconds */
export async function killAll(processes: readonly FoundProcess[]): Promise<void> {
  for (const { pid } of processes) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Gone already.
    }
  }
  const giveUpAt = performance.now() + 10_000;
  for (const { pid, command } of processes) {
    while (isRunning(pid)) {
      if (performance.now() > giveUpAt) throw new Error(`process ${pid} cannot be killed: ${command}`);
      await delay(10);
    }
  }
}
