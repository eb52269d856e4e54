// A process that has the store open, as a server has, and what it costs to ask it for something.
import { type ChildProcessByStdio, execFileSync, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import type { IngotAnswer, IngotRequest } from "./ingot.ts";

export interface Cost {
  readonly wallS: number;
  /** User and system, of all threads and children. */
  readonly cpuS: number;
  readonly residentMb: number;
}

const ROOT = dirname(dirname(import.meta.dirname));
/** The bundle of ingot.ts, beside those of the threads and processes that a server of the same build starts. */
const PROGRAM = join(ROOT, "dist", "bench-store-ingot.mjs");

const TICKS_PER_SECOND = 100;

/** CPU seconds that a process has used so far, in steps of 10 ms. */
export function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Largest resident size so far, or since it was last forgotten. */
export const residentMbOf = (pid: number): number =>
  Math.round((Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0) * 1024) / 1e6);

export class RunningIngot {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  /** Builds what `start` runs: what users run is the bundle, whose threads start in a third of the sources' time. */
  static build(): void {
    execFileSync(process.execPath, [join(ROOT, "script", "build.ts"), join(import.meta.dirname, "ingot.ts")], {
      stdio: "inherit",
    });
  }

  private constructor(home: string, environment: NodeJS.ProcessEnv) {
    this.#child = spawn(process.execPath, [PROGRAM, home], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, ...environment },
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  static async start(home: string, environment: NodeJS.ProcessEnv): Promise<RunningIngot> {
    const started = new RunningIngot(home, environment);
    await started.#answer();
    return started;
  }

  async #answer(): Promise<IngotAnswer> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error("Ingot's process ended");
    return JSON.parse(value) as IngotAnswer;
  }

  async ask(request: IngotRequest): Promise<{ answer: IngotAnswer; cost: Cost }> {
    const pid = this.#child.pid!;
    // Forgets the largest size.
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
    const cpu = cpuOf(pid);
    const begun = performance.now();
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const answer = await this.#answer();
    const wallS = (performance.now() - begun) / 1000;
    return { answer, cost: { wallS, cpuS: cpuOf(pid) - cpu, residentMb: residentMbOf(pid) } };
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    if (this.#child.exitCode === null) await new Promise((resume) => this.#child.once("exit", resume));
  }
}
