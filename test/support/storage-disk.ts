// Disks for storage tests: small, sparse, with content that repeats, so that duplicates, holes and shifts all occur.
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { accountId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { openStore, type SnapshotStore, type StoreOptions } from "../../src/storage/store.ts";

/** Whose disks they are. */
export const OWNER = accountId("123456789012");

const BLOCK = 4096;

/** What one write puts on a disk. `seed` 0 writes zeroes. */
export interface DiskWrite {
  readonly block: number;
  readonly blocks: number;
  readonly seed: number;
}

/** Content that depends on the seed and the place within the write, so that equal writes at two places are duplicates. */
export function pattern({ blocks, seed }: DiskWrite): Buffer {
  const bytes = Buffer.alloc(blocks * BLOCK);
  if (seed === 0) return bytes;
  let x = seed * 2654435761;
  for (let at = 0; at < bytes.length; at += 4) {
    // A few bits of randomness a word: compressible, and never all zero.
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    bytes.writeUInt32LE(((x >>> 16) & 0x0f0f) | 1, at);
  }
  return bytes;
}

export function applyWrite(disk: Buffer, write: DiskWrite): void {
  const at = write.block * BLOCK;
  if (at >= disk.length) return;
  pattern(write).copy(disk, at, 0, Math.min(write.blocks * BLOCK, disk.length - at));
}

/** A directory that goes with the test. */
export async function temporaryDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "storage-test-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** A store in a directory of its own; both go with the test. `reopen` gives it as a next process would see it. */
export async function temporaryStore(
  t: TestContext,
  options: Partial<StoreOptions> = {},
): Promise<{ store: SnapshotStore; directory: string; reopen: () => Promise<SnapshotStore> }> {
  const directory = await mkdtemp(join(tmpdir(), "storage-test-"));
  const open = () => openStore({ log: silentLog, workers: 2, ...options, directory: join(directory, "store") });
  let store = await open();
  t.after(async () => {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  });
  return {
    store,
    directory,
    async reopen() {
      await store.close();
      store = await open();
      return store;
    },
  };
}

/** Writes `disk` to a file, leaving holes where `sparse` blocks of zeroes are. */
export async function writeDisk(path: string, disk: Buffer, sparse = true): Promise<void> {
  const file = await open(path, "w");
  await file.truncate(disk.length);
  const zero = Buffer.alloc(BLOCK);
  for (let at = 0; at < disk.length; at += BLOCK) {
    const block = disk.subarray(at, Math.min(disk.length, at + BLOCK));
    if (sparse && block.equals(zero.subarray(0, block.length))) continue;
    await file.write(block, 0, block.length, at);
  }
  await file.close();
}
