// Reading ranges of packs. A folder's packs are files; another backend fetches and keeps them.

import { closeSync, openSync, readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { DamageError, decodePackHeader, PACK_HEADER_BYTES } from "./format.ts";

export interface PackFiles {
  /**
   * `bytes` bytes at `offset` of pack `name`. What a synchronous reader gives is valid until its next read.
   * @throws Error with code ENOENT when a collection has replaced the pack: look the blob up again
   */
  read(name: string, offset: number, bytes: number): Buffer | Promise<Buffer>;
  /** Whose content a pack holds, `null`: plain. Costs nothing once the pack was read from. @throws as `read` */
  domainOf(name: string): string | null | Promise<string | null>;
  /** Closes the files of all other packs: a removed pack frees its space only when nobody holds it open. */
  keepOnly(names: ReadonlySet<string>): void;
  close(): void | Promise<void>;
}

/** Where a pack lies, under the store's directory or in a bucket. */
export const packPath = (name: string): string => `packs/${name.slice(0, 2)}/${name}.pack`;

/** Each costs a file descriptor; the usual limit is 1024. */
const MAX_OPEN = 128;

/** The least recently opened goes first when there are too many. */
export class OpenFiles<T> {
  readonly #files = new Map<string, T>();
  readonly #close: (file: T) => void;
  constructor(close: (file: T) => void) {
    this.#close = close;
  }
  get(name: string): T | undefined {
    return this.#files.get(name);
  }
  add(name: string, file: T): T {
    if (this.#files.size >= MAX_OPEN) {
      const [oldest, its] = this.#files.entries().next().value!;
      this.#files.delete(oldest);
      this.#close(its);
    }
    this.#files.set(name, file);
    return file;
  }
  keepOnly(names: ReadonlySet<string>): void {
    this.keepOnlyWhere((name) => names.has(name));
  }
  keepOnlyWhere(keep: (name: string) => boolean): void {
    for (const [name, file] of this.#files) {
      if (keep(name)) continue;
      this.#files.delete(name);
      this.#close(file);
    }
  }
  closeAll(): void {
    for (const file of this.#files.values()) this.#close(file);
    this.#files.clear();
  }
}

/** The domain of pack `name`, from its header. @throws DamageError */
export function domainInHeader(name: string, bytes: Buffer): string | null {
  const header = decodePackHeader(bytes);
  if (header.name !== name) throw new DamageError(`pack ${name}: its header names another pack`);
  return header.domain;
}

/** For processes with nothing else to do: workers and the block server. */
export function syncPackFiles(directory: string): PackFiles {
  const files = new OpenFiles<{ readonly fd: number; readonly domain: string | null }>(({ fd }) => closeSync(fd));
  let scratch = Buffer.allocUnsafeSlow(256 * 1024);
  const readAt = (name: string, fd: number, offset: number, bytes: number): Buffer => {
    if (scratch.length < bytes) scratch = Buffer.allocUnsafeSlow(bytes);
    let got = 0;
    while (got < bytes) {
      const n = readSync(fd, scratch, got, bytes - got, offset + got);
      if (n === 0) throw new DamageError(`pack ${name} is cut short: it ends before byte ${offset + bytes}`);
      got += n;
    }
    return scratch.subarray(0, bytes);
  };
  const opened = (name: string): { readonly fd: number; readonly domain: string | null } => {
    const open = files.get(name);
    if (open !== undefined) return open;
    const fd = openSync(join(directory, packPath(name)), "r");
    try {
      return files.add(name, { fd, domain: domainInHeader(name, readAt(name, fd, 0, PACK_HEADER_BYTES)) });
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  };
  return {
    read: (name, offset, bytes) => readAt(name, opened(name).fd, offset, bytes),
    domainOf: (name) => opened(name).domain,
    keepOnly: (names) => files.keepOnly(names),
    close: () => files.closeAll(),
  };
}

/** For the server: reading never holds up the event loop. */
export function asyncPackFiles(directory: string): PackFiles {
  interface OpenPack {
    readonly handle: FileHandle;
    readonly domain: string | null;
  }
  const files = new OpenFiles<Promise<OpenPack>>((file) => {
    // Reads under way keep their own reference to the handle; closing waits for them.
    void file.then(({ handle }) => handle.close()).catch(() => {});
  });
  const readAt = async (name: string, file: FileHandle, offset: number, bytes: number): Promise<Buffer> => {
    const buffer = Buffer.allocUnsafe(bytes);
    for (let got = 0; got < bytes; ) {
      const { bytesRead } = await file.read(buffer, got, bytes - got, offset + got);
      if (bytesRead === 0) throw new DamageError(`pack ${name} is cut short: it ends before byte ${offset + bytes}`);
      got += bytesRead;
    }
    return buffer;
  };
  const openPack = async (name: string): Promise<OpenPack> => {
    const handle = await open(join(directory, packPath(name)), "r");
    try {
      return { handle, domain: domainInHeader(name, await readAt(name, handle, 0, PACK_HEADER_BYTES)) };
    } catch (error) {
      await handle.close();
      throw error;
    }
  };
  const failed = new Map<string, Promise<OpenPack>>();
  const opened = (name: string): Promise<OpenPack> => {
    const file = files.get(name);
    if (file !== undefined && file !== failed.get(name)) return file;
    failed.delete(name);
    const opening = openPack(name);
    opening.catch(() => failed.set(name, opening));
    return files.add(name, opening);
  };
  return {
    read: async (name, offset, bytes) => readAt(name, (await opened(name)).handle, offset, bytes),
    domainOf: async (name) => (await opened(name)).domain,
    keepOnly: (names) => files.keepOnly(names),
    close: () => files.closeAll(),
  };
}
