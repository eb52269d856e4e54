// One process writes to a store: `lock` names it. The kernel's flock drops with the process, however it ends; where
// flock is out of reach, pid and start time in the file tell whether the owner lives.
import { closeSync, ftruncateSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { libc } from "./libc.ts";

export interface OwnerLock {
  release(): void;
}

/** When a process started, in clock ticks since boot; undefined when there is none. A pid alone may be another by now. */
export function processStartTime(pid: number): string | undefined {
  try {
    // The name in parentheses may hold spaces: count from the last parenthesis. Field 22 of the line.
    return readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)!.split(" ")[19];
  } catch {
    return undefined;
  }
}

/** @throws Error in a clear sentence when another process owns the store */
export function takeOwnerLock(path: string): OwnerLock {
  const fd = openSync(path, "a+", 0o600);
  const holder = Buffer.alloc(256);
  const text = holder.toString("utf8", 0, readSync(fd, holder, 0, holder.length, 0)).trim();
  const [pid = "", started = ""] = text.split(" ");
  const calls = libc();
  const lives = pid !== "" && Number(pid) !== process.pid && processStartTime(Number(pid)) === started;
  if (calls === null ? lives : !calls.tryLock(fd)) {
    closeSync(fd);
    throw new Error(
      `the store is in use by process ${pid || "unknown"}: one process at a time may write to it (${path})`,
    );
  }
  ftruncateSync(fd, 0);
  writeSync(fd, `${process.pid} ${processStartTime(process.pid) ?? ""}\n`);
  return {
    release() {
      // The file stays: unlinking would let one process lock the old file and another a new one.
      ftruncateSync(fd, 0);
      closeSync(fd);
    },
  };
}
