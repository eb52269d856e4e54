import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { temporaryDirectory } from "../../test/support/storage-disk.ts";
import { KIB, MIB } from "../base/units.ts";
import { bucketPackFiles } from "./bucket-packs.ts";
import { encodePackHeader } from "./format.ts";
import type { S3Backend } from "./s3-backend.ts";

const NAME = "ab".repeat(16);

test("reads at once and one by one, cached or not, give the pack's bytes; few requests bring them", async (t) => {
  const directory = await temporaryDirectory(t);
  const pack = randomBytes(9 * MIB + 777);
  encodePackHeader({ name: NAME, domain: null }).copy(pack);
  let requests = 0;
  const bucket = {
    async range(_name: string, from: number, to: number) {
      requests++;
      await new Promise((resume) => setImmediate(resume));
      return Buffer.from(pack.subarray(from, to));
    },
  } as S3Backend;
  const files = bucketPackFiles(directory, async () => bucket);
  t.after(() => files.close());
  assert.equal(await files.domainOf(NAME), null);

  const read = fc.record({ offset: fc.nat(pack.length - 1), bytes: fc.integer({ min: 1, max: 130 * KIB }) });
  await fc.assert(
    fc.asyncProperty(fc.array(read, { maxLength: 12 }), fc.boolean(), async (reads, cold) => {
      if (cold) await rm(join(directory, "cache"), { recursive: true, force: true });
      await Promise.all(
        reads.map(async ({ offset, bytes }) => {
          const length = Math.min(bytes, pack.length - offset);
          const got = files.read(NAME, offset, length);
          // What is given at once is right until the next read only.
          const found = got instanceof Promise ? await got : Buffer.from(got);
          assert.ok(found.equals(pack.subarray(offset, offset + length)));
        }),
      );
    }),
    { numRuns: 60 },
  );

  await rm(join(directory, "cache"), { recursive: true, force: true });
  files.keepOnly(new Set());
  requests = 0;
  for (let at = 0; at < pack.length; at += 64 * KIB) await files.read(NAME, at, Math.min(64 * KIB, pack.length - at));
  assert.ok(requests <= 5, `${requests} requests for a pack read from end to end`);
});

test("a pack that ends too early is damage, not zeroes", async (t) => {
  const directory = await temporaryDirectory(t);
  const files = bucketPackFiles(
    directory,
    async () => ({ range: async () => Buffer.alloc(1000) }) as unknown as S3Backend,
  );
  t.after(() => files.close());
  await assert.rejects(async () => files.read(NAME, 900, 200), /cut short/);
});
