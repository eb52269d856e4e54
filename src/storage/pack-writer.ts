// Blobs → frames → packs, in a worker. Synchronous: a worker has nothing else to do, and nothing is allocated per chunk.
import { randomBytes } from "node:crypto";
import { closeSync, fdatasyncSync, mkdirSync, openSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { KIB, MIB } from "../base/units.ts";
import { writeFullySync } from "../base/write-fully.ts";
import type { Domain, FrameCipher } from "./encryption.ts";
import {
  BLOB_ROW_BYTES,
  CODEC_RAW,
  CODEC_ZSTD,
  DATA_FRAME,
  encodePackHeader,
  encodeTrailer,
  FRAME_ENCRYPTED,
  FRAME_HEADER_BYTES,
  FRAME_MANIFEST,
  FRAME_ROW_BYTES,
  frameChecksum,
  GCM_TAG_BYTES,
  ID_BYTES,
  indexEntries,
  MANIFEST_FRAME,
  PACK_BYTES,
  writeFrameHeader,
} from "./format.ts";
import { libc } from "./libc.ts";
import type { Codec } from "./zstd.ts";

/** A pack that is complete and fsynced in `tmp/`, to be published under its name. */
export interface FinishedPack {
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  /** Unsorted index entries with pack number 0. */
  readonly entries: Uint8Array<ArrayBuffer>;
}

/** A frame that is checked and decrypted, and still as its codec left it. */
export interface OpenedFrame {
  readonly codec: number;
  /** `FRAME_MANIFEST`, or 0. */
  readonly flags: number;
  readonly plainBytes: number;
  readonly stored: Buffer;
}

/** Enough that write(2) costs nothing beside compression. */
const OUT_BYTES = MIB;
/** A frame, its header and what a codec may add to bytes that don't compress. */
const FRAME_ROOM = MANIFEST_FRAME + 4 * KIB;

interface OpenPack {
  readonly name: string;
  readonly nameBytes: Buffer;
  readonly path: string;
  readonly fd: number;
  readonly cipher: FrameCipher | null;
}

/** Blobs that wait to become one frame. */
interface Pending {
  readonly flags: number;
  readonly plain: Buffer;
  readonly blobs: BlobRows;
  used: number;
}

/** Rows of a pack's footer (FORMAT.md §3) in one buffer that grows, and not an object for each blob. */
class BlobRows {
  #bytes = Buffer.allocUnsafeSlow(16 * BLOB_ROW_BYTES);
  count = 0;

  /** Its frame's number comes with `addAll`. @param offset  within the frame's plain bytes */
  add(id: Buffer, offset: number, bytes: number): void {
    const at = this.#room(1);
    id.copy(this.#bytes, at, 0, ID_BYTES);
    this.#bytes.writeUInt32LE(offset, at + 36);
    this.#bytes.writeUInt32LE(bytes, at + 40);
  }

  /** All of another's, as blobs of frame number `frame`. */
  addAll(from: BlobRows, frame: number): void {
    const first = this.#room(from.count);
    from.#bytes.copy(this.#bytes, first, 0, from.count * BLOB_ROW_BYTES);
    for (let i = 0; i < from.count; i++) this.#bytes.writeUInt32LE(frame, first + i * BLOB_ROW_BYTES + 32);
  }

  clear(): void {
    this.count = 0;
  }

  /** A view: right until the next change. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.count * BLOB_ROW_BYTES);
  }

  #room(rows: number): number {
    const at = this.count * BLOB_ROW_BYTES;
    this.count += rows;
    if (this.count * BLOB_ROW_BYTES > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, this.count * BLOB_ROW_BYTES));
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    return at;
  }
}

const pendingFrame = (flags: number, bytes: number): Pending => ({
  flags,
  plain: Buffer.allocUnsafeSlow(bytes),
  blobs: new BlobRows(),
  used: 0,
});

export class PackWriter {
  /** Bytes of frames written so far, headers included, over all packs. */
  storedBytes = 0;
  readonly #tmp: string;
  readonly #domain: Domain;
  readonly #codec: Codec;
  readonly #onPack: (pack: FinishedPack) => void;
  readonly #out = Buffer.allocUnsafeSlow(OUT_BYTES);
  readonly #data = pendingFrame(0, DATA_FRAME);
  readonly #manifest = pendingFrame(FRAME_MANIFEST, MANIFEST_FRAME);
  #pack: OpenPack | null = null;
  #outUsed = 0;
  /** Bytes of the open pack, buffered ones included. */
  #offset = 0;
  #frames: number[] = [];
  readonly #blobs = new BlobRows();

  /** @param onPack  gets each pack as it is complete: durable in `tmp`, not yet published */
  constructor(options: { tmp: string; domain: Domain; codec: Codec; onPack: (pack: FinishedPack) => void }) {
    this.#tmp = options.tmp;
    this.#domain = options.domain;
    this.#codec = options.codec;
    this.#onPack = options.onPack;
  }

  /** Appends a chunk. @param id  copied */
  addChunk(id: Buffer, bytes: Buffer): void {
    this.#add(this.#data, id, bytes);
  }

  /** Appends a page or a node. @param id  copied */
  addManifest(id: Buffer, bytes: Buffer): void {
    this.#add(this.#manifest, id, bytes);
  }

  /** Appends a frame of another pack of this domain: opened, and still compressed. @param blobs  ids are copied */
  addFrame(frame: OpenedFrame, blobs: readonly { id: Buffer; bytes: number }[]): void {
    const pack = this.#packWithRoom();
    const body = this.#body();
    frame.stored.copy(body);
    const rows = new BlobRows();
    let offset = 0;
    for (const { id, bytes } of blobs) {
      rows.add(id, offset, bytes);
      offset += bytes;
    }
    this.#append(pack, frame, rows);
  }

  /** Ends the open pack, if there is one. */
  finish(): void {
    this.#flush(this.#data);
    this.#flush(this.#manifest);
    if (this.#pack !== null) this.#endPack(this.#pack);
  }

  /** Closes and removes what is not complete. */
  abandon(): void {
    for (const pending of [this.#data, this.#manifest]) this.#empty(pending);
    const pack = this.#pack;
    this.#pack = null;
    if (pack === null) return;
    closeSync(pack.fd);
    unlinkSync(pack.path);
  }

  #add(pending: Pending, id: Buffer, bytes: Buffer): void {
    if (pending.used + bytes.length > pending.plain.length) this.#flush(pending);
    bytes.copy(pending.plain, pending.used);
    pending.blobs.add(id, pending.used, bytes.length);
    pending.used += bytes.length;
  }

  #empty(pending: Pending): void {
    pending.used = 0;
    pending.blobs.clear();
  }

  #flush(pending: Pending): void {
    if (pending.used === 0) return;
    const pack = this.#packWithRoom();
    const plain = pending.plain.subarray(0, pending.used);
    const body = this.#body();
    // Under 3 % saved is not worth decoding at every read.
    const stored = this.#codec.compress(plain, body.subarray(0, Math.floor(plain.length * 0.97)));
    const codec = stored === 0 ? CODEC_RAW : CODEC_ZSTD;
    if (stored === 0) plain.copy(body);
    const { flags, used: plainBytes } = pending;
    this.#append(pack, { codec, flags, plainBytes, stored: body.subarray(0, stored || plainBytes) }, pending.blobs);
    this.#empty(pending);
  }

  /** The open pack, with room for a frame in it and in the output buffer. */
  #packWithRoom(): OpenPack {
    if (this.#pack !== null && this.#offset >= PACK_BYTES) this.#endPack(this.#pack);
    const pack = this.#pack ?? this.#startPack();
    if (this.#outUsed + FRAME_ROOM > OUT_BYTES) this.#drain(pack);
    return pack;
  }

  /** Where the stored bytes of the next frame go. */
  #body(): Buffer {
    return this.#out.subarray(this.#outUsed + FRAME_HEADER_BYTES, this.#outUsed + FRAME_ROOM);
  }

  /** Ends the frame whose stored bytes are in the body: seals it, writes its header, notes its blobs. */
  #append(pack: OpenPack, { codec, flags, plainBytes, stored: { length } }: OpenedFrame, blobs: BlobRows): void {
    const at = this.#outUsed;
    const body = this.#body();
    const encrypted = pack.cipher !== null;
    const stored = encrypted ? length + GCM_TAG_BYTES : length;
    writeFrameHeader(this.#out, at, {
      codec,
      flags: flags | (encrypted ? FRAME_ENCRYPTED : 0),
      plainBytes,
      storedBytes: stored,
    });
    const frameBytes = FRAME_HEADER_BYTES + stored;
    const frame = this.#out.subarray(at, at + frameBytes);
    pack.cipher?.seal(body, length, this.#offset, frame);
    frame.writeUInt32LE(frameChecksum(pack.nameBytes, this.#offset, frame), 12);

    this.#blobs.addAll(blobs, this.#frames.length / 2);
    this.#frames.push(this.#offset, frameBytes);
    this.#outUsed += frameBytes;
    this.#offset += frameBytes;
    this.storedBytes += frameBytes;
  }

  #startPack(): OpenPack {
    const nameBytes = randomBytes(16);
    const name = nameBytes.toString("hex");
    mkdirSync(this.#tmp, { recursive: true });
    const path = join(this.#tmp, `${name}.pack`);
    const pack = { name, nameBytes, path, fd: openSync(path, "wx", 0o600), cipher: this.#domain.cipher(name) };
    this.#pack = pack;
    this.#outUsed = encodePackHeader({ name, domain: this.#domain.id }).copy(this.#out);
    this.#offset = this.#outUsed;
    this.#frames = [];
    this.#blobs.clear();
    return pack;
  }

  #drain(pack: OpenPack): void {
    writeFullySync(pack.fd, this.#out.subarray(0, this.#outUsed));
    // Else the pack's fsync finds 64 MiB to write at once, and the guests' own fsyncs wait behind them.
    libc()?.startWriting(pack.fd, this.#offset - this.#outUsed, this.#outUsed);
    this.#outUsed = 0;
  }

  #endPack(pack: OpenPack): void {
    this.#drain(pack);
    const frames = Buffer.allocUnsafe((this.#frames.length / 2) * FRAME_ROW_BYTES);
    this.#frames.forEach((value, i) => {
      frames.writeUInt32LE(value, i * 4);
    });
    const blobs = this.#blobs.bytes;
    const sum = crc32(blobs, crc32(frames));
    const trailer = encodeTrailer(this.#offset, frames.length / FRAME_ROW_BYTES, this.#blobs.count, sum);
    const footer = Buffer.concat([frames, blobs, trailer]);
    writeFullySync(pack.fd, footer);
    fdatasyncSync(pack.fd);
    closeSync(pack.fd);
    this.#pack = null;
    this.#onPack({
      name: pack.name,
      path: pack.path,
      bytes: this.#offset + footer.length,
      entries: new Uint8Array(indexEntries({ frames, blobs })),
    });
  }
}
