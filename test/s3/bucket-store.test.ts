// A store in a bucket, on a real S3 server (radosgw): the suite that every backend passes, and the whole of a store's life.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import type { BucketLocation } from "../../src/base/external-bucket.ts";
import { newId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { BLOCK_BYTES, MIB } from "../../src/base/units.ts";
import { bucketHome } from "../../src/objects/bucket-home.ts";
import { NbdClient } from "../../src/storage/nbd-client.ts";
import { s3Backend } from "../../src/storage/s3-backend.ts";
import { openStore } from "../../src/storage/store.ts";
import { contentSuite } from "../support/content-suite.ts";
import { type Radosgw, radosgwMissing, startRadosgw } from "../support/radosgw.ts";
import { backendSuite } from "../support/storage-backend-suite.ts";
import { OWNER, temporaryDirectory, writeDisk } from "../support/storage-disk.ts";

const BUCKET = "images";

describe("a bucket", { skip: radosgwMissing() }, () => {
  let server: Radosgw;
  before(async () => {
    server = await startRadosgw();
    const client = new S3Client({ ...server, region: "us-east-1", forcePathStyle: true });
    await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
    client.destroy();
  });
  after(() => server?.stop());

  const location = (prefix = `${randomUUID()}/`): BucketLocation => ({
    bucket: BUCKET,
    prefix,
    endpoint: server.endpoint,
    region: "us-east-1",
    credentials: server.credentials,
  });

  backendSuite("bucket", async (t) => {
    const backend = await s3Backend(location(), await temporaryDirectory(t));
    t.after(() => backend.close());
    return backend;
  });

  contentSuite("content in a bucket", async (t) => {
    const mark = join(await temporaryDirectory(t), "owner");
    const where = location();
    const reopen = async () => {
      const home = await bucketHome(where, mark);
      t.after(() => home.close());
      return home;
    };
    return { home: await reopen(), reopen };
  });

  const storeIn = async (t: TestContext, bucket: BucketLocation) => {
    const directory = await temporaryDirectory(t);
    const key = randomBytes(32);
    const open = () => openStore({ directory: join(directory, "store"), bucket, key, log: silentLog, workers: 2 });
    let store = await open();
    t.after(() => store.close());
    const reopen = async () => {
      await store.close();
      store = await open();
      return store;
    };
    return { store, directory, reopen };
  };

  test("a store's life: capture, read, upload, restore, collect, scrub, and again from another folder's index", async (t) => {
    const bucket = location();
    const { store, directory, reopen } = await storeIn(t, bucket);
    const disk = Buffer.alloc(96 * MIB);
    randomBytes(70 * MIB).copy(disk, 3 * MIB);
    const path = join(directory, "disk");
    await writeDisk(path, disk);
    const first = newId("snapshot");
    await store.capture({
      owner: OWNER,
      snapshotId: first,
      bytes: disk.length,
      base: null,
      source: { kind: "file", path },
    });
    // A pack is more than one part: it came by a multipart upload.
    const { totalBytes } = await store.usage();
    assert.ok(totalBytes > 70 * MIB);
    assert.deepEqual(
      await readdir(join(store.directory, "packs")).catch(() => []),
      [],
      "nothing of it stays in the folder",
    );

    const second = newId("snapshot");
    const block = randomBytes(BLOCK_BYTES);
    await store.beginDraft(second, { owner: OWNER, bytes: disk.length, base: first });
    await store.putDraftBlock(second, 7, block);
    const { newBytes } = await store.completeDraft(second);
    assert.ok(newBytes < 2 * BLOCK_BYTES);
    const changed = Buffer.from(disk);
    block.copy(changed, 7 * BLOCK_BYTES);

    await rm(join(store.directory, "cache"), { recursive: true, force: true });
    await store.restore(second, join(directory, "restored"));
    assert.ok((await readFile(join(directory, "restored"))).equals(changed));

    await store.delete(first);
    await store.collect();
    const again = await reopen();
    assert.ok((await (await again.open(second)).read(0, disk.length)).equals(changed));
    assert.deepEqual((await again.scrub({ bytesPerSecond: 1e12 })).damage, []);

    // The folder's own copies lost: the bucket has everything.
    await again.close();
    await rm(join(again.directory, "index"), { recursive: true });
    await rm(join(again.directory, "keys"), { recursive: true });
    await rm(join(again.directory, "cache"), { recursive: true });
    const anew = await reopen();
    assert.ok((await (await anew.open(second)).read(5 * MIB, MIB)).equals(changed.subarray(5 * MIB, 6 * MIB)));
    const rebuilt = await anew.rebuildIndex();
    assert.ok(rebuilt.blobs > 1000 && rebuilt.damaged.length === 0);
    assert.ok((await (await anew.open(second)).read(0, disk.length)).equals(changed));
    await anew.delete(second);
    await anew.collect();
    assert.equal((await anew.usage()).totalBytes, 0);
  });

  test("the block server serves from the bucket, and goes on from its cache", async (t) => {
    const { store, directory } = await storeIn(t, location());
    const disk = randomBytes(24 * MIB);
    const path = join(directory, "disk");
    await writeDisk(path, disk);
    const id = newId("snapshot");
    await store.capture({
      owner: OWNER,
      snapshotId: id,
      bytes: disk.length,
      base: null,
      source: { kind: "file", path },
    });
    const blocks = store.blockServer({ cacheBytes: 2 * MIB });
    t.after(() => blocks.stop());
    await blocks.ensure();
    const { socket, name } = blocks.export(id, disk.length);
    const client = await NbdClient.connect(socket, name, []);
    const into = Buffer.alloc(MIB);
    for (let pass = 0; pass < 2; pass++) {
      await Promise.all(
        Array.from({ length: 24 }, async (_, i) => {
          const part = Buffer.alloc(MIB);
          await client.read(i * MIB, part);
          assert.ok(part.equals(disk.subarray(i * MIB, (i + 1) * MIB)));
        }),
      );
    }
    await client.read(4097, into.subarray(0, 3));
    assert.ok(into.subarray(0, 3).equals(disk.subarray(4097, 4100)));
    client.close();
  });

  test("a second folder is refused the bucket in a clear sentence", async (t) => {
    const bucket = location();
    const { store } = await storeIn(t, bucket);
    await assert.rejects(storeIn(t, bucket), /in use by another data directory, on .*: when that is gone for good/);
    assert.equal((await store.usage()).totalBytes, 0);
  });

  test("a bucket that is not there, or not ours, is said to be so", async (t) => {
    const directory = await temporaryDirectory(t);
    for (const bad of [
      { ...location(), bucket: "nowhere" },
      { ...location(), credentials: { ...server.credentials, secretAccessKey: "wrong" } },
    ]) {
      await assert.rejects(openStore({ directory: join(directory, "store"), bucket: bad, log: silentLog }), /bucket/);
    }
  });
});
