// S3 from outside, with the official SDK.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { CreateAccessKeyCommand, CreateUserCommand, PutUserPolicyCommand } from "@aws-sdk/client-iam";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteBucketPolicyCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketAclCommand,
  GetBucketCorsCommand,
  GetBucketLocationCommand,
  GetBucketPolicyCommand,
  GetBucketTaggingCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsCommand,
  type ListObjectsCommandOutput,
  ListObjectsV2Command,
  ListPartsCommand,
  PutBucketPolicyCommand,
  PutBucketTaggingCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { type Platform, startPlatform } from "../support/platform.ts";

const MIB = 1024 * 1024;
const md5 = (bytes: Uint8Array | string) => createHash("md5").update(bytes).digest("hex");

/** One server for all: each has a bucket of its own. */
const scenarios: (readonly [string, () => Promise<void>])[] = [];
const scenario = (name: string, run: () => Promise<void>) => scenarios.push([name, run]);
let platform: Platform;

test("S3", async (t) => {
  platform = await startPlatform(t);
  for (const [name, run] of scenarios) await t.test(name, run);
});

async function started() {
  const s3 = platform.client(S3Client);
  const bucket = `bucket-${randomBytes(8).toString("hex")}`;
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  const before = contentFiles().length;
  const put = (Key: string, Body: PutObjectCommandInput["Body"] = Key, more: Partial<PutObjectCommandInput> = {}) =>
    s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body, ...more }));
  const text = async (Key: string) =>
    (await s3.send(new GetObjectCommand({ Bucket: bucket, Key }))).Body?.transformToString();
  /** Waits until that many files of content have been added since. */
  const untilFiles = async (count: number) => {
    for (let tries = 0; contentFiles().length - before !== count; tries++) {
      if (tries === 500) assert.fail(`${contentFiles().length - before} files of content, not ${count}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  return { s3, put, text, untilFiles, Bucket: bucket };
}

/** Files of content. */
const contentFiles = () => readdirSync(join(platform.dataDirectory, "buckets"));

const refusal = (name: string, status: number) => (error: { name: string; $metadata: { httpStatusCode: number } }) => {
  assert.deepEqual([error.name, error.$metadata.httpStatusCode], [name, status]);
  return true;
};

scenario(
  "objects: what is put is got, with its headers, metadata and tags; overwritten and deleted, its files go",
  async () => {
    const { s3, put, text, untilFiles, Bucket } = await started();
    const keys = ["a b/ü+%&<>.txt", "..", "../../etc/passwd", "/", "a//b", "x".repeat(1024), "\u{1f600}", "new\nline"];
    for (const key of keys) assert.equal((await put(key)).ETag, `"${md5(key)}"`);
    for (const key of keys) assert.equal(await text(key), key, key);
    await put("described", "hello", {
      ContentType: "text/plain; charset=utf-8",
      ContentEncoding: "identity",
      ContentDisposition: 'attachment; filename="x"',
      CacheControl: "no-store",
      ContentLanguage: "de",
      Expires: new Date("2030-01-02T03:04:05Z"),
      Metadata: { who: "me", empty: "" },
      Tagging: "a=b&c=%20d",
    });
    const got = await s3.send(new GetObjectCommand({ Bucket, Key: "described" }));
    assert.equal(await got.Body?.transformToString(), "hello");
    const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "described" }));
    for (const answer of [got, head]) {
      assert.equal(answer.ContentLength, 5);
      assert.equal(answer.ContentType, "text/plain; charset=utf-8");
      assert.equal(answer.ContentEncoding, "identity");
      assert.equal(answer.ContentDisposition, 'attachment; filename="x"');
      assert.equal(answer.CacheControl, "no-store");
      assert.equal(answer.ContentLanguage, "de");
      assert.equal(answer.ExpiresString, "Wed, 02 Jan 2030 03:04:05 GMT");
      assert.deepEqual(answer.Metadata, { who: "me", empty: "" });
      assert.ok(Math.abs((answer.LastModified?.getTime() ?? 0) - Date.now()) < 600_000);
    }
    const { TagSet } = await s3.send(new GetObjectTaggingCommand({ Bucket, Key: "described" }));
    assert.deepEqual(TagSet, [
      { Key: "a", Value: "b" },
      { Key: "c", Value: " d" },
    ]);
    await put("empty", "");
    assert.equal(await text("empty"), "");
    await untilFiles(keys.length + 1);
    await put("described", "again");
    assert.equal(await text("described"), "again");
    await untilFiles(keys.length + 1);
    await s3.send(new DeleteObjectCommand({ Bucket, Key: "described" }));
    await s3.send(new DeleteObjectCommand({ Bucket, Key: "described" }));
    await untilFiles(keys.length);
    await assert.rejects(text("described"), refusal("NoSuchKey", 404));
    await assert.rejects(s3.send(new HeadObjectCommand({ Bucket, Key: "described" })), refusal("NotFound", 404));
    await assert.rejects(s3.send(new DeleteBucketCommand({ Bucket })), refusal("BucketNotEmpty", 409));
    const deleted = await s3.send(
      new DeleteObjectsCommand({ Bucket, Delete: { Objects: [...keys, "empty", "none"].map((Key) => ({ Key })) } }),
    );
    assert.equal(deleted.Deleted?.length, keys.length + 2);
    await untilFiles(0);
    await s3.send(new DeleteBucketCommand({ Bucket }));
    await assert.rejects(s3.send(new HeadBucketCommand({ Bucket })), refusal("NotFound", 404));
    await assert.rejects(put("k"), refusal("NoSuchBucket", 404));
  },
);

scenario("many keys are deleted at once: each is authorised by itself", async () => {
  const { s3, Bucket } = await started();
  await s3.send(new CreateBucketCommand({ Bucket }));
  for (const Key of ["tmp/1", "tmp/2", "kept/1"]) await s3.send(new PutObjectCommand({ Bucket, Key, Body: "x" }));
  const { iam } = platform;
  const UserName = Bucket;
  await iam.send(new CreateUserCommand({ UserName }));
  const Statement = { Effect: "Allow", Action: "s3:DeleteObject", Resource: `arn:aws:s3:::${Bucket}/tmp/*` };
  await iam.send(
    new PutUserPolicyCommand({
      ...{ UserName, PolicyName: "p" },
      PolicyDocument: JSON.stringify({ Version: "2012-10-17", Statement }),
    }),
  );
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName }));
  const keys = { accessKeyId: AccessKey?.AccessKeyId ?? "", secretAccessKey: AccessKey?.SecretAccessKey ?? "" };
  const tidy = platform.client(S3Client, keys);
  const remove = (...names: string[]) =>
    tidy.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: names.map((Key) => ({ Key })) } }));
  const { Deleted, Errors } = await remove("kept/1", "tmp/1", "tmp/2");
  assert.deepEqual(Deleted, [{ Key: "tmp/1" }, { Key: "tmp/2" }]);
  assert.deepEqual(
    Errors?.map(({ Key, Code }) => [Key, Code]),
    [["kept/1", "AccessDenied"]],
  );
  // Where none may be deleted, too: the call succeeds, and each key's refusal is in its answer.
  const none = await remove("kept/1");
  assert.deepEqual([none.Deleted ?? [], none.Errors?.map(({ Code }) => Code)], [[], ["AccessDenied"]]);
  const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket }));
  assert.deepEqual(
    Contents?.map(({ Key }) => Key),
    ["kept/1"],
  );
});

scenario("buckets: names, Regions, owners", async () => {
  const { s3, Bucket } = await started();
  await s3.send(new CreateBucketCommand({ Bucket }));
  const europe = platform.client(S3Client, platform.credentials, "eu-central-1");
  await europe.send(
    new CreateBucketCommand({
      Bucket: "in-europe",
      CreateBucketConfiguration: { LocationConstraint: "eu-central-1" },
    }),
  );
  await assert.rejects(
    europe.send(new CreateBucketCommand({ Bucket: "in-europe" })),
    refusal("BucketAlreadyOwnedByYou", 409),
  );
  const location = async (name: string) =>
    (await s3.send(new GetBucketLocationCommand({ Bucket: name }))).LocationConstraint;
  assert.equal(await location("in-europe"), "eu-central-1");
  assert.equal(await location(Bucket), undefined);
  assert.equal((await s3.send(new HeadBucketCommand({ Bucket: "in-europe" }))).BucketRegion, "eu-central-1");
  const { Buckets, Owner } = await s3.send(new ListBucketsCommand({}));
  assert.deepEqual(
    Buckets?.filter(({ Name }) => Name === Bucket || Name === "in-europe").map(({ Name, BucketRegion }) => [
      Name,
      BucketRegion,
    ]),
    [
      [Bucket, "us-east-1"],
      ["in-europe", "eu-central-1"],
    ],
  );
  assert.match(Owner?.ID ?? "", /^[0-9a-f]{64}$/);
  for (const name of ["ab", "UPPER", "a..b", "10.0.0.1", "-a-", "a_b", "xn--abc"]) {
    await assert.rejects(s3.send(new CreateBucketCommand({ Bucket: name })), refusal("InvalidBucketName", 400), name);
  }
  const other = await platform.createAccount();
  const others = platform.client(S3Client, other.credentials);
  await assert.rejects(others.send(new CreateBucketCommand({ Bucket })), refusal("BucketAlreadyExists", 409));
  assert.deepEqual((await others.send(new ListBucketsCommand({}))).Buckets ?? [], []);
  for (const command of [
    new GetObjectCommand({ Bucket, Key: "k" }),
    new PutObjectCommand({ Bucket, Key: "k", Body: "" }),
    new ListObjectsV2Command({ Bucket }),
    new DeleteBucketCommand({ Bucket }),
    new GetBucketLocationCommand({ Bucket }),
    new PutBucketPolicyCommand({ Bucket, Policy: "{}" }),
  ]) {
    await assert.rejects(others.send(command as never), refusal("AccessDenied", 403), command.constructor.name);
  }
});

scenario("listing: prefixes, delimiters and pages give every key once, in the order of its bytes", async () => {
  const { s3, put, Bucket } = await started();
  const keys = ["a", "a/", "a/1", "a/2/x", "a/2/y", "b/1", "b/2", "c", "ﬀ", "😀", "é", "z z&"];
  await Promise.all(keys.map((key) => put(key)));
  const ordered = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const MaxKeys of [1, 2, 5, 1000]) {
    const found: string[] = [];
    let ContinuationToken: string | undefined;
    do {
      const page = await s3.send(new ListObjectsV2Command({ Bucket, MaxKeys, ContinuationToken }));
      found.push(...(page.Contents ?? []).map(({ Key = "" }) => Key));
      assert.equal(page.KeyCount, page.Contents?.length);
      ContinuationToken = page.NextContinuationToken;
    } while (ContinuationToken !== undefined);
    assert.deepEqual(found, ordered);
    const old: string[] = [];
    let Marker: string | undefined;
    for (;;) {
      const page = await s3.send(new ListObjectsCommand({ Bucket, MaxKeys, Marker, EncodingType: "url" }));
      old.push(...(page.Contents ?? []).map(({ Key = "" }) => decodeURIComponent(Key)));
      if (!page.IsTruncated) break;
      Marker = old.at(-1);
    }
    assert.deepEqual(old, ordered);
    const rolled: string[] = [];
    Marker = undefined;
    for (;;) {
      const page: ListObjectsCommandOutput = await s3.send(
        new ListObjectsCommand({ Bucket, MaxKeys, Marker, Delimiter: "/" }),
      );
      rolled.push(...(page.Contents ?? []).map(({ Key = "" }) => Key));
      rolled.push(...(page.CommonPrefixes ?? []).map(({ Prefix = "" }) => Prefix));
      Marker = page.NextMarker;
      if (Marker === undefined) break;
    }
    assert.deepEqual(rolled.sort(), ["a", "a/", "b/", "c", "ﬀ", "😀", "é", "z z&"].sort());
  }
  const below = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "a/", Delimiter: "/" }));
  assert.deepEqual(
    below.Contents?.map(({ Key }) => Key),
    ["a/", "a/1"],
  );
  assert.deepEqual(below.CommonPrefixes, [{ Prefix: "a/2/" }]);
  const after = await s3.send(new ListObjectsV2Command({ Bucket, StartAfter: "b/1", Prefix: "b" }));
  assert.deepEqual(
    after.Contents?.map(({ Key }) => Key),
    ["b/2"],
  );
  assert.equal((await s3.send(new ListObjectsV2Command({ Bucket, MaxKeys: 0 }))).IsTruncated, false);
  await assert.rejects(
    s3.send(new ListObjectsV2Command({ Bucket, ContinuationToken: "?" })),
    refusal("InvalidArgument", 400),
  );
});

scenario("ranges and conditions of reads", async () => {
  const { s3, put, Bucket } = await started();
  const body = randomBytes(3 * MIB + 17);
  const { ETag } = await put("k", body);
  const range = async (Range: string) => {
    const got = await s3.send(new GetObjectCommand({ Bucket, Key: "k", Range }));
    return { bytes: Buffer.from((await got.Body?.transformToByteArray()) ?? []), range: got.ContentRange, ...got };
  };
  for (const [text, first, last] of [
    ["bytes=0-0", 0, 0],
    ["bytes=1048570-1048590", 1048570, 1048590],
    ["bytes=3145728-", 3145728, body.length - 1],
    ["bytes=-5", body.length - 5, body.length - 1],
    ["bytes=5-99999999", 5, body.length - 1],
  ] as const) {
    const got = await range(text);
    assert.deepEqual(got.bytes, body.subarray(first, last + 1), text);
    assert.equal(got.range, `bytes ${first}-${last}/${body.length}`);
    assert.equal(got.$metadata.httpStatusCode, 206);
  }
  for (const ignored of ["bytes=5-1", "pages=1-2", "bytes=0-1,3-4"])
    assert.equal((await range(ignored)).range, undefined);
  await assert.rejects(range(`bytes=${body.length}-`), refusal("InvalidRange", 416));
  const get = (conditions: object) => s3.send(new GetObjectCommand({ Bucket, Key: "k", ...conditions }));
  const past = new Date(Date.now() - 86_400_000);
  const later = new Date(Date.now() + 86_400_000);
  const unchanged = (error: { $metadata: { httpStatusCode: number } }) => error.$metadata.httpStatusCode === 304;
  await assert.rejects(get({ IfNoneMatch: ETag }), unchanged);
  await assert.rejects(get({ IfModifiedSince: later }), unchanged);
  await assert.rejects(get({ IfMatch: '"x"' }), refusal("PreconditionFailed", 412));
  await assert.rejects(get({ IfUnmodifiedSince: past }), refusal("PreconditionFailed", 412));
  for (const conditions of [
    { IfMatch: ETag },
    { IfNoneMatch: '"x"' },
    { IfModifiedSince: past },
    { IfUnmodifiedSince: later },
  ]) {
    assert.equal((await (await get(conditions)).Body?.transformToByteArray())?.length, body.length);
  }
});

scenario("a key is taken once: conditional writes", async () => {
  const { s3, put, text, Bucket } = await started();
  const racers = await Promise.allSettled(
    ["one", "two", "three", "four"].map((body) => put("k", body, { IfNoneMatch: "*" })),
  );
  assert.equal(racers.filter(({ status }) => status === "fulfilled").length, 1);
  const winner = await text("k");
  await assert.rejects(put("k", "late", { IfNoneMatch: "*" }), refusal("PreconditionFailed", 412));
  await assert.rejects(put("k", "late", { IfMatch: '"0123"' }), refusal("PreconditionFailed", 412));
  await assert.rejects(put("none", "late", { IfMatch: '"0123"' }), refusal("NoSuchKey", 404));
  assert.equal(await text("k"), winner);
  await put("k", "changed", { IfMatch: `"${md5(winner ?? "")}"` });
  assert.equal(await text("k"), "changed");
  await assert.rejects(
    s3.send(new DeleteObjectCommand({ Bucket, Key: "k", IfMatch: '"x"' })),
    refusal("PreconditionFailed", 412),
  );
});

scenario("copies share content, and are objects of their own", async () => {
  const { s3, put, text, untilFiles, Bucket } = await started();
  await put("from", "content", { Metadata: { a: "1" }, ContentType: "text/plain" });
  const copy = (Key: string, more: object = {}) =>
    s3.send(new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/from`, ...more }));
  assert.equal((await copy("to")).CopyObjectResult?.ETag, `"${md5("content")}"`);
  await copy("renamed", { MetadataDirective: "REPLACE", Metadata: { b: "2" }, ContentType: "text/html" });
  await untilFiles(1);
  const head = async (Key: string) => {
    const { Metadata, ContentType } = await s3.send(new HeadObjectCommand({ Bucket, Key }));
    return [Metadata, ContentType];
  };
  assert.deepEqual(await head("to"), [{ a: "1" }, "text/plain"]);
  assert.deepEqual(await head("renamed"), [{ b: "2" }, "text/html"]);
  await assert.rejects(copy("from"), refusal("InvalidRequest", 400));
  await copy("from", { MetadataDirective: "REPLACE", Metadata: { c: "3" } });
  assert.deepEqual(await head("from"), [{ c: "3" }, "binary/octet-stream"]);
  await s3.send(new DeleteObjectCommand({ Bucket, Key: "from" }));
  assert.equal(await text("to"), "content");
  await s3.send(new DeleteObjectCommand({ Bucket, Key: "to" }));
  await s3.send(new DeleteObjectCommand({ Bucket, Key: "renamed" }));
  await untilFiles(0);
  await assert.rejects(copy("x"), refusal("NoSuchKey", 404));
});

scenario("uploads in parts: any order, replaced parts, copied parts, and what a completion must name", async () => {
  const { s3, put, untilFiles, Bucket } = await started();
  const Key = "whole";
  const big = randomBytes(5 * MIB);
  const rest = randomBytes(1000);
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key, Metadata: { m: "1" } }));
  const part = async (PartNumber: number, Body: Buffer) =>
    (await s3.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }))).ETag;
  await part(3, Buffer.from("to be replaced"));
  const last = await part(3, rest);
  const first = await part(1, big);
  await put("source", Buffer.concat([Buffer.from("x"), big, Buffer.from("y")]));
  const copied = await s3.send(
    new UploadPartCopyCommand({
      ...{ Bucket, Key, UploadId, PartNumber: 2, CopySource: `${Bucket}/source` },
      CopySourceRange: `bytes=1-${big.length}`,
    }),
  );
  assert.equal(copied.CopyPartResult?.ETag, first);
  const { Parts } = await s3.send(new ListPartsCommand({ Bucket, Key, UploadId }));
  assert.deepEqual(
    Parts?.map(({ PartNumber, Size }) => [PartNumber, Size]),
    [
      [1, big.length],
      [2, big.length],
      [3, rest.length],
    ],
  );
  assert.equal((await s3.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads?.[0]?.UploadId, UploadId);
  const complete = (parts: (string | undefined)[][]) =>
    s3.send(
      new CompleteMultipartUploadCommand({
        ...{ Bucket, Key, UploadId },
        MultipartUpload: { Parts: parts.map(([number, ETag]) => ({ PartNumber: Number(number), ETag })) },
      }),
    );
  await assert.rejects(
    complete([
      ["2", first],
      ["1", first],
    ]),
    refusal("InvalidPartOrder", 400),
  );
  await assert.rejects(complete([["1", last]]), refusal("InvalidPart", 400));
  await assert.rejects(complete([["4", last]]), refusal("InvalidPart", 400));
  await s3.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 4, Body: "z" }));
  await assert.rejects(
    complete([
      ["3", last],
      ["4", `"${md5("z")}"`],
    ]),
    refusal("EntityTooSmall", 400),
  );
  const wanted = [
    ["1", first],
    ["2", first],
    ["3", last],
  ];
  const done = await complete(wanted);
  const expected = createHash("md5");
  for (const bytes of [big, big, rest]) expected.update(createHash("md5").update(bytes).digest());
  assert.equal(done.ETag, `"${expected.digest("hex")}-3"`);
  assert.equal((await complete(wanted)).ETag, done.ETag, "asked again, as a client does whose answer got lost");
  const got = await s3.send(new GetObjectCommand({ Bucket, Key }));
  const whole = Buffer.from((await got.Body?.transformToByteArray()) ?? []);
  assert.ok(whole.equals(Buffer.concat([big, big, rest])));
  assert.deepEqual(got.Metadata, { m: "1" });
  const second = await s3.send(new GetObjectCommand({ Bucket, Key, PartNumber: 3 }));
  assert.deepEqual(Buffer.from((await second.Body?.transformToByteArray()) ?? []), rest);
  assert.equal(second.PartsCount, 3);
  const across = await s3.send(
    new GetObjectCommand({ Bucket, Key, Range: `bytes=${big.length - 2}-${big.length + 1}` }),
  );
  assert.deepEqual(
    Buffer.from((await across.Body?.transformToByteArray()) ?? []),
    Buffer.concat([big.subarray(-2), big.subarray(0, 2)]),
  );
  await assert.rejects(s3.send(new ListPartsCommand({ Bucket, Key, UploadId })), refusal("NoSuchUpload", 404));
  // Of the object's two files one is the source's too.
  await untilFiles(3);
  const aborted = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "other" }));
  await s3.send(new UploadPartCommand({ Bucket, Key: "other", UploadId: aborted.UploadId, PartNumber: 1, Body: "z" }));
  await s3.send(new AbortMultipartUploadCommand({ Bucket, Key: "other", UploadId: aborted.UploadId }));
  await untilFiles(3);
});

scenario("checksums: those that come are verified and kept, whole and in parts", async () => {
  const { s3, put, Bucket } = await started();
  for (const ChecksumAlgorithm of ["CRC32", "SHA1", "SHA256"] as const) {
    const sent = await put("k", "hello", { ChecksumAlgorithm });
    const got = await s3.send(new GetObjectCommand({ Bucket, Key: "k", ChecksumMode: "ENABLED" }));
    assert.equal(got[`Checksum${ChecksumAlgorithm}`], sent[`Checksum${ChecksumAlgorithm}`]);
    assert.equal(await got.Body?.transformToString(), "hello");
  }
  await put("k", "hello", { ChecksumCRC32C: "mnG7TA==" });
  await put("k", "hello", { ChecksumCRC64NVME: "M3eFcAZSQlc=" });
  await put("k", "hello", { ContentMD5: "XUFAKrxLKna5cZ2REBfFkg==" });
  // As a stream it travels in chunks, with its checksum behind it.
  const streamed = await put("k", Readable.from([Buffer.from("hel"), Buffer.from("lo")]), { ContentLength: 5 });
  assert.equal(streamed.ETag, `"${md5("hello")}"`);
  for (const wrong of [
    { ChecksumCRC32: "AAAAAA==" },
    { ChecksumCRC32C: "AAAAAA==" },
    { ChecksumCRC64NVME: "AAAAAAAAAAA=" },
    { ContentMD5: "AAAAAAAAAAAAAAAAAAAAAA==" },
  ]) {
    await assert.rejects(put("wrong", "hello", wrong), refusal("BadDigest", 400), JSON.stringify(wrong));
  }
  await assert.rejects(put("wrong", "hello", { ContentMD5: "x" }), refusal("InvalidDigest", 400));
  await assert.rejects(put("wrong", "hello", { ChecksumCRC32: "AAAA" }), refusal("InvalidRequest", 400));
  await assert.rejects(s3.send(new HeadObjectCommand({ Bucket, Key: "wrong" })), refusal("NotFound", 404));
  const body = randomBytes(5 * MIB + 1);
  for (const [ChecksumAlgorithm, ChecksumType, suffix] of [
    ["CRC32", "COMPOSITE", "-2"],
    ["CRC32", "FULL_OBJECT", ""],
    ["SHA256", "COMPOSITE", "-2"],
  ] as const) {
    const upload = { Bucket, Key: "parts" };
    const { UploadId } = await s3.send(
      new CreateMultipartUploadCommand({ ...upload, ChecksumAlgorithm, ChecksumType }),
    );
    const Parts = await Promise.all(
      [body.subarray(0, 5 * MIB), body.subarray(5 * MIB)].map(async (Body, index) => ({
        ...(await s3.send(
          new UploadPartCommand({ ...upload, UploadId, PartNumber: index + 1, Body, ChecksumAlgorithm }),
        )),
        PartNumber: index + 1,
      })),
    );
    const done = await s3.send(
      new CompleteMultipartUploadCommand({ ...upload, UploadId, ChecksumType, MultipartUpload: { Parts } }),
    );
    const name = `Checksum${ChecksumAlgorithm}` as const;
    const kept = await s3.send(new HeadObjectCommand({ ...upload, ChecksumMode: "ENABLED" }));
    assert.deepEqual([kept[name], kept.ChecksumType], [done[name], ChecksumType]);
    assert.ok(done[name]?.endsWith(suffix));
    if (ChecksumType === "FULL_OBJECT") {
      const whole = await put("whole", body, { ChecksumAlgorithm });
      assert.equal(done.ChecksumCRC32, whole.ChecksumCRC32);
    }
  }
});

scenario("a bucket's policy lets another account in, keeps its own out, and never lets in everybody", async () => {
  const { s3, put, text, Bucket } = await started();
  const other = await platform.createAccount();
  const others = platform.client(S3Client, other.credentials);
  await put("open/k");
  await put("closed/k");
  const policy = (statement: object) =>
    s3.send(
      new PutBucketPolicyCommand({
        Bucket,
        Policy: JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: "Allow", ...statement }] }),
      }),
    );
  const objects = `arn:aws:s3:::${Bucket}/*`;
  await assert.rejects(s3.send(new GetBucketPolicyCommand({ Bucket })), refusal("NoSuchBucketPolicy", 404));
  await policy({
    Principal: { AWS: other.accountId },
    Action: "s3:GetObject",
    Resource: `arn:aws:s3:::${Bucket}/open/*`,
  });
  const read = async (Key: string) =>
    (await others.send(new GetObjectCommand({ Bucket, Key }))).Body?.transformToString();
  assert.equal(await read("open/k"), "open/k");
  await assert.rejects(read("closed/k"), refusal("AccessDenied", 403));
  // That it is not there, is for those who may list.
  await assert.rejects(read("open/none"), refusal("AccessDenied", 403));
  await assert.rejects(
    others.send(new PutObjectCommand({ Bucket, Key: "open/k", Body: "" })),
    refusal("AccessDenied", 403),
  );
  await policy({ Effect: "Deny", Principal: "*", Action: "s3:GetObject", Resource: objects });
  await assert.rejects(text("open/k"), refusal("AccessDenied", 403));
  await s3.send(new DeleteBucketPolicyCommand({ Bucket }));
  assert.equal(await text("open/k"), "open/k");
  for (const [statement, code] of [
    [{ Principal: "*", Action: "s3:GetObject", Resource: objects }, "AccessDenied"],
    [{ Principal: { AWS: "*" }, Action: "s3:*", Resource: objects }, "AccessDenied"],
    [
      { Principal: { AWS: other.accountId }, Action: "s3:GetObject", Resource: "arn:aws:s3:::elsewhere/*" },
      "MalformedPolicy",
    ],
    [{ Principal: { AWS: other.accountId }, Action: "ec2:RunInstances", Resource: objects }, "MalformedPolicy"],
    [{ Principal: { AWS: "999999999999" }, Action: "s3:GetObject", Resource: objects }, "MalformedPolicy"],
    [{ Action: "s3:GetObject", Resource: objects }, "MalformedPolicy"],
  ] as const) {
    await assert.rejects(policy(statement), { name: code }, JSON.stringify(statement));
  }
});

scenario("settings that clients ask for, and what is refused rather than dropped", async () => {
  const { s3, put, Bucket } = await started();
  assert.equal((await s3.send(new GetBucketVersioningCommand({ Bucket }))).Status, undefined);
  const acl = await s3.send(new GetBucketAclCommand({ Bucket }));
  assert.equal(acl.Grants?.[0]?.Grantee?.Type, "CanonicalUser");
  await assert.rejects(s3.send(new GetBucketCorsCommand({ Bucket })), refusal("NoSuchCORSConfiguration", 404));
  await assert.rejects(s3.send(new GetBucketTaggingCommand({ Bucket })), refusal("NoSuchTagSet", 404));
  const TagSet = [{ Key: "team", Value: "images" }];
  await s3.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } }));
  assert.deepEqual((await s3.send(new GetBucketTaggingCommand({ Bucket }))).TagSet, TagSet);
  await put("k", "", { ACL: "bucket-owner-full-control" });
  await assert.rejects(put("k", "", { ACL: "public-read" }), refusal("AccessControlListNotSupported", 400));
  await assert.rejects(put("k", "", { StorageClass: "GLACIER" }), refusal("InvalidStorageClass", 400));
  await assert.rejects(put("k", "", { ServerSideEncryption: "aws:kms" }), refusal("NotImplemented", 501));
  await assert.rejects(put("x".repeat(1025), ""), refusal("KeyTooLongError", 400));
  await assert.rejects(put("k", "", { Metadata: { a: "x".repeat(2048) } }), refusal("MetadataTooLarge", 400));
});

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** Plain HTTP. */
function http(port: number, method: string, path: string, headers: Record<string, string>, body = ""): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, method, path, headers }, async (answer) => {
      let text = "";
      for await (const part of answer) text += String(part);
      resolve({ status: answer.statusCode ?? 0, body: text });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

scenario("who has not signed is refused in S3's form, also where a client waits to be told to go on", async () => {
  const { put, Bucket } = await started();
  await put("k", "hello");
  const anonymous = await http(platform.port, "GET", `/${Bucket}/k`, {});
  assert.equal(anonymous.status, 403);
  assert.match(anonymous.body, /<Error><Code>AccessDenied<\/Code>/);
  const virtual = await http(platform.port, "GET", "/", { host: `${Bucket}.localhost:${platform.port}` });
  assert.match(virtual.body, /<Code>AccessDenied<\/Code>/);
  const waiting = await new Promise<{ status: number; continued: boolean }>((resolve, reject) => {
    let continued = false;
    const sent = request(
      {
        ...{ host: "127.0.0.1", port: platform.port, method: "PUT", path: `/${Bucket}/k` },
        headers: {
          expect: "100-continue",
          "content-length": String(1024 ** 3),
          "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
        },
      },
      (answer) => {
        resolve({ status: answer.statusCode ?? 0, continued });
        sent.destroy();
      },
    );
    sent.on("continue", () => {
      continued = true;
    });
    sent.on("error", reject);
    sent.flushHeaders();
  });
  assert.deepEqual(waiting, { status: 403, continued: false });
});
