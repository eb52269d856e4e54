// A server whose snapshots are in a bucket, on a real S3 server: a machine from an image, an image from the machine, a machine
// from that, and again after a restart that finds nothing of it in its own folder.
import assert from "node:assert/strict";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { CreateImageCommand, DescribeImagesCommand, waitUntilImageAvailable } from "@aws-sdk/client-ec2";
import { CreateBucketCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { bootedOver, launched } from "../support/launched.ts";
import { startPlatform } from "../support/platform.ts";
import { radosgwMissing, startRadosgw } from "../support/radosgw.ts";

test("ingot serve --store s3://…: capture and launch", { skip: radosgwMissing(), timeout: 900_000 }, async (t) => {
  const radosgw = await startRadosgw();
  const s3 = new S3Client({ ...radosgw, region: "us-east-1", forcePathStyle: true });
  await s3.send(new CreateBucketCommand({ Bucket: "snapshots" }));
  t.after(async () => {
    s3.destroy();
    await radosgw.stop();
  });
  const platform = await startPlatform(t, {
    image: "built",
    args: ["--store", `s3://snapshots/here?endpoint=${encodeURIComponent(radosgw.endpoint)}`],
    environment: {
      ...process.env,
      INGOT_STORE_ACCESS_KEY_ID: radosgw.credentials.accessKeyId,
      INGOT_STORE_SECRET_ACCESS_KEY: radosgw.credentials.secretAccessKey,
    },
  });
  const { ec2 } = platform;
  const { Images: [tiny] = [] } = await ec2.send(
    new DescribeImagesCommand({ Owners: ["ingot"], Filters: [{ Name: "name", Values: ["ingot/tiny"] }] }),
  );
  assert.ok(tiny?.ImageId);
  const machine = await launched(t, platform, { ImageId: tiny.ImageId });
  await machine.run("head -c 3000000 /dev/urandom > /root/blob && sync");
  const sum = await machine.run("sha256sum /root/blob");
  const { ImageId: image = "" } = await ec2.send(
    new CreateImageCommand({ InstanceId: machine.instance.InstanceId, Name: "kept in a bucket", NoReboot: true }),
  );
  await waitUntilImageAvailable({ client: ec2, maxWaitTime: 300, minDelay: 1, maxDelay: 1 }, { ImageIds: [image] });
  await machine.terminate();

  const store = join(platform.dataDirectory, "store");
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: "snapshots", Prefix: "here/packs/" }));
  assert.ok(Contents.length >= 2, "packs are objects");
  assert.deepEqual(
    readdirSync(store, { recursive: true }).filter((name) => String(name).endsWith(".pack")),
    [],
  );
  await platform.stopServer();
  for (const mirror of ["index", "keys", "cache"]) rmSync(join(store, mirror), { recursive: true, force: true });
  await platform.startServer();
  assert.equal(await bootedOver(t, platform, image, "sha256sum /root/blob"), sum);
});
