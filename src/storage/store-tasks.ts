// The store's upkeep as tasks: one after another, in the background, of which one can ask how far they are. And the duties
// that start them by themselves:
//
//   collect   some minutes after the last of several deletions, and once a day
//   scrub     once a week, at a limited rate, going on where a restart interrupted it
//
// When each was last done is in upkeep.json, so that restarts neither skip nor repeat them. Lost, it costs a run.
import { randomBytes } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Collected, CollectOptions } from "./collect.ts";
import type { RebuiltIndex, Scrubbed, ScrubOptions } from "./upkeep.ts";

/** What the tasks do; the store. */
export interface Upkeep {
  collect(options: CollectOptions): Promise<Collected>;
  scrub(options: ScrubOptions): Promise<Scrubbed>;
  rebuildIndex(): Promise<RebuiltIndex>;
}

export type StoreTaskKind = "collect" | "scrub" | "rebuild-index";

export interface StoreTask {
  readonly id: string;
  readonly kind: StoreTaskKind;
  /** Of a collection: it only says what it would free. */
  readonly planOnly: boolean;
  readonly startedAt: Date;
  readonly state: "running" | "completed" | "failed" | "stopped";
  readonly endedAt: Date | null;
  /** Bytes read of bytes to read; only a scrub knows. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Why it failed. */
  readonly message: string | null;
  readonly collected: Collected | null;
  readonly scrubbed: Scrubbed | null;
  readonly rebuilt: RebuiltIndex | null;
}

/** When each duty was last done, as times of `Date`; what upkeep.json holds. */
export interface UpkeepState {
  readonly version: 1;
  readonly collectedAt: number;
  readonly scrubbedAt: number;
  /** Where an interrupted scrub goes on. */
  readonly scrubNext: string | null;
}

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
/** Deletions come in groups; nobody waits for the bytes. */
const AFTER_DELETION_MS = 5 * MINUTE_MS;
const AFTER_FIRST_DELETION_MS = 30 * MINUTE_MS;
const TASKS_KEPT = 20;

/** Which duties are due. Pure. @param deletions  the first and the latest since the last collection */
export function dueDuties(
  state: UpkeepState,
  deletions: { readonly first: number; readonly latest: number } | null,
  now: number,
): StoreTaskKind[] {
  const due: StoreTaskKind[] = [];
  const quiet =
    deletions !== null &&
    (now - deletions.latest >= AFTER_DELETION_MS || now - deletions.first >= AFTER_FIRST_DELETION_MS);
  if (quiet || now - state.collectedAt >= DAY_MS) due.push("collect");
  if (state.scrubNext !== null || now - state.scrubbedAt >= 7 * DAY_MS) due.push("scrub");
  return due;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export class StoreTasks {
  readonly #upkeep: Upkeep;
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #tasks = new Map<string, { task: Mutable<StoreTask>; abort: AbortController; done: Promise<void> }>();
  #queue: Promise<void> = Promise.resolve();
  #deletions: { first: number; latest: number } | null = null;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  /** @param directory  the store's, for upkeep.json */
  constructor(upkeep: Upkeep, options: { readonly directory: string; readonly clock: Clock; readonly log: Log }) {
    this.#upkeep = upkeep;
    this.#path = join(options.directory, "upkeep.json");
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Looks after the duties from now on, once a minute. */
  start(): void {
    this.#timer ??= setInterval(() => void this.look(), MINUTE_MS);
    this.#timer.unref();
  }

  /** Starts what is due. Never throws. */
  async look(): Promise<void> {
    try {
      const now = this.#clock.now().getTime();
      const state = await this.#state(now);
      for (const kind of dueDuties(state, this.#deletions, now)) {
        if (this.#running(kind) !== undefined) continue;
        if (kind === "collect") this.collect({});
        else if (kind === "scrub") this.#scrub({}, state.scrubNext);
      }
    } catch (error) {
      this.#log.error({ error: chain(error) }, "the store's upkeep met a problem");
    }
  }

  noteDeletion(): void {
    const now = this.#clock.now().getTime();
    this.#deletions = { first: this.#deletions?.first ?? now, latest: now };
  }

  collect({ planOnly = false }: { readonly planOnly?: boolean }): StoreTask {
    return this.#start("collect", planOnly, async (task, signal) => {
      const deletions = this.#deletions;
      task.collected = await this.#upkeep.collect({ dryRun: planOnly, signal });
      if (planOnly) return;
      if (this.#deletions === deletions) this.#deletions = null;
      await this.#keep({ collectedAt: this.#clock.now().getTime() });
    });
  }

  /** One at a time: a second call gives the task that runs. */
  scrub(options: { readonly bytesPerSecond?: number }): StoreTask {
    return this.#scrub(options, null);
  }

  #scrub({ bytesPerSecond }: { readonly bytesPerSecond?: number }, resume: string | null): StoreTask {
    const running = this.#running("scrub");
    if (running !== undefined) return running;
    return this.#start("scrub", false, async (task, signal) => {
      let kept = Date.now();
      const scrubbed = await this.#upkeep.scrub({
        signal,
        ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
        ...(resume === null ? {} : { resume }),
        onProgress: ({ doneBytes, totalBytes, next }) => {
          task.doneBytes = doneBytes;
          task.totalBytes = totalBytes;
          if (Date.now() - kept < MINUTE_MS) return;
          kept = Date.now();
          this.#keep({ scrubNext: next }).catch((error) =>
            this.#log.warn({ error: chain(error) }, "keep a scrub's place"),
          );
        },
      });
      task.scrubbed = scrubbed;
      if (scrubbed.next !== null) task.state = "stopped";
      // Stopped by its operator it is over; by the server's end, it goes on at the next start.
      const next = this.#closed ? scrubbed.next : null;
      await this.#keep({ scrubNext: next, ...(next === null ? { scrubbedAt: this.#clock.now().getTime() } : {}) });
      if (scrubbed.damage.length > 0 || scrubbed.faults.length > 0) {
        this.#log.error({ affected: scrubbed.affected, faults: scrubbed.faults }, "the scrub has found damage");
      }
    });
  }

  rebuildIndex(): StoreTask {
    const running = this.#running("rebuild-index");
    if (running !== undefined) return running;
    return this.#start("rebuild-index", false, async (task) => {
      task.rebuilt = await this.#upkeep.rebuildIndex();
    });
  }

  /** Those that run and the latest that have ended, oldest first. */
  list(): StoreTask[] {
    return [...this.#tasks.values()].map(({ task }) => ({ ...task }));
  }

  get(id: string): StoreTask | undefined {
    const found = this.#tasks.get(id);
    return found === undefined ? undefined : { ...found.task };
  }

  /** Asks a task to end; a rebuild goes on to its end. false: there is none of this id. */
  stop(id: string): boolean {
    const found = this.#tasks.get(id);
    found?.abort.abort(new Error("stopped"));
    return found !== undefined;
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const { abort } of this.#tasks.values()) abort.abort(new Error("the store is closing"));
    await this.#queue;
  }

  /** Resolves when a task has ended. */
  async ended(id: string): Promise<StoreTask | undefined> {
    await this.#tasks.get(id)?.done;
    return this.get(id);
  }

  #running(kind: StoreTaskKind): StoreTask | undefined {
    for (const { task } of this.#tasks.values()) {
      if (task.kind === kind && task.state === "running" && !task.planOnly) return { ...task };
    }
    return undefined;
  }

  #start(
    kind: StoreTaskKind,
    planOnly: boolean,
    work: (task: Mutable<StoreTask>, signal: AbortSignal) => Promise<void>,
  ): StoreTask {
    const task: Mutable<StoreTask> = {
      id: `${kind}-${randomBytes(8).toString("hex")}`,
      kind,
      planOnly,
      startedAt: this.#clock.now(),
      state: "running",
      endedAt: null,
      doneBytes: 0,
      totalBytes: 0,
      message: null,
      collected: null,
      scrubbed: null,
      rebuilt: null,
    };
    const abort = new AbortController();
    if (this.#closed) abort.abort(new Error("the store is closing"));
    const done = this.#queue.then(async () => {
      try {
        abort.signal.throwIfAborted();
        await work(task, abort.signal);
        if (task.state === "running") task.state = "completed";
        this.#log.info({ task: task.id, collected: task.collected, rebuilt: task.rebuilt }, `${kind} has ended`);
      } catch (error) {
        task.state = abort.signal.aborted ? "stopped" : "failed";
        task.message = chain(error);
        if (task.state === "failed") this.#log.error({ task: task.id, error: task.message }, `${kind} has failed`);
      }
      task.endedAt = this.#clock.now();
    });
    this.#queue = done;
    this.#tasks.set(task.id, { task, abort, done });
    for (const [id, { task: old }] of this.#tasks) {
      if (this.#tasks.size <= TASKS_KEPT) break;
      if (old.state !== "running") this.#tasks.delete(id);
    }
    return { ...task };
  }

  /** A new store has nothing to collect or to scrub yet. */
  async #state(now: number): Promise<UpkeepState> {
    try {
      const state = JSON.parse(await readFile(this.#path, "utf8")) as UpkeepState;
      if (state.version === 1) return state;
    } catch {
      // Missing or torn: begin the intervals anew.
    }
    return this.#keep(
      { collectedAt: now, scrubbedAt: now },
      { version: 1, collectedAt: 0, scrubbedAt: 0, scrubNext: null },
    );
  }

  async #keep(change: Partial<UpkeepState>, from?: UpkeepState): Promise<UpkeepState> {
    const state = { ...(from ?? (await this.#state(this.#clock.now().getTime()))), ...change };
    await writeFile(`${this.#path}.new`, `${JSON.stringify(state)}\n`, { mode: 0o600 });
    await rename(`${this.#path}.new`, this.#path);
    return state;
  }
}
