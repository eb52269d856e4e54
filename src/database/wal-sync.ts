// Makes SQLite's commits durable without holding up the thread that made them.
//
// A commit appends to the write-ahead log; syncing that is left to us (`synchronous = normal`), in a thread of libuv's, and
// who commits meanwhile shares the next sync. SQLite's own sync would stop the server's only thread: 40 to 100 ms each
// while a capture fills the disk's queue, which every call then waited for. What a commit promises stays the same: nobody
// is told of it before it is on the disk. A power cut before that takes it away whole, since the log is checksummed, and
// everything that was committed after it as well.
import { closeSync, fdatasync, openSync } from "node:fs";
import { promisify } from "node:util";

export interface WalSync {
  /** Resolves when all that was committed before the call is durable. */
  synced(): Promise<void>;
  close(): Promise<void>;
}

const datasync = promisify(fdatasync);

/** @param path  of an open database that has been read or written: its log is there from then on until it is closed */
export function walSync(path: string): WalSync {
  const log = openSync(`${path}-wal`, "r");
  let running: Promise<void> | null = null;
  let next: Promise<void> | null = null;

  const start = (): Promise<void> => {
    const done = (async () => {
      try {
        await datasync(log);
      } catch (cause) {
        throw new Error("sync the database's log", { cause });
      } finally {
        running = null;
      }
    })();
    running = done;
    return done;
  };

  return {
    synced() {
      if (running === null) return start();
      // The one that runs may have begun before this commit: only the next is sure to have it.
      next ??= running
        .catch(() => {})
        .then(() => {
          next = null;
          return start();
        });
      return next;
    },
    async close() {
      await Promise.allSettled([running, next]);
      closeSync(log);
    },
  };
}
