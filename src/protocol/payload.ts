// The body of an S3 request as its bytes come in: freed of aws-chunked's framing, and proven to be what was signed.
//
//   x-amz-content-sha256                         body                     proven by
//   64 hex digits                                as it is                 its SHA-256, at the end
//   UNSIGNED-PAYLOAD                             as it is                 nothing
//   STREAMING-AWS4-HMAC-SHA256-PAYLOAD           aws-chunked              a signature per chunk, each over the one before
//   STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER   aws-chunked, trailers    likewise, one more over the trailers
//   STREAMING-UNSIGNED-PAYLOAD-TRAILER           aws-chunked, trailers    nothing
//
//   chunk    = hex length [";chunk-signature=" 64 hex] CRLF bytes CRLF            the last has length 0 and no bytes
//   trailers = *(name ":" value CRLF) ["x-amz-trailer-signature:" 64 hex CRLF] CRLF
//
// Bytes are handed on before their proof has come: whoever reads them keeps nothing until the end is reached without an error.
import { createHash, timingSafeEqual } from "node:crypto";
import { ApiError } from "../base/api-error.ts";
import type { ChunkSigner, SignedPayload } from "./sigv4.ts";
import type { WireRequest } from "./wire.ts";

/** A length in hex and a signature; a trailer with a checksum is shorter still. */
const MAX_LINE_BYTES = 1024;
const MAX_TRAILERS = 16;
const EMPTY = Buffer.alloc(0);

export interface Payload extends AsyncIterable<Buffer> {
  /** Bytes to come, where the client has said it. */
  readonly bytes: number | undefined;
  /** Names of headers, in lower case, that the client promises for the end. */
  readonly announced: readonly string[];
  /** Headers that came after the last byte; complete once all has been read. */
  readonly trailers: ReadonlyMap<string, string>;
}

/**
 * @param signed what the request's signature says of its body
 * @returns to be read once. Reading throws ApiError `SignatureDoesNotMatch`, `XAmzContentSHA256Mismatch`, `IncompleteBody`,
 *   `InvalidRequest`
 * @throws ApiError when the headers do not fit each other
 */
export function openPayload(request: WireRequest, signed: SignedPayload): Payload {
  const source = request.stream ?? [request.body];
  const chunked = signed.kind === "chunked";
  const length = request.headers[chunked ? "x-amz-decoded-content-length" : "content-length"];
  if (length !== undefined && !/^\d{1,15}$/.test(length)) {
    throw new ApiError("InvalidArgument", `The length of the body is not a number: '${length.slice(0, 64)}'`);
  }
  const bytes = length === undefined ? undefined : Number(length);
  const trailers = new Map<string, string>();
  const announced = (chunked ? (request.headers["x-amz-trailer"] ?? "") : "")
    .split(",")
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== "");
  const read = chunked ? unchunk(source, signed.signer, trailers) : plain(source, signed);
  return { bytes, announced, trailers, [Symbol.asyncIterator]: () => counted(read, bytes) };
}

/** @throws ApiError `IncompleteBody` unless as much comes as was said */
async function* counted(read: AsyncGenerator<Buffer>, expected: number | undefined): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const part of read) {
    bytes += part.length;
    if (expected !== undefined && bytes > expected) throw incomplete();
    yield part;
  }
  if (expected !== undefined && bytes !== expected) throw incomplete();
}

const incomplete = () =>
  new ApiError("IncompleteBody", "The request body terminated unexpectedly or is not as long as its headers say");

async function* plain(
  source: AsyncIterable<Buffer> | Iterable<Buffer>,
  signed: Exclude<SignedPayload, { readonly kind: "chunked" }>,
): AsyncGenerator<Buffer> {
  const hash = signed.kind === "hashed" ? createHash("sha256") : undefined;
  for await (const part of source) {
    hash?.update(part);
    yield part;
  }
  if (signed.kind === "hashed" && hash?.digest("hex") !== signed.sha256) {
    throw new ApiError(
      "XAmzContentSHA256Mismatch",
      "The provided 'x-amz-content-sha256' header does not match what was computed.",
    );
  }
}

async function* unchunk(
  source: AsyncIterable<Buffer> | Iterable<Buffer>,
  signer: ChunkSigner | undefined,
  trailers: Map<string, string>,
): AsyncGenerator<Buffer> {
  const input = new ByteReader(source);
  for (;;) {
    const line = (await input.line()).toString("latin1");
    const header = /^([0-9a-fA-F]{1,13})(?:;chunk-signature=([0-9a-f]{64}))?$/.exec(line);
    if (header === null) throw malformed("a chunk's length");
    const length = Number.parseInt(header[1] ?? "", 16);
    const hash = signer === undefined ? undefined : createHash("sha256");
    for await (const part of input.take(length)) {
      hash?.update(part);
      yield part;
    }
    if (signer !== undefined) check(signer.chunk(hash?.digest("hex") ?? ""), header[2]);
    if (length === 0) break;
    if ((await input.line()).length !== 0) throw malformed("the end of a chunk");
  }
  await readTrailers(input, signer, trailers);
  if (!(await input.ended())) throw malformed("the end of the body");
}

async function readTrailers(
  input: ByteReader,
  signer: ChunkSigner | undefined,
  trailers: Map<string, string>,
): Promise<void> {
  let signature: string | undefined;
  let canonical = "";
  // Some clients leave out the empty line after the last trailer.
  while (!(await input.ended())) {
    const line = (await input.line()).toString("latin1");
    if (line === "") break;
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0)).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (!/^[a-z0-9-]+$/.test(name) || trailers.has(name) || trailers.size >= MAX_TRAILERS) {
      throw new ApiError("MalformedTrailerError", "The request contained trailing data that was not well-formed.");
    }
    if (name === "x-amz-trailer-signature") signature = value;
    else {
      trailers.set(name, value);
      canonical += `${name}:${value}\n`;
    }
  }
  if (signer !== undefined && (canonical !== "" || signature !== undefined)) {
    check(signer.trailers(createHash("sha256").update(canonical, "latin1").digest("hex")), signature);
  }
}

function check(expected: Buffer, given: string | undefined): void {
  if (given === undefined || !/^[0-9a-f]{64}$/.test(given) || !timingSafeEqual(expected, Buffer.from(given, "hex"))) {
    throw new ApiError(
      "SignatureDoesNotMatch",
      "The chunk signature we calculated does not match the signature you provided.",
    );
  }
}

const malformed = (what: string) => new ApiError("InvalidRequest", `The aws-chunked body is malformed: ${what}`);

/** Lines and byte counts out of pieces that are cut anywhere. */
class ByteReader {
  readonly #source: AsyncIterator<Buffer> | Iterator<Buffer>;
  #rest: Buffer = EMPTY;

  constructor(source: AsyncIterable<Buffer> | Iterable<Buffer>) {
    this.#source =
      Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : (source as Iterable<Buffer>)[Symbol.iterator]();
  }

  /** Without its CRLF. */
  async line(): Promise<Buffer> {
    for (;;) {
      const end = this.#rest.indexOf("\r\n");
      if (end > MAX_LINE_BYTES || (end < 0 && this.#rest.length > MAX_LINE_BYTES))
        throw malformed("a line is too long");
      if (end >= 0) {
        const line = this.#rest.subarray(0, end);
        this.#rest = this.#rest.subarray(end + 2);
        return line;
      }
      const more = await this.#next();
      if (more === undefined) throw incomplete();
      this.#rest = this.#rest.length === 0 ? more : Buffer.concat([this.#rest, more]);
    }
  }

  async *take(bytes: number): AsyncGenerator<Buffer> {
    let left = bytes;
    while (left > 0) {
      if (this.#rest.length === 0) {
        const more = await this.#next();
        if (more === undefined) throw incomplete();
        this.#rest = more;
      }
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }

  async ended(): Promise<boolean> {
    if (this.#rest.length > 0) return false;
    const more = await this.#next();
    this.#rest = more ?? EMPTY;
    return more === undefined;
  }

  /** The next piece that is not empty. */
  async #next(): Promise<Buffer | undefined> {
    for (;;) {
      const { value, done } = await this.#source.next();
      if (done === true) return undefined;
      if (value.length > 0) return value;
    }
  }
}

/** All of a body that is a document. @throws ApiError `EntityTooLarge`, and what reading it throws */
export async function readWhole(payload: Payload, maxBytes: number): Promise<Buffer> {
  const tooLarge = () => new ApiError("EntityTooLarge", "Your request was too big.");
  if ((payload.bytes ?? 0) > maxBytes) throw tooLarge();
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of payload) {
    bytes += part.length;
    if (bytes > maxBytes) throw tooLarge();
    parts.push(part);
  }
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
}
