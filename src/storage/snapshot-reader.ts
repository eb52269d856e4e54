// Any byte range of a snapshot, from its manifest and its frames. Holes cost nothing; each frame read is checked.
import { systemCode } from "../base/errors.ts";
import type { DiskRange } from "../model/disk.ts";
import type { BlobReader } from "./blob-reader.ts";
import {
  BLOCK,
  DamageError,
  decodeNode,
  decodePage,
  ID_BYTES,
  NODE_FAN_OUT,
  type Page,
  SEGMENT,
  SEGMENT_BLOCKS,
  topLevel,
} from "./format.ts";

/**
 * A page with its chunks' places, each looked up when it is first read: a guest reads little of most segments, and each
 * look-up reads from an index.
 */
interface PlacedPage extends Page {
  /** -1: not looked up yet. */
  readonly keys: Float64Array;
  readonly packs: string[];
  readonly frameOffsets: Uint32Array;
  readonly frameBytes: Uint32Array;
  readonly offsets: Uint32Array;
}

/** Bounded in rows; shared by all readers of a process, since snapshots share pages. */
export class PageCache {
  readonly #maxRows: number;
  readonly #pages = new Map<string, PlacedPage>();
  #rows = 0;

  /** @param maxRows  about 70 bytes each */
  constructor(maxRows: number) {
    this.#maxRows = maxRows;
  }

  get(key: string): PlacedPage | undefined {
    const page = this.#pages.get(key);
    if (page !== undefined) {
      this.#pages.delete(key);
      this.#pages.set(key, page);
    }
    return page;
  }

  set(key: string, page: PlacedPage): void {
    this.delete(key);
    this.#pages.set(key, page);
    this.#rows += page.count;
    for (const oldest of this.#pages.keys()) {
      if (this.#rows <= this.#maxRows || oldest === key) break;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    const page = this.#pages.get(key);
    if (page === undefined) return;
    this.#pages.delete(key);
    this.#rows -= page.count;
  }
}

const MAX_NODES = 64;
/** `#copyRows` has no row left. */
const DONE = -1;

export interface SnapshotRoot {
  readonly bytes: number;
  readonly digest: string;
  readonly top: Buffer | null;
}

/** A run of non-zero blocks, in bytes. */
export interface Extent {
  readonly offset: number;
  readonly bytes: number;
}

export class SnapshotReader {
  /** Virtual size. */
  readonly bytes: number;
  /** Hex Merkle root. */
  readonly digest: string;
  /** Hears of each read. */
  onRead: ((offset: number, bytes: number) => void) | null = null;
  readonly top: Buffer | null;
  readonly #blobs: BlobReader;
  readonly #pages: PageCache;
  /** Level-1 node number → page ids by place. */
  readonly #nodes = new Map<number, Map<number, Buffer>>();

  constructor(root: SnapshotRoot, blobs: BlobReader, pages: PageCache) {
    this.bytes = root.bytes;
    this.digest = root.digest;
    this.top = root.top;
    this.#blobs = blobs;
    this.#pages = pages;
  }

  /** @throws RangeError past the end; DamageError rather than wrong bytes */
  async read(offset: number, length: number): Promise<Buffer> {
    const into = Buffer.allocUnsafe(length);
    await this.readInto(into, offset);
    return into;
  }

  /** Fills `into` from `offset` on. */
  async readInto(into: Buffer, offset: number): Promise<void> {
    if (offset < 0 || offset + into.length > this.bytes) {
      throw new RangeError(`bytes ${offset} to ${offset + into.length} of a disk of ${this.bytes}`);
    }
    this.onRead?.(offset, into.length);
    let at = 0;
    while (at < into.length) {
      const position = offset + at;
      const segment = Math.floor(position / SEGMENT);
      const within = position - segment * SEGMENT;
      const length = Math.min(into.length - at, SEGMENT - within);
      await this.#readSegment(segment, within, into.subarray(at, at + length));
      at += length;
    }
  }

  /**
   * The same at once, where all that it takes is in memory; false: nothing is promised of `into`, `readInto` has to do it.
   * A guest's boot is mostly such reads: they need no promises.
   */
  readNow(into: Buffer, offset: number): boolean {
    const end = offset + into.length;
    if (offset < 0 || end > this.bytes) return false;
    for (let at = offset; at < end; ) {
      const segment = Math.floor(at / SEGMENT);
      const within = at - segment * SEGMENT;
      const length = Math.min(end - at, SEGMENT - within);
      const part = into.subarray(at - offset, at - offset + length);
      const node = this.#nodes.get(Math.floor(segment / NODE_FAN_OUT));
      if (node === undefined) return false;
      const id = node.get(segment % NODE_FAN_OUT);
      if (id === undefined) part.fill(0);
      else {
        const page = this.#pages.get(id.toString("latin1"));
        if (page === undefined || this.#copyRows(page, within, part, 0) !== DONE) return false;
      }
      at += length;
    }
    this.onRead?.(offset, into.length);
    return true;
  }

  async #readSegment(segment: number, within: number, into: Buffer): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const id = await this.pageId(segment);
      if (id === null) {
        into.fill(0);
        return;
      }
      const page = await this.#placedPage(id);
      try {
        for (let row = 0; ; ) {
          row = this.#copyRows(page, within, into, row);
          if (row === DONE) return;
          const loading = this.#loadRow(page, row);
          // What is there at once is copied at once: other loads may take its place in the cache.
          if (loading instanceof Promise) await loading;
        }
      } catch (error) {
        // A collection has moved frames to another pack since this page was placed.
        if (systemCode(error) !== "ENOENT" || attempt === 3) throw error;
        this.#pages.delete(id.toString("latin1"));
        this.#blobs.refresh();
      }
    }
  }

  /**
   * Fills `into` from the page's rows, from number `from` on, as far as their frames are in memory. Gives the first row
   * that is not, or `DONE`.
   */
  #copyRows(page: PlacedPage, within: number, into: Buffer, from: number): number {
    const end = within + into.length;
    let row = Math.max(from, firstRow(page, Math.floor(within / BLOCK)));
    for (; row < page.count; row++) {
      const start = page.starts[row]! * BLOCK;
      if (start >= end) break;
      const key = page.keys[row]!;
      const frame = key < 0 ? undefined : this.#blobs.cachedFrame(key);
      if (frame === undefined || endInFrame(page, row) > frame.length) return row;
      fillGap(page, row, within, into);
      const first = Math.max(start, within);
      const stop = Math.min(end, start + page.blocks[row]! * BLOCK);
      const offset = page.offsets[row]! + first - start;
      frame.copy(into, first - within, offset, offset + stop - first);
    }
    fillGap(page, row, within, into);
    return DONE;
  }

  /** Has the row's frame in memory for `#copyRows`; a promise where that takes a while. @throws DamageError */
  #loadRow(page: PlacedPage, row: number): void | Promise<void> {
    const key = page.keys[row]! < 0 ? this.#place(page, row) : page.keys[row]!;
    const mustHoldIt = (frame: Buffer): void => {
      if (endInFrame(page, row) > frame.length) {
        throw new DamageError(`pack ${page.packs[row]}: a chunk ends after its frame`);
      }
    };
    const frame =
      this.#blobs.cachedFrame(key) ??
      this.#blobs.loadFrame(page.packs[row]!, page.frameOffsets[row]!, page.frameBytes[row]!, key);
    return frame instanceof Promise ? frame.then(mustHoldIt) : mustHoldIt(frame);
  }

  /** Id of a segment's page; null when it is all zero. */
  async pageId(segment: number): Promise<Buffer | null> {
    const number = Math.floor(segment / NODE_FAN_OUT);
    let node = this.#nodes.get(number);
    if (node === undefined) {
      node = await this.#loadNode(number);
      for (const oldest of this.#nodes.keys()) {
        if (this.#nodes.size < MAX_NODES) break;
        this.#nodes.delete(oldest);
      }
      this.#nodes.set(number, node);
    }
    return node.get(segment % NODE_FAN_OUT) ?? null;
  }

  async #loadNode(number: number): Promise<Map<number, Buffer>> {
    let id = this.top;
    for (let level = topLevel(this.bytes); id !== null; level--) {
      const rows = decodeNode(await this.#blobs.blob(id), level);
      if (level === 1) return new Map(rows.map((row) => [row.place, row.id]));
      const place = Math.floor(number / NODE_FAN_OUT ** (level - 2)) % NODE_FAN_OUT;
      id = rows.find((row) => row.place === place)?.id ?? null;
    }
    return new Map();
  }

  /** A segment's page; null when it is all zero. */
  async page(segment: number): Promise<Page | null> {
    const id = await this.pageId(segment);
    if (id === null) return null;
    return this.#pages.get(id.toString("latin1")) ?? decodePage(await this.#blobs.blob(id));
  }

  async #placedPage(id: Buffer): Promise<PlacedPage> {
    const key = id.toString("latin1");
    const cached = this.#pages.get(key);
    if (cached !== undefined) return cached;
    const page = decodePage(await this.#blobs.blob(id));
    const placed = {
      ...page,
      keys: new Float64Array(page.count).fill(-1),
      packs: new Array<string>(page.count),
      frameOffsets: new Uint32Array(page.count),
      frameBytes: new Uint32Array(page.count),
      offsets: new Uint32Array(page.count),
    };
    this.#pages.set(key, placed);
    return placed;
  }

  /** Looks up where a row's chunk is, and gives its frame's key. @throws DamageError */
  #place(page: PlacedPage, row: number): number {
    const place = this.#blobs.place(page.ids, row * ID_BYTES);
    if (place.bytes !== page.blocks[row]! * BLOCK) {
      throw new DamageError(
        `chunk ${page.ids.toString("hex", row * ID_BYTES, (row + 1) * ID_BYTES)}: its length differs from its page's`,
      );
    }
    const key = this.#blobs.frameKey(place.pack, place.frameOffset);
    page.packs[row] = place.pack;
    page.frameOffsets[row] = place.frameOffset;
    page.frameBytes[row] = place.frameBytes;
    page.offsets[row] = place.offset;
    // Last: a row with a key is a row with a place.
    page.keys[row] = key;
    return key;
  }

  /** Number of segments. */
  get segments(): number {
    return Math.ceil(this.bytes / SEGMENT);
  }

  /**
   * Runs of non-zero blocks that touch `[from, to)`, ascending, merged and clipped. Reads manifests only.
   * The last one ends at the disk's size even where that is inside a block.
   */
  async *extents(from = 0, to = this.bytes): AsyncGenerator<Extent> {
    let start = -1;
    let end = -1;
    for (let segment = Math.floor(from / SEGMENT); segment * SEGMENT < to; segment++) {
      const page = await this.page(segment);
      if (page === null) continue;
      for (let row = 0; row < page.count; row++) {
        const rowStart = Math.max(from, segment * SEGMENT + page.starts[row]! * BLOCK);
        const rowEnd = Math.min(to, segment * SEGMENT + (page.starts[row]! + page.blocks[row]!) * BLOCK);
        if (rowStart >= rowEnd) continue;
        if (rowStart !== end) {
          if (end > start) yield { offset: start, bytes: end - start };
          start = rowStart;
        }
        end = rowEnd;
      }
    }
    if (end > start) yield { offset: start, bytes: end - start };
  }

  /** Numbers of the blocks of `blockBytes` (a divisor of 8 MiB) that are not all zero, ascending, from `first` on. */
  async *nonZeroBlocks(blockBytes: number, first = 0): AsyncGenerator<number> {
    const perSegment = SEGMENT / blockBytes;
    for (let segment = Math.floor(first / perSegment); segment < this.segments; segment++) {
      const page = await this.page(segment);
      if (page === null) continue;
      for (const block of touched(page, blockBytes)) {
        const number = segment * perSegment + block;
        if (number >= first) yield number;
      }
    }
  }
}

/** Of a row that is placed. */
const endInFrame = (page: PlacedPage, row: number): number => page.offsets[row]! + page.blocks[row]! * BLOCK;

/** Zeroes what lies between a row and the one before it, as far as it is in `into`; `page.count`: after the last. */
function fillGap(page: Page, row: number, within: number, into: Buffer): void {
  const from = row === 0 ? 0 : (page.starts[row - 1]! + page.blocks[row - 1]!) * BLOCK;
  const to = row === page.count ? SEGMENT : page.starts[row]! * BLOCK;
  if (to > within && to > from) into.fill(0, Math.max(0, from - within), Math.min(into.length, to - within));
}

/** First row that ends after `block`. */
function firstRow(page: Page, block: number): number {
  let low = 0;
  let high = page.count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (page.starts[middle]! + page.blocks[middle]! <= block) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Which blocks of `blockBytes` in a segment its page gives data to, ascending. */
function touched(page: Page, blockBytes: number): number[] {
  const unit = blockBytes / BLOCK;
  const hit = new Uint8Array(SEGMENT_BLOCKS / unit);
  for (let row = 0; row < page.count; row++) {
    const last = Math.floor((page.starts[row]! + page.blocks[row]! - 1) / unit);
    for (let block = Math.floor(page.starts[row]! / unit); block <= last; block++) hit[block] = 1;
  }
  const blocks: number[] = [];
  hit.forEach((yes, block) => {
    if (yes) blocks.push(block);
  });
  return blocks;
}

/** One block of `blockBytes` that may differ, and whether each side has data there. */
export interface ChangedBlock {
  readonly index: number;
  readonly inFrom: boolean;
  readonly inTo: boolean;
}

/**
 * Blocks of `blockBytes` that differ between two snapshots, ascending, from `first` on. `from: null` is an empty disk.
 * Equal pages are skipped unread. A block is named too often only where a chunk that reaches over its edge was cut
 * anew because of a change next to it; those are compared by content.
 */
export async function* changedBlocks(
  from: SnapshotReader | null,
  to: SnapshotReader,
  blockBytes: number,
  first = 0,
): AsyncGenerator<ChangedBlock> {
  const perSegment = SEGMENT / blockBytes;
  const unit = blockBytes / BLOCK;
  const segments = Math.max(from?.segments ?? 0, to.segments);
  for (let segment = Math.floor(first / perSegment); segment < segments; segment++) {
    const oldId = from === null || segment >= from.segments ? null : await from.pageId(segment);
    const newId = segment >= to.segments ? null : await to.pageId(segment);
    if (oldId === null && newId === null) continue;
    if (oldId !== null && newId !== null && oldId.equals(newId)) continue;
    const old = oldId === null ? null : await from!.page(segment);
    const fresh = newId === null ? null : await to.page(segment);
    for (let block = 0; block < perSegment; block++) {
      const index = segment * perSegment + block;
      if (index < first) continue;
      const a = rowsOf(old, block * unit, unit);
      const b = rowsOf(fresh, block * unit, unit);
      if (a.key === b.key) continue;
      if (from !== null && a.rows > 0 && b.rows > 0 && (a.crosses || b.crosses)) {
        const offset = index * blockBytes;
        const length = Math.min(blockBytes, from.bytes - offset, to.bytes - offset);
        if ((await from.read(offset, length)).equals(await to.read(offset, length))) continue;
      }
      yield { index, inFrom: a.rows > 0, inTo: b.rows > 0 };
    }
  }
}

/**
 * Do two snapshots hold the same bytes there? Where they share chunks only manifests are read, so it costs some
 * microseconds per block of 4 KiB.
 */
export async function sameRange(a: SnapshotReader, b: SnapshotReader, { offset, bytes }: DiskRange): Promise<boolean> {
  const end = offset + bytes;
  if (offset < 0 || end > a.bytes || end > b.bytes) return false;
  for (let segment = Math.floor(offset / SEGMENT); segment * SEGMENT < end; segment++) {
    const [idA, idB] = [await a.pageId(segment), await b.pageId(segment)];
    if (idA === idB || (idA !== null && idB !== null && idA.equals(idB))) continue;
    const [pageA, pageB] = [await a.page(segment), await b.page(segment)];
    const start = segment * SEGMENT;
    const first = Math.floor((Math.max(offset, start) - start) / BLOCK);
    const last = Math.ceil((Math.min(end, start + SEGMENT) - start) / BLOCK);
    for (let block = first; block < last; block++) {
      if (rowsOf(pageA, block, 1).key === rowsOf(pageB, block, 1).key) continue;
      // The same bytes may lie in chunks that were cut in another way, or belong to somebody else.
      const from = Math.max(offset, start + block * BLOCK);
      const length = Math.min(end, start + (block + 1) * BLOCK) - from;
      if (!(await a.read(from, length)).equals(await b.read(from, length))) return false;
    }
  }
  return true;
}

/** What a page says about `unit` blocks from `start` on: a key that is equal when the content must be. */
function rowsOf(page: Page | null, start: number, unit: number): { key: string; rows: number; crosses: boolean } {
  if (page === null) return { key: "", rows: 0, crosses: false };
  const parts: string[] = [];
  let crosses = false;
  for (let row = firstRow(page, start); row < page.count && page.starts[row]! < start + unit; row++) {
    const rowStart = page.starts[row]!;
    const rowEnd = rowStart + page.blocks[row]!;
    if (rowStart < start || rowEnd > start + unit) crosses = true;
    parts.push(`${rowStart}+${page.blocks[row]}${page.ids.toString("latin1", row * ID_BYTES, (row + 1) * ID_BYTES)}`);
  }
  return { key: parts.join("|"), rows: parts.length, crosses };
}
