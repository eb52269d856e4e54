// Which blobs the snapshots reach: the marking of a collection, and of the accounting in usage.ts. In a worker: it reads
// every manifest once, and shared subtrees once for all who share them.
import { join } from "node:path";
import type { BlobReader } from "./blob-reader.ts";
import { decodeNode, decodePage, ID_BYTES, INDEX_ENTRY_BYTES, INDEX_ENTRY_PACK, topLevel } from "./format.ts";
import { type BlobPlace, IndexSegment } from "./index-segment.ts";

/** A snapshot's tree, for one owner. */
export interface Root {
  /** Hex; `null`: nothing. */
  readonly top: string | null;
  readonly bytes: number;
  /** What to call it when it can't be walked. */
  readonly name: string;
}

interface IndexEntry {
  readonly number: number;
  readonly segment: IndexSegment;
  readonly bytes: Buffer;
  readonly at: number;
}

/** About as many bytes as the frames of so many entries take in maps: some dozens of MB. */
const ENTRIES_PER_PASS = 2 ** 21;

/** The index segments at one moment, by name. Blobs that were stored later are not found here. */
export class IndexSnapshot {
  readonly segments: readonly IndexSegment[];
  /** Number of each segment's first entry, over all. */
  readonly bases: readonly number[];
  readonly count: number;

  constructor(directory: string, names: readonly string[]) {
    // In the order of their names, so that of several copies of a blob always the same one counts.
    this.segments = [...names].sort().map((name) => new IndexSegment(name, join(directory, `${name}.index`)));
    const bases: number[] = [];
    let count = 0;
    for (const segment of this.segments) {
      bases.push(count);
      count += segment.count;
    }
    this.bases = bases;
    this.count = count;
  }

  /** Number of the entry of a blob, over all segments; -1 when there is none. */
  find(id: Buffer, at = 0): number {
    for (let i = 0; i < this.segments.length; i++) {
      const entry = this.segments[i]!.find(id, at);
      if (entry >= 0) return this.bases[i]! + entry;
    }
    return -1;
  }

  /** Where the entry that `find` just gave for this id lies. */
  place(number: number, id: Buffer): BlobPlace {
    let i = this.segments.length - 1;
    while (this.bases[i]! > number) i--;
    // A later look-up in this segment may have replaced what it holds of the file.
    const segment = this.segments[i]!;
    return segment.place(segment.find(id, 0), id, 0);
  }

  /** Every entry with its number. The buffer is right until the next step. */
  entries(): Generator<IndexEntry> {
    return this.#entries(0, 1);
  }

  /**
   * Every entry once, in passes over the index that each have the entries of some packs, all of them: what is noted per
   * frame stays bounded. A pass can be gone through more than once.
   */
  *passes(): Generator<() => Generator<IndexEntry>> {
    const passes = Math.max(1, Math.ceil(this.count / ENTRIES_PER_PASS));
    for (let pass = 0; pass < passes; pass++) yield () => this.#entries(pass, passes);
  }

  *#entries(pass: number, passes: number): Generator<IndexEntry> {
    for (let i = 0; i < this.segments.length; i++) {
      const segment = this.segments[i]!;
      // Pack names are random.
      const passOf = segment.packs.map((name) => Number.parseInt(name.slice(0, 8), 16) % passes);
      for (const { first, bytes } of segment.slices()) {
        for (let at = 0, entry = first; at < bytes.length; at += INDEX_ENTRY_BYTES, entry++) {
          if (passes > 1 && passOf[bytes.readUInt32LE(at + INDEX_ENTRY_PACK)] !== pass) continue;
          yield { number: this.bases[i]! + entry, segment, bytes, at };
        }
      }
    }
  }

  close(): void {
    for (const segment of this.segments) segment.close();
  }
}

/** Reached by more than one owner. */
export const SHARED = -1;

/**
 * Walks trees and notes, per index entry, who reaches it: 0 nobody, n > 0 owner n alone, SHARED several. Each blob is
 * visited at most twice, however many snapshots share it.
 */
export class Reach {
  readonly index: IndexSnapshot;
  readonly owners: Int32Array;
  readonly #blobs: BlobReader;
  /** The same for pages and nodes stored after the index snapshot was taken. */
  readonly #later = new Map<string, number>();

  readonly #onBlob: ((id: string) => void) | null;

  /** @param onBlob  is told the hex id of every blob reached, once or more */
  constructor(index: IndexSnapshot, blobs: BlobReader, onBlob: ((id: string) => void) | null = null) {
    this.index = index;
    this.#blobs = blobs;
    this.#onBlob = onBlob;
    this.owners = new Int32Array(index.count);
  }

  /** @throws Error that names the root when part of it can't be read: nothing may be freed then */
  async add(root: Root, owner: number): Promise<void> {
    if (root.top === null) return;
    try {
      await this.#visit(Buffer.from(root.top, "hex"), topLevel(root.bytes), owner);
    } catch (cause) {
      throw new Error(`walk the manifest of ${root.name}`, { cause });
    }
  }

  /** Notes the owner; false when everything below is noted already. */
  #mark(id: Buffer, at: number, owner: number): number {
    const number = this.index.find(id, at);
    const key = number < 0 ? id.toString("latin1", at, at + ID_BYTES) : "";
    const before = number < 0 ? (this.#later.get(key) ?? 0) : this.owners[number]!;
    if (before === SHARED || before === owner) return 0;
    const now = before === 0 ? owner : SHARED;
    if (number < 0) this.#later.set(key, now);
    else this.owners[number] = now;
    return now;
  }

  async #visit(id: Buffer, level: number, owner: number): Promise<void> {
    const now = this.#mark(id, 0, owner);
    if (now === 0) return;
    this.#onBlob?.(id.toString("hex"));
    const bytes = await this.#blobs.blob(id);
    if (level > 0) {
      for (const row of decodeNode(bytes, level)) await this.#visit(row.id, level - 1, now);
      return;
    }
    const page = decodePage(bytes);
    for (let row = 0; row < page.count; row++) {
      const at = row * ID_BYTES;
      this.#onBlob?.(page.ids.toString("hex", at, at + ID_BYTES));
      const number = this.index.find(page.ids, at);
      if (number < 0) {
        // Stored later: this collection does not touch it. But it must be somewhere.
        this.#blobs.place(page.ids, at);
      } else if (this.owners[number] === 0) this.owners[number] = now;
      else if (this.owners[number] !== now) this.owners[number] = SHARED;
    }
  }
}

// --- collection ---

/** What lies in one pack. */
export interface PackLiveness {
  readonly name: string;
  /** Of its frames. */
  readonly bytes: number;
  /** Of frames in which something is reached. */
  readonly liveBytes: number;
}

/** Live and total bytes of every pack that the index names. */
export function packLiveness(reach: Reach): PackLiveness[] {
  return [...reach.index.passes()].flatMap((entries) => livenessOf(reach, entries()));
}

function livenessOf(reach: Reach, entries: Iterable<IndexEntry>): PackLiveness[] {
  const packs = new Map<string, Map<number, number>>();
  // Per frame: its bytes, negative while nothing in it is reached.
  for (const { number, segment, bytes, at } of entries) {
    const place = segment.placeIn(bytes, at);
    let frames = packs.get(place.pack);
    if (frames === undefined) {
      frames = new Map();
      packs.set(place.pack, frames);
    }
    const live = reach.owners[number] !== 0;
    if (live || !frames.has(place.frameOffset))
      frames.set(place.frameOffset, live ? place.frameBytes : -place.frameBytes);
  }
  return [...packs].map(([name, frames]) => {
    let bytes = 0;
    let liveBytes = 0;
    for (const frame of frames.values()) {
      bytes += Math.abs(frame);
      if (frame > 0) liveBytes += frame;
    }
    return { name, bytes, liveBytes };
  });
}

/** A pack that is less live than this is rewritten: below it, a byte copied frees two thirds of a byte or more. */
const REWRITE_BELOW = 0.6;
/** Captures of little leave small packs; many of them are joined. */
const SMALL_PACK = 8 * 1024 * 1024;
const JOIN_FROM = 16;

export interface CollectionPlan {
  /** Go as they are. */
  readonly drop: readonly string[];
  /** Their reached blobs move to new packs, then they go. */
  readonly rewrite: readonly string[];
  readonly freedBytes: number;
  readonly rewrittenBytes: number;
  readonly liveBytes: number;
}

/** Which packs to free. Pure, so that a dry run and a test see exactly what would be done. */
export function planCollection(packs: readonly PackLiveness[]): CollectionPlan {
  const drop: string[] = [];
  const rewrite: string[] = [];
  let freedBytes = 0;
  let rewrittenBytes = 0;
  let liveBytes = 0;
  const small = packs.filter((pack) => pack.liveBytes > 0 && pack.bytes < SMALL_PACK).length;
  for (const pack of packs) {
    liveBytes += pack.liveBytes;
    if (pack.liveBytes === 0) drop.push(pack.name);
    else if (pack.liveBytes < pack.bytes * REWRITE_BELOW || (small >= JOIN_FROM && pack.bytes < SMALL_PACK)) {
      rewrite.push(pack.name);
      rewrittenBytes += pack.liveBytes;
    } else continue;
    freedBytes += pack.bytes - pack.liveBytes;
  }
  return { drop, rewrite, freedBytes, rewrittenBytes, liveBytes };
}

/** Per segment, a bit for each entry that nothing reaches and whose pack is to go. */
export function condemnedEntries(
  reach: Reach,
  gone: ReadonlySet<string>,
): { name: string; condemned: Uint8Array<ArrayBuffer> }[] {
  const bits = reach.index.segments.map((segment) => new Uint8Array(Math.ceil(segment.count / 8)));
  let i = 0;
  for (const { number, segment, bytes, at } of reach.index.entries()) {
    while (reach.index.segments[i] !== segment) i++;
    if (reach.owners[number] !== 0 || !gone.has(segment.placeIn(bytes, at).pack)) continue;
    const entry = number - reach.index.bases[i]!;
    bits[i]![entry >> 3]! |= 1 << (entry & 7);
  }
  return reach.index.segments.map(({ name }, i) => ({ name, condemned: bits[i]! }));
}

/** Index entries of the packs that stay, by pack: one segment of these and of the rewritten packs replaces all. */
export function keptEntries(reach: Reach, gone: ReadonlySet<string>): { name: string; entries: Uint8Array }[] {
  const counts = new Map<string, number>();
  for (const { segment, bytes, at } of reach.index.entries()) {
    const { pack } = segment.placeIn(bytes, at);
    if (!gone.has(pack)) counts.set(pack, (counts.get(pack) ?? 0) + 1);
  }
  const kept = new Map(
    [...counts].map(([pack, count]) => [pack, { entries: Buffer.allocUnsafe(count * INDEX_ENTRY_BYTES), used: 0 }]),
  );
  for (const { segment, bytes, at } of reach.index.entries()) {
    const into = kept.get(segment.placeIn(bytes, at).pack);
    if (into !== undefined) into.used += bytes.copy(into.entries, into.used, at, at + INDEX_ENTRY_BYTES);
  }
  return [...kept].map(([name, { entries }]) => ({ name, entries }));
}
