import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSignature, signingKeys, verifySignature } from "./sigv4.ts";
import type { WireRequest } from "./wire.ts";

// Made by botocore 1.43.11: generate_presigned_url("put_object", Bucket="b", Key="a b+c/k", Metadata={"m": "1"}),
// endpoint http://127.0.0.1:1, at 1790000000 seconds, for 60.
const SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const QUERY =
  "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=TaFQD7NaoJ3TqIn9dJ%2F6CyEduKI%3D&x-amz-meta-m=1&Expires=1790000060";
const made: WireRequest = {
  method: "PUT",
  path: "/b/a%20b%2Bc/k",
  query: QUERY,
  headers: { host: "127.0.0.1:1" },
  body: Buffer.alloc(0),
};
const NOW = new Date(1_790_000_030_000);

function reason(request: WireRequest, now = NOW): string {
  const parsed = parseSignature(request);
  if (parsed.kind === "fault") return parsed.reason;
  assert.equal(parsed.service, "s3");
  return verifySignature(parsed, SECRET, request, now, { keys: signingKeys(1) })?.reason ?? "verified";
}

test("botocore's URL of version 2 is verified, until it expires, for what it was made for", () => {
  assert.equal(reason(made), "verified");
  assert.equal(reason(made, new Date(1_790_000_061_000)), "expired");
  assert.equal(reason({ ...made, method: "GET" }), "signature-mismatch");
  assert.equal(reason({ ...made, path: "/b/a%20b%2Bc/K" }), "signature-mismatch");
  assert.equal(reason({ ...made, headers: { ...made.headers, "x-amz-meta-m": "2" } }), "signature-mismatch");
  assert.equal(reason({ ...made, headers: { ...made.headers, "x-amz-acl": "private" } }), "signature-mismatch");
  assert.equal(reason({ ...made, query: `${QUERY}&uploadId=1` }), "signature-mismatch");
  assert.equal(reason({ ...made, query: `${QUERY}&list-type=2` }), "malformed");
  assert.equal(reason({ ...made, query: `${QUERY}&Expires=1` }), "malformed");
  assert.equal(reason({ ...made, query: QUERY.replace("AWSAccessKeyId", "awsaccesskeyid") }), "malformed");
  assert.equal(reason({ ...made, headers: { ...made.headers, authorization: "AWS a:b" } }), "malformed");
});
