// S3's operations that Ingot answers, both ways against the SDK's own client over HTTP; which operation a request means;
// and what the codec makes of requests that no client sends.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { S3Client } from "@aws-sdk/client-s3";
import { NormalizedSchema } from "@smithy/core/schema";
import fc from "fast-check";
import { ApiError } from "../base/api-error.ts";
import { s3Operations } from "../services/s3/operations.ts";
import { openPayload, readWhole } from "./payload.ts";
import { below, plain, type Random, randomFrom, randomToken, structOf } from "./random-values.fixture.ts";
import { restXmlCodec, takesStream } from "./rest-xml.ts";
import { addressOf } from "./s3-address.ts";
import { SUBRESOURCES } from "./s3-routes.ts";
import { SDK, sdkOperations, sdkS3Subresources } from "./sdk.fixture.ts";
import { parseSignature, payloadOf, signingKeys, verifySignature } from "./sigv4.ts";
import type { WireRequest, WireResponse } from "./wire.ts";

const SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const keys = signingKeys(10);
const answered = sdkOperations("s3").filter(({ name }) => Object.hasOwn(s3Operations, name));

/** What the SDK computes, changes or decides by itself; each is looked at by the tests of the whole. */
const ITS_OWN =
  /^(Body|Checksum.*|Content(Length|MD5)|SSE.*|CopySourceSSE.*|Expires(String)?|ExpectedBucketOwner|MFA)$/;

/** A random input or output, fit for where S3 puts its members: host, path and headers. */
function valuesOf(schema: NormalizedSchema, random: Random): Record<string, unknown> {
  if (schema.isUnitSchema()) return {};
  const values = structOf(schema, random, true, 0);
  for (const [name, member] of schema.structIterator()) {
    const { httpPrefixHeaders, httpHeader, httpQuery, httpPayload } = member.getMergedTraits();
    if (ITS_OWN.test(name)) delete values[name];
    else if (httpPrefixHeaders !== undefined) values[name] = { [randomToken(random)]: randomToken(random) };
    else if (httpHeader !== undefined && member.isListSchema()) values[name] = [randomToken(random)];
    else if ((httpHeader ?? httpQuery) !== undefined && member.isTimestampSchema()) {
      values[name] = new Date(1_700_000_000_000 + below(random, 1e6) * 1000);
    } else if (httpPayload && member.isStringSchema()) values[name] = `{"a":"${randomToken(random)}"}`;
  }
  if ("Bucket" in values) values.Bucket = "a-bucket";
  if ("CopySource" in values) values.CopySource = "b/k";
  return values;
}

function withoutItsOwn(value: unknown): unknown {
  const kept = Object.entries(value as object).filter(([name]) => !ITS_OWN.test(name));
  return plain(Object.fromEntries(kept));
}

test("inputs and outputs of every answered operation arrive unchanged, and signed as S3 has it", async (t) => {
  let answer: (request: WireRequest) => Promise<WireResponse>;
  const server = createServer((message, reply) => {
    const [path = "/", query = ""] = (message.url ?? "/").split(/\?(.*)/s);
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(message.headers)) headers[name] = String(value);
    const head = { method: message.method ?? "", path, query, headers, body: Buffer.alloc(0), stream: message };
    answer(head).then(
      ({ status, headers: out, body }) => reply.writeHead(status, out).end(body),
      (error) => reply.writeHead(500).end(`<Error><Code>Test</Code><Message>${error}</Message></Error>`),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new S3Client({
    region: "eu-test-1",
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: SECRET },
    maxAttempts: 1,
  });
  t.after(() => {
    client.destroy();
    server.close();
    server.closeAllConnections();
  });
  const random = randomFrom(Number(process.env.SEED ?? 1));
  const failures: string[] = [];
  for (const operation of answered) {
    const Command = SDK.s3[`${operation.name}Command`] as new (input: object) => never;
    const input = valuesOf(NormalizedSchema.of(operation.input), random);
    const output = valuesOf(NormalizedSchema.of(operation.output), random);
    const streams = takesStream(operation);
    if (streams) input.Body = Buffer.from("content");
    let received: Record<string, unknown> = {};
    answer = async (request) => {
      const parsed = parseSignature(request);
      assert.ok(parsed.kind === "signature");
      assert.equal(verifySignature(parsed, SECRET, request, new Date(), { keys }), undefined);
      const signed = payloadOf(parsed, SECRET, request, keys);
      assert.ok(signed !== undefined);
      const body = await readWhole(openPayload(request, signed), 1e6);
      assert.equal(restXmlCodec.route(request).action, operation.name);
      const { stream: _, ...head } = request;
      received = restXmlCodec.decode(
        operation,
        streams ? { ...head, stream: Readable.from([body]) } : { ...head, body },
      );
      if (streams) assert.equal(String(body), "content");
      return restXmlCodec.encode(operation, output, "req-1");
    };
    try {
      const reply = await client.send(new Command(input));
      assert.deepEqual(withoutItsOwn(received), withoutItsOwn(input), "input");
      assert.deepEqual(withoutItsOwn(reply), withoutItsOwn(output), "output");
    } catch (error) {
      failures.push(`${operation.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  assert.ok(answered.length > 40);
  assert.equal(failures.length, 0, `${failures.length} failed:\n${failures.join("\n")}`);
});

test("the table of subresources is the SDK's", () => {
  assert.deepEqual(
    SUBRESOURCES.trim()
      .split("\n")
      .map((line) => line.trim()),
    sdkS3Subresources(),
  );
});

const request = (method: string, target: string, headers: Record<string, string> = {}): WireRequest => {
  const [path = "", query = ""] = target.split("?");
  return { method, path, query, headers, body: Buffer.alloc(0) };
};
const routed = (method: string, target: string, headers = {}): string => {
  try {
    return restXmlCodec.route(request(method, target, headers)).action;
  } catch (error) {
    return error instanceof ApiError ? error.code : String(error);
  }
};

test("a request means the operation that its method, path, query and headers say, and never a neighbour of it", () => {
  const copy = { "x-amz-copy-source": "b/k" };
  for (const [method, target, expected, headers] of [
    ["GET", "/", "ListBuckets"],
    ["GET", "/b", "ListObjects"],
    ["GET", "/b/?list-type=2&prefix=x", "ListObjectsV2"],
    ["GET", "/b?location", "GetBucketLocation"],
    ["GET", "/b?location=", "GetBucketLocation"],
    ["PUT", "/b/k", "PutObject"],
    ["PUT", "/b/k/", "PutObject"],
    ["PUT", "/b/k", "CopyObject", copy],
    ["PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart"],
    ["PUT", "/b/k?partNumber=1&uploadId=u", "UploadPartCopy", copy],
    ["POST", "/b/k?uploads", "CreateMultipartUpload"],
    ["POST", "/b/k?uploadId=u", "CompleteMultipartUpload"],
    ["POST", "/b?delete", "DeleteObjects"],
    ["DELETE", "/b?cors", "DeleteBucketCors"],
    ["DELETE", "/b?acl", "MethodNotAllowed"],
    ["DELETE", "/b", "DeleteBucket"],
    ["DELETE", "/", "MethodNotAllowed"],
    ["POST", "/b/k", "MethodNotAllowed"],
    ["POST", "/b", "PostObject"],
    ["GET", "/b/%ff", "InvalidURI"],
    ["GET", "/?policy", "GetBucketPolicy", { host: "b.localhost:8773" }],
    ["GET", "/k", "GetObject", { host: "b.localhost:8773" }],
    ["GET", "/", "ListObjects", { host: "b.s3.us-east-1.example.com" }],
  ] as [string, string, string, Record<string, string>?][]) {
    assert.equal(routed(method, target, headers), expected, `${method} ${target}`);
  }
});

test("bucket and key are where the style has them; the key is any text", () => {
  const at = (path: string, host = "127.0.0.1:8773") => addressOf({ path, headers: { host } });
  assert.deepEqual(at("/b/a//b/../c%2Fd%20"), { bucket: "b", key: "a//b/../c/d " });
  assert.deepEqual(at("/b/"), { bucket: "b" });
  assert.deepEqual(at("/"), {});
  assert.deepEqual(at("/x/y", "my.bucket.localhost:1"), { bucket: "my.bucket", key: "x/y" });
  assert.deepEqual(at("/x", "b.s3.amazonaws.com"), { bucket: "b", key: "x" });
  assert.deepEqual(at("/x/y", "localhost:8773"), { bucket: "x", key: "y" });
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), (key) => {
      if (!key.isWellFormed()) return;
      assert.deepEqual(at(`/b/${encodeURIComponent(key)}`), { bucket: "b", key });
    }),
  );
});

test("any request is read or refused", () => {
  const text = fc.oneof(fc.string(), fc.constantFrom("/", "?", "&", "=", "%", "uploadId", "partNumber", "<a>", "</a>"));
  const wire = fc.record({
    method: fc.constantFrom("GET", "PUT", "POST", "DELETE", "HEAD", "PATCH"),
    path: fc.array(text).map((parts) => `/${parts.join("")}`),
    query: fc.array(text).map((parts) => parts.join("")),
    headers: fc.dictionary(
      fc.constantFrom("range", "content-length", "x-amz-meta-a", "if-modified-since", "x-amz-copy-source", "host"),
      text,
    ),
    body: fc.oneof(
      fc.uint8Array().map((bytes) => Buffer.from(bytes)),
      fc.array(text).map((parts) => Buffer.from(parts.join(""))),
    ),
  });
  const orRefused = (work: () => unknown) => {
    try {
      work();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  };
  fc.assert(
    fc.property(wire, fc.nat(answered.length - 1), (one, index) => {
      const operation = answered[index];
      assert.ok(operation);
      orRefused(() => restXmlCodec.route(one));
      orRefused(() => restXmlCodec.decode(operation, one));
    }),
    { numRuns: 2000 },
  );
});

test("refusals are in S3's form", async () => {
  const error = new ApiError("NoSuchKey", "It <is> not there", { fields: { Key: "a&b" } });
  const { status, headers, body } = restXmlCodec.encodeError(error, "req-1");
  assert.equal(status, 404);
  assert.equal(headers["content-type"], "application/xml");
  assert.equal(
    String(body),
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>It &lt;is&gt; not there</Message><Key>a&amp;b</Key><RequestId>req-1</RequestId><HostId>req-1</HostId></Error>',
  );
  const unchanged = restXmlCodec.encodeError(new ApiError("NotModified", "", { fields: { ETag: '"e"' } }), "req-1");
  assert.deepEqual([unchanged.status, unchanged.headers.etag, unchanged.body.length], [304, '"e"', 0]);
  assert.equal((await buffer(Readable.from([body]))).length, body.length);
});
