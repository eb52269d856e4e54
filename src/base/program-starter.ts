// Starts programs, and tells how they are doing in messages: the same for whoever is in this thread and in another.
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { chain } from "./errors.ts";

/** How a program is to run, and what about the running one. */
export type ProgramRequest = { readonly id: number } & (
  | {
      readonly kind: "detached";
      readonly argv: Argv;
      readonly cwd: string;
      readonly logFile: string;
      /** Descriptors are the process's, not a thread's. */
      readonly secret: number | null;
      readonly env: NodeJS.ProcessEnv;
    }
  | { readonly kind: "whole"; readonly argv: Argv; readonly input: string; readonly limitMs: number }
  | { readonly kind: "piped"; readonly argv: Argv }
  | { readonly kind: "write"; readonly text: string }
  | { readonly kind: "end" }
  | { readonly kind: "kill" }
);

export type Argv = readonly [string, ...string[]];

export type ProgramReport = { readonly id: number } & (
  | { readonly kind: "started"; readonly pid: number }
  | { readonly kind: "failed"; readonly reason: string }
  | { readonly kind: "output"; readonly text: string }
  /** After all of its output. */
  | {
      readonly kind: "ended";
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
      readonly errors: string;
    }
);

/** Of what a program says on standard error, so much is kept. */
const ERRORS_KEPT = 4096;

type Report = (message: ProgramReport) => void;

/** What takes requests and reports on them, in whichever thread it is. */
export function programStarter(report: Report): (request: ProgramRequest) => void {
  /** Those whose input is ours. */
  const piped = new Map<number, ChildProcessWithoutNullStreams>();
  const startPiped = (id: number, argv: Argv, limitMs?: number): ChildProcessWithoutNullStreams => {
    const child = spawnPiped(report, id, argv, limitMs);
    piped.set(id, child);
    child.once("error", () => piped.delete(id));
    child.once("close", () => piped.delete(id));
    return child;
  };
  return (request) => {
    const { id } = request;
    try {
      switch (request.kind) {
        case "detached":
          spawnDetached(report, request);
          break;
        case "whole":
          startPiped(id, request.argv, request.limitMs).stdin.end(request.input);
          break;
        case "piped":
          startPiped(id, request.argv);
          break;
        case "write":
          piped.get(id)?.stdin.write(request.text);
          break;
        case "end":
          piped.get(id)?.stdin.end();
          break;
        case "kill":
          piped.get(id)?.kill("SIGKILL");
          break;
        default:
          request satisfies never;
      }
    } catch (error) {
      report({ id, kind: "failed", reason: chain(error) });
    }
  };
}

function spawnDetached(report: Report, request: ProgramRequest & { readonly kind: "detached" }): void {
  const { id, cwd, env, secret, logFile } = request;
  const [program, ...argv] = request.argv;
  const log = openSync(logFile, "a", 0o600);
  try {
    const stdio = ["ignore" as const, log, log, ...(secret === null ? [] : [secret])];
    const child = spawn(program, argv, { cwd, env, detached: true, stdio });
    child.unref();
    tellOf(report, id, child, "exit");
  } finally {
    closeSync(log);
  }
}

function spawnPiped(
  report: Report,
  id: number,
  [program, ...argv]: Argv,
  limitMs: number | undefined,
): ChildProcessWithoutNullStreams {
  const child = spawn(program, argv, { stdio: ["pipe", "pipe", "pipe"] });
  if (limitMs !== undefined) {
    // Node's own limit would keep the process waiting for a program that never started.
    const limit = setTimeout(() => child.kill(), limitMs).unref();
    child.once("exit", () => clearTimeout(limit));
  }
  let errors = "";
  child.stdin.on("error", () => {}); // it ended before it had read all: how it ended says why
  child.stdout.setEncoding("utf8").on("data", (text: string) => report({ id, kind: "output", text }));
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    if (errors.length < ERRORS_KEPT) errors += text;
  });
  tellOf(report, id, child, "close", () => errors);
  return child;
}

function tellOf(
  report: Report,
  id: number,
  child: ChildProcess,
  end: "exit" | "close",
  errors: () => string = () => "",
): void {
  let started = false;
  child.once("spawn", () => {
    started = true;
    report({ id, kind: "started", pid: child.pid ?? 0 });
  });
  child.once("error", (error) => {
    if (!started) report({ id, kind: "failed", reason: chain(error) });
  });
  child.once(end, (code: number | null, signal: NodeJS.Signals | null) => {
    if (started) report({ id, kind: "ended", code, signal, errors: errors() });
  });
}
