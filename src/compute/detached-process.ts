// Processes that outlive the server: in sessions of their own, without a shell, started by a thread of their own.
import { Worker } from "node:worker_threads";
import type { SpawnReport, SpawnRequest } from "./spawn-worker.ts";

const SPAWN_WORKER = new URL("./spawn-worker.ts", import.meta.url);

/** How a process ended. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface DetachedProcess {
  readonly pid: number;
  /** `null` while it runs. */
  exit(): ProcessExit | null;
  /** Resolves when it has ended and is reaped. Keeps nobody from leaving. */
  readonly ended: Promise<ProcessExit>;
}

interface Expected {
  readonly started: PromiseWithResolvers<number>;
  readonly ended: (exit: ProcessExit) => void;
}

class Spawner {
  readonly #worker = new Worker(SPAWN_WORKER, {
    // Not what this process was started with: it may itself be a worker, or text on a command line.
    execArgv: ["--disable-warning=ExperimentalWarning"],
    resourceLimits: { maxYoungGenerationSizeMb: 1 },
  });
  readonly #expected = new Map<number, Expected>();
  #next = 1;
  /** Requests that are not answered yet keep the server from leaving; what runs does not. */
  #asked = 0;

  constructor() {
    this.#worker.unref();
    this.#worker.on("message", (message: SpawnReport) => this.#receive(message));
    this.#worker.on("error", (cause) => {
      if (spawner === this) spawner = null;
      for (const { started } of this.#expected.values()) started.reject(new Error("the spawner failed", { cause }));
      this.#expected.clear();
    });
  }

  async start(request: Omit<SpawnRequest, "id">): Promise<DetachedProcess> {
    const id = this.#next++;
    let exit: ProcessExit | null = null;
    const ended = Promise.withResolvers<ProcessExit>();
    const started = Promise.withResolvers<number>();
    this.#expected.set(id, {
      started,
      ended(how) {
        exit = how;
        ended.resolve(how);
      },
    });
    if (this.#asked++ === 0) this.#worker.ref();
    this.#worker.postMessage({ id, ...request } satisfies SpawnRequest);
    try {
      const pid = await started.promise;
      return { pid, exit: () => exit, ended: ended.promise };
    } catch (error) {
      this.#expected.delete(id);
      throw error;
    } finally {
      if (--this.#asked === 0) this.#worker.unref();
    }
  }

  #receive(message: SpawnReport): void {
    const expected = this.#expected.get(message.id);
    if (expected === undefined) return;
    switch (message.kind) {
      case "started":
        expected.started.resolve(message.pid);
        break;
      case "failed":
        expected.started.reject(new Error(message.reason));
        break;
      case "ended":
        this.#expected.delete(message.id);
        expected.ended({ code: message.code, signal: message.signal });
        break;
    }
  }
}

let spawner: Spawner | null = null;

/** Makes the first start as quick as the next: the thread takes 30 ms to come up. */
export function prepareToSpawn(): void {
  spawner ??= new Spawner();
}

/**
 * Starts a process; its output is appended to `logFile`. Resolves once the program runs.
 * @param secret  an open file that the program gets as descriptor 3; may be closed afterwards
 * @throws Error when it can't be started
 */
export async function spawnDetached(
  argv: readonly string[],
  cwd: string,
  logFile: string,
  secret: number | null = null,
): Promise<DetachedProcess> {
  const [program, ...rest] = argv;
  if (program === undefined) throw new Error("no program to start");
  prepareToSpawn();
  try {
    return await spawner!.start({ program, argv: rest, cwd, logFile, secret, env: { ...process.env } });
  } catch (cause) {
    throw new Error(`start ${program}`, { cause });
  }
}
