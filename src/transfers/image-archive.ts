// An image as one stream of bytes: what CreateStoreImageTask writes to `ami-….bin` and CreateRestoreImageTask reads.
// docs/image-archive.md describes it for whoever wants to read one without Ingot.
//
//   "INGOT-IMAGE-1\n"
//   records, each: kind (1 byte) · disk (1) · zero (2) · offset (8) · bytes (4) · payload length (4) · payload
//     H  the head: JSON, first
//     D  `bytes` bytes of disk number `disk` from `offset` on, compressed with zstd; ascending in each disk
//     E  the SHA-256 of everything before this record, last
//
// What no D record covers is zero. Numbers are big-endian. The head says each disk's size.
import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { constants, zstdCompress, zstdDecompress } from "node:zlib";
import { MIB } from "../base/units.ts";
import type { DiskReader } from "./parts.ts";

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

const MAGIC = Buffer.from("INGOT-IMAGE-1\n", "latin1");
const HEADER_BYTES = 20;
/** Of a disk, in one record. */
const RECORD_BYTES = 4 * MIB;
const MOST_HEAD_BYTES = MIB;
/** zstd never makes more of incompressible bytes than this. */
const MOST_PAYLOAD_BYTES = RECORD_BYTES + RECORD_BYTES / 128 + 512;
const LEVEL = 3;

/** It is no archive, or not a whole one. The message is for whoever it belongs to. */
export class ArchiveError extends Error {
  override readonly name = "ArchiveError";
}

/** @param head  anything that JSON keeps; with `disks`, whose sizes are those of `disks` in order */
export async function* writeArchive(
  head: unknown,
  disks: readonly DiskReader[],
  onBytes: (bytes: number) => void,
): AsyncGenerator<Buffer> {
  const hash = createHash("sha256");
  const hashed = (bytes: Buffer): Buffer => {
    hash.update(bytes);
    return bytes;
  };
  yield hashed(MAGIC);
  const text = Buffer.from(JSON.stringify(head));
  if (text.length > MOST_HEAD_BYTES) throw new ArchiveError("the image's description is too long to be stored");
  yield hashed(record("H", 0, 0, 0, text));
  for (const [number, disk] of disks.entries()) {
    for await (const extent of disk.extents()) {
      for (let done = 0; done < extent.bytes; ) {
        const bytes = Math.min(RECORD_BYTES, extent.bytes - done);
        const offset = extent.offset + done;
        const payload = await compress(await disk.read(offset, bytes), {
          params: { [constants.ZSTD_c_compressionLevel]: LEVEL },
        });
        yield hashed(record("D", number, offset, bytes, payload));
        done += bytes;
        onBytes(bytes);
      }
    }
  }
  yield record("E", 0, 0, 0, hash.digest());
}

function record(kind: "H" | "D" | "E", disk: number, offset: number, bytes: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(kind, 0, "latin1");
  header.writeUInt8(disk, 1);
  header.writeBigUInt64BE(BigInt(offset), 4);
  header.writeUInt32BE(bytes, 12);
  header.writeUInt32BE(payload.length, 16);
  return Buffer.concat([header, payload]);
}

const END_HEADER = record("E", 0, 0, 0, Buffer.alloc(32)).subarray(0, HEADER_BYTES);

/** The head alone, from an archive's first bytes. @throws ArchiveError */
export async function readArchiveHead(from: AsyncIterable<Buffer>): Promise<unknown> {
  return (await openArchive(new Bytes(from))).head;
}

/**
 * Reads a whole archive: hands over its head, then each run of bytes, in the archive's order.
 * All of it is only to be believed once the promise is fulfilled: the digest stands at the end.
 * @param begin  gives the disks' sizes, from the head; whatever is beyond is refused
 * @throws ArchiveError
 */
export async function readArchive(
  from: AsyncIterable<Buffer>,
  begin: (head: unknown) => Promise<readonly number[]>,
  write: (disk: number, offset: number, bytes: Buffer) => Promise<void>,
): Promise<void> {
  const input = new Bytes(from);
  const { head } = await openArchive(input);
  const limits = await begin(head);
  for (;;) {
    const sum = input.digest();
    const header = await input.take(HEADER_BYTES);
    const { kind, disk, offset, bytes, length } = parseHeader(header);
    if (kind === "E") {
      // The digest does not cover it.
      if (!header.equals(END_HEADER)) throw new ArchiveError("its end makes no sense");
      if (!(await input.take(32)).equals(sum)) throw new ArchiveError("its digest is wrong: it is damaged");
      if (!(await input.ended())) throw new ArchiveError("something follows its end");
      return;
    }
    const limit = limits[disk];
    if (kind !== "D" || limit === undefined || bytes === 0 || bytes > RECORD_BYTES || length > MOST_PAYLOAD_BYTES) {
      throw new ArchiveError("it has a record that makes no sense");
    }
    if (offset + bytes > limit) throw new ArchiveError("it has bytes beyond a disk's end");
    const payload = await input.take(length);
    const content = await decompress(payload, { maxOutputLength: RECORD_BYTES }).catch((cause) => {
      throw new ArchiveError("it has a record that cannot be decompressed", { cause });
    });
    if (content.length !== bytes) throw new ArchiveError("it has a record of another length than it says");
    await write(disk, offset, content);
  }
}

async function openArchive(input: Bytes): Promise<{ readonly head: unknown }> {
  if (!(await input.take(MAGIC.length)).equals(MAGIC)) throw new ArchiveError("it is not a stored image");
  const { kind, length } = parseHeader(await input.take(HEADER_BYTES));
  if (kind !== "H" || length > MOST_HEAD_BYTES) throw new ArchiveError("it has no head");
  const text = (await input.take(length)).toString("utf8");
  try {
    return { head: JSON.parse(text) as unknown };
  } catch (cause) {
    throw new ArchiveError("its head is not JSON", { cause });
  }
}

function parseHeader(header: Buffer) {
  const offset = Number(header.readBigUInt64BE(4));
  if (!Number.isSafeInteger(offset)) throw new ArchiveError("it has a record that makes no sense");
  return {
    kind: header.toString("latin1", 0, 1),
    disk: header.readUInt8(1),
    offset,
    bytes: header.readUInt32BE(12),
    length: header.readUInt32BE(16),
  };
}

/** A stream, taken in pieces of given lengths and hashed as it is taken. */
class Bytes {
  readonly #source: AsyncIterator<Buffer>;
  readonly #hash = createHash("sha256");
  #chunks: Buffer[] = [];
  #have = 0;

  constructor(from: AsyncIterable<Buffer>) {
    this.#source = from[Symbol.asyncIterator]();
  }

  /** Of all that was taken so far. */
  digest(): Buffer {
    return this.#hash.copy().digest();
  }

  /** @throws ArchiveError when there are not so many left */
  async take(length: number): Promise<Buffer> {
    while (this.#have < length) {
      const { done, value } = await this.#source.next();
      if (done === true) throw new ArchiveError("it is cut short");
      this.#chunks.push(value);
      this.#have += value.length;
    }
    const all = this.#chunks.length === 1 ? (this.#chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(this.#chunks);
    const taken = all.subarray(0, length);
    const rest = all.subarray(length);
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#have = rest.length;
    this.#hash.update(taken);
    return taken;
  }

  async ended(): Promise<boolean> {
    return this.#have === 0 && (await this.#source.next()).done === true;
  }
}
