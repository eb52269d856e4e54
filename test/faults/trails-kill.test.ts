// Kills while trails deliver files and digests: every event in exactly one file, every file in exactly one digest, and the
// digests one unbroken chain.
import assert from "node:assert/strict";
import { createPublicKey, hash, verify } from "node:crypto";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { CreateTrailCommand, ListPublicKeysCommand, StartLoggingCommand } from "@aws-sdk/client-cloudtrail";
import { CreateSecurityGroupCommand } from "@aws-sdk/client-ec2";
import { CreateBucketCommand, GetObjectCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { ingotClient } from "../../src/cli/clients/ingot.ts";
import { DeliverTrails$ } from "../../src/services/ingot/schema.ts";
import { startPlatform } from "../support/platform.ts";

const Bucket = "logs";
/** After the call to deliver: before anything is planned, between the steps, after all of them. */
const KILL_AFTER_MS = [0, 2, 5, 10, 20, 40];

interface Digest {
  readonly digestEndTime: string;
  readonly digestPublicKeyFingerprint: string;
  readonly previousDigestS3Object: string | null;
  readonly previousDigestHashValue: string | null;
  readonly previousDigestSignature: string | null;
  readonly logFiles: readonly { readonly s3Object: string; readonly hashValue: string }[];
}

test("kill -9 while trails deliver files and digests", async (t) => {
  const platform = await startPlatform(t);
  const { cloudtrail, ec2 } = platform;
  const s3 = platform.client(S3Client);
  await s3.send(new CreateBucketCommand({ Bucket }));
  await cloudtrail.send(new CreateTrailCommand({ Name: "main", S3BucketName: Bucket, EnableLogFileValidation: true }));
  await cloudtrail.send(new StartLoggingCommand({ Name: "main" }));
  const deliver = () =>
    ingotClient({ endpoint: platform.url, region: platform.region, credentials: platform.credentials }).send(
      DeliverTrails$,
      { Digests: true },
    );
  const acknowledged: string[] = [];
  for (const [round, ms] of KILL_AFTER_MS.entries()) {
    const GroupName = `group-${round}`;
    await ec2.send(new CreateSecurityGroupCommand({ GroupName, Description: "d" }));
    acknowledged.push(GroupName);
    const delivering = deliver().catch(() => {});
    await delay(ms);
    await platform.kill9();
    await delivering;
    await platform.startServer();
    // A digest covers whole seconds: without one more of them there is none to make.
    await delay(1000 - (Date.now() % 1000));
  }
  await deliver();
  await delay(1000 - (Date.now() % 1000));
  await deliver();

  const objects = new Map<string, { readonly text: string; readonly signature: string }>();
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket }));
  for (const { Key = "" } of Contents) {
    const { Body, Metadata } = await s3.send(new GetObjectCommand({ Bucket, Key }));
    const text = gunzipSync((await Body?.transformToByteArray()) ?? Buffer.alloc(0)).toString();
    objects.set(Key, { text, signature: Metadata?.signature ?? "" });
  }
  const logs = [...objects].filter(([key]) => key.includes("/CloudTrail/"));
  const records = logs.flatMap(
    ([, { text }]) =>
      (
        JSON.parse(text) as {
          Records: { eventID: string; eventName: string; requestParameters: { groupName?: string } | null }[];
        }
      ).Records,
  );
  assert.equal(new Set(records.map(({ eventID }) => eventID)).size, records.length, "an event is there twice");
  const made = records.filter(({ eventName }) => eventName === "CreateSecurityGroup");
  assert.deepEqual(made.map(({ requestParameters }) => requestParameters?.groupName).sort(), acknowledged);

  const { PublicKeyList = [] } = await cloudtrail.send(
    new ListPublicKeysCommand({ StartTime: new Date(Date.now() - 3_600_000), EndTime: new Date() }),
  );
  const keys = new Map(PublicKeyList.map(({ Fingerprint, Value }) => [Fingerprint, Buffer.from(Value ?? [])]));
  const named: string[] = [];
  let before: readonly (string | null)[] = [null, null, null];
  const digests = [...objects]
    .filter(([key]) => key.includes("/CloudTrail-Digest/"))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  assert.ok(digests.length > 1);
  for (const [key, { text, signature }] of digests) {
    const digest = JSON.parse(text) as Digest;
    assert.deepEqual(
      [digest.previousDigestS3Object, digest.previousDigestHashValue, digest.previousDigestSignature],
      before,
      key,
    );
    const signed = [digest.digestEndTime, `${Bucket}/${key}`, hash("sha256", text), before[2] ?? "null"];
    const der = keys.get(digest.digestPublicKeyFingerprint) ?? Buffer.alloc(0);
    const publicKey = createPublicKey({ key: der, format: "der", type: "pkcs1" });
    assert.ok(verify("RSA-SHA256", Buffer.from(signed.join("\n")), publicKey, Buffer.from(signature, "hex")), key);
    for (const file of digest.logFiles) {
      named.push(file.s3Object);
      assert.equal(file.hashValue, hash("sha256", objects.get(file.s3Object)?.text ?? ""), file.s3Object);
    }
    before = [key, hash("sha256", text), signature];
  }
  // The last delivery's own file comes after the last digest.
  const unnamed = logs.map(([key]) => key).filter((key) => !named.includes(key));
  assert.equal(new Set(named).size, named.length, "a file is in two digests");
  assert.ok(unnamed.length <= 1, unnamed.join(" "));
});
