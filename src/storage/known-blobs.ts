// "Do we have this blob already?", asked once per 16 KiB by every worker, so without a message or a lock.
//
// Committed blobs: a table of 8-byte slots (32 bits of the id, number of the entry) in shared memory, with one writer, the
// store's owner. A hit is proven against the whole id in the index segment's file. A miss, the common case for new data,
// costs one probe.
// Blobs of the capture under way: ids in shared memory, claimed by compare-and-exchange, so that two workers do not both
// store a blob. A full table only means that duplicates across workers are stored twice.
import { ID_BYTES, INDEX_ENTRY_BYTES } from "./format.ts";
import { IndexSegment } from "./index-segment.ts";

/** What a worker needs to ask. */
export interface KnownBlobsShare {
  readonly slots: SharedArrayBuffer;
  readonly segments: readonly SegmentShare[];
}

export interface SegmentShare {
  readonly name: string;
  readonly path: string;
  /** Number of its first entry in the table. */
  readonly base: number;
  readonly count: number;
}

/**
 * The table with more segments in it: the given memory where they fit, else new memory with twice the room. One writer
 * at a time; readers may ask meanwhile. Memory is 11 to 32 bytes per blob.
 *
 * @param table  `null`: none yet
 * @param condemned  per added segment, a bit for each entry that new captures must not rely on
 */
export function extendKnownBlobs(
  table: KnownBlobsShare | null,
  add: readonly IndexSegment[],
  condemned: readonly (Uint8Array | null)[],
): KnownBlobsShare {
  const old = table?.segments.at(-1);
  let base = old === undefined ? 0 : old.base + old.count;
  const count = add.reduce((sum, segment) => sum + segment.count, base);
  let slots = table === null ? null : new Int32Array(table.slots);
  if (slots === null || count > (slots.length / 2) * 0.75) {
    const capacity = 2 ** Math.ceil(Math.log2(Math.max(8192, count * 2)));
    const larger = new Int32Array(new SharedArrayBuffer(capacity * 8));
    for (let at = 0; slots !== null && at < slots.length; at += 2) {
      // The low bits of the id that chose the slot are not in the table: see `slotOf`.
      if (slots[at + 1] !== 0) insert(larger, slots[at]!, slots[at + 1]!);
    }
    slots = larger;
  }
  const segments = [...(table?.segments ?? [])];
  add.forEach((segment, i) => {
    const without = condemned[i];
    for (const { first, bytes } of segment.slices()) {
      for (let at = 0, entry = first; at < bytes.length; at += INDEX_ENTRY_BYTES, entry++) {
        if (without && (without[entry >> 3]! >> (entry & 7)) & 1) continue;
        insert(slots, bytes.readInt32LE(at + 4), base + entry + 1);
      }
    }
    segments.push({ name: segment.name, path: segment.path, base, count: segment.count });
    base += segment.count;
  });
  return { slots: slots.buffer as SharedArrayBuffer, segments };
}

/** The slot follows from the fingerprint alone, so that a table can grow without its ids. */
const slotOf = (fingerprint: number, mask: number): number => (Math.imul(fingerprint, 0x9e3779b1) >>> 5) & mask;

function insert(slots: Int32Array, fingerprint: number, number: number): void {
  const mask = slots.length / 2 - 1;
  let slot = slotOf(fingerprint, mask);
  while (slots[2 * slot + 1] !== 0) slot = (slot + 1) & mask;
  slots[2 * slot] = fingerprint;
  // Published by this store: a reader that sees the number sees the fingerprint.
  Atomics.store(slots, 2 * slot + 1, number);
}

/** A worker's side. */
export class KnownBlobs {
  readonly #slots: Int32Array;
  readonly #shares: readonly SegmentShare[];
  readonly #open: (IndexSegment | undefined)[] = [];

  constructor(share: KnownBlobsShare) {
    this.#slots = new Int32Array(share.slots);
    this.#shares = share.segments;
    // Opened now: a collection may unlink the files while this capture runs, an open file stays readable.
    this.#open = share.segments.map(({ name, path }) => {
      try {
        return new IndexSegment(name, path);
      } catch {
        return undefined; // Its blobs count as unknown and are stored again.
      }
    });
  }

  has(id: Buffer): boolean {
    const mask = this.#slots.length / 2 - 1;
    const fingerprint = id.readInt32LE(4);
    for (let slot = slotOf(fingerprint, mask); ; slot = (slot + 1) & mask) {
      const number = Atomics.load(this.#slots, 2 * slot + 1);
      if (number === 0) return false;
      if (this.#slots[2 * slot] === fingerprint && this.#isEntry(number - 1, id)) return true;
    }
  }

  close(): void {
    for (const segment of this.#open) segment?.close();
  }

  #isEntry(number: number, id: Buffer): boolean {
    // Few segments, and the newest (last) answers most often.
    for (let i = this.#shares.length - 1; i >= 0; i--) {
      const share = this.#shares[i]!;
      if (number < share.base) continue;
      // A number past the last share belongs to a segment that was added after this capture began.
      if (number >= share.base + share.count) return false;
      return this.#open[i]?.isEntry(number - share.base, id, 0) ?? false;
    }
    return false;
  }
}

const FRESH_MAX = 2 ** 20;
/** An idle server stays small. */
const KEEP_FRESH_MS = 10_000;
const freshBytes = (capacity: number): number => 8 + capacity * (8 + ID_BYTES);
const freshCapacity = (memory: SharedArrayBuffer): number => (memory.byteLength - 8) / (8 + ID_BYTES);

/**
 * Memory for the ids of captures' new blobs, 40 bytes for each; what is given back serves the next capture. Only touched
 * pages of it are resident.
 */
export class FreshBlobsMemory {
  #kept: SharedArrayBuffer | null = null;
  #forget: NodeJS.Timeout | null = null;

  take(blobsExpected: number): SharedArrayBuffer {
    const capacity = Math.min(FRESH_MAX, 2 ** Math.ceil(Math.log2(Math.max(1024, blobsExpected * 1.25))));
    const kept = this.#kept;
    if (kept === null || freshCapacity(kept) < capacity) return new SharedArrayBuffer(freshBytes(capacity));
    this.#kept = null;
    // Ids are only read where a slot points at them.
    new Uint8Array(kept, 0, 8 + freshCapacity(kept) * 8).fill(0);
    return kept;
  }

  /** Only what no worker uses any more. */
  give(memory: SharedArrayBuffer): void {
    if (this.#kept === null || this.#kept.byteLength < memory.byteLength) this.#kept = memory;
    if (this.#forget !== null) clearTimeout(this.#forget);
    this.#forget = setTimeout(() => {
      this.#kept = null;
    }, KEEP_FRESH_MS).unref();
  }
}

export class FreshBlobs {
  readonly #count: Int32Array;
  readonly #slots: Int32Array;
  readonly #ids: Buffer;
  readonly #capacity: number;

  constructor(memory: SharedArrayBuffer) {
    this.#capacity = freshCapacity(memory);
    this.#count = new Int32Array(memory, 0, 2);
    this.#slots = new Int32Array(memory, 8, this.#capacity * 2);
    this.#ids = Buffer.from(memory, 8 + this.#capacity * 8);
  }

  /** true: the caller is the first in this capture to have this blob, and stores it. */
  claim(id: Buffer): boolean {
    const mask = this.#slots.length - 1;
    let mine = -1;
    for (let slot = id.readUInt32LE(8) & mask; ; slot = (slot + 1) & mask) {
      let number = Atomics.load(this.#slots, slot);
      if (number === 0) {
        if (mine < 0) {
          mine = Atomics.add(this.#count, 0, 1);
          if (mine >= this.#capacity) {
            Atomics.sub(this.#count, 0, 1);
            return true;
          }
          id.copy(this.#ids, mine * ID_BYTES);
        }
        number = Atomics.compareExchange(this.#slots, slot, 0, mine + 1);
        if (number === 0) return true;
      }
      const at = (number - 1) * ID_BYTES;
      if (id.compare(this.#ids, at, at + ID_BYTES) === 0) return false;
    }
  }
}
