// Buffers that replies to reads are written from, used again: a new one costs a page fault per 4 KiB.
import { KIB, MIB } from "../base/units.ts";

/** For a reply's header. */
const HEAD_ROOM = 64;
const SIZES = [4, 16, 64, 128, 256, 512, 1024].map((kib) => kib * KIB + HEAD_ROOM);
/** What lies ready; buffers in use come on top, and the server bounds those. */
const MOST_BYTES = 8 * MIB;

export class ReplyBuffers {
  readonly #free = new Map<number, Buffer[]>(SIZES.map((bytes) => [bytes, []]));
  #held = 0;

  /** At least so large; larger than 1 MiB, it is new. */
  take(bytes: number): Buffer {
    const size = SIZES.find((each) => each >= bytes);
    if (size === undefined) return Buffer.allocUnsafeSlow(bytes);
    const free = this.#free.get(size)?.pop();
    if (free === undefined) return Buffer.allocUnsafeSlow(size);
    this.#held -= free.length;
    return free;
  }

  /** Only what nobody reads any more. */
  give(buffer: Buffer): void {
    const free = this.#free.get(buffer.length);
    if (free === undefined || this.#held + buffer.length > MOST_BYTES) return;
    free.push(buffer);
    this.#held += buffer.length;
  }
}
