// S3 as people use it: the stock AWS CLI, and boto3 where it is there.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { awsCli, awsCliVersion } from "../support/aws-cli.ts";
import { type Platform, startPlatform } from "../support/platform.ts";

const run = promisify(execFile);
const MIB = 1024 * 1024;

async function has(program: string, args: readonly string[]): Promise<boolean> {
  return run(program, args).then(
    () => true,
    () => false,
  );
}

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "ingot-s3-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const aws = (platform: Platform, ...args: string[]): Promise<string> => awsCli(platform, args);

const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

test("the AWS CLI: mb, cp, ls, sync, mv, presign, rm, rb", async (t) => {
  if ((await awsCliVersion()) === null) return t.skip("the AWS CLI is not installed");
  const platform = await startPlatform(t);
  const directory = scratch(t);
  await aws(platform, "s3", "mb", "s3://cli-bucket");
  // Uploaded in 13 parts, several at once.
  const big = randomBytes(100 * MIB);
  writeFileSync(join(directory, "big"), big);
  await aws(platform, "s3", "cp", "--no-progress", join(directory, "big"), "s3://cli-bucket/a/big");
  await aws(platform, "s3", "cp", "--no-progress", "s3://cli-bucket/a/big", join(directory, "back"));
  assert.equal(hashOf(readFileSync(join(directory, "back"))), hashOf(big));
  // Copied by the server, in parts.
  await aws(platform, "s3", "cp", "--no-progress", "s3://cli-bucket/a/big", "s3://cli-bucket/copy");
  const { ContentLength } = JSON.parse(
    await aws(platform, "s3api", "head-object", "--bucket", "cli-bucket", "--key", "copy", "--output", "json"),
  );
  assert.equal(ContentLength, big.length);

  const tree = join(directory, "tree");
  mkdirSync(join(tree, "below"), { recursive: true });
  const names = ["one", "two words", "below/ümlaut&<>"];
  const old = new Date(Date.now() - 3_600_000);
  for (const name of names) {
    writeFileSync(join(tree, name), name);
    utimesSync(join(tree, name), old, old);
  }
  const sync = () => aws(platform, "s3", "sync", "--no-progress", tree, "s3://cli-bucket/tree");
  assert.equal((await sync()).trim().split("\n").length, names.length);
  assert.equal((await sync()).trim(), "", "nothing has changed");
  writeFileSync(join(tree, "one"), "changed");
  assert.match(await sync(), /^upload: .*one/);
  rmSync(join(tree, "two words"));
  assert.match(await aws(platform, "s3", "sync", "--delete", tree, "s3://cli-bucket/tree"), /^delete: .*two words/);
  const listed = await aws(platform, "s3", "ls", "s3://cli-bucket/tree/");
  assert.match(listed, /PRE below\/\n.* 7 one\n/);
  await aws(platform, "s3", "sync", "--no-progress", "s3://cli-bucket/tree", join(directory, "again"));
  assert.equal(readFileSync(join(directory, "again", "below", "ümlaut&<>"), "utf8"), "below/ümlaut&<>");

  const url = (await aws(platform, "s3", "presign", "s3://cli-bucket/tree/one", "--expires-in", "60")).trim();
  const got = await fetch(url);
  assert.deepEqual([got.status, await got.text()], [200, "changed"]);
  const tampered = await fetch(url.replace("tree/one", "copy"));
  assert.deepEqual([tampered.status, (await tampered.text()).includes("SignatureDoesNotMatch")], [403, true]);
  assert.equal((await fetch(url, { method: "DELETE" })).status, 403);

  await aws(platform, "s3", "mv", "--no-progress", "s3://cli-bucket/tree/one", "s3://cli-bucket/moved");
  await assert.rejects(aws(platform, "s3api", "head-object", "--bucket", "cli-bucket", "--key", "tree/one"), /404/);
  await aws(platform, "s3", "rm", "--recursive", "s3://cli-bucket/");
  assert.equal((await aws(platform, "s3", "ls", "s3://cli-bucket/")).trim(), "");
  await aws(platform, "s3", "rb", "s3://cli-bucket");
});

/** Debian's boto3 takes no endpoint from the environment, and is older than new checksums and conditional writes. */
const BOTO3 = `
import boto3, botocore, io, os, urllib.request
from botocore.config import Config
from boto3.s3.transfer import TransferConfig

modern = tuple(int(part) for part in botocore.__version__.split(".")[:2]) >= (1, 36)

def client(**options):
    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=Config(**options))

s3 = client()
s3.create_bucket(Bucket="boto-bucket")
data = os.urandom(11 * 1024 * 1024)
s3.upload_fileobj(io.BytesIO(data), "boto-bucket", "k", ExtraArgs={"Metadata": {"a": "b"}},
                  Config=TransferConfig(multipart_threshold=1, multipart_chunksize=5 * 1024 * 1024))
assert s3.get_object(Bucket="boto-bucket", Key="k")["Body"].read() == data
assert s3.head_object(Bucket="boto-bucket", Key="k")["Metadata"] == {"a": "b"}
for algorithm in ["CRC32", "SHA1", "SHA256"]:
    s3.put_object(Bucket="boto-bucket", Key=algorithm, Body=b"hello", ChecksumAlgorithm=algorithm)
    answer = s3.get_object(Bucket="boto-bucket", Key=algorithm, ChecksumMode="ENABLED")
    assert answer["Body"].read() == b"hello" and answer["Checksum" + algorithm], answer
# Signed, unsigned and in chunks.
for options in [dict(s3={"payload_signing_enabled": True}), dict(s3={"payload_signing_enabled": False}),
                *([dict(request_checksum_calculation="when_required")] if modern else [])]:
    client(**options).put_object(Bucket="boto-bucket", Key="signed", Body=io.BytesIO(b"hello"))
    assert s3.get_object(Bucket="boto-bucket", Key="signed")["Body"].read() == b"hello"
keys = sorted(o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="boto-bucket", PaginationConfig={"PageSize": 2})
              for o in page["Contents"])
assert keys == ["CRC32", "SHA1", "SHA256", "k", "signed"], keys
url = client(signature_version="s3v4").generate_presigned_url(
    "put_object", Params={"Bucket": "boto-bucket", "Key": "a b+c/presigned"}, ExpiresIn=60)
urllib.request.urlopen(urllib.request.Request(url, data=b"by url", method="PUT"))
assert s3.get_object(Bucket="boto-bucket", Key="a b+c/presigned")["Body"].read() == b"by url"
if modern:
    try:
        s3.put_object(Bucket="boto-bucket", Key="k", Body=b"", IfNoneMatch="*")
        raise SystemExit("overwritten")
    except s3.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "PreconditionFailed", error
assert s3.get_bucket_location(Bucket="boto-bucket")["LocationConstraint"] is None
`;

test("boto3: parts, checksums, signed and unsigned bodies, pages, presigned writes", async (t) => {
  if (!(await has("python3", ["-c", "import boto3"]))) return t.skip("boto3 is not installed");
  const platform = await startPlatform(t);
  await run("python3", ["-c", BOTO3], { env: platform.environment() });
});
