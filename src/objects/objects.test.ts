// The store by itself, over a real database and directory.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import type { AccountId, Region } from "../base/ids.ts";
import { openDatabase } from "../database/database.ts";
import { createBucket } from "./buckets.ts";
import { cut } from "./content.ts";
import { folderHome } from "./folder-home.ts";
import { successor } from "./listing.ts";
import { Objects } from "./objects.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} } as never;

async function opened(t: TestContext) {
  const scratch = mkdtempSync(join(tmpdir(), "ingot-objects-"));
  const database = await openDatabase({ engine: "sqlite", path: join(scratch, "db") });
  const directory = join(scratch, "buckets");
  const open = async () =>
    Objects.open({ database, home: await folderHome(directory), clock: { now: () => new Date() }, log: silent });
  t.after(async () => {
    await database.close();
    rmSync(scratch, { recursive: true, force: true });
  });
  const bucket = { name: "bucket", accountId: "111122223333" as AccountId, region: "us-east-1" as Region };
  await createBucket(undefined as never, database, { ...bucket, createdAt: new Date(), tags: {} });
  const objects = await open();
  return { objects, open, directory, files: () => readdirSync(directory) };
}

/** Waits for removals, which nobody is told of. */
async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    assert.ok(tries < 1000, "it does not come about");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("a reader reads what was there when it came, though it is replaced and deleted meanwhile", async (t) => {
  const { objects, files } = await opened(t);
  const body = "x".repeat(1_000_000);
  await objects.put("bucket", "k", Buffer.from(body), { metadata: { a: "1" }, contentType: "text/plain" });
  const first = await objects.get("bucket", "k");
  const abandoned = await objects.get("bucket", "k");
  await objects.put("bucket", "k", Readable.from([Buffer.from("ne"), Buffer.from("w")]));
  await objects.delete("bucket", "k");
  assert.equal(await objects.get("bucket", "k"), undefined);
  assert.ok(first && abandoned);
  assert.deepEqual([first.metadata, first.contentType, first.bytes], [{ a: "1" }, "text/plain", body.length]);
  assert.equal(await text(first.body), body);
  assert.equal(files().length, 1, "the other reader may still want it");
  abandoned.body.destroy();
  await until(() => files().length === 0);
});

test("a body that fails leaves nothing, and the object before stays", async (t) => {
  const { objects, files } = await opened(t);
  await objects.put("bucket", "k", Buffer.from("before"));
  const failing = Readable.from(
    (async function* () {
      yield Buffer.alloc(3_000_000);
      throw new Error("torn");
    })(),
  );
  await assert.rejects(objects.put("bucket", "k", failing), /torn/);
  await assert.rejects(objects.put("none", "k", Buffer.from("x")), { code: "NoSuchBucket" });
  await assert.rejects(objects.put("bucket", "k", Buffer.from("x"), { ifNoneMatch: "*" }), {
    code: "PreconditionFailed",
  });
  await until(() => files().length === 1);
  const got = await objects.get("bucket", "k", { first: 2, last: 4 });
  assert.equal(await text(got?.body ?? Readable.from([])), "for");
});

test("a start removes what belongs to nothing, and nothing else", async (t) => {
  const { objects, open, directory } = await opened(t);
  await objects.put("bucket", "k", Buffer.from("kept"));
  const orphan = join(directory, "0".repeat(32));
  const foreign = join(directory, "README");
  writeFileSync(orphan, "torn");
  writeFileSync(foreign, "not ours");
  const again = await open();
  await again.close();
  await until(() => !existsSync(orphan));
  assert.ok(existsSync(foreign));
  const got = await again.get("bucket", "k");
  assert.equal(await text(got?.body ?? Readable.from([])), "kept");
});

test("listings are those of the keys in the order of their bytes, for any prefix, delimiter and page", async (t) => {
  const { objects } = await opened(t);
  const keys = [
    "a",
    "a/",
    "a/b",
    "a/b/c",
    "a//",
    "a0",
    "b/\u{10ffff}",
    "b/\u{10ffff}x",
    "b0",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "😀",
    "😀/x",
  ];
  for (const key of keys) await objects.put("bucket", key, Buffer.from(key));
  const inBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));
  const sorted = [...keys].sort(inBytes);
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("", "a", "a/", "b/", "b/\u{10ffff}", "😀", "\ud7ff", "none"),
      fc.constantFrom("", "/", "//", "b"),
      fc.integer({ min: 1, max: 6 }),
      async (prefix, delimiter, limit) => {
        const expected = new Set<string>();
        for (const key of sorted.filter((one) => one.startsWith(prefix))) {
          const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
          expected.add(at < 0 ? `key ${key}` : `prefix ${key.slice(0, at + delimiter.length)}`);
        }
        const found: string[] = [];
        let after: string | undefined = "";
        while (after !== undefined) {
          const page = await objects.listing({ bucket: "bucket", prefix, delimiter, after, limit });
          const entries = [
            ...page.objects.map(({ key }) => ["key", key] as const),
            ...page.prefixes.map((one) => ["prefix", one] as const),
          ].sort(([, a], [, b]) => inBytes(a, b));
          assert.ok(entries.length <= limit);
          found.push(...entries.map((entry) => entry.join(" ")));
          after = page.next;
        }
        assert.deepEqual(found, [...expected]);
      },
    ),
  );
});

test("the successor of a prefix is after all that begin so, and before all that follow", () => {
  const before = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0;
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.string(), (prefix, more, other) => {
      const next = successor(prefix);
      if (next === undefined || !(prefix + more).isWellFormed() || !other.isWellFormed()) return;
      assert.ok(before(prefix + more, next));
      if (before(prefix, other) && !other.startsWith(prefix)) assert.ok(!before(other, next));
    }),
  );
  assert.equal(successor("a\u{10ffff}"), "b");
  assert.equal(successor("\ud7ff"), "\ue000");
  assert.equal(successor("\u{10ffff}"), undefined);
});

test("pieces cut to a range make that range", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1 }), fc.nat(), fc.nat(), (sizes, a, b) => {
      const pieces = sizes.map((bytes, index) => ({ file: String(index), first: index, bytes }));
      const all = pieces.flatMap(({ file, first, bytes }) =>
        Array.from({ length: bytes }, (_, at) => `${file}:${first + at}`),
      );
      const [first = 0, last = 0] = [a % all.length, b % all.length].sort((x, y) => x - y);
      const wanted = cut(pieces, first, last).flatMap(({ file, first: from, bytes }) =>
        Array.from({ length: bytes }, (_, at) => `${file}:${from + at}`),
      );
      assert.deepEqual(wanted, all.slice(first, last + 1));
    }),
  );
});
