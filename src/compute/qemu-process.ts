// QEMU as a process of the host: found, started, told apart from any other that has its pid, and ended.
import { constants, readFileSync } from "node:fs";
import { access, open } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { KIB } from "../base/units.ts";

export const QEMU = "qemu-system-x86_64";
export const QEMU_IMG = "qemu-img";
export const QEMU_STORAGE_DAEMON = "qemu-storage-daemon";

/** A program that we need is not installed. */
export class ProgramMissingError extends Error {
  override readonly name = "ProgramMissingError";
}

/** The program's path. @throws ProgramMissingError when PATH has none */
export async function findProgram(name: string): Promise<string> {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    if (folder === "") continue;
    try {
      await access(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {
      // the next folder may have it
    }
  }
  throw new ProgramMissingError(`${name} is not installed: no such program in PATH`);
}

/** A process that cannot be mistaken: pids are used again, a pid with its start time is not. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since the host's boot: field 22 of `/proc/PID/stat`. */
  readonly startTime: string;
}

/** The process `pid`, if it lives (zombies don't) and has `mark` among its arguments; else `null`. */
export function identifyProcess(pid: number, mark: string): ProcessIdentity | null {
  const startTime = startTimeOf(pid);
  if (startTime === null) return null;
  try {
    const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return argv.includes(mark) ? { pid, startTime } : null;
  } catch {
    return null;
  }
}

/** As `identifyProcess`, the pid read from a pid file. */
export function identifyByPidFile(file: string, mark: string): ProcessIdentity | null {
  let pid: number;
  try {
    pid = Number(readFileSync(file, "utf8").trim());
  } catch {
    return null;
  }
  return Number.isSafeInteger(pid) && pid > 1 ? identifyProcess(pid, mark) : null;
}

function startTimeOf(pid: number): string | null {
  try {
    // The second field, in parentheses, may hold anything; count from the last parenthesis.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const state = fields[0];
    return state === "Z" || state === "X" ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

export const isAlive = (identity: ProcessIdentity): boolean => startTimeOf(identity.pid) === identity.startTime;

/** Sends `signal`; false when that process is no more. Never reaches another that has its pid now. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch (error) {
    if (isAlive(identity)) throw new Error(`send ${signal} to process ${identity.pid}`, { cause: error });
    return false;
  }
}

/** Waits until the process is gone; false when it is still there after `limitMs`. */
export async function waitForEnd(identity: ProcessIdentity, limitMs: number): Promise<boolean> {
  // A process that isn't our child can only be looked at. It is looked at when it is known to be ending, so seldom for long.
  const until = performance.now() + limitMs;
  for (let pauseMs = 2; isAlive(identity); pauseMs = Math.min(50, pauseMs * 2)) {
    if (performance.now() >= until) return false;
    await sleep(pauseMs);
  }
  return true;
}

/** The end of a log, in whole lines, at most `bytes`; empty when there is none. */
export async function lastWords(file: string, bytes = 2 * KIB): Promise<string> {
  const text = (await readTail(file, bytes)).toString("utf8");
  return text.split("\n").slice(-8).join("\n").trim();
}

/** The last `bytes` of a file; all of a shorter one, nothing of an absent one. */
export async function readTail(file: string, bytes: number): Promise<Buffer> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, "r");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return Buffer.alloc(0);
    throw new Error(`read ${file}`, { cause: error });
  }
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, bytes);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
