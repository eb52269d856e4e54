// S3 from outside, with the official SDK.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CreateBucketCommand,
  GetBucketLocationCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { startPlatform } from "../support/platform.ts";

test("an object is put, listed, headed and got", async (t) => {
  const platform = await startPlatform(t);
  const s3 = platform.client(S3Client);
  await s3.send(new CreateBucketCommand({ Bucket: "first-bucket" }));
  assert.equal((await s3.send(new GetBucketLocationCommand({ Bucket: "first-bucket" }))).LocationConstraint, undefined);
  const put = await s3.send(
    new PutObjectCommand({ Bucket: "first-bucket", Key: "a b/ü+%.txt", Body: "hello", Metadata: { who: "me" } }),
  );
  assert.equal(put.ETag, '"5d41402abc4b2a76b9719d911017c592"');
  const got = await s3.send(new GetObjectCommand({ Bucket: "first-bucket", Key: "a b/ü+%.txt" }));
  assert.equal(await got.Body?.transformToString(), "hello");
  assert.deepEqual(got.Metadata, { who: "me" });
  const head = await s3.send(new HeadObjectCommand({ Bucket: "first-bucket", Key: "a b/ü+%.txt" }));
  assert.equal(head.ContentLength, 5);
  const list = await s3.send(new ListObjectsV2Command({ Bucket: "first-bucket" }));
  assert.deepEqual(list.Contents?.map(({ Key }) => Key), ["a b/ü+%.txt"]);
  const list1 = await s3.send(new ListObjectsCommand({ Bucket: "first-bucket", Marker: "a" }));
  assert.deepEqual(list1.Contents?.map(({ Key }) => Key), ["a b/ü+%.txt"]);
  assert.deepEqual((await s3.send(new ListBucketsCommand({}))).Buckets?.map(({ Name }) => Name), ["first-bucket"]);
});
