// Reads through NBD, as a guest's block device would: 4 KiB at random one after another, and a boot's reads eight at once.
import { setTimeout as delay } from "node:timers/promises";
import { NbdClient } from "../../src/storage/nbd-client.ts";

const UNIT = 64 * 1024;

export interface RandomReads {
  readonly p50Us: number;
  readonly p99Us: number;
}

/** @param offsets  of 4 KiB each */
export async function randomReads(socket: string, name: string, offsets: readonly number[]): Promise<RandomReads> {
  const client = await NbdClient.connect(socket, name, []);
  const into = Buffer.alloc(4096);
  const times: number[] = [];
  for (const offset of offsets) {
    const started = performance.now();
    await client.read(offset, into);
    times.push(performance.now() - started);
  }
  client.close();
  times.sort((a, b) => a - b);
  const at = (share: number): number => Math.round(times[Math.floor(times.length * share)]! * 1000);
  return { p50Us: at(0.5), p99Us: at(0.99) };
}

/**
 * Milliseconds from the first read to the last byte; a connection's own time counts, waiting after it does not.
 * @param units  numbers of 64 KiB units, in a boot's order
 * @param leadMs  between connecting and the first read
 */
export async function bootReads(
  socket: string,
  name: string,
  units: readonly number[],
  bytes: number,
  leadMs: number,
): Promise<number> {
  const started = performance.now();
  const client = await NbdClient.connect(socket, name, []);
  await delay(leadMs);
  let next = 0;
  const reader = async (): Promise<void> => {
    const into = Buffer.alloc(UNIT);
    while (next < units.length) {
      const offset = units[next++]! * UNIT;
      if (offset < bytes) await client.read(offset, into.subarray(0, Math.min(UNIT, bytes - offset)));
    }
  };
  await Promise.all(Array.from({ length: 8 }, reader));
  client.close();
  return performance.now() - started - leadMs;
}
