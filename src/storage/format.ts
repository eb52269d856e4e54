// The numbers and layouts of FORMAT.md. Everything here is pure; a change of meaning is a new version.
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { KIB, MIB } from "../base/units.ts";

/** Unit of zero detection, of cutting and of change. */
export const BLOCK = 4 * KIB;
/** A page describes this much; chunks never cross its end. */
export const SEGMENT = 8 * MIB;
export const SEGMENT_BLOCKS = SEGMENT / BLOCK;
export const MAX_CHUNK_BLOCKS = 16;
/** Most plain bytes in a frame of chunks. */
export const DATA_FRAME = 64 * KIB;
/** Most plain bytes in a frame of pages and nodes: the fullest page has 71 688 bytes. */
export const MANIFEST_FRAME = 128 * KIB;
/** A pack takes no further frame once it holds this much. */
export const PACK_BYTES = 64 * MIB;
export const NODE_FAN_OUT = 1024;
export const ID_BYTES = 32;
export const PACK_NAME_BYTES = 16;
export const PACK_HEADER_BYTES = 64;
export const FRAME_HEADER_BYTES = 16;
export const TRAILER_BYTES = 32;
export const FRAME_ROW_BYTES = 8;
export const BLOB_ROW_BYTES = 44;
export const INDEX_HEADER_BYTES = 64;
export const INDEX_ENTRY_BYTES = 52;
/** Where an entry has its pack's number. */
export const INDEX_ENTRY_PACK = 32;
export const GCM_TAG_BYTES = 16;

const VERSION = 1;

export const CODEC_RAW = 0;
export const CODEC_ZSTD = 1;
export const FRAME_ENCRYPTED = 1;
export const FRAME_MANIFEST = 2;

/** Bytes on disk are not what was written there. The message names the file and the place. */
export class DamageError extends Error {
  override readonly name = "DamageError";
}

// --- pack ---

export interface PackHeader {
  readonly name: string;
  /** 32 hex digits; `null`: plain. */
  readonly domain: string | null;
}

export function encodePackHeader(header: PackHeader): Buffer {
  const bytes = Buffer.alloc(PACK_HEADER_BYTES);
  bytes.write("INGOTPAK", 0, "latin1");
  bytes.writeUInt16LE(VERSION, 8);
  bytes.writeUInt16LE(header.domain === null ? 0 : 1, 10);
  bytes.writeUInt32LE(PACK_HEADER_BYTES, 12);
  bytes.write(header.name, 16, "hex");
  if (header.domain !== null) bytes.write(header.domain, 32, "hex");
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
  return bytes;
}

/** @throws DamageError */
export function decodePackHeader(bytes: Buffer): PackHeader {
  if (
    bytes.length < PACK_HEADER_BYTES ||
    bytes.toString("latin1", 0, 8) !== "INGOTPAK" ||
    crc32(bytes.subarray(0, 60)) !== bytes.readUInt32LE(60)
  ) {
    throw new DamageError("not a pack, or its header is damaged");
  }
  const version = bytes.readUInt16LE(8);
  if (version !== VERSION) throw new Error(`pack format ${version} is newer than this program`);
  return {
    name: bytes.toString("hex", 16, 32),
    domain: bytes.readUInt16LE(10) & 1 ? bytes.toString("hex", 32, 48) : null,
  };
}

/** Writes a frame's header, checksum included, before its stored bytes at `at + 16` of `buffer`. */
export function writeFrameHeader(
  buffer: Buffer,
  at: number,
  frame: { codec: number; flags: number; plainBytes: number; storedBytes: number },
): void {
  buffer[at] = 0x46; // F
  buffer[at + 1] = 0x52; // R
  buffer[at + 2] = frame.codec;
  buffer[at + 3] = frame.flags;
  buffer.writeUInt32LE(frame.plainBytes, at + 4);
  buffer.writeUInt32LE(frame.storedBytes, at + 8);
}

const place = Buffer.alloc(PACK_NAME_BYTES + 4);

/** A frame's checksum: over its pack, its place, its header and its stored bytes. */
export function frameChecksum(packName: Buffer, offset: number, frame: Buffer): number {
  packName.copy(place);
  place.writeUInt32LE(offset, PACK_NAME_BYTES);
  let sum = crc32(place);
  sum = crc32(frame.subarray(0, 12), sum);
  return crc32(frame.subarray(FRAME_HEADER_BYTES), sum);
}

export interface PackFooter {
  /** `FRAME_ROW_BYTES` each: u32 offset, u32 bytes. */
  readonly frames: Buffer;
  /** `BLOB_ROW_BYTES` each: id, u32 frame number, u32 offset, u32 bytes. */
  readonly blobs: Buffer;
}

export function encodeTrailer(footerOffset: number, frames: number, blobs: number, footerCrc: number): Buffer {
  const bytes = Buffer.alloc(TRAILER_BYTES);
  bytes.write("INGOTEND", 0, "latin1");
  bytes.writeUInt32LE(footerOffset, 8);
  bytes.writeUInt32LE(frames, 12);
  bytes.writeUInt32LE(blobs, 16);
  bytes.writeUInt32LE(footerCrc, 20);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 28)), 28);
  return bytes;
}

export interface PackTrailer {
  readonly footerOffset: number;
  readonly frames: number;
  readonly blobs: number;
  readonly footerCrc: number;
}

/** @throws DamageError */
export function decodeTrailer(bytes: Buffer, packBytes: number): PackTrailer {
  if (
    bytes.length !== TRAILER_BYTES ||
    bytes.toString("latin1", 0, 8) !== "INGOTEND" ||
    crc32(bytes.subarray(0, 28)) !== bytes.readUInt32LE(28)
  ) {
    throw new DamageError("the pack's trailer is damaged");
  }
  const trailer = {
    footerOffset: bytes.readUInt32LE(8),
    frames: bytes.readUInt32LE(12),
    blobs: bytes.readUInt32LE(16),
    footerCrc: bytes.readUInt32LE(20),
  };
  const footerBytes = trailer.frames * FRAME_ROW_BYTES + trailer.blobs * BLOB_ROW_BYTES;
  if (trailer.footerOffset + footerBytes + TRAILER_BYTES !== packBytes) {
    throw new DamageError("the pack's length does not fit its trailer");
  }
  return trailer;
}

/** @throws DamageError */
export function decodeFooter(bytes: Buffer, trailer: PackTrailer): PackFooter {
  if (crc32(bytes) !== trailer.footerCrc) throw new DamageError("the pack's footer is damaged");
  const split = trailer.frames * FRAME_ROW_BYTES;
  return { frames: bytes.subarray(0, split), blobs: bytes.subarray(split) };
}

/** Index entries (`INDEX_ENTRY_BYTES` each, pack number 0, unsorted) of one pack's footer. */
export function indexEntries(footer: PackFooter): Buffer {
  const count = footer.blobs.length / BLOB_ROW_BYTES;
  const entries = Buffer.allocUnsafe(count * INDEX_ENTRY_BYTES);
  for (let i = 0; i < count; i++) {
    const from = i * BLOB_ROW_BYTES;
    const to = i * INDEX_ENTRY_BYTES;
    footer.blobs.copy(entries, to, from, from + ID_BYTES);
    const frame = footer.blobs.readUInt32LE(from + 32) * FRAME_ROW_BYTES;
    entries.writeUInt32LE(0, to + 32);
    entries.writeUInt32LE(footer.frames.readUInt32LE(frame), to + 36);
    entries.writeUInt32LE(footer.frames.readUInt32LE(frame + 4), to + 40);
    entries.writeUInt32LE(footer.blobs.readUInt32LE(from + 36), to + 44);
    entries.writeUInt32LE(footer.blobs.readUInt32LE(from + 40), to + 48);
  }
  return entries;
}

// --- pages and nodes ---

/** Rows of a page, in columns. */
export interface Page {
  readonly count: number;
  /** First block of each row within the segment. */
  readonly starts: Uint16Array;
  /** Blocks of each row. */
  readonly blocks: Uint8Array;
  /** 32 bytes a row. */
  readonly ids: Buffer;
}

export function encodePage(count: number, starts: Uint16Array, blocks: Uint8Array, ids: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(8 + 35 * count);
  bytes.write("INPG", 0, "latin1");
  bytes.writeUInt16LE(VERSION, 4);
  bytes.writeUInt16LE(count, 6);
  for (let i = 0; i < count; i++) {
    bytes.writeUInt16LE(starts[i]!, 8 + 2 * i);
    bytes[8 + 2 * count + i] = blocks[i]!;
  }
  ids.copy(bytes, 8 + 3 * count, 0, ID_BYTES * count);
  return bytes;
}

/** @throws DamageError when it is no well-formed page; rows are known to ascend and to stay inside the segment after this. */
export function decodePage(bytes: Buffer): Page {
  const count = bytes.length >= 8 ? bytes.readUInt16LE(6) : 0;
  if (
    bytes.toString("latin1", 0, 4) !== "INPG" ||
    bytes.readUInt16LE(4) !== VERSION ||
    bytes.length !== 8 + 35 * count
  ) {
    throw new DamageError("not a page of this version");
  }
  const starts = new Uint16Array(count);
  const blocks = new Uint8Array(count);
  let end = 0;
  for (let i = 0; i < count; i++) {
    const start = bytes.readUInt16LE(8 + 2 * i);
    const length = bytes[8 + 2 * count + i]!;
    if (start < end || length < 1 || length > MAX_CHUNK_BLOCKS || start + length > SEGMENT_BLOCKS) {
      throw new DamageError("a page whose rows make no sense");
    }
    starts[i] = start;
    blocks[i] = length;
    end = start + length;
  }
  return { count, starts, blocks, ids: bytes.subarray(8 + 3 * count) };
}

export interface NodeRow {
  readonly place: number;
  readonly id: Buffer;
}

export function encodeNode(level: number, rows: readonly NodeRow[]): Buffer {
  const bytes = Buffer.allocUnsafe(8 + 34 * rows.length);
  bytes.write("INND", 0, "latin1");
  bytes[4] = VERSION;
  bytes[5] = level;
  bytes.writeUInt16LE(rows.length, 6);
  rows.forEach((row, i) => {
    bytes.writeUInt16LE(row.place, 8 + 2 * i);
    row.id.copy(bytes, 8 + 2 * rows.length + ID_BYTES * i);
  });
  return bytes;
}

/** @throws DamageError */
export function decodeNode(bytes: Buffer, level: number): NodeRow[] {
  const count = bytes.length >= 8 ? bytes.readUInt16LE(6) : 0;
  if (
    bytes.toString("latin1", 0, 4) !== "INND" ||
    bytes[4] !== VERSION ||
    bytes[5] !== level ||
    bytes.length !== 8 + 34 * count
  ) {
    throw new DamageError("not a node of this level and version");
  }
  const rows: NodeRow[] = [];
  let last = -1;
  for (let i = 0; i < count; i++) {
    const at = bytes.readUInt16LE(8 + 2 * i);
    if (at <= last || at >= NODE_FAN_OUT) throw new DamageError("a node whose rows make no sense");
    last = at;
    const from = 8 + 2 * count + ID_BYTES * i;
    rows.push({ place: at, id: bytes.subarray(from, from + ID_BYTES) });
  }
  return rows;
}

/** Level of the top node of a disk of `bytes`: the lowest, at least 1, that spans it. */
export function topLevel(bytes: number): number {
  let level = 1;
  for (let span = SEGMENT * NODE_FAN_OUT; span < bytes; span *= NODE_FAN_OUT) level++;
  return level;
}

/** The Merkle root: proves size and content. */
export function snapshotDigest(bytes: number, top: Buffer | null): string {
  const head = Buffer.alloc(24);
  head.write("INGOTSNP", 0, "latin1");
  head.writeUInt16LE(VERSION, 8);
  head[10] = topLevel(bytes);
  head.writeBigUInt64LE(BigInt(bytes), 16);
  return createHash("sha256")
    .update(head)
    .update(top ?? Buffer.alloc(ID_BYTES))
    .digest("hex");
}
