import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ApiError } from "../base/api-error.ts";
import { openPayload, type Payload, readWhole } from "./payload.ts";
import { parseSignature, payloadOf, type SignedPayload, signingKeys } from "./sigv4.ts";
import type { WireRequest } from "./wire.ts";

const MOST = 1_000_000;

/** Cut into pieces of `size`. */
function* cut(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function* later(pieces: Iterable<Buffer>): AsyncGenerator<Buffer> {
  yield* pieces;
}

function payload(
  body: Buffer,
  signed: SignedPayload,
  headers: Record<string, string> = {},
  pieces = body.length + 1,
): Payload {
  const head: WireRequest = { method: "PUT", path: "/b/k", query: "", headers, body: Buffer.alloc(0) };
  return openPayload({ ...head, stream: later(cut(body, pieces)) }, signed);
}

const code = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "read",
    (error) => (error instanceof ApiError ? error.code : String(error)),
  );

const UNSIGNED_CHUNKS: SignedPayload = { kind: "chunked", signer: undefined };

// The two examples of Amazon's own documentation (SigV4 for S3, "Transferring Payload in Multiple Chunks").
const SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const EXAMPLES = [
  {
    hash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    seed: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    chunks: [
      "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
      "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
      "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ],
    trailers: "",
  },
  {
    hash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    seed: "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    chunks: [
      "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
      "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
      "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ],
    trailers:
      "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n",
  },
];

function example({ hash, seed, chunks, trailers }: (typeof EXAMPLES)[number]): {
  readonly head: WireRequest;
  readonly body: Buffer;
} {
  const parts = ["a".repeat(65536), "a".repeat(1024), ""];
  const framed = parts.map((part, index) => {
    const line = `${part.length.toString(16)};chunk-signature=${chunks[index]}\r\n`;
    return part === "" ? line : `${line}${part}\r\n`;
  });
  const signedHeaders =
    "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class";
  const body = Buffer.from(`${framed.join("")}${trailers}\r\n`);
  return {
    body,
    head: {
      method: "PUT",
      path: "/examplebucket/chunkObject.txt",
      query: "",
      headers: {
        "x-amz-date": "20130524T000000Z",
        "x-amz-content-sha256": hash,
        "x-amz-decoded-content-length": "66560",
        authorization: `AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=${signedHeaders},Signature=${seed}`,
      },
      body: Buffer.alloc(0),
    },
  };
}

async function readExample(from: (typeof EXAMPLES)[number], change: (body: Buffer) => Buffer, size: number) {
  const { head, body } = example(from);
  const parsed = parseSignature(head);
  assert.ok(parsed.kind === "signature");
  const signed = payloadOf(parsed, SECRET, head, signingKeys(1));
  assert.ok(signed !== undefined);
  const opened = openPayload({ ...head, stream: later(cut(change(body), size)) }, signed);
  return { whole: await readWhole(opened, MOST), trailers: opened.trailers };
}

describe("Amazon's examples of signed chunks", () => {
  for (const one of EXAMPLES) {
    test(one.hash, async () => {
      for (const size of [97, 4096, 1_000_000]) {
        const { whole, trailers } = await readExample(one, (body) => body, size);
        assert.equal(whole.toString(), "a".repeat(66560));
        assert.deepEqual([...trailers], one.trailers === "" ? [] : [["x-amz-checksum-crc32c", "sOO8/Q=="]]);
      }
      const flipped = (at: number) => (body: Buffer) => {
        const copy = Buffer.from(body);
        copy[at] = (copy[at] ?? 0) ^ 1;
        return copy;
      };
      // A byte of content, of the second chunk's signature, and of what comes last.
      assert.equal(await code(readExample(one, flipped(1000), 4096)), "SignatureDoesNotMatch");
      const second = 85 + 2 + 65536 + 2 + 25;
      assert.notEqual(await code(readExample(one, flipped(second), 4096)), "read");
      assert.notEqual(await code(readExample(one, (body) => body.subarray(0, -80), 4096)), "read");
    });
  }
});

test("chunks that are not signed arrive as they were, however they are cut", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { maxLength: 5 }),
      fc.integer({ min: 1, max: 9 }),
      fc.boolean(),
      async (chunks, size, trailer) => {
        const framed = chunks.map((chunk) =>
          Buffer.concat([Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from("\r\n")]),
        );
        const end = Buffer.from(`0\r\n${trailer ? "x-amz-checksum-crc32:AAAAAA==\r\n" : ""}\r\n`);
        const opened = payload(
          Buffer.concat([...framed, end]),
          UNSIGNED_CHUNKS,
          { "x-amz-trailer": "x-amz-checksum-crc32" },
          size,
        );
        assert.deepEqual(await readWhole(opened, MOST), Buffer.concat(chunks));
        assert.equal(opened.trailers.get("x-amz-checksum-crc32"), trailer ? "AAAAAA==" : undefined);
        assert.deepEqual(opened.announced, ["x-amz-checksum-crc32"]);
      },
    ),
  );
});

test("any bytes are a chunked body or refused", async () => {
  const part = fc.oneof(
    fc.constantFrom("0", "\r\n", "5", "a", ";chunk-signature=", "ffffffffffff", "x-a:b", ":", "0".repeat(64)),
    fc.string(),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(part), async (parts) => {
      const result = await code(readWhole(payload(Buffer.from(parts.join("")), UNSIGNED_CHUNKS), MOST));
      assert.match(result, /^(read|InvalidRequest|IncompleteBody|MalformedTrailerError|EntityTooLarge)$/);
    }),
  );
});

test("a body that is not what its hash or its length says is refused", async () => {
  const body = Buffer.from("hello");
  const sha256 = createHash("sha256").update(body).digest("hex");
  const whole = (signed: SignedPayload, headers = {}) => code(readWhole(payload(body, signed, headers), MOST));
  assert.equal(await whole({ kind: "hashed", sha256 }), "read");
  assert.equal(await whole({ kind: "hashed", sha256: "0".repeat(64) }), "XAmzContentSHA256Mismatch");
  assert.equal(await whole({ kind: "unsigned" }, { "content-length": "5" }), "read");
  assert.equal(await whole({ kind: "unsigned" }, { "content-length": "6" }), "IncompleteBody");
  assert.equal(await whole({ kind: "unsigned" }, { "content-length": "4" }), "IncompleteBody");
  assert.throws(() => payload(body, { kind: "unsigned" }, { "content-length": "-1" }), { code: "InvalidArgument" });
  assert.equal(await code(readWhole(payload(body, { kind: "unsigned" }), 4)), "EntityTooLarge");
});
