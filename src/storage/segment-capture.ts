// One segment of a disk → its page: chunk, hash, and store what is new. Reads only what may differ from the base.
//
// Chunks of the base are taken over unread where none of their blocks may have changed and the chunk would end at the
// same place: it is full, it ends the segment, or the block after it is unchanged too. Everything else is cut again,
// from the chunk's start until a cut falls on a start in the base; so an incremental capture gives the same page, bit
// for bit, as a full one (a property test holds this).
import type { BlobReader } from "./blob-reader.ts";
import type { CapturePlan, SourceReader } from "./capture-sources.ts";
import { endsChunk, isZeroBlock } from "./chunker.ts";
import { blobSum, type Domain } from "./encryption.ts";
import {
  BLOCK,
  decodePage,
  encodePage,
  ID_BYTES,
  MAX_CHUNK_BLOCKS,
  type Page,
  SEGMENT,
  SEGMENT_BLOCKS,
} from "./format.ts";
import type { FreshBlobs, KnownBlobs } from "./known-blobs.ts";
import type { PackWriter } from "./pack-writer.ts";
import type { SnapshotReader } from "./snapshot-reader.ts";

/** What may be in a block, before it is looked at. */
const AS_BASE = 0;
const READ = 1;
const ZERO = 2;
/** Zero because the base has nothing there and nothing changed. */
const ZERO_IN_BASE = 3;

/** One `read` fetches over unchanged gaps this long: a call costs as much. */
const GAP_BLOCKS = 4;

const noPage: Page = { count: 0, starts: new Uint16Array(0), blocks: new Uint8Array(0), ids: Buffer.alloc(0) };

export interface SegmentCaptureOptions {
  readonly bytes: number;
  readonly plan: CapturePlan;
  readonly source: SourceReader;
  /** Gives the unchanged blocks of chunks that must be cut again; a draft's data file does not have them. */
  readonly base: SnapshotReader | null;
  readonly blobs: BlobReader;
  /** Whose content it is. */
  readonly domain: Domain;
  /** Domains whose blobs everybody may rely on: the public one. */
  readonly shared: readonly Domain[];
  readonly known: KnownBlobs;
  readonly fresh: FreshBlobs;
  readonly writer: PackWriter;
  /** Room for one segment: the worker's, used again by its next task. */
  readonly buffer: Buffer;
}

export interface CapturedSegment {
  /** `null`: all zero. */
  readonly page: Buffer | null;
  readonly allocatedBlocks: number;
  /** How many blocks may have differed from the base: what progress counts. */
  readonly changedBlocks: number;
}

export class SegmentCapture {
  readonly #options: SegmentCaptureOptions;
  readonly #buffer: Buffer;
  readonly #state = new Uint8Array(SEGMENT_BLOCKS);
  /** Blocks whose bytes are in the buffer. */
  readonly #have = new Uint8Array(SEGMENT_BLOCKS);
  readonly #starts = new Uint16Array(SEGMENT_BLOCKS);
  readonly #blocks = new Uint8Array(SEGMENT_BLOCKS);
  readonly #ids = Buffer.allocUnsafeSlow(SEGMENT_BLOCKS * ID_BYTES);
  readonly #rowAt = new Int16Array(SEGMENT_BLOCKS);
  #changedAt = 0;
  #zeroAt = 0;

  constructor(options: SegmentCaptureOptions) {
    this.#options = options;
    this.#buffer = options.buffer;
  }

  /** Segments come in ascending order. @param basePage  id of the base's page of this segment */
  async capture(segment: number, basePage: Buffer | null): Promise<CapturedSegment> {
    const { blobs, domain } = this.#options;
    const baseBytes = basePage === null ? null : await blobs.blob(basePage);
    const base = baseBytes === null ? noPage : decodePage(baseBytes);
    this.#decide(segment, base);
    await this.#readChanged(segment);

    let count = 0;
    let allocatedBlocks = 0;
    const changedBlocks = this.#state.reduce((sum, state) => sum + (state === READ || state === ZERO ? 1 : 0), 0);
    for (let block = 0; block < SEGMENT_BLOCKS; ) {
      if (this.#isZero(block)) {
        block++;
        continue;
      }
      const row = this.#rowAt[block]!;
      let blocks: number;
      if (row >= 0 && this.#keeps(base, row)) {
        blocks = base.blocks[row]!;
        base.ids.copy(this.#ids, count * ID_BYTES, row * ID_BYTES, (row + 1) * ID_BYTES);
      } else {
        blocks = await this.#cut(segment, block);
        const bytes = this.#buffer.subarray(block * BLOCK, (block + blocks) * BLOCK);
        const same = row >= 0 && base.blocks[row] === blocks ? row : -1;
        const id = await this.#keepChunk(
          bytes,
          same < 0 ? null : base.ids.subarray(same * ID_BYTES, (same + 1) * ID_BYTES),
        );
        id.copy(this.#ids, count * ID_BYTES);
      }
      this.#starts[count] = block;
      this.#blocks[count] = blocks;
      count++;
      allocatedBlocks += blocks;
      block += blocks;
    }
    if (count === 0) return { page: null, allocatedBlocks, changedBlocks };
    const bytes = encodePage(count, this.#starts, this.#blocks, this.#ids);
    // The base's page may be another domain's: equal bytes, and yet another id.
    if (baseBytes?.equals(bytes)) return { page: basePage, allocatedBlocks, changedBlocks };
    const page = domain.blobId(bytes);
    const { known, fresh, writer } = this.#options;
    if (!known.has(page) && fresh.claim(page)) writer.addManifest(page, bytes);
    return { page, allocatedBlocks, changedBlocks };
  }

  /**
   * The id under which a chunk is found from now on; stores it where it is not yet.
   * @param inBase  id of the base's chunk at this very place, which the capture's owner may read: the only blob of a
   *   stranger's domain that is compared with. Others are not even asked for: an answer would tell what a stranger has.
   */
  async #keepChunk(bytes: Buffer, inBase: Buffer | null): Promise<Buffer> {
    const { blobs, domain, shared, known, fresh, writer } = this.#options;
    const sum = Buffer.from(blobSum(bytes));
    const id = domain.idOf(sum);
    if (inBase?.equals(id) || known.has(id)) return id;
    if (inBase !== null && domain.id !== null) {
      const place = blobs.index.find(inBase);
      // A base that can't be looked up only means that the chunk is stored again.
      const theirs = place === undefined ? null : await blobs.domainOf(place.pack).catch(() => null);
      if (theirs !== null && theirs !== domain && theirs.idOf(sum).equals(inBase)) return Buffer.from(inBase);
    }
    for (const open of shared) {
      const theirs = open.idOf(sum);
      if (known.has(theirs)) return theirs;
    }
    if (fresh.claim(id)) writer.addChunk(id, bytes);
    return id;
  }

  /** Fills `#state` from the plan: changed ranges rounded outwards to blocks, zero ranges inwards. */
  #decide(segment: number, base: Page): void {
    const { bytes, plan } = this.#options;
    const state = this.#state.fill(AS_BASE);
    this.#have.fill(0);
    const start = segment * SEGMENT;
    const end = start + SEGMENT;
    const { changed, zero } = plan;
    while (this.#changedAt < changed.length && changed[this.#changedAt + 1]! <= start) this.#changedAt += 2;
    for (let i = this.#changedAt; i < changed.length && changed[i]! < end; i += 2) {
      const from = Math.floor((Math.max(start, changed[i]!) - start) / BLOCK);
      const to = Math.ceil((Math.min(end, changed[i + 1]!) - start) / BLOCK);
      state.fill(READ, from, to);
    }
    while (this.#zeroAt < zero.length && zero[this.#zeroAt + 1]! <= start) this.#zeroAt += 2;
    for (let i = this.#zeroAt; i < zero.length && zero[i]! < end; i += 2) {
      const from = Math.ceil((Math.max(start, zero[i]!) - start) / BLOCK);
      // A disk that ends inside a block reads as zeroes to the block's end.
      const to = zero[i + 1]! >= bytes ? SEGMENT_BLOCKS : Math.floor((Math.min(end, zero[i + 1]!) - start) / BLOCK);
      for (let block = from; block < to; block++) if (state[block] === READ) state[block] = ZERO;
    }
    const last = Math.ceil((Math.min(end, bytes) - start) / BLOCK);
    state.fill(ZERO, last);

    this.#rowAt.fill(-1);
    let covered = 0;
    for (let row = 0; row <= base.count; row++) {
      const from = row < base.count ? base.starts[row]! : SEGMENT_BLOCKS;
      // What the base does not list is zero there.
      for (let block = covered; block < from; block++) if (state[block] === AS_BASE) state[block] = ZERO_IN_BASE;
      if (row === base.count) break;
      this.#rowAt[from] = row;
      covered = from + base.blocks[row]!;
    }
  }

  /** Would the base's chunk come out the same, without reading it? */
  #keeps(base: Page, row: number): boolean {
    const start = base.starts[row]!;
    const end = start + base.blocks[row]!;
    for (let block = start; block < end; block++) if (this.#state[block] !== AS_BASE) return false;
    if (base.blocks[row] === MAX_CHUNK_BLOCKS || end === SEGMENT_BLOCKS) return true;
    const next = this.#state[end]!;
    return next === AS_BASE || next === ZERO_IN_BASE;
  }

  #isZero(block: number): boolean {
    switch (this.#state[block]) {
      case AS_BASE:
        return false; // The base lists non-zero blocks only.
      case READ:
        return isZeroBlock(this.#buffer, block * BLOCK);
      default:
        return true;
    }
  }

  /** Blocks of the new chunk that starts at `from`; all of them are in the buffer after this. */
  async #cut(segment: number, from: number): Promise<number> {
    const last = Math.min(SEGMENT_BLOCKS, from + MAX_CHUNK_BLOCKS);
    for (let block = from; block < last; block++) {
      if (this.#isZero(block)) return block - from;
      if (this.#have[block] === 0) await this.#readUnchanged(segment, block, last);
      if (endsChunk(this.#buffer, block * BLOCK)) return block + 1 - from;
    }
    return last - from;
  }

  async #readChanged(segment: number): Promise<void> {
    const reads: (Promise<void> | void)[] = [];
    let block = 0;
    while (block < SEGMENT_BLOCKS) {
      if (this.#state[block] !== READ) {
        block++;
        continue;
      }
      let end = block + 1;
      for (let next = end; next < SEGMENT_BLOCKS && next - end <= GAP_BLOCKS; next++) {
        const state = this.#state[next];
        if (state === READ) end = next + 1;
        else if (state !== AS_BASE) break;
      }
      reads.push(this.#read(segment, block, end));
      block = end;
    }
    await Promise.all(reads);
  }

  /** Unchanged blocks that belong to a chunk that must be cut again. */
  async #readUnchanged(segment: number, from: number, last: number): Promise<void> {
    let end = from + 1;
    while (end < last && this.#state[end] === AS_BASE && this.#have[end] === 0) end++;
    this.#have.fill(1, from, end);
    const { base } = this.#options;
    if (base === null) throw new Error("a block that only a base can have, without a base");
    const offset = segment * SEGMENT + from * BLOCK;
    const into = this.#buffer.subarray(from * BLOCK, end * BLOCK);
    const inside = Math.min(into.length, base.bytes - offset);
    into.fill(0, inside);
    await base.readInto(into.subarray(0, inside), offset);
  }

  #read(segment: number, from: number, to: number): Promise<void> | void {
    this.#have.fill(1, from, to);
    const offset = segment * SEGMENT + from * BLOCK;
    const into = this.#buffer.subarray(from * BLOCK, to * BLOCK);
    const inside = Math.min(into.length, this.#options.bytes - offset);
    into.fill(0, inside);
    return this.#options.source.read(offset, into.subarray(0, inside));
  }
}
