// One immutable, sorted file of blob places (FORMAT.md §4): written once, looked up with one small read.
import { closeSync, openSync, readSync } from "node:fs";
import { crc32 } from "node:zlib";
import { DamageError, ID_BYTES, INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES, PACK_NAME_BYTES } from "./format.ts";

/** Where a blob is. */
export interface BlobPlace {
  readonly pack: string;
  readonly frameOffset: number;
  /** With its header. */
  readonly frameBytes: number;
  /** Within the frame's plain bytes. */
  readonly offset: number;
  readonly bytes: number;
}

const ENTRIES_PER_BUCKET = 32;
const MAX_BUCKET_BITS = 16;

const bucketBits = (count: number): number =>
  Math.min(MAX_BUCKET_BITS, Math.max(0, Math.ceil(Math.log2(Math.max(1, count / ENTRIES_PER_BUCKET)))));

/** Top `bits` bits of the id at `at`. */
const bucketOf = (bytes: Buffer, at: number, bits: number): number =>
  bits === 0 ? 0 : bytes.readUInt32BE(at) >>> (32 - bits);

/**
 * A whole segment file. Entries of one id in several packs are kept once.
 * @param packs  each with its entries, whose pack number is ignored
 */
export function encodeSegment(packs: readonly { name: string; entries: Uint8Array }[]): Buffer {
  let total = 0;
  for (const pack of packs) total += pack.entries.length / INDEX_ENTRY_BYTES;
  const all = Buffer.allocUnsafe(total * INDEX_ENTRY_BYTES);
  let filled = 0;
  packs.forEach((pack, number) => {
    all.set(pack.entries, filled);
    for (let at = filled; at < filled + pack.entries.length; at += INDEX_ENTRY_BYTES)
      all.writeUInt32LE(number, at + 32);
    filled += pack.entries.length;
  });

  // Sort by the first 31 bits with the place below them in one double; equal prefixes are put right afterwards.
  const keys = new Float64Array(total);
  for (let i = 0; i < total; i++) keys[i] = (all.readUInt32BE(i * INDEX_ENTRY_BYTES) >>> 8) * 2 ** 29 + i;
  keys.sort();
  const order = new Uint32Array(total);
  for (let i = 0; i < total; i++) order[i] = keys[i]! % 2 ** 29;
  const idOrder = (a: number, b: number): number =>
    all.compare(
      all,
      b * INDEX_ENTRY_BYTES,
      b * INDEX_ENTRY_BYTES + ID_BYTES,
      a * INDEX_ENTRY_BYTES,
      a * INDEX_ENTRY_BYTES + ID_BYTES,
    );
  for (let i = 1; i < total; i++) {
    const entry = order[i]!;
    let to = i;
    while (to > 0 && idOrder(order[to - 1]!, entry) > 0) {
      order[to] = order[to - 1]!;
      to--;
    }
    order[to] = entry;
  }
  let count = 0;
  for (let i = 0; i < total; i++) {
    if (i > 0 && idOrder(order[i]!, order[i - 1]!) === 0) continue;
    order[count++] = order[i]!;
  }

  const bits = bucketBits(count);
  const buckets = 2 ** bits;
  const tablesBytes = PACK_NAME_BYTES * packs.length + 4 * (buckets + 1) + 4 * buckets;
  const file = Buffer.alloc(INDEX_HEADER_BYTES + tablesBytes + count * INDEX_ENTRY_BYTES);
  file.write("INGOTIDX", 0, "latin1");
  file.writeUInt16LE(1, 8);
  file.writeUInt16LE(bits, 10);
  file.writeUInt32LE(count, 12);
  file.writeUInt32LE(packs.length, 16);
  packs.forEach((pack, i) => {
    file.write(pack.name, INDEX_HEADER_BYTES + i * PACK_NAME_BYTES, "hex");
  });
  const starts = INDEX_HEADER_BYTES + PACK_NAME_BYTES * packs.length;
  const sums = starts + 4 * (buckets + 1);
  const entries = sums + 4 * buckets;
  for (let i = 0; i < count; i++) {
    const from = order[i]! * INDEX_ENTRY_BYTES;
    all.copy(file, entries + i * INDEX_ENTRY_BYTES, from, from + INDEX_ENTRY_BYTES);
  }
  let entry = 0;
  for (let bucket = 0; bucket < buckets; bucket++) {
    const first = entry;
    while (entry < count && bucketOf(file, entries + entry * INDEX_ENTRY_BYTES, bits) === bucket) entry++;
    file.writeUInt32LE(first, starts + 4 * bucket);
    const slice = file.subarray(entries + first * INDEX_ENTRY_BYTES, entries + entry * INDEX_ENTRY_BYTES);
    file.writeUInt32LE(crc32(slice), sums + 4 * bucket);
  }
  file.writeUInt32LE(count, starts + 4 * buckets);
  file.writeUInt32LE(crc32(file.subarray(INDEX_HEADER_BYTES, entries)), 56);
  file.writeUInt32LE(crc32(file.subarray(0, 60)), 60);
  return file;
}

/** An open segment. Holds its tables (8 bytes per 32 blobs) in memory, and where asked each bucket that it has read. */
export class IndexSegment {
  readonly name: string;
  readonly path: string;
  readonly count: number;
  readonly packs: readonly string[];
  readonly #fd: number;
  readonly #bits: number;
  readonly #starts: Uint32Array;
  readonly #sums: Uint32Array;
  readonly #entriesAt: number;
  #bucket: Buffer = Buffer.alloc(0);
  /** All entries, filled bucket by bucket, and which buckets are there. Memory that is not touched is not taken. */
  readonly #kept: { readonly entries: Buffer; readonly buckets: Uint8Array } | null;
  #scratch = Buffer.allocUnsafe(4096);

  /**
   * @param keep  whether to keep what was read: a bucket is then read once and not per look-up; 52 bytes per blob at most
   * @throws DamageError when its tables are not what was written
   */
  constructor(name: string, path: string, keep = false) {
    this.name = name;
    this.path = path;
    this.#fd = openSync(path, "r");
    try {
      const head = this.#read(0, INDEX_HEADER_BYTES);
      if (head.toString("latin1", 0, 8) !== "INGOTIDX" || crc32(head.subarray(0, 60)) !== head.readUInt32LE(60)) {
        throw new DamageError(`index ${name}: not an index segment, or its header is damaged`);
      }
      const version = head.readUInt16LE(8);
      if (version !== 1) throw new Error(`index format ${version} is newer than this program`);
      this.#bits = head.readUInt16LE(10);
      this.count = head.readUInt32LE(12);
      const packs = head.readUInt32LE(16);
      const tablesSum = head.readUInt32LE(56);
      const buckets = 2 ** this.#bits;
      const tables = this.#read(INDEX_HEADER_BYTES, PACK_NAME_BYTES * packs + 4 * (buckets + 1) + 4 * buckets);
      if (crc32(tables) !== tablesSum) throw new DamageError(`index ${name}: its tables are damaged`);
      const names: string[] = [];
      for (let i = 0; i < packs; i++)
        names.push(tables.toString("hex", i * PACK_NAME_BYTES, (i + 1) * PACK_NAME_BYTES));
      this.packs = names;
      this.#starts = new Uint32Array(buckets + 1);
      this.#sums = new Uint32Array(buckets);
      const at = PACK_NAME_BYTES * packs;
      for (let i = 0; i <= buckets; i++) this.#starts[i] = tables.readUInt32LE(at + 4 * i);
      for (let i = 0; i < buckets; i++) this.#sums[i] = tables.readUInt32LE(at + 4 * (buckets + 1) + 4 * i);
      this.#entriesAt = INDEX_HEADER_BYTES + tables.length;
      this.#kept = keep
        ? { entries: Buffer.allocUnsafeSlow(this.count * INDEX_ENTRY_BYTES), buckets: new Uint8Array(buckets) }
        : null;
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** What its entries take in memory, at most. */
  get keptBytes(): number {
    return this.#kept?.entries.length ?? 0;
  }

  /** Number of the entry of the id at `at` of `id`, or -1. Costs one read of about 1.6 KiB. @throws DamageError */
  find(id: Buffer, at: number): number {
    const bucket = bucketOf(id, at, this.#bits);
    const first = this.#loadBucket(bucket);
    let low = 0;
    let high = this.#bucket.length / INDEX_ENTRY_BYTES;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const from = middle * INDEX_ENTRY_BYTES;
      const order = id.compare(this.#bucket, from, from + ID_BYTES, at, at + ID_BYTES);
      if (order === 0) return first + middle;
      if (order < 0) high = middle;
      else low = middle + 1;
    }
    return -1;
  }

  /** Where the entry that `find` just gave lies. */
  place(entry: number, id: Buffer, at: number): BlobPlace {
    const first = this.#starts[bucketOf(id, at, this.#bits)]!;
    return this.#placeAt(this.#bucket, (entry - first) * INDEX_ENTRY_BYTES);
  }

  /** Is the id at `at` of `id` that of entry number `entry`? Reads the entry alone. */
  isEntry(entry: number, id: Buffer, at: number): boolean {
    const bytes = this.#read(this.#entriesAt + entry * INDEX_ENTRY_BYTES, ID_BYTES);
    return bytes.compare(id, at, at + ID_BYTES) === 0;
  }

  /** Every entry in order, in checked slices of whole buckets: for tables, merges and marks. @throws DamageError */
  *slices(): Generator<{ first: number; bytes: Buffer }> {
    for (let bucket = 0; bucket < this.#sums.length; bucket++) {
      const first = this.#loadBucket(bucket);
      if (this.#bucket.length > 0) yield { first, bytes: this.#bucket };
    }
  }

  /** The place in an entry of a slice. */
  placeIn(slice: Buffer, at: number): BlobPlace {
    return this.#placeAt(slice, at);
  }

  #placeAt(bytes: Buffer, at: number): BlobPlace {
    const pack = this.packs[bytes.readUInt32LE(at + 32)];
    if (pack === undefined) throw new DamageError(`index ${this.name}: an entry names no pack`);
    return {
      pack,
      frameOffset: bytes.readUInt32LE(at + 36),
      frameBytes: bytes.readUInt32LE(at + 40),
      offset: bytes.readUInt32LE(at + 44),
      bytes: bytes.readUInt32LE(at + 48),
    };
  }

  #loadBucket(bucket: number): number {
    const first = this.#starts[bucket]!;
    const from = first * INDEX_ENTRY_BYTES;
    const to = this.#starts[bucket + 1]! * INDEX_ENTRY_BYTES;
    const kept = this.#kept;
    if (kept === null) this.#bucket = this.#read(this.#entriesAt + from, to - from);
    else {
      this.#bucket = kept.entries.subarray(from, to);
      if (kept.buckets[bucket] === 1) return first;
      this.#readInto(this.#bucket, this.#entriesAt + from);
    }
    if (crc32(this.#bucket) !== this.#sums[bucket]) {
      throw new DamageError(`index ${this.name}: bucket ${bucket} is damaged`);
    }
    if (kept !== null) kept.buckets[bucket] = 1;
    return first;
  }

  #read(offset: number, bytes: number): Buffer {
    if (this.#scratch.length < bytes) this.#scratch = Buffer.allocUnsafe(bytes);
    const into = this.#scratch.subarray(0, bytes);
    this.#readInto(into, offset);
    return into;
  }

  #readInto(into: Buffer, offset: number): void {
    for (let got = 0; got < into.length; ) {
      const n = readSync(this.#fd, into, got, into.length - got, offset + got);
      if (n === 0) throw new DamageError(`index ${this.name}: the file is too short`);
      got += n;
    }
  }
}
