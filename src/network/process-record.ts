// The fabric's own detached processes: started, written down, found again by a later server, ended.
//
// A pid alone names nothing: it is reused, and all of them are after a reboot. So a record holds the boot's id and the
// process's start time in clock ticks (field 22 of /proc/PID/stat), and a process is touched only when both agree.
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { systemCode } from "../base/errors.ts";
import { type RunningProgram, startDetached } from "../base/programs.ts";

export interface ProcessRecord {
  readonly pid: number;
  readonly startTicks: string;
  readonly bootId: string;
}

/** How long an ended process may take to be gone: the kernel tears its memory and namespaces down first. */
const END_TIMEOUT_MS = 5_000;

const bootId = (): string => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

/** Null when there is no such process, or it is a zombie. */
export function startTicksOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name may hold blanks and parentheses; the fields after the last one do not. Field 3 is the state.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

export const isAlive = (record: ProcessRecord): boolean =>
  record.bootId === bootId() && startTicksOf(record.pid) === record.startTicks;

export function recordOf(pid: number): ProcessRecord | null {
  const startTicks = startTicksOf(pid);
  return startTicks === null ? null : { pid, startTicks, bootId: bootId() };
}

const recordPath = (directory: string, name: string): string => join(directory, `${name}.pid`);

/** The process that an earlier server wrote down under `name`, if it still runs. */
export function findProcess(directory: string, name: string): ProcessRecord | null {
  let text: string;
  try {
    text = readFileSync(recordPath(directory, name), "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw error;
  }
  const [pid, startTicks, boot] = text.trim().split(" ");
  if (pid === undefined || startTicks === undefined || boot === undefined) return null;
  const record: ProcessRecord = { pid: Number(pid), startTicks, bootId: boot };
  return isAlive(record) ? record : null;
}

function writeRecord(directory: string, name: string, record: ProcessRecord): void {
  const path = recordPath(directory, name);
  writeFileSync(`${path}.new`, `${record.pid} ${record.startTicks} ${record.bootId}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

export interface KeptProcess {
  readonly record: ProcessRecord;
  readonly program: RunningProgram;
}

export interface KeptProcessOptions {
  readonly directory: string;
  /** Names the record `NAME.pid` and the log `NAME.log`. */
  readonly name: string;
  readonly argv: readonly string[];
}

/**
 * Starts a process that outlives this one, its output in `NAME.log` (begun anew), and writes it down.
 * The argv's launchers (unshare, nsenter) must exec without forking, so that the pid is the program's own.
 */
export async function startKept({ directory, name, argv }: KeptProcessOptions): Promise<KeptProcess> {
  const log = join(directory, `${name}.log`);
  try {
    writeFileSync(log, "", { mode: 0o600 });
    const program = await startDetached(argv, process.cwd(), log);
    const record = recordOf(program.pid);
    if (record === null) throw new Error(`${argv[0]} ended at once: ${logTail(directory, name)}`);
    writeRecord(directory, name, record);
    return { record, program };
  } catch (error) {
    throw new Error(`start ${name}`, { cause: error });
  }
}

/** The last lines of a process's output, for an error's text. */
export function logTail(directory: string, name: string): string {
  try {
    return readFileSync(join(directory, `${name}.log`), "utf8")
      .trim()
      .slice(-400);
  } catch {
    return "";
  }
}

/** Ends a process and waits until it is gone; then forgets it. A process that is not ours any more is left alone. */
export async function endProcess(directory: string, name: string, record: ProcessRecord | null): Promise<void> {
  if (record !== null && isAlive(record)) {
    kill(record.pid, "SIGTERM");
    const killAt = performance.now() + END_TIMEOUT_MS / 5;
    const giveUpAt = performance.now() + END_TIMEOUT_MS;
    let forced = false;
    while (isAlive(record)) {
      if (!forced && performance.now() > killAt) {
        forced = true;
        kill(record.pid, "SIGKILL");
      }
      if (performance.now() > giveUpAt) throw new Error(`process ${record.pid} (${name}) does not end`);
      await delay(5);
    }
  }
  rmSync(recordPath(directory, name), { force: true });
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (systemCode(error) !== "ESRCH") throw error;
  }
}
