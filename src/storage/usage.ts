// What each owner's snapshots hold: to the byte, in a worker, one walk over all manifests.
//
// Memory: 12 bytes per stored blob, and a bounded part of the frames at a time. Time: each distinct page once or twice
// for the marks; then owners are taken one after another, those with much in common next to each other, and of each only
// the pages that its predecessor does not have are looked at. So the thousandth snapshot of a disk costs what changed.
import type { BlobReader } from "./blob-reader.ts";
import { DamageError, decodePage, ID_BYTES } from "./format.ts";
import { segmentPages } from "./manifest.ts";
import { type Reach, type Root, SHARED } from "./reachability.ts";

export interface OwnerUsage {
  /** Stored bytes that only this owner reaches, each blob counted by its share of its frame. */
  exclusiveBytes: number;
  /** Stored bytes that others reach too. */
  sharedBytes: number;
  /** Whole frames that nobody else reaches: what deleting this owner lets a collection free. */
  freedIfDeletedBytes: number;
}

export interface OwnedRoot extends Root {
  /** 1 or more. */
  readonly owner: number;
}

/** @param reach  fresh: no marks yet. @throws DamageError when a manifest is not wholly in the index */
export async function ownerUsage(
  reach: Reach,
  blobs: BlobReader,
  roots: readonly OwnedRoot[],
): Promise<{ owners: Map<number, OwnerUsage>; reachedBytes: number }> {
  for (const root of roots) await reach.add(root, root.owner);
  const owners = new Map<number, OwnerUsage>();
  for (const { owner } of roots) owners.set(owner, { exclusiveBytes: 0, sharedBytes: 0, freedIfDeletedBytes: 0 });
  const { shares, reachedBytes } = sharesOfFrames(reach, owners);

  const shared = new SharedBytes(reach, blobs, shares);
  for (const [owner, theirs] of await inLikeOrder(blobs, roots)) {
    await shared.become(theirs);
    owners.get(owner)!.sharedBytes = shared.bytes;
  }
  return { owners, reachedBytes };
}

/**
 * How many of its frame's stored bytes each reached blob stands for: whole bytes, which add up to the frame's.
 * Fills in what owners hold alone.
 */
function sharesOfFrames(
  { index, owners: marks }: Reach,
  owners: ReadonlyMap<number, OwnerUsage>,
): { shares: Uint32Array; reachedBytes: number } {
  const shares = new Uint32Array(index.count);
  let reachedBytes = 0;
  for (const entries of index.passes()) {
    /** By frame: plain bytes, and who alone reaches anything in it (0 nobody, SHARED several). */
    const frames = new Map<string, Map<number, { plain: number; bytes: number; owner: number }>>();
    for (const { number, segment, bytes, at } of entries()) {
      const place = segment.placeIn(bytes, at);
      let inPack = frames.get(place.pack);
      if (inPack === undefined) {
        inPack = new Map();
        frames.set(place.pack, inPack);
      }
      let frame = inPack.get(place.frameOffset);
      if (frame === undefined) {
        frame = { plain: 0, bytes: place.frameBytes, owner: 0 };
        inPack.set(place.frameOffset, frame);
      }
      frame.plain = Math.max(frame.plain, place.offset + place.bytes);
      const owner = marks[number]!;
      if (owner !== 0) frame.owner = frame.owner === 0 || frame.owner === owner ? owner : SHARED;
    }
    for (const { number, segment, bytes, at } of entries()) {
      const owner = marks[number]!;
      if (owner === 0) continue;
      const place = segment.placeIn(bytes, at);
      const frame = frames.get(place.pack)!.get(place.frameOffset)!;
      const upTo = (offset: number): number => Math.floor((frame.bytes * offset) / frame.plain);
      const share = upTo(place.offset + place.bytes) - upTo(place.offset);
      shares[number] = share;
      reachedBytes += share;
      if (owner !== SHARED) owners.get(owner)!.exclusiveBytes += share;
    }
    for (const inPack of frames.values()) {
      for (const { owner, bytes } of inPack.values()) {
        if (owner > 0) owners.get(owner)!.freedIfDeletedBytes += bytes;
      }
    }
  }
  return { shares, reachedBytes };
}

/**
 * Owners with their roots, so that those with much in common follow one another: by the smallest of their pages' ids.
 * Two sets that share nine tenths of their members have the same smallest one nine times of ten.
 */
async function inLikeOrder(blobs: BlobReader, roots: readonly OwnedRoot[]): Promise<[number, OwnedRoot[]][]> {
  const owners = new Map<number, { roots: OwnedRoot[]; smallest: string }>();
  for (const root of roots) {
    const owner = owners.get(root.owner) ?? { roots: [], smallest: "\xff" };
    owner.roots.push(root);
    for (const id of (await pagesOf(blobs, root)).pages) if (id < owner.smallest) owner.smallest = id;
    owners.set(root.owner, owner);
  }
  return [...owners]
    .sort(([, a], [, b]) => (a.smallest < b.smallest ? -1 : Number(a.smallest > b.smallest)))
    .map(([owner, { roots }]) => [owner, roots]);
}

/** Ids of a root's pages and nodes, as latin1 text. */
async function pagesOf(blobs: BlobReader, root: Root): Promise<{ pages: Set<string>; nodes: Set<string> }> {
  const nodes = new Set<string>();
  const top = root.top === null ? null : Buffer.from(root.top, "hex");
  const pages = await segmentPages(blobs, top, root.bytes, (id) => nodes.add(id.toString("latin1")));
  return { pages: new Set([...pages.values()].map((id) => id.toString("latin1"))), nodes };
}

/** Rows of pages whose entries' numbers are kept, for when the page comes or goes again: 4 bytes each. */
const ROWS_KEPT = 2 ** 20;

/** The set of blobs that one owner after another reaches, and the sum of those that others reach, too. */
class SharedBytes {
  /** Of the shared blobs in the set. */
  bytes = 0;
  readonly #reach: Reach;
  readonly #blobs: BlobReader;
  readonly #shares: Uint32Array;
  /** How many times each blob is named by what is in the set. */
  readonly #named: Uint32Array;
  #pages = new Set<string>();
  #nodes = new Set<string>();
  readonly #kept = new Map<string, Uint32Array>();
  #rowsKept = 0;

  constructor(reach: Reach, blobs: BlobReader, shares: Uint32Array) {
    this.#reach = reach;
    this.#blobs = blobs;
    this.#shares = shares;
    this.#named = new Uint32Array(reach.index.count);
  }

  /** Makes the set what these roots reach together. Cost: pages that come or go. */
  async become(roots: readonly Root[]): Promise<void> {
    const pages = new Set<string>();
    const nodes = new Set<string>();
    for (const root of roots) {
      const theirs = await pagesOf(this.#blobs, root);
      for (const id of theirs.pages) pages.add(id);
      for (const id of theirs.nodes) nodes.add(id);
    }
    for (const id of nodes) if (!this.#nodes.has(id)) this.#count(this.#numberOf(id), 1);
    for (const id of this.#nodes) if (!nodes.has(id)) this.#count(this.#numberOf(id), -1);
    for (const id of pages) if (!this.#pages.has(id)) await this.#countPage(id, 1);
    for (const id of this.#pages) if (!pages.has(id)) await this.#countPage(id, -1);
    this.#pages = pages;
    this.#nodes = nodes;
  }

  async #countPage(id: string, by: 1 | -1): Promise<void> {
    for (const number of await this.#numbersOf(id)) this.#count(number, by);
  }

  #count(number: number, by: 1 | -1): void {
    const before = this.#named[number]!;
    this.#named[number] = before + by;
    if (this.#reach.owners[number] !== SHARED) return;
    if (before === 0) this.bytes += this.#shares[number]!;
    else if (before + by === 0) this.bytes -= this.#shares[number]!;
  }

  #numberOf(id: string): number {
    const number = this.#reach.index.find(Buffer.from(id, "latin1"));
    if (number < 0) throw new DamageError("a manifest blob is not in the index");
    return number;
  }

  /** Entries of a page and of what it lists. Chunks that were stored after the index was looked at are left out. */
  async #numbersOf(id: string): Promise<Uint32Array> {
    const kept = this.#kept.get(id);
    if (kept !== undefined) return kept;
    const page = decodePage(await this.#blobs.blob(Buffer.from(id, "latin1")));
    const numbers = [this.#numberOf(id)];
    for (let row = 0; row < page.count; row++) {
      const number = this.#reach.index.find(page.ids, row * ID_BYTES);
      if (number >= 0) numbers.push(number);
    }
    const all = Uint32Array.from(numbers);
    this.#kept.set(id, all);
    this.#rowsKept += all.length;
    for (const [oldest, { length }] of this.#kept) {
      if (this.#rowsKept <= ROWS_KEPT || oldest === id) break;
      this.#kept.delete(oldest);
      this.#rowsKept -= length;
    }
    return all;
  }
}
