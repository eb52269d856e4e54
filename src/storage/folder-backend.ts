// Objects as files under one directory.
import { randomBytes } from "node:crypto";
import { link, mkdir, open, opendir, readFile, rename, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { systemCode } from "../base/errors.ts";
import type { Backend, StoredObject } from "./backend.ts";

/** Makes creations, renames and removals in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Creates a directory that survives a power cut. */
export async function makeDirectory(path: string): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o700 });
  if (made === undefined) return;
  // `made` is the first that was missing: its entry is in its parent, those below in each other.
  for (let at = path; ; at = dirname(at)) {
    await syncDirectory(dirname(at));
    if (at === made || at === dirname(at)) return;
  }
}

/** What changed a directory at the same time shares a sync of it: each costs a write of the file system's journal. */
class SharedSyncs {
  /** The one that runs, and the one that comes after it: it alone has surely seen what was changed meanwhile. */
  readonly #running = new Map<string, Promise<void>>();
  readonly #next = new Map<string, Promise<void>>();

  /** Resolves when all that was done in the directory before the call is durable. */
  of(directory: string): Promise<void> {
    const running = this.#running.get(directory);
    if (running === undefined) return this.#start(directory);
    let next = this.#next.get(directory);
    if (next === undefined) {
      next = running
        .catch(() => {})
        .then(() => {
          this.#next.delete(directory);
          return this.#start(directory);
        });
      this.#next.set(directory, next);
    }
    return next;
  }

  #start(directory: string): Promise<void> {
    const sync = syncDirectory(directory).finally(() => this.#running.delete(directory));
    this.#running.set(directory, sync);
    return sync;
  }
}

export function folderBackend(directory: string): Backend {
  const made = new Set<string>();
  const syncs = new SharedSyncs();
  const folderOf = async (name: string): Promise<string> => {
    const folder = dirname(join(directory, name));
    if (!made.has(folder)) {
      await makeDirectory(folder);
      made.add(folder);
    }
    return folder;
  };
  return {
    async publish(path, name) {
      const folder = await folderOf(name);
      await rename(path, join(directory, name));
      await syncs.of(folder);
    },
    async create(name, bytes) {
      const folder = await folderOf(name);
      const tmp = join(directory, "tmp", randomBytes(16).toString("hex"));
      const handle = await open(tmp, "wx", 0o600);
      try {
        try {
          await handle.writeFile(bytes);
          await handle.datasync();
        } finally {
          await handle.close();
        }
        await link(tmp, join(directory, name));
      } catch (error) {
        if (systemCode(error) === "EEXIST") return false;
        throw error;
      } finally {
        await unlink(tmp);
      }
      await syncs.of(folder);
      return true;
    },
    async read(name) {
      try {
        return await readFile(join(directory, name));
      } catch (error) {
        if (systemCode(error) === "ENOENT") return null;
        throw error;
      }
    },
    list: (prefix) => listFolder(directory, prefix),
    async remove(name) {
      try {
        await unlink(join(directory, name));
      } catch (error) {
        if (systemCode(error) === "ENOENT") return;
        throw error;
      }
      await syncs.of(dirname(join(directory, name)));
    },
  };
}

async function* listFolder(directory: string, prefix: string): AsyncGenerator<StoredObject> {
  let entries: Awaited<ReturnType<typeof opendir>>;
  try {
    entries = await opendir(join(directory, prefix));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return;
    throw error;
  }
  for await (const entry of entries) {
    const name = `${prefix}${entry.name}`;
    if (entry.isDirectory()) yield* listFolder(directory, `${name}/`);
    else {
      try {
        yield { name, bytes: (await stat(join(directory, name))).size };
      } catch (error) {
        if (systemCode(error) !== "ENOENT") throw error;
      }
    }
  }
}
