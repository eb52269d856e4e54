// Leases and epochs: how a collection knows which work under way may still rely on blobs that no record reaches yet.
//
// A lease is taken before the first index look-up and dropped after the record is committed. A collection starts a new
// epoch; work of that epoch does not see condemned blobs; the collection waits for the leases of older epochs.
import { randomBytes } from "node:crypto";
import type { Backend } from "./backend.ts";

export interface Lease {
  readonly epoch: number;
}

export class Leases {
  readonly #backend: Backend;
  readonly #now: () => Date;
  #epoch = 1;
  readonly #live = new Map<Lease, Promise<void>>();

  constructor(backend: Backend, now: () => Date) {
    this.#backend = backend;
    this.#now = now;
  }

  /** Removes leases of owners that are gone. Only the store's one owner calls this, before any work. */
  async clearStale(): Promise<void> {
    for await (const { name } of this.#backend.list("leases/")) await this.#backend.remove(name);
  }

  /** Runs `work` under a lease that is durable before it starts. */
  async with<T>(purpose: string, work: (lease: Lease) => Promise<T>): Promise<T> {
    const name = `leases/${randomBytes(16).toString("hex")}`;
    const lease = { epoch: this.#epoch };
    let ended = (): void => {};
    this.#live.set(
      lease,
      new Promise((resolve) => {
        ended = resolve;
      }),
    );
    try {
      const text = JSON.stringify({ version: 1, purpose, epoch: lease.epoch, pid: process.pid, since: this.#now() });
      await this.#backend.create(name, Buffer.from(`${text}\n`));
      try {
        return await work(lease);
      } finally {
        await this.#backend.remove(name);
      }
    } finally {
      this.#live.delete(lease);
      ended();
    }
  }

  /** Begins the next epoch and gives it. */
  advance(): number {
    return ++this.#epoch;
  }

  /** Resolves when every lease that lives now has ended. */
  async settled(): Promise<void> {
    await Promise.all(this.#live.values());
  }

  /** Resolves when no lease of an epoch before `epoch` lives. */
  async before(epoch: number): Promise<void> {
    await Promise.all([...this.#live].filter(([lease]) => lease.epoch < epoch).map(([, ended]) => ended));
  }
}
