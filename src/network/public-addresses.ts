// The server's side of public addresses: keeps their process (forwarder-process.ts) running, and tells it when the fabric's
// state has changed.
import { join } from "node:path";
import { chain } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { reload } from "./control.ts";
import { type Keeper, keepProcess, nodeArgv } from "./keeper.ts";

const NAME = "forwarder";
const WATCH_INTERVAL_MS = 1_000;

export class PublicAddresses {
  readonly #log: Log;
  readonly #socket: string;
  readonly #process: Keeper;
  readonly #watch: NodeJS.Timeout;

  /** @param directory  the fabric's, which is there */
  constructor(directory: string, log: Log) {
    this.#log = log;
    this.#socket = join(directory, `${NAME}.sock`);
    const argv = () => nodeArgv("forwarder", directory);
    this.#process = keepProcess({ directory, name: NAME, log, socket: this.#socket, argv });
    this.#watch = setInterval(() => void this.#ensure(), WATCH_INTERVAL_MS);
    this.#watch.unref();
    // Where it has to be started, nobody waits for it: it is needed by the first machine.
    void this.#ensure();
  }

  /**
   * After the fabric has changed: what should be open is, and what should not is not, when this returns. A process that
   * cannot be had just now is told to the log, and does it when it is there.
   */
  async sync(): Promise<void> {
    try {
      await this.#process.ensure();
      await reload(this.#socket);
    } catch (error) {
      this.#log.warn({ error: chain(error) }, "public addresses do not answer yet");
    }
  }

  async #ensure(): Promise<void> {
    try {
      await this.#process.ensure();
    } catch (error) {
      this.#log.error({ error: chain(error) }, "public addresses do not answer; trying again");
    }
  }

  /** Stops watching, for a server that ends while its guests go on. */
  close(): void {
    clearInterval(this.#watch);
    this.#process.close();
  }
}
