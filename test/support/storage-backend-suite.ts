// What every backend promises (src/storage/backend.ts). A new one calls this before anything uses it.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Backend } from "../../src/storage/backend.ts";
import { temporaryDirectory } from "./storage-disk.ts";

/** @param open  gives an empty backend of its own for each test */
export function backendSuite(name: string, open: (t: TestContext) => Promise<Backend>): void {
  const collect = async (backend: Backend, prefix: string) => {
    const found: [string, number][] = [];
    for await (const { name: object, bytes } of backend.list(prefix)) found.push([object, bytes]);
    return found.sort(([a], [b]) => (a < b ? -1 : 1));
  };

  test(`${name}: what is created reads back, and a name is taken once`, async (t) => {
    const backend = await open(t);
    assert.equal(await backend.read("snapshots/snap-1"), null);
    assert.equal(await backend.create("snapshots/snap-1", Buffer.from("one")), true);
    assert.equal(await backend.create("snapshots/snap-1", Buffer.from("two")), false);
    assert.equal((await backend.read("snapshots/snap-1"))?.toString(), "one");
    await backend.remove("snapshots/snap-1");
    assert.equal(await backend.read("snapshots/snap-1"), null);
    assert.equal(await backend.create("snapshots/snap-1", Buffer.from("three")), true);
  });

  test(`${name}: of many that create one name at once, one wins`, async (t) => {
    const backend = await open(t);
    const texts = Array.from({ length: 12 }, (_, i) => Buffer.from(`writer ${i}`));
    const won = await Promise.all(texts.map((text) => backend.create("leases/one", text)));
    assert.equal(won.filter(Boolean).length, 1);
    assert.deepEqual(await backend.read("leases/one"), texts[won.indexOf(true)]);
  });

  for (const bytes of [0, 1000, 40 * 1024 * 1024 + 17]) {
    test(`${name}: a file of ${bytes} bytes is published whole, and is gone where it was`, async (t) => {
      const backend = await open(t);
      const path = join(await temporaryDirectory(t), "made");
      const content = randomBytes(bytes);
      await writeFile(path, content);
      await backend.publish(path, "packs/ab/abcd.pack");
      assert.ok((await backend.read("packs/ab/abcd.pack"))?.equals(content));
      assert.deepEqual(await collect(backend, "packs/"), [["packs/ab/abcd.pack", bytes]]);
      await assert.rejects(access(path));
    });
  }

  test(`${name}: a list holds what is there, however much, and only under its prefix`, async (t) => {
    const backend = await open(t);
    const names = Array.from({ length: 1100 }, (_, i) => `leases/${String(i).padStart(4, "0")}`);
    for (let at = 0; at < names.length; at += 50) {
      await Promise.all(names.slice(at, at + 50).map((each) => backend.create(each, Buffer.from("x"))));
    }
    await backend.create("snapshots/snap-1", Buffer.from("yy"));
    assert.deepEqual(
      await collect(backend, "leases/"),
      names.map((each) => [each, 1]),
    );
    assert.deepEqual(await collect(backend, "snapshots/"), [["snapshots/snap-1", 2]]);
    assert.deepEqual(await collect(backend, "packs/"), []);
  });

  test(`${name}: removing what is not there is no error`, async (t) => {
    const backend = await open(t);
    await backend.remove("snapshots/none");
    await backend.create("index/one.index", Buffer.from("x"));
    await backend.remove("index/one.index");
    await backend.remove("index/one.index");
    assert.deepEqual(await collect(backend, "index/"), []);
  });
}
