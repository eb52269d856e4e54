// What the victim of storage-kill.test.ts captures: made from a number, so that the test can tell what must be there.
import { BLOCK_BYTES, MIB } from "../../src/base/units.ts";
import { applyWrite, pattern } from "./storage-disk.ts";

/** Encrypted, as a server's stores are. */
export const VICTIM_KEY = Buffer.alloc(32, 7);
export const VICTIM_DISK = 12 * MIB;

export function victimDisk(seed: number): Buffer {
  const disk = Buffer.alloc(VICTIM_DISK);
  // Shared by all, shared by some, and its own: so that collections keep and free parts of packs.
  applyWrite(disk, { block: 100, blocks: 300, seed: 1 });
  applyWrite(disk, { block: 900, blocks: 400, seed: 2 + (seed % 3) });
  applyWrite(disk, { block: 2000 + (seed % 50), blocks: 200, seed: 100 + seed });
  return disk;
}

export const victimBlock = (seed: number): Buffer =>
  pattern({ block: 0, blocks: BLOCK_BYTES / 4096, seed: 100 + seed });
