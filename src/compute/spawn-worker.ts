// Starts processes for the server's main thread. A fork stops the thread that asks for it until the child has its program:
// 5 ms in an idle server, 30 in one that grew to 400 MB while ten guests take every processor. Here it stops nobody.
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { chain } from "../base/errors.ts";

export interface SpawnRequest {
  readonly id: number;
  readonly program: string;
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly logFile: string;
  /** Descriptors are the process's, not a thread's. */
  readonly secret: number | null;
  readonly env: NodeJS.ProcessEnv;
}

export type SpawnReport = { readonly id: number } & (
  | { readonly kind: "started"; readonly pid: number }
  | { readonly kind: "failed"; readonly reason: string }
  | { readonly kind: "ended"; readonly code: number | null; readonly signal: NodeJS.Signals | null }
);

const report = (message: SpawnReport) => parentPort?.postMessage(message);

parentPort?.on("message", ({ id, program, argv, cwd, logFile, secret, env }: SpawnRequest) => {
  try {
    const log = openSync(logFile, "a", 0o600);
    try {
      const child = spawn(program, argv, {
        cwd,
        env,
        detached: true,
        stdio: ["ignore", log, log, ...(secret === null ? [] : [secret])],
      });
      child.once("spawn", () => report({ id, kind: "started", pid: child.pid ?? 0 }));
      child.once("error", (error) => report({ id, kind: "failed", reason: chain(error) }));
      child.once("exit", (code, signal) => report({ id, kind: "ended", code, signal }));
    } finally {
      closeSync(log);
    }
  } catch (error) {
    report({ id, kind: "failed", reason: chain(error) });
  }
});
