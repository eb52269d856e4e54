// Content of objects on disk: files under random names, each written once and never changed. No name comes from a client.
//
// A file is durable before anything refers to it, and rows of the database are what refers (object-rows.ts). One without
// rows is of a write that was cut off, or of an object that is gone: it is removed at once when that is seen, and at the
// next start (`collect`) when a kill came in between.
import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { systemCode } from "../base/errors.ts";
import { KIB, MIB } from "../base/units.ts";
import { type ChecksumAlgorithm, runningChecksum } from "../protocol/checksums.ts";

/** Gathered before they are written: a network's pieces are small, a disk's writes should not be. */
const WRITE_BYTES = MIB;
const READ_BYTES = 256 * KIB;

/** Some bytes of a file. */
export interface Piece {
  readonly file: string;
  readonly first: number;
  readonly bytes: number;
}

export interface Written {
  /** Nothing, for no bytes. */
  readonly pieces: readonly Piece[];
  readonly bytes: number;
  readonly md5: Buffer;
  /** By the algorithm that was asked for. */
  readonly checksum: Buffer | undefined;
}

/** Somebody who may be about to read. Files that are given up meanwhile stay until all such have released. */
export interface Reader {
  /** From now on only these files are read. */
  narrow(files: Iterable<string>): void;
  release(): void;
}

export class Content {
  readonly #directory: string;
  /** What each reader holds; null: not known yet, so everything. */
  readonly #readers = new Map<object, ReadonlySet<string> | null>();
  /** No longer referred to, and not yet removed. */
  readonly #condemned = new Set<string>();

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** @param directory made if it is not there */
  static async open(directory: string): Promise<Content> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return new Content(directory);
  }

  /** Names are ours: 32 hex digits. */
  #path(file: string): string {
    return join(this.#directory, file);
  }

  /**
   * Writes all of `source` into a file of its own, durably. What fails, or makes `source` fail, leaves nothing.
   * Costs an MD5 and at most one checksum more over the bytes, and two fsyncs.
   *
   * @param maxBytes more than this is refused with what `tooLong` returns
   */
  async write(
    source: AsyncIterable<Buffer> | Iterable<Buffer>,
    options: {
      readonly checksum: ChecksumAlgorithm | undefined;
      readonly maxBytes: number;
      readonly tooLong: () => Error;
    },
  ): Promise<Written> {
    const file = randomBytes(16).toString("hex");
    const md5 = createHash("md5");
    const checksum = options.checksum === undefined ? undefined : runningChecksum(options.checksum);
    let handle: FileHandle | undefined;
    let bytes = 0;
    try {
      let batch: Buffer[] = [];
      let gathered = 0;
      // One batch is written while the next one comes in.
      let writing: Promise<void> = Promise.resolve();
      const flush = async () => {
        await writing;
        if (batch.length === 0) return;
        handle ??= await open(this.#path(file), "wx", 0o600);
        writing = writeAll(handle, batch, bytes - gathered);
        // Heard at the next flush; not an unhandled rejection until then.
        writing.catch(() => {});
        batch = [];
        gathered = 0;
      };
      for await (const part of source) {
        if (part.length === 0) continue;
        bytes += part.length;
        if (bytes > options.maxBytes) throw options.tooLong();
        md5.update(part);
        checksum?.update(part);
        batch.push(part);
        gathered += part.length;
        if (gathered >= WRITE_BYTES) await flush();
      }
      await flush();
      await writing;
      await handle?.datasync();
      await handle?.close();
      if (handle !== undefined) await syncDirectory(this.#directory);
    } catch (error) {
      await handle?.close().catch(() => {});
      await rm(this.#path(file), { force: true });
      throw error;
    }
    const pieces = bytes === 0 ? [] : [{ file, first: 0, bytes }];
    return { pieces, bytes, md5: md5.digest(), checksum: checksum?.digest() };
  }

  reader(): Reader {
    const token = {};
    this.#readers.set(token, null);
    return {
      narrow: (files) => {
        this.#readers.set(token, new Set(files));
        this.#sweep();
      },
      release: () => {
        if (this.#readers.delete(token)) this.#sweep();
      },
    };
  }

  /**
   * Bytes `first` to `last` of what the pieces make. Ends or destroyed, it releases `reader`.
   * @param last -1 with `first` 0: nothing
   */
  read(pieces: readonly Piece[], first: number, last: number, reader: Reader): Readable {
    const wanted = cut(pieces, first, last);
    let index = 0;
    let offset = 0;
    let handle: FileHandle | undefined;
    const next = async (): Promise<Buffer | null> => {
      const piece = wanted[index];
      if (piece === undefined) return null;
      handle ??= await open(this.#path(piece.file), "r");
      const length = Math.min(READ_BYTES, piece.bytes - offset);
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(length), 0, length, piece.first + offset);
      if (bytesRead === 0) throw new Error(`the content file ${piece.file} is shorter than its row says`);
      offset += bytesRead;
      if (offset === piece.bytes) {
        await handle.close();
        handle = undefined;
        offset = 0;
        index++;
      }
      return buffer.subarray(0, bytesRead);
    };
    let reading: Promise<void> = Promise.resolve();
    return new Readable({
      highWaterMark: READ_BYTES,
      read() {
        reading = next().then(
          (part) => {
            this.push(part);
          },
          (error) => {
            this.destroy(error);
          },
        );
      },
      destroy(error, done) {
        reading
          .then(() => handle?.close())
          .catch(() => {})
          .finally(() => {
            reader.release();
            done(error);
          });
      },
    });
  }

  /** These are referred to by no row any more. They go as soon as nobody reads them. */
  giveUp(files: Iterable<string>): void {
    for (const file of files) this.#condemned.add(file);
    this.#sweep();
  }

  #sweep(): void {
    if (this.#condemned.size === 0) return;
    const holds = [...this.#readers.values()];
    if (holds.includes(null)) return;
    for (const file of this.#condemned) {
      if (holds.some((held) => held?.has(file))) continue;
      this.#condemned.delete(file);
      // What can't be removed now is found by the next start.
      rm(this.#path(file), { force: true }).catch(() => {});
    }
  }

  /** What is there now. */
  async files(): Promise<string[]> {
    return (await readdir(this.#directory)).filter((file) => /^[0-9a-f]{32}$/.test(file));
  }
}

/** The pieces that make bytes `first` to `last` of the whole that `pieces` make. */
export function cut(pieces: readonly Piece[], first: number, last: number): Piece[] {
  const wanted: Piece[] = [];
  let at = 0;
  for (const piece of pieces) {
    const from = Math.max(first, at);
    const to = Math.min(last, at + piece.bytes - 1);
    if (from <= to) wanted.push({ file: piece.file, first: piece.first + from - at, bytes: to - from + 1 });
    at += piece.bytes;
  }
  return wanted;
}

async function writeAll(handle: FileHandle, batch: readonly Buffer[], position: number): Promise<void> {
  const bytes = batch.reduce((sum, part) => sum + part.length, 0);
  const { bytesWritten } = await handle.writev(batch, position);
  if (bytesWritten === bytes) return;
  // A disk that is nearly full takes a part; the rest says why.
  const rest = Buffer.concat(batch).subarray(bytesWritten);
  for (let at = 0; at < rest.length; ) {
    const written = (await handle.write(rest, at, rest.length - at, position + bytesWritten + at)).bytesWritten;
    at += written;
  }
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } catch (error) {
    // Some file systems know no fsync of a directory: then its entries are as durable as they make them.
    if (systemCode(error) !== "EINVAL") throw error;
  } finally {
    await handle.close();
  }
}
