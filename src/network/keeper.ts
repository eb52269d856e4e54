// Keeps one of the fabric's processes running: adopts the one that an earlier server started, starts it when there is
// none, replaces it when its version is older than ours.
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Log } from "../base/log.ts";
import { hello, PROCESS_VERSION } from "./control.ts";
import { endProcess, findProcess, isAlive, logTail, type ProcessRecord, startKept } from "./process-record.ts";

/** Node starts in 50 ms here; a machine that boots ten guests at once may need long. */
const READY_TIMEOUT_MS = 30_000;
/** A process that ends at once is not started more often than this. */
const MAX_BACKOFF_MS = 30_000;

export interface Keeper {
  /** Takes the one that an earlier server started, if it runs and is of our version. A millisecond. */
  adopt(): Promise<void>;
  /** Afterwards it runs and, where it has a socket, answers. Cheap when it does already. */
  ensure(): Promise<void>;
  pid(): number | null;
  /** Ends it, and whatever an earlier server left under its name; `ensure` starts a new one. */
  end(): Promise<void>;
  close(): void;
  stop(): Promise<void>;
}

export interface KeepOptions {
  readonly directory: string;
  readonly name: string;
  readonly log: Log;
  /** Where it answers `hello`; null for programs that are not ours. */
  readonly socket: string | null;
  /** Asked at each start: the namespace's holder may have changed. */
  readonly argv: () => readonly string[];
}

export function keepProcess(options: KeepOptions): Keeper {
  const { directory, name, log, socket } = options;
  let record: ProcessRecord | null = null;
  /** It has answered. */
  let ready = false;
  let closed = false;
  let failures = 0;
  let notBefore = 0;
  let ensuring: Promise<void> | null = null;

  const runs = (): boolean => record !== null && ready && isAlive(record);

  async function ensure(): Promise<void> {
    if (closed || runs()) return;
    const died = record !== null;
    if (!died) await adopt();
    if (runs()) return;
    if (performance.now() < notBefore) return;
    if (died) log.warn({ output: logTail(directory, name) }, `${name} ended; starting it again`);
    await endProcess(directory, name, record ?? findProcess(directory, name)); // of an older version, or deaf
    await start();
  }

  async function adopt(): Promise<void> {
    const found = findProcess(directory, name);
    if (found === null || (socket !== null && !(await isCurrent(socket)))) return;
    record = found;
    ready = true;
  }

  async function start(): Promise<void> {
    const { record: started, program } = await startKept({ directory, name, argv: options.argv() });
    // Notice at once, rather than at the next check. An adopted one is noticed at the check.
    void program.ended.then(() => {
      if (record !== started) return; // ended by us
      failures++;
      notBefore = failures < 2 ? 0 : performance.now() + Math.min(MAX_BACKOFF_MS, 100 * 2 ** failures);
      if (!closed && failures < 2) void once().catch(() => {});
    });
    record = started;
    ready = false;
    const giveUpAt = performance.now() + READY_TIMEOUT_MS;
    while (socket !== null && !closed && !(await isCurrent(socket))) {
      if (!isAlive(started)) throw new Error(`${name} ended at its start: ${logTail(directory, name)}`);
      if (performance.now() > giveUpAt) throw new Error(`${name} does not answer: ${logTail(directory, name)}`);
      await delay(5);
    }
    ready = true;
    setTimeout(() => {
      if (record === started && isAlive(started)) failures = 0;
    }, MAX_BACKOFF_MS).unref();
  }

  function once(): Promise<void> {
    ensuring ??= ensure().finally(() => {
      ensuring = null;
    });
    return ensuring;
  }

  async function end(): Promise<void> {
    const ending = record ?? findProcess(directory, name);
    record = null;
    await endProcess(directory, name, ending);
  }

  return {
    adopt,
    ensure: once,
    pid: () => (runs() ? record!.pid : null),
    close: () => {
      closed = true;
    },
    end,
    async stop() {
      closed = true;
      await ensuring?.catch(() => {});
      await end();
    },
  };
}

async function isCurrent(socket: string): Promise<boolean> {
  try {
    return (await hello(socket)).version >= PROCESS_VERSION;
  } catch {
    return false;
  }
}

// A small heap: neither of them holds state worth mentioning.
const NODE_FLAGS = ["--max-semi-space-size=1", "--max-old-space-size=128", "--disable-warning=ExperimentalWarning"];

// A build writes these anew for where its bundles are (script/build.ts).
const ENTRIES = {
  agent: new URL("./agent.ts", import.meta.url),
  switch: new URL("./switch.ts", import.meta.url),
  forwarder: new URL("./forwarder-process.ts", import.meta.url),
};

export function nodeArgv(entry: keyof typeof ENTRIES, directory: string): string[] {
  return [process.execPath, ...NODE_FLAGS, fileURLToPath(ENTRIES[entry]), directory];
}
