// What trails promise: every event that is theirs in exactly one file, whatever fails in between.
import assert from "node:assert/strict";
import { createPublicKey, hash, verify } from "node:crypto";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { GetSnapshotBlock$ } from "@aws-sdk/client-ebs";
import { CreateUser$ } from "@aws-sdk/client-iam";
import fc from "fast-check";
import { alice } from "./example.fixture.ts";
import { ACCOUNT, grant, trailWorld } from "./trail-world.fixture.ts";
import { deleteTrail, stopTrail } from "./trails.ts";

const sorted = (ids: readonly string[]) => [...ids].sort();

test("a file has CloudTrail's name and form, and the events since the trail began to log", async (t) => {
  const world = await trailWorld(t);
  await world.event();
  await world.opened.trail.flush();
  await world.trail({ prefix: "audit/prod" });
  const ids = [await world.event(), await world.read1()];
  await world.delivery.run("due");
  const [key = "", ...more] = world.buckets.keys("logs", /./);
  assert.deepEqual(more, []);
  assert.match(
    key,
    /^audit\/prod\/AWSLogs\/111122223333\/CloudTrail\/us-east-1\/2026\/11\/24\/111122223333_CloudTrail_us-east-1_20261124T0900Z_[A-Za-z0-9]{16}\.json\.gz$/,
  );
  assert.deepEqual(world.delivered(), ids);
  const options = world.buckets.objects.get(`logs/${key}`)?.options;
  assert.deepEqual([options?.contentType, options?.contentEncoding], ["application/json", "gzip"]);
  const trail = await world.read("trail-1");
  assert.deepEqual([trail.deliveryError, trail.deliveredAt], [null, world.now]);
  // Nothing new: no file.
  world.minutesLater(5);
  await world.delivery.run("due");
  assert.equal(world.buckets.keys("logs", /CloudTrail\//).length, 1);
});

test("only what the trail is for: its account, Regions, global events, categories", async (t) => {
  const world = await trailWorld(t);
  const all = {
    kind: "advanced" as const,
    selectors: [{ FieldSelectors: [{ Field: "eventCategory", Equals: ["Data"] }] }],
  };
  await world.trail({ name: "home", bucket: "logs" });
  await world.trail({ name: "everywhere", bucket: "everywhere", multiRegion: true });
  await world.trail({ name: "no-iam", bucket: "no-iam", globalEvents: false });
  await world.trail({ name: "data", bucket: "data" }, all);
  for (const bucket of ["everywhere", "no-iam", "data"]) world.buckets.add(bucket, ACCOUNT);
  const here = await world.event();
  const there = await world.event({ region: "eu-west-1" });
  const iam = await world.event({ service: "iam" }, CreateUser$, { UserName: "u" });
  const data = await world.event({ service: "ebs" }, GetSnapshotBlock$, { SnapshotId: "snap-0123456789abcdef0" });
  await world.event({ caller: stranger() });
  await world.delivery.run("due");
  assert.deepEqual(sorted(world.delivered("logs")), sorted([here, iam]));
  assert.deepEqual(sorted(world.delivered("everywhere")), sorted([here, there, iam]));
  assert.deepEqual(sorted(world.delivered("no-iam")), [here]);
  assert.deepEqual(sorted(world.delivered("data")), [data]);
  assert.equal(world.buckets.keys("everywhere", /CloudTrail\/eu-west-1\//).length, 1);
});

function stranger() {
  return { ...alice, accountId: "222222222222" as typeof alice.accountId };
}

test("a bucket that refuses: tried again later and later, nothing lost, the status says why", async (t) => {
  const world = await trailWorld(t);
  await world.trail();
  const ids = [await world.event()];
  world.buckets.failures.push("ServiceUnavailable", "ServiceUnavailable");
  await world.delivery.run("due");
  assert.equal((await world.read("trail-1")).deliveryError, "ServiceUnavailable");
  // Too soon: it is not even asked.
  await world.delivery.run("due");
  assert.equal(world.buckets.failures.length, 1);
  world.minutesLater(1);
  ids.push(await world.event());
  await world.delivery.run("due");
  assert.deepEqual(world.delivered(), []);
  world.minutesLater(1);
  await world.delivery.run("due");
  assert.deepEqual(sorted(world.delivered()), sorted(ids));
  assert.equal((await world.read("trail-1")).deliveryError, null);
});

test("a bucket that is not there, or is another account's", async (t) => {
  const world = await trailWorld(t);
  await world.trail({ bucket: "gone" });
  await world.trail({ bucket: "foreign" });
  await world.event();
  await world.delivery.run("due");
  assert.equal((await world.read("trail-1")).deliveryError, "NoSuchBucket");
  assert.equal((await world.read("trail-2")).deliveryError, "AccessDenied");
  assert.equal(world.buckets.objects.size, 0);
  // Let in by the bucket's policy, and shut out again: it is asked before each file.
  const { arn } = await world.read("trail-2");
  world.policies.add(`foreign ${arn}`);
  await world.delivery.run("due", { retry: true });
  assert.equal((await world.read("trail-2")).deliveryError, null);
  assert.equal(world.delivered("foreign").length, 1);
  world.policies.clear();
  await world.event();
  await world.delivery.run("due");
  assert.equal((await world.read("trail-2")).deliveryError, "AccessDenied");
  assert.equal(world.delivered("foreign").length, 1);
});

test("killed between the put and its commit: the same file again, under the same name", async (t) => {
  const world = await trailWorld(t);
  await world.trail();
  const ids = [await world.event(), await world.event()];
  world.buckets.dieAfterPut = true;
  await world.delivery.run("due");
  ids.push(await world.event());
  const [key = ""] = world.buckets.keys("logs", /./);
  const before = world.buckets.json("logs", key);
  await world.anotherDelivery().run("due");
  assert.deepEqual(world.buckets.json("logs", key), before);
  assert.equal(world.buckets.objects.get(`logs/${key}`)?.puts, 2);
  assert.deepEqual(sorted(world.delivered()), sorted(ids));
});

test("any mix of events, failures, kills and changes of selectors: every event of the trail in exactly one file", async (t) => {
  type Step = "write" | "read" | "run" | "fail" | "kill" | "digest";
  const steps = fc.array(fc.constantFrom<Step>("write", "read", "run", "fail", "kill", "digest"), { maxLength: 25 });
  await fc.assert(
    fc.asyncProperty(steps, async (sequence) => {
      const world = await trailWorld(t);
      await world.trail(
        {},
        {
          kind: "basic",
          selectors: [
            {
              ReadWriteType: "WriteOnly",
              IncludeManagementEvents: true,
              DataResources: [],
              ExcludeManagementEventSources: [],
            },
          ],
        },
      );
      const ids: string[] = [];
      for (const step of sequence) {
        world.minutesLater(70);
        if (step === "write") ids.push(await world.event());
        if (step === "read") await world.read1();
        if (step === "run") await world.delivery.run("due");
        if (step === "digest") await world.delivery.run("now");
        if (step === "fail") world.buckets.failures.push("InternalError");
        if (step === "kill") {
          world.buckets.dieAfterPut = true;
          await world.delivery.run("due");
          world.delivery = world.anotherDelivery();
        }
      }
      world.buckets.failures.length = 0;
      world.buckets.dieAfterPut = false;
      for (let n = 0; n < 3; n++) {
        world.minutesLater(70);
        await world.delivery.run("due");
      }
      assert.deepEqual(sorted(world.delivered()), sorted(ids));
      await digestsHold(world);
    }),
    { numRuns: 12 },
  );
});

test("stopped: the call that stops it and what arrived before is delivered, what comes after is not", async (t) => {
  const world = await trailWorld(t);
  const trail = await world.trail();
  const ids = [await world.event()];
  world.minutesLater(1);
  await world.opened.database.transaction((tx) => stopTrail(grant, tx, trail.id, world.now));
  ids.push(await world.event());
  world.minutesLater(1);
  await world.event();
  await world.delivery.run("due");
  assert.deepEqual(sorted(world.delivered()), sorted(ids));
  // A last digest has the file, then the chain ends.
  world.minutesLater(61);
  await world.delivery.run("due");
  assert.equal(world.buckets.keys("logs", /Digest/).length, 1);
  world.minutesLater(61);
  await world.delivery.run("due");
  assert.equal(world.buckets.keys("logs", /Digest/).length, 1);
  assert.deepEqual(await world.opened.database.read.selectFrom("audit_digest_chains").selectAll().execute(), []);
});

test("deleted: what it owes is delivered, then nothing is left of it", async (t) => {
  const world = await trailWorld(t);
  const trail = await world.trail();
  const ids = [await world.event()];
  world.buckets.failures.push("InternalError");
  await world.delivery.run("due");
  await world.opened.database.transaction((tx) => deleteTrail(grant, tx, trail, world.now));
  world.minutesLater(1);
  await world.event();
  for (let n = 0; n < 4; n++) {
    world.minutesLater(61);
    await world.delivery.run("due");
  }
  assert.deepEqual(world.delivered(), ids);
  for (const table of ["audit_trails", "audit_log_files", "audit_digest_chains", "audit_digests"] as const) {
    assert.deepEqual(await world.opened.database.read.selectFrom(table).selectAll().execute(), [], table);
  }
});

test("retention waits for what trails have not delivered", async (t) => {
  const world = await trailWorld(t);
  await world.trail();
  const ids = [await world.event()];
  await world.opened.trail.flush();
  const late = new Date("2027-11-24T09:00:00Z");
  assert.equal(await world.opened.trail.prune(late), 0);
  await world.delivery.run("due");
  assert.deepEqual(world.delivered(), ids);
  assert.equal(await world.opened.trail.prune(late), 1);
  assert.deepEqual((await world.opened.trail.verify()).damage, []);
});

test("digests: chained, signed, each file in one of them, empty ones too, with the event table's end", async (t) => {
  const world = await trailWorld(t);
  await world.trail();
  for (let hour = 0; hour < 3; hour++) {
    if (hour !== 1) await world.event();
    await world.delivery.run("due");
    world.minutesLater(60);
  }
  await world.delivery.run("due");
  const keys = world.buckets.keys("logs", /Digest/);
  assert.deepEqual(
    keys.map((key) => key.slice(-24)),
    ["20261124T100000Z.json.gz", "20261124T110000Z.json.gz", "20261124T120000Z.json.gz"],
  );
  assert.match(
    keys[0] ?? "",
    /^AWSLogs\/111122223333\/CloudTrail-Digest\/us-east-1\/2026\/11\/24\/111122223333_CloudTrail-Digest_us-east-1_trail-1_us-east-1_/,
  );
  const digests = await digestsHold(world);
  assert.deepEqual(
    digests.map((digest) => digest.logFiles.length),
    [1, 1, 0],
  );
  const head = digests.at(-1)?.ingotAuditChain;
  assert.ok(head);
  assert.deepEqual((await world.opened.trail.verify(head)).damage, []);
  const [first] = await world.delivery.publicKeys(world.now, world.now);
  assert.equal(first?.fingerprint, digests[0]?.digestPublicKeyFingerprint);
});

test("digests: while the bucket is away none is made, and the next one covers that time", async (t) => {
  const world = await trailWorld(t);
  await world.trail();
  await world.event();
  await world.delivery.run("due");
  world.buckets.owners.delete("logs");
  for (let hour = 0; hour < 3; hour++) {
    world.minutesLater(60);
    await world.delivery.run("due");
  }
  assert.equal((await world.read("trail-1")).digestError, "NoSuchBucket");
  world.buckets.add("logs", ACCOUNT);
  world.minutesLater(60);
  await world.delivery.run("due");
  await world.delivery.run("due");
  const digests = await digestsHold(world);
  assert.deepEqual(
    digests.map((digest) => [digest.digestStartTime, digest.digestEndTime]),
    [
      ["2026-11-24T09:00:00Z", "2026-11-24T10:00:00Z"],
      ["2026-11-24T10:00:00Z", "2026-11-24T13:00:00Z"],
    ],
  );
});

interface Digest {
  readonly digestStartTime: string;
  readonly digestEndTime: string;
  readonly digestS3Object: string;
  readonly digestPublicKeyFingerprint: string;
  readonly previousDigestS3Object: string | null;
  readonly previousDigestHashValue: string | null;
  readonly previousDigestSignature: string | null;
  readonly logFiles: readonly { readonly s3Object: string; readonly hashValue: string }[];
  readonly ingotAuditChain: { readonly sequence: number; readonly hash: string };
}

/** Proves every digest in the bucket as a validator does; every delivered file is in at most one. */
async function digestsHold(world: Awaited<ReturnType<typeof trailWorld>>): Promise<Digest[]> {
  const { buckets } = world;
  const digests: Digest[] = [];
  let before = { key: "", hash: "", signature: "" };
  const named = new Set<string>();
  const keys = new Map(
    (await world.delivery.publicKeys(new Date(0), new Date("2100-01-01"))).map((key) => [key.fingerprint, key]),
  );
  for (const key of buckets.keys("logs", /CloudTrail-Digest/)) {
    const digest: Digest = buckets.json("logs", key);
    const object = buckets.objects.get(`logs/${key}`);
    const signature = object?.options.metadata?.signature ?? "";
    const bodyHash = hash("sha256", gunzipSync(object?.bytes ?? ""));
    assert.equal(digest.digestS3Object, key);
    if (digest.previousDigestS3Object !== null) {
      assert.deepEqual(
        [digest.previousDigestS3Object, digest.previousDigestHashValue, digest.previousDigestSignature],
        [before.key, before.hash, before.signature],
      );
    }
    const text = [digest.digestEndTime, `logs/${key}`, bodyHash, digest.previousDigestSignature ?? "null"].join("\n");
    const der = keys.get(digest.digestPublicKeyFingerprint)?.der ?? Buffer.alloc(0);
    const publicKey = createPublicKey({ key: der, format: "der", type: "pkcs1" });
    assert.ok(verify("RSA-SHA256", Buffer.from(text), publicKey, Buffer.from(signature, "hex")));
    for (const file of digest.logFiles) {
      assert.ok(!named.has(file.s3Object));
      named.add(file.s3Object);
      assert.equal(file.hashValue, hash("sha256", JSON.stringify(buckets.json("logs", file.s3Object))));
    }
    before = { key, hash: bodyHash, signature };
    digests.push(digest);
  }
  return digests;
}
