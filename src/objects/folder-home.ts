// Content of objects in a folder of the data directory.
import { type FileHandle, mkdir, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../base/errors.ts";
import { KIB } from "../base/units.ts";
import { writeFully } from "../base/write-fully.ts";
import type { ContentHome } from "./content.ts";

const READ_BYTES = 256 * KIB;

/** A file costs two fsyncs: its own, and its folder's. @param directory made if it is not there */
export async function folderHome(directory: string): Promise<ContentHome> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = (file: string): string => join(directory, file);
  return {
    create(file) {
      let handle: FileHandle | undefined;
      let bytes = 0;
      return {
        async write(batch) {
          handle ??= await open(path(file), "wx", 0o600);
          const position = bytes;
          bytes += batch.reduce((sum, part) => sum + part.length, 0);
          await writeAll(handle, batch, position);
        },
        async finish() {
          await handle?.datasync();
          await handle?.close();
          handle = undefined;
          await syncDirectory(directory);
        },
        async discard() {
          await handle?.close().catch(() => {});
          await rm(path(file), { force: true }).catch(() => {});
        },
      };
    },
    async *read(file, first, bytes) {
      const handle = await open(path(file), "r");
      try {
        for (let at = 0; at < bytes; ) {
          const length = Math.min(READ_BYTES, bytes - at);
          const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(length), 0, length, first + at);
          if (bytesRead === 0) throw new Error(`the content file ${file} is shorter than its row says`);
          at += bytesRead;
          yield buffer.subarray(0, bytesRead);
        }
      } finally {
        await handle.close();
      }
    },
    remove: (file) => rm(path(file), { force: true }),
    list: async () => (await readdir(directory)).filter((file) => /^[0-9a-f]{32}$/.test(file)),
    close() {},
  };
}

async function writeAll(handle: FileHandle, batch: readonly Buffer[], position: number): Promise<void> {
  const bytes = batch.reduce((sum, part) => sum + part.length, 0);
  const { bytesWritten } = await handle.writev(batch, position);
  if (bytesWritten === bytes) return;
  // A disk that is nearly full takes a part; the rest says why.
  const rest = Buffer.concat(batch).subarray(bytesWritten);
  await writeFully(handle, rest, position + bytesWritten);
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } catch (error) {
    // Some file systems know no fsync of a directory: then its entries are as durable as they make them.
    if (systemCode(error) !== "EINVAL") throw error;
  } finally {
    await handle.close();
  }
}
