// Decoded frames, bounded in bytes, in slabs that are allocated once: a cache of Buffers would cost a page fault and a
// collection per frame.
import { DATA_FRAME } from "./format.ts";

const SLAB_FRAMES = 64;

/** Keys are numbers: pack number · 2^32 + frame offset. Slots are taken round-robin, skipping those used since (CLOCK). */
export class FrameCache {
  readonly #capacity: number;
  readonly #slabs: Buffer[] = [];
  readonly #slots = new Map<number, number>();
  readonly #keys: Float64Array;
  readonly #lengths: Uint32Array;
  readonly #used: Uint8Array;
  #hand = 0;
  #filled = 0;

  /** @param bytes  rounded to frames of 64 KiB, at least 16 of them; allocated as it fills */
  constructor(bytes: number) {
    this.#capacity = Math.max(16, Math.floor(bytes / DATA_FRAME));
    this.#keys = new Float64Array(this.#capacity);
    this.#lengths = new Uint32Array(this.#capacity);
    this.#used = new Uint8Array(this.#capacity);
  }

  get bytes(): number {
    return this.#slabs.length * SLAB_FRAMES * DATA_FRAME;
  }

  /** A view that is right until the next `put`: copy from it at once. */
  get(key: number): Buffer | undefined {
    const slot = this.#slots.get(key);
    if (slot === undefined) return undefined;
    this.#used[slot] = 1;
    return this.#slot(slot).subarray(0, this.#lengths[slot]);
  }

  has(key: number): boolean {
    return this.#slots.has(key);
  }

  /** Takes a slot and lets `fill` write the frame there; `fill` gives its length, or throws and nothing is cached. */
  put(key: number, fill: (slot: Buffer) => number): Buffer {
    const slot = this.#free();
    const view = this.#slot(slot);
    const length = fill(view);
    this.#slots.set(key, slot);
    this.#keys[slot] = key;
    this.#lengths[slot] = length;
    this.#used[slot] = 1;
    return view.subarray(0, length);
  }

  #free(): number {
    if (this.#filled < this.#capacity) return this.#filled++;
    for (;;) {
      const slot = this.#hand;
      this.#hand = (this.#hand + 1) % this.#capacity;
      if (this.#used[slot] === 1) {
        this.#used[slot] = 0;
        continue;
      }
      if (this.#slots.get(this.#keys[slot]!) === slot) this.#slots.delete(this.#keys[slot]!);
      return slot;
    }
  }

  #slot(slot: number): Buffer {
    const number = Math.floor(slot / SLAB_FRAMES);
    while (this.#slabs.length <= number) this.#slabs.push(Buffer.allocUnsafeSlow(SLAB_FRAMES * DATA_FRAME));
    const at = (slot % SLAB_FRAMES) * DATA_FRAME;
    return this.#slabs[number]!.subarray(at, at + DATA_FRAME);
  }
}
