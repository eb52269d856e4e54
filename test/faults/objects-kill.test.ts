// Kills while objects are written: what was acknowledged is there and whole, what was not is not or is whole, and the next
// start leaves no file that belongs to nothing.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { startPlatform } from "../support/platform.ts";

const MIB = 1024 * 1024;
const Bucket = "killed-bucket";
const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

test("kill -9 while objects are put and uploads completed", async (t) => {
  const platform = await startPlatform(t);
  const s3 = () => platform.client(S3Client);
  const files = () => readdirSync(join(platform.dataDirectory, "buckets"));
  await s3().send(new CreateBucketCommand({ Bucket }));
  const acknowledged = new Map<string, string>();
  const part = randomBytes(5 * MIB);

  for (let round = 0; round < 3; round++) {
    const client = s3();
    // A body that never ends: it is always cut off.
    const torn = client
      .send(
        new PutObjectCommand({
          ...{ Bucket, Key: "torn", ContentLength: 64 * MIB },
          Body: Readable.from(endless()),
        }),
      )
      .catch((error: unknown) => error);
    const writers = [0, 1, 2].map(async (writer) => {
      for (let n = 0; ; n++) {
        const Key = `${round}/${writer}/${n}`;
        const Body = randomBytes(1 + ((n * 7919) % 100_000));
        try {
          await client.send(new PutObjectCommand({ Bucket, Key, Body }));
        } catch {
          return;
        }
        acknowledged.set(Key, hashOf(Body));
      }
    });
    const Key = `${round}/parts`;
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }));
    const Parts = [];
    for (const [index, Body] of [part, Buffer.from("end")].entries()) {
      const { ETag } = await client.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: index + 1, Body }));
      Parts.push({ PartNumber: index + 1, ETag });
    }
    const complete = new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } });
    // In the first round it is killed while the parts lie there; then in the middle of completing, or just after.
    const completing = round === 0 ? undefined : client.send(complete).catch(() => undefined);
    if (round === 2) await delay(3);
    await platform.kill9();
    await Promise.all([torn, completing, ...writers]);
    await platform.startServer();
    const again = s3();
    if (round === 0) assert.equal((await again.send(new ListPartsCommand({ Bucket, Key, UploadId }))).Parts?.length, 2);
    // Whether it was done before the kill or not: asked again, it is done.
    await again.send(complete);
    acknowledged.set(Key, hashOf(Buffer.concat([part, Buffer.from("end")])));
  }

  const client = s3();
  const listed: string[] = [];
  let ContinuationToken: string | undefined;
  do {
    const page = await client.send(new ListObjectsV2Command({ Bucket, ContinuationToken }));
    for (const { Key = "", Size } of page.Contents ?? []) {
      listed.push(Key);
      const got = await client.send(new GetObjectCommand({ Bucket, Key }));
      const bytes = (await got.Body?.transformToByteArray()) ?? new Uint8Array();
      assert.equal(bytes.length, Size);
      // Not every one that is there was acknowledged; but what is there is whole.
      if (acknowledged.has(Key)) assert.equal(hashOf(bytes), acknowledged.get(Key), Key);
      else if (!(got.ETag ?? "").includes("-")) {
        assert.equal(got.ETag, `"${createHash("md5").update(bytes).digest("hex")}"`);
      }
    }
    ContinuationToken = page.NextContinuationToken;
  } while (ContinuationToken !== undefined);
  assert.ok(acknowledged.size > 3);
  assert.deepEqual(
    [...acknowledged.keys()].filter((key) => !listed.includes(key)),
    [],
  );
  assert.ok(!listed.includes("torn"));
  assert.deepEqual((await client.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads ?? [], []);
  // One file each, and one more for the second part.
  const expected = listed.length + listed.filter((key) => key.endsWith("parts")).length;
  for (let tries = 0; files().length !== expected; tries++) {
    if (tries === 500) assert.fail(`${files().length} files of content for ${listed.length} objects`);
    await delay(20);
  }
});

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) {
    yield Buffer.alloc(64 * 1024, 1);
    await delay(20);
  }
}
