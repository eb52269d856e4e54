// Storage workers: started on first use, kept warm, ended after some idle seconds so that an idle server stays small.
import { Worker } from "node:worker_threads";
import { STORAGE_WORKER } from "./entries.ts";
import type { FinishedPack } from "./pack-writer.ts";
import {
  errorFrom,
  type FromWorker,
  type Task,
  type TaskResults,
  type ToWorker,
  type WorkerSetup,
} from "./worker-tasks.ts";

/** A worker starts in about 60 ms; captures of one machine's disks, or of a fleet, come close together. */
const IDLE_MS = 10_000;

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class StorageWorker {
  /** Hears of packs as they are complete. */
  onPack: (pack: FinishedPack) => void = () => {};
  idleTimer: NodeJS.Timeout | null = null;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  #failure: Error | null = null;

  constructor(setup: WorkerSetup, onExit: (worker: StorageWorker) => void) {
    this.#worker = new Worker(STORAGE_WORKER, {
      workerData: setup,
      // Its data lives in buffers outside of the heap, which are freed when the few objects that hold them are: with a young
      // generation of 8 MB a capture over a base takes 205 MB, with one of 2 it takes 182, and no longer.
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
    });
    this.#worker.on("message", (message: FromWorker) => this.#receive(message));
    this.#worker.on("error", (cause) => this.#fail(new Error("a storage worker failed", { cause })));
    this.#worker.on("exit", () => {
      this.#fail(new Error("a storage worker ended"));
      onExit(this);
    });
    this.#worker.unref();
  }

  run<K extends Task["kind"]>(task: Extract<Task, { kind: K }>): Promise<TaskResults[K]> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const id = this.#next++;
    this.#worker.ref();
    const message: ToWorker = { id, task };
    this.#worker.postMessage(message);
    return new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    }) as Promise<TaskResults[K]>;
  }

  /** Closes what the running task reads from. */
  cancel(): void {
    const message: ToWorker = { cancel: true };
    this.#worker.postMessage(message);
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  #receive(message: FromWorker): void {
    if (message.kind === "pack") {
      this.onPack(message.pack);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (this.#waiting.size === 0) this.#worker.unref();
    if (message.kind === "done") waiting?.resolve(message.value);
    else waiting?.reject(errorFrom(message.error));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const waiting of this.#waiting.values()) waiting.reject(this.#failure);
    this.#waiting.clear();
  }
}

export class WorkerPool {
  /** Most that one task gets. */
  readonly perTask: number;
  readonly #setup: WorkerSetup;
  readonly #max: number;
  readonly #idle: StorageWorker[] = [];
  readonly #queue: (() => void)[] = [];
  readonly #all = new Set<StorageWorker>();
  #closed = false;

  /** @param perTask  workers for one large task; tasks beyond twice as many workers wait */
  constructor(setup: WorkerSetup, perTask: number) {
    this.#setup = setup;
    this.perTask = perTask;
    this.#max = perTask * 2;
  }

  /** Begins to start what a task of `wanted` workers will need: a worker takes 60 to 100 ms, which may pass meanwhile. */
  prepare(wanted: number): void {
    const ready: StorageWorker[] = [];
    while (!this.#closed && ready.length < Math.min(wanted, this.perTask)) {
      const worker = this.#take();
      if (worker === null) break;
      ready.push(worker);
    }
    for (const worker of ready) this.#give(worker);
  }

  /** Runs `use` with 1 to `wanted` workers of its own. */
  async with<T>(wanted: number, use: (workers: StorageWorker[]) => Promise<T>): Promise<T> {
    while (this.#idle.length === 0 && this.#all.size >= this.#max) {
      await new Promise<void>((wake) => this.#queue.push(wake));
    }
    if (this.#closed) throw new Error("the store is closed");
    const workers: StorageWorker[] = [];
    while (workers.length < Math.min(wanted, this.perTask)) {
      const worker = this.#take();
      if (worker === null) break;
      workers.push(worker);
    }
    try {
      return await use(workers);
    } finally {
      for (const worker of workers) this.#give(worker);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const wake of this.#queue) wake();
    await Promise.all([...this.#all].map((worker) => worker.end()));
  }

  #take(): StorageWorker | null {
    const idle = this.#idle.pop();
    if (idle !== undefined) {
      if (idle.idleTimer !== null) clearTimeout(idle.idleTimer);
      return idle;
    }
    if (this.#all.size >= this.#max) return null;
    const worker = new StorageWorker(this.#setup, (ended) => {
      this.#all.delete(ended);
      const at = this.#idle.indexOf(ended);
      if (at >= 0) this.#idle.splice(at, 1);
      this.#queue.shift()?.();
    });
    this.#all.add(worker);
    return worker;
  }

  #give(worker: StorageWorker): void {
    worker.onPack = () => {};
    if (!this.#all.has(worker)) return;
    worker.idleTimer = setTimeout(() => void worker.end(), IDLE_MS);
    worker.idleTimer.unref();
    this.#idle.push(worker);
    this.#queue.shift()?.();
  }
}
