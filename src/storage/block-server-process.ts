// The server's side of the block server: start it, find it again, watch it, replace it, end it.
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chain } from "../base/errors.ts";
import type { BucketLocation } from "../base/external-bucket.ts";
import type { Log } from "../base/log.ts";
import { MIB } from "../base/units.ts";
import type { BlockExport } from "../model/disk.ts";
import {
  BLOCK_SERVER_VERSION,
  type BlockServerGreeting,
  type BlockServerSetup,
  socketDirectory,
} from "./block-server-protocol.ts";
import { BLOCK_SERVER } from "./entries.ts";
import { processStartTime } from "./owner-lock.ts";
import type { HolderId } from "./records.ts";

export interface BlockServerOptions {
  /** The store's. */
  readonly directory: string;
  readonly bucket?: BucketLocation | null;
  readonly log: Log;
  readonly key?: Uint8Array | null;
  /** Decoded frames that it keeps; 96 MiB when absent. */
  readonly cacheBytes?: number;
}

export interface BlockServer {
  /** Resolves when a block server of our version serves this store; starts or replaces one where needed. */
  ensure(): Promise<void>;
  /** Where QEMU finds a disk. Whether there is one of this id is known when QEMU connects. */
  export(id: HolderId, bytes: number): BlockExport;
  /** null: none is running. */
  status(): Promise<BlockServerGreeting | null>;
  /** Ends the process: guests wait. */
  stop(): Promise<void>;
  /** Lets it run, and stops watching it. */
  close(): void;
}

/** Node starts in 50 ms here; a loaded machine takes longer. */
const START_MS = 20_000;
const POLL_MS = 20;
/** After a crash it is started at once, then more slowly while it keeps crashing. */
const MAX_RESTART_DELAY_MS = 10_000;

interface Watched {
  readonly greeting: BlockServerGreeting;
  readonly socket: Socket;
}

export function blockServer(options: BlockServerOptions): BlockServer {
  const { directory, log } = options;
  const sockets = socketDirectory(directory);
  const socket = join(sockets, "blocks.sock");
  const control = join(sockets, "control.sock");
  let watched: Watched | null = null;
  let ensuring: Promise<void> | null = null;
  let watching = true;
  let crashes = 0;

  const start = async (): Promise<Watched> => {
    mkdirSync(sockets, { recursive: true, mode: 0o700 });
    const setup: BlockServerSetup = {
      directory,
      bucket: options.bucket ?? null,
      socket,
      control,
      cacheBytes: options.cacheBytes ?? 96 * MIB,
      key: options.key ? Buffer.from(options.key).toString("hex") : null,
    };
    const output = openSync(join(directory, "block-server.log"), "a", 0o600);
    const child = spawn(process.execPath, ["--max-semi-space-size=4", BLOCK_SERVER.pathname], {
      detached: true,
      stdio: ["pipe", output, output],
      cwd: "/",
    });
    closeSync(output);
    let exit: string | null = null;
    child.once("error", (error) => {
      exit = error.message;
    });
    child.once("exit", (code, signal) => {
      exit ??= `it ended with ${signal ?? code}, see block-server.log`;
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(`${JSON.stringify(setup)}\n`);
    child.unref();
    const deadline = performance.now() + START_MS;
    for (;;) {
      const found = await greet(control);
      // Another starter's may have won: as good as ours.
      if (found !== null) return found;
      if (exit !== null || performance.now() > deadline) {
        throw new Error("start the block server", { cause: new Error(exit ?? "it did not answer in time") });
      }
      await delay(POLL_MS);
    }
  };

  const watch = (found: Watched): void => {
    watched = found;
    // A watched process must not keep the server alive.
    found.socket.unref();
    found.socket.once("close", () => {
      if (watched?.socket !== found.socket) return;
      watched = null;
      if (!watching) return;
      log.warn({ pid: found.greeting.pid }, "the block server is gone: starting it again");
      void restart();
    });
  };

  const restart = async (): Promise<void> => {
    const wait = crashes === 0 ? 0 : Math.min(MAX_RESTART_DELAY_MS, 100 * 2 ** crashes);
    crashes++;
    if (wait > 0) await delay(wait);
    if (!watching) return;
    try {
      await ensure();
    } catch (error) {
      log.error({}, chain(error));
      if (watching) void restart();
    }
  };

  const ensureOnce = async (): Promise<void> => {
    if (watched !== null) return;
    let found = await greet(control);
    if (found !== null && found.greeting.version < BLOCK_SERVER_VERSION) {
      log.info({ pid: found.greeting.pid, version: found.greeting.version }, "replacing an older block server");
      await end(found);
      found = null;
    }
    const fresh = found ?? (await start());
    if (found === null) log.info({ pid: fresh.greeting.pid }, "the block server has started");
    watch(fresh);
    // One that serves for a while has recovered.
    setTimeout(() => {
      if (watched === fresh) crashes = 0;
    }, 5000).unref();
  };

  const ensure = (): Promise<void> => {
    watching = true;
    ensuring ??= ensureOnce().finally(() => {
      ensuring = null;
    });
    return ensuring;
  };

  return {
    ensure,
    export: (id, bytes) => ({ socket, name: id, bytes }),
    async status() {
      const found = await greet(control);
      found?.socket.destroy();
      return found?.greeting ?? null;
    },
    async stop() {
      watching = false;
      await ensuring?.catch(() => {});
      const found = watched ?? (await greet(control));
      watched = null;
      if (found !== null) await end(found);
    },
    close() {
      watching = false;
      watched?.socket.destroy();
      watched = null;
    },
  };
}

/** Connects to the control socket and hears who is there; null: nobody. */
function greet(control: string): Promise<Watched | null> {
  return new Promise((resolve) => {
    const socket = connect(control);
    const timer = setTimeout(() => socket.destroy(), 5000);
    timer.unref();
    socket.once("error", () => resolve(null));
    socket.once("close", () => {
      clearTimeout(timer);
      resolve(null);
    });
    const lines = createInterface({ input: socket });
    lines.on("error", () => {});
    lines.once("line", (line) => {
      clearTimeout(timer);
      lines.close();
      socket.resume();
      try {
        resolve({ greeting: JSON.parse(line) as BlockServerGreeting, socket });
      } catch {
        socket.destroy();
      }
    });
  });
}

/** Ends a block server and waits until it is gone. */
async function end({ greeting, socket }: Watched): Promise<void> {
  const started = processStartTime(greeting.pid);
  socket.destroy();
  const deadline = performance.now() + 5000;
  for (let signal: NodeJS.Signals | 0 = "SIGTERM"; ; signal = performance.now() > deadline ? "SIGKILL" : 0) {
    if (started === undefined || processStartTime(greeting.pid) !== started) return;
    try {
      process.kill(greeting.pid, signal);
    } catch {
      return;
    }
    await delay(POLL_MS);
  }
}

const delay = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
