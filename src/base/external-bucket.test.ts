import assert from "node:assert/strict";
import { test } from "node:test";
import { parseBucketUrl } from "./external-bucket.ts";

const STORE = { name: "--store", variables: "INGOT_STORE" };

test("a bucket's URL is taken apart, and a wrong one refused in words", () => {
  const keys = { INGOT_STORE_ACCESS_KEY_ID: "id", INGOT_STORE_SECRET_ACCESS_KEY: "secret" };
  assert.deepEqual(parseBucketUrl("s3://images/a/b/?endpoint=http://10.0.0.1:7480&region=eu-west-1", keys, STORE), {
    bucket: "images",
    prefix: "a/b/",
    endpoint: "http://10.0.0.1:7480",
    region: "eu-west-1",
    credentials: { accessKeyId: "id", secretAccessKey: "secret" },
  });
  assert.deepEqual(parseBucketUrl("s3://images", {}, STORE), {
    bucket: "images",
    prefix: "",
    endpoint: null,
    region: "us-east-1",
    credentials: null,
  });
  for (const [text, reason] of [
    ["images", /s3:\/\/BUCKET/],
    ["https://images", /s3:\/\/BUCKET/],
    ["s3://I/x", /s3:\/\/BUCKET/],
    ["s3://images?endpoint=file:///etc", /http:\/\//],
    ["s3://images?color=red", /not color/],
  ] as const) {
    assert.throws(() => parseBucketUrl(text, {}, STORE), reason, text);
  }
  assert.throws(() => parseBucketUrl("s3://images", { INGOT_STORE_ACCESS_KEY_ID: "id" }, STORE), /go together/);
});
