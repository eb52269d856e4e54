// Content of objects: files under random names, each written once and never changed. No name comes from a client. Where
// they lie is the home's affair: a folder (folder-home.ts), or a bucket of somebody's S3 (bucket-home.ts).
//
// A file is durable before anything refers to it, and rows of the database are what refers (object-rows.ts). One without
// rows is of a write that was cut off, or of an object that is gone: it is removed at once when that is seen, and at the
// next start (`collect`) when a kill came in between.
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { KIB, MIB } from "../base/units.ts";
import { type ChecksumAlgorithm, runningChecksum } from "../protocol/checksums.ts";

/** Gathered before they are written: a network's pieces are small, a disk's writes should not be. */
const WRITE_BYTES = MIB;
const READ_BYTES = 256 * KIB;

/** Where files lie. Names are 32 hex digits, and never used twice. */
export interface ContentHome {
  /** Begins a file; it is there once `finish` has resolved. */
  create(file: string): NewFile;
  /**
   * `bytes` bytes from `first` on, in order. An iteration that is given up frees what it holds.
   * @throws Error when the file does not have them
   */
  read(file: string, first: number, bytes: number, signal: AbortSignal): AsyncGenerator<Buffer, void>;
  /** A file that is not there is no error. */
  remove(file: string): Promise<void>;
  /** Names of all files. */
  list(): Promise<string[]>;
  close(): void;
}

export interface NewFile {
  /** One after another. Buffers are not the caller's any more. */
  write(batch: readonly Buffer[]): Promise<void>;
  /** Durable when it resolves. */
  finish(): Promise<void>;
  /** Leaves nothing of it, finished or not. Never rejects: what stays is found by the next start. */
  discard(): Promise<void>;
}

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
  readonly #home: ContentHome;
  /** What each reader holds; null: not known yet, so everything. */
  readonly #readers = new Map<object, ReadonlySet<string> | null>();
  /** No longer referred to, and not yet removed. */
  readonly #condemned = new Set<string>();

  constructor(home: ContentHome) {
    this.#home = home;
  }

  /**
   * Writes all of `source` into a file of its own, durably. What fails, or makes `source` fail, leaves nothing.
   * Costs an MD5 and at most one checksum more over the bytes, and what the home takes to make a file durable.
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
    let made: NewFile | undefined;
    let bytes = 0;
    // One batch is written while the next one comes in.
    let writing: Promise<void> = Promise.resolve();
    try {
      let batch: Buffer[] = [];
      let gathered = 0;
      const flush = async () => {
        await writing;
        if (batch.length === 0) return;
        made ??= this.#home.create(file);
        writing = made.write(batch);
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
      await made?.finish();
    } catch (error) {
      await writing.catch(() => {});
      await made?.discard();
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
    const home = this.#home;
    const given = new AbortController();
    const parts = (async function* () {
      for (const piece of cut(pieces, first, last)) {
        yield* home.read(piece.file, piece.first, piece.bytes, given.signal);
      }
    })();
    return new Readable({
      highWaterMark: READ_BYTES,
      read() {
        parts.next().then(
          ({ done, value }) => {
            this.push(done ? null : value);
          },
          (error) => {
            this.destroy(error);
          },
        );
      },
      destroy(error, done) {
        given.abort();
        // After the part that is under way.
        parts
          .return()
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
      this.#home.remove(file).catch(() => {});
    }
  }

  /** What is there now. */
  files(): Promise<string[]> {
    return this.#home.list();
  }

  close(): void {
    this.#home.close();
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
