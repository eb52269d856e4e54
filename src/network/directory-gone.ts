// A data directory that somebody deleted takes its network with it: no server will ever come to end these processes.
import { existsSync } from "node:fs";
import { findProcess, isAlive, type ProcessRecord } from "./process-record.ts";

/** A few file reads, some 0.1 ms. */
const CHECK_MS = 1_000;

/** Ends this process, and the siblings that had been written down, when the directory is gone. */
export function endWithDirectory(directory: string, siblings: readonly string[]): void {
  const known = new Map<string, ProcessRecord>();
  function learn(): void {
    for (const name of siblings) {
      const record = findProcess(directory, name);
      if (record !== null) known.set(name, record);
    }
  }
  learn();
  const timer = setInterval(() => {
    if (existsSync(directory)) {
      learn();
      return;
    }
    for (const record of known.values()) if (isAlive(record)) process.kill(record.pid, "SIGTERM");
    process.exit(0);
  }, CHECK_MS);
  timer.unref();
}
