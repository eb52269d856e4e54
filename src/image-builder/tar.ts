// Reads a tar archive as it comes (GNU and pax forms, as dpkg-deb and mmdebstrap write them).
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import type { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import type { Content, Entry } from "./file-tree.ts";
import { treePath } from "./file-tree.ts";

const BLOCK = 512;

export interface TarOptions {
  /** Entries that are not wanted cost nothing but their reading. Gets the normalised path. */
  readonly wanted?: (path: string) => boolean;
  /** A fresh file name for content of more than `inMemoryBytes`; without it, all is kept in memory. */
  readonly spool?: () => string;
  readonly inMemoryBytes?: number;
  /** Called with the bytes read so far. */
  readonly onRead?: (bytes: number) => void;
}

/**
 * Yields `[path, entry]` in the archive's order. Hard links name their target's normalised path.
 * Extended attributes are given as `xattrs` through pax keys `SCHILY.xattr.NAME`, when there are any.
 */
export async function* readTar(
  input: Readable,
  options: TarOptions = {},
): AsyncGenerator<{ path: string; entry: Entry; xattrs: ReadonlyMap<string, Buffer> }> {
  const source = new ByteSource(input, options.onRead);
  let pax = new Map<string, Buffer>();
  let longName: string | undefined;
  let longLink: string | undefined;
  for (;;) {
    const header = await source.take(BLOCK);
    if (header === undefined || header.every((byte) => byte === 0)) break;
    checkHeader(header);
    const size = pax.has("size") ? Number(text(pax, "size")) : number(header, 124, 12);
    const type = String.fromCharCode(header[156] ?? 0);
    if (type === "x" || type === "g" || type === "L" || type === "K") {
      const body = await source.padded(size);
      if (type === "x") pax = paxRecords(body);
      if (type === "L") longName = string(body, 0, body.length);
      if (type === "K") longLink = string(body, 0, body.length);
      continue;
    }
    const prefix = string(header, 257, 5) === "ustar" && header[263] === 0x30 ? string(header, 345, 155) : "";
    const shortName = string(header, 0, 100);
    const path = treePath(text(pax, "path") ?? longName ?? (prefix === "" ? shortName : `${prefix}/${shortName}`));
    const link = text(pax, "linkpath") ?? longLink ?? string(header, 157, 100);
    const common = {
      mode: number(header, 100, 8) & 0o7777,
      uid: Number(text(pax, "uid") ?? number(header, 108, 8)),
      gid: Number(text(pax, "gid") ?? number(header, 116, 8)),
      modified: Math.floor(Number(text(pax, "mtime") ?? number(header, 136, 12))),
    };
    const xattrs = new Map([...pax].filter(([key]) => key.startsWith("SCHILY.xattr.")));
    pax = new Map();
    longName = undefined;
    longLink = undefined;
    const wanted = path !== "" && (options.wanted?.(path) ?? true);
    if (!wanted) {
      await source.skip(size);
      continue;
    }
    const entry = await makeEntry(type, common, link, header, () => content(source, size, options));
    if (entry === undefined) throw new Error(`tar: ${path} is of a kind that is not known: ${type}`);
    yield { path, entry, xattrs: new Map([...xattrs].map(([key, v]) => [key.slice("SCHILY.xattr.".length), v])) };
  }
  await source.drain();
}

async function makeEntry(
  type: string,
  common: { mode: number; uid: number; gid: number; modified: number },
  link: string,
  header: Buffer,
  body: () => Promise<Content>,
): Promise<Entry | undefined> {
  switch (type) {
    case "0":
    case "\0":
    case "7":
      return { kind: "file", ...common, content: await body() };
    case "1":
      return { kind: "hardlink", ...common, target: treePath(link) };
    case "2":
      return { kind: "symlink", ...common, target: link };
    case "3":
    case "4": {
      const device = { major: number(header, 329, 8), minor: number(header, 337, 8) };
      return { kind: type === "3" ? "character" : "block", ...common, ...device };
    }
    case "5":
      return { kind: "directory", ...common };
    case "6":
      return { kind: "fifo", ...common };
    default:
      return undefined;
  }
}

async function content(source: ByteSource, size: number, { spool, inMemoryBytes = 0 }: TarOptions): Promise<Content> {
  if (spool === undefined || size <= inMemoryBytes) return await source.padded(size);
  const path = spool();
  const out = createWriteStream(path);
  const failed = once(out, "error").then(([error]) => Promise.reject(error));
  failed.catch(() => {});
  let left = size;
  while (left > 0) {
    const part = await source.some(left);
    left -= part.length;
    if (!out.write(part)) await Promise.race([once(out, "drain"), failed]);
  }
  out.end();
  await finished(out);
  await source.skipPadding(size);
  return { path };
}

/** Takes a stream of chunks of any size as a row of bytes. */
class ByteSource {
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #onRead: ((bytes: number) => void) | undefined;
  #rest = Buffer.alloc(0);
  #read = 0;

  constructor(input: Readable, onRead?: (bytes: number) => void) {
    this.#chunks = input[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    this.#onRead = onRead;
  }

  async #more(): Promise<boolean> {
    const next = await this.#chunks.next();
    if (next.done === true) return false;
    this.#read += next.value.length;
    this.#onRead?.(this.#read);
    this.#rest = next.value as Buffer<ArrayBuffer>;
    return true;
  }

  /** At least one byte and at most `limit`. */
  async some(limit: number): Promise<Buffer> {
    while (this.#rest.length === 0) if (!(await this.#more())) throw new Error("tar: the archive ends in a file");
    const part = this.#rest.subarray(0, limit);
    this.#rest = this.#rest.subarray(part.length);
    return part;
  }

  /** Exactly `size` bytes; undefined where the archive ends. */
  async take(size: number): Promise<Buffer | undefined> {
    if (this.#rest.length === 0 && size > 0 && !(await this.#more())) return undefined;
    const parts: Buffer[] = [];
    for (let left = size; left > 0; ) {
      const part = await this.some(left);
      parts.push(part);
      left -= part.length;
    }
    return parts.length === 1 ? parts[0] : Buffer.concat(parts);
  }

  async padded(size: number): Promise<Buffer> {
    const body = size === 0 ? Buffer.alloc(0) : await this.take(size);
    if (body === undefined) throw new Error("tar: the archive ends before a file");
    await this.skipPadding(size);
    return body;
  }

  async skip(size: number): Promise<void> {
    for (let left = size; left > 0; ) left -= (await this.some(left)).length;
    await this.skipPadding(size);
  }

  async skipPadding(size: number): Promise<void> {
    const padding = (BLOCK - (size % BLOCK)) % BLOCK;
    for (let left = padding; left > 0; ) left -= (await this.some(left)).length;
  }

  /** Reads to the end, so that the writer does not die of a closed pipe. */
  async drain(): Promise<void> {
    while (await this.#more());
  }
}

const string = (block: Buffer, at: number, length: number): string => {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.subarray(0, end < 0 ? field.length : end).toString();
};

const text = (records: ReadonlyMap<string, Buffer>, key: string): string | undefined => records.get(key)?.toString();

/** Octal text, or GNU's base 256 where the top bit is set. */
function number(block: Buffer, at: number, length: number): number {
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) return Number(BigInt(`0x${block.subarray(at + 4, at + length).toString("hex")}`));
  const digits = string(block, at, length).trim();
  return digits === "" ? 0 : Number.parseInt(digits, 8);
}

function checkHeader(header: Buffer): void {
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 0x20 : (header[i] ?? 0);
  if (sum !== number(header, 148, 8)) throw new Error("tar: a header's checksum is wrong");
}

function paxRecords(body: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < body.length; ) {
    const space = body.indexOf(0x20, at);
    const length = Number(body.subarray(at, space).toString());
    if (!(length > 0)) throw new Error("tar: a pax record without a length");
    const equals = body.indexOf(0x3d, space);
    records.set(body.subarray(space + 1, equals).toString(), body.subarray(equals + 1, at + length - 1));
    at += length;
  }
  return records;
}
