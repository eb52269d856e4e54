// What a capture reads from, in a worker: which bytes may differ from the base, which are zero, and the bytes.
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { BLOCK_BYTES, KIB } from "../base/units.ts";
import type { CaptureSource } from "../model/disk.ts";
import { openSlot } from "./drafts.ts";
import { GCM_TAG_BYTES } from "./format.ts";
import { libc } from "./libc.ts";
import { STATE } from "./nbd.ts";
import { NbdClient } from "./nbd-client.ts";

/** A draft's blocks of 512 KiB, each in a slot of its data file. */
export interface DraftSource {
  readonly kind: "draft";
  readonly path: string;
  /** Slot of each block index, -1 where the draft has none. */
  readonly slots: Int32Array;
  /** `null`: the slots are plain. */
  readonly sealed: {
    readonly key: Uint8Array;
    /** 16 bytes per block index. */
    readonly tags: Uint8Array;
  } | null;
}

export type AnySource = CaptureSource | DraftSource;

/** Byte ranges `[start, end)` in pairs, ascending. */
export interface CapturePlan {
  /** What may differ from the base. */
  readonly changed: Float64Array<ArrayBuffer>;
  /** What is known to read as zeroes, without reading it. Only counts inside `changed`. */
  readonly zero: Float64Array<ArrayBuffer>;
}

export interface SourceReader {
  plan(): Promise<CapturePlan>;
  /** Fills `into`. Only ranges inside the disk are asked for. */
  read(offset: number, into: Buffer): Promise<void> | void;
  close(): void;
}

/** @param bytes  the disk's size */
export async function openSource(source: AnySource, bytes: number): Promise<SourceReader> {
  switch (source.kind) {
    case "file":
      return fileSource(source.path, bytes);
    case "draft":
      return draftSource(source, bytes);
    case "nbd":
      return nbdSource(source, bytes);
  }
}

class Ranges {
  readonly #pairs: number[] = [];
  add(start: number, end: number): void {
    if (end <= start) return;
    if (this.#pairs.length > 0 && this.#pairs.at(-1) === start) this.#pairs[this.#pairs.length - 1] = end;
    else this.#pairs.push(start, end);
  }
  get array(): Float64Array<ArrayBuffer> {
    return Float64Array.from(this.#pairs);
  }
}

/** Reads fully; what lies past the file's end is zeroes. */
function readFully(fd: number, into: Buffer, offset: number): void {
  for (let got = 0; got < into.length; ) {
    const n = readSync(fd, into, got, into.length - got, offset + got);
    if (n === 0) {
      into.fill(0, got);
      return;
    }
    got += n;
  }
}

function fileSource(path: string, bytes: number): SourceReader {
  const fd = openSync(path, "r");
  return {
    async plan() {
      const stat = fstatSync(fd);
      const end = stat.isFile() ? Math.min(bytes, stat.size) : bytes;
      const changed = new Ranges();
      changed.add(0, bytes);
      const zero = new Ranges();
      const calls = stat.isFile() ? libc() : null;
      let at = 0;
      while (calls !== null && at < end) {
        // A filesystem that can't tell (SEEK_DATA fails at 0 in a file with data) says the same as "no more data".
        const data = calls.seekData(fd, at);
        if (data < 0 && at === 0 && stat.blocks > 0) {
          at = end;
          break;
        }
        const start = data < 0 ? end : Math.min(end, data);
        zero.add(at, start);
        if (start === end) {
          at = end;
          break;
        }
        const hole = calls.seekHole(fd, start);
        at = hole < 0 ? end : Math.min(end, hole);
      }
      zero.add(end, bytes);
      return { changed: changed.array, zero: zero.array };
    },
    read: (offset, into) => readFully(fd, into, offset),
    close: () => closeSync(fd),
  };
}

function draftSource(source: DraftSource, bytes: number): SourceReader {
  const fd = openSync(source.path, "r");
  const { sealed } = source;
  /** The block that was opened last: a segment's reads come in order. */
  let opened: { readonly index: number; readonly bytes: Buffer } = { index: -1, bytes: Buffer.alloc(0) };
  const openBlock = (index: number, slot: number, { key, tags }: NonNullable<DraftSource["sealed"]>): Buffer => {
    if (opened.index !== index) {
      const stored = Buffer.allocUnsafe(BLOCK_BYTES);
      readFully(fd, stored, slot * BLOCK_BYTES);
      const tag = tags.subarray(index * GCM_TAG_BYTES, (index + 1) * GCM_TAG_BYTES);
      opened = { index, bytes: openSlot(key, { index, slot, tag }, stored) };
    }
    return opened.bytes;
  };
  return {
    async plan() {
      const changed = new Ranges();
      source.slots.forEach((slot, index) => {
        if (slot >= 0) changed.add(index * BLOCK_BYTES, Math.min(bytes, (index + 1) * BLOCK_BYTES));
      });
      return { changed: changed.array, zero: new Float64Array(0) };
    },
    read(offset, into) {
      for (let at = 0; at < into.length; ) {
        const index = Math.floor((offset + at) / BLOCK_BYTES);
        const within = (offset + at) % BLOCK_BYTES;
        const length = Math.min(into.length - at, BLOCK_BYTES - within);
        const slot = source.slots[index] ?? -1;
        if (slot < 0) throw new Error(`the draft has no block ${index}`);
        if (sealed === null) readFully(fd, into.subarray(at, at + length), slot * BLOCK_BYTES + within);
        else openBlock(index, slot, sealed).copy(into, at, within, within + length);
        at += length;
      }
    },
    close: () => closeSync(fd),
  };
}

/** Most bytes that one block-status request may ask about: its length is 32 bits, and servers like it aligned. */
const STATUS_BYTES = 2 ** 31;

/**
 * A machine's QEMU reads and decrypts what it is asked for in as many threads as there are requests, and its guest's own
 * requests wait beside them: one request at a time, and none so large that the guest would notice. It costs no time, since
 * a capture hashes and compresses slower than that.
 */
const READ_BYTES = 512 * KIB;

async function nbdSource(source: Extract<CaptureSource, { kind: "nbd" }>, bytes: number): Promise<SourceReader> {
  const names = ["base:allocation", ...(source.changed === null ? [] : [source.changed])];
  const client = await NbdClient.connect(source.socket, source.exportName, names);
  if (source.changed !== null && !client.contexts.has(source.changed)) {
    client.close();
    // Reading everything instead would be right too, but a machine that lost its bitmap should be asked for
    // its allocated blocks, which the caller decides.
    throw new Error(`NBD export "${source.exportName}" has no meta context ${source.changed}`);
  }
  const end = Math.min(bytes, client.bytes);
  let turn: Promise<void> = Promise.resolve();
  const isChanged =
    source.changed === "qemu:allocation-depth"
      ? (flags: number) => flags === 1 || flags === 2
      : (flags: number) => (flags & 1) === 1;
  return {
    async plan() {
      const changed = new Ranges();
      const zero = new Ranges();
      const changedId = source.changed === null ? -1 : client.contexts.get(source.changed)!;
      const allocationId = client.contexts.get("base:allocation") ?? -1;
      if (source.changed === null) changed.add(0, bytes);
      if (client.contexts.size === 0) {
        zero.add(end, bytes);
        return { changed: changed.array, zero: zero.array };
      }
      for (let at = 0; at < end; ) {
        const status = await client.status(at, Math.min(end - at, STATUS_BYTES));
        // Each context's list may end somewhere else: go on from where the first of them ends.
        let covered = Number.POSITIVE_INFINITY;
        for (const extents of status.values())
          covered = Math.min(
            covered,
            extents.reduce((sum, e) => sum + e.bytes, 0),
          );
        if (!(covered > 0) || covered === Number.POSITIVE_INFINITY)
          throw new Error("the NBD server gives no block status");
        const stop = Math.min(end, at + covered);
        for (const [id, extents] of status) {
          let from = at;
          for (const extent of extents) {
            const to = Math.min(stop, from + extent.bytes);
            if (id === changedId && isChanged(extent.flags)) changed.add(from, to);
            if (id === allocationId && extent.flags & STATE.zero) zero.add(from, to);
            from = to;
          }
        }
        at = stop;
      }
      zero.add(end, bytes);
      return { changed: changed.array, zero: zero.array };
    },
    read(offset, into) {
      const inside = Math.max(0, Math.min(into.length, end - offset));
      into.fill(0, inside);
      turn = turn.then(async () => {
        for (let at = 0; at < inside; at += READ_BYTES) {
          await client.read(offset + at, into.subarray(at, Math.min(inside, at + READ_BYTES)));
        }
      });
      return turn;
    },
    close: () => client.close(),
  };
}
