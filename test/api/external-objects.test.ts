// The content of S3 objects in an external S3-compatible endpoint: here another Ingot's own S3.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import type { BucketLocation } from "../../src/base/external-bucket.ts";
import { bucketHome } from "../../src/objects/bucket-home.ts";
import { contentSuite } from "../support/content-suite.ts";
import { startPlatform } from "../support/platform.ts";

const Bucket = "content";
const MIB = 1024 * 1024;

const far = await startPlatform({ after }, { account: "999988887777" });
const farS3 = far.client(S3Client);
await farS3.send(new CreateBucketCommand({ Bucket }));

const location = (prefix: string): BucketLocation => ({
  bucket: Bucket,
  prefix,
  endpoint: far.url,
  region: "us-east-1",
  credentials: far.credentials,
});

async function homeOf(t: TestContext) {
  const scratch = mkdtempSync(join(tmpdir(), "ingot-content-"));
  t.after(() => rmSync(scratch, { recursive: true, force: true }));
  const where = location(`${randomUUID()}/`);
  const reopen = async () => {
    const home = await bucketHome(where, join(scratch, "owner"));
    t.after(() => home.close());
    return home;
  };
  return { home: await reopen(), reopen, where, scratch };
}

contentSuite("bucket", homeOf);

test("a bucket is one data directory's: another one is refused, in words", async (t) => {
  const { where, scratch } = await homeOf(t);
  await assert.rejects(bucketHome(where, join(scratch, "another")), /in use by another data directory/);
});

test("an upload that a kill cut off is aborted by the next start, and nobody else's", async (t) => {
  const { where, reopen } = await homeOf(t);
  const begin = (Key: string) => farS3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  await begin(`${where.prefix}${"a".repeat(32)}`);
  await begin(`${where.prefix}not-ours`);
  await reopen();
  const { Uploads = [] } = await farS3.send(new ListMultipartUploadsCommand({ Bucket, Prefix: where.prefix }));
  assert.deepEqual(
    Uploads.map(({ Key }) => Key),
    [`${where.prefix}not-ours`],
  );
});

test("a server with --objects keeps buckets in the endpoint, over restarts and kills", async (t) => {
  const prefix = randomUUID();
  const url = new URL(`s3://${Bucket}/${prefix}`);
  url.searchParams.set("endpoint", far.url);
  const environment = {
    INGOT_OBJECTS_ACCESS_KEY_ID: far.credentials.accessKeyId,
    INGOT_OBJECTS_SECRET_ACCESS_KEY: far.credentials.secretAccessKey,
  };
  const platform = await startPlatform(t, { args: ["--objects", url.href], environment });
  const s3 = platform.client(S3Client);
  const kept = async () => {
    const { Contents = [] } = await farS3.send(new ListObjectsV2Command({ Bucket, Prefix: `${prefix}/` }));
    return Contents.filter(({ Key }) => Key !== `${prefix}/owner`);
  };
  const until = async (count: number) => {
    for (let tries = 0; (await kept()).length !== count; tries++) {
      assert.ok(tries < 500, `${(await kept()).length} files instead of ${count}`);
      await delay(20);
    }
  };
  const body = randomBytes(11 * MIB);
  const own = { Bucket: "mine", Key: "a/large one" };
  await s3.send(new CreateBucketCommand({ Bucket: own.Bucket }));
  await s3.send(new PutObjectCommand({ ...own, Body: body, Metadata: { made: "here" } }));
  await s3.send(new PutObjectCommand({ ...own, Key: "small", Body: "small" }));
  await until(2);
  assert.deepEqual(readdirSync(join(platform.dataDirectory, "buckets")), ["owner"], "nothing lies in the directory");

  // Cut off in the middle of a body: what lies there half written goes at the next start.
  const endless = async function* () {
    for (;;) yield Buffer.alloc(MIB);
  };
  const torn = s3
    .send(new PutObjectCommand({ ...own, Key: "torn", ContentLength: 4096 * MIB, Body: Readable.from(endless()) }))
    .catch(() => {});
  const uploads = async () => {
    const page = await farS3.send(new ListMultipartUploadsCommand({ Bucket, Prefix: `${prefix}/` }));
    return page.Uploads ?? [];
  };
  for (let tries = 0; (await uploads()).length === 0; tries++) {
    assert.ok(tries < 500, "no part has come");
    await delay(20);
  }
  await platform.kill9();
  await torn;
  await platform.startServer();
  assert.deepEqual(await uploads(), []);
  const got = await platform.client(S3Client).send(new GetObjectCommand({ ...own, Range: `bytes=${MIB}-` }));
  assert.equal(got.Metadata?.made, "here");
  assert.ok(Buffer.from((await got.Body?.transformToByteArray()) ?? []).equals(body.subarray(MIB)));
  await platform.client(S3Client).send(new DeleteObjectCommand(own));
  await until(1);

  await assert.rejects(startPlatform(t, { args: ["--objects", url.href], environment }), /in use by another data dir/);
});
