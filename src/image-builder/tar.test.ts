import assert from "node:assert/strict";
import { link, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import test, { type TestContext } from "node:test";
import { run } from "./program.ts";
import { readTar, type TarOptions } from "./tar.ts";

async function scratch(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "ingot-tar-test-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

const LONG = `${"deep/".repeat(40)}${"n".repeat(120)}`;

async function archive(directory: string, format: string): Promise<Buffer> {
  const from = join(directory, "from");
  await mkdir(join(from, LONG, ".."), { recursive: true });
  await writeFile(join(from, LONG), "long");
  await writeFile(join(from, "small"), "0123456789");
  await writeFile(join(from, "empty"), "");
  await writeFile(join(from, "big"), Buffer.alloc(100_000, "big"));
  await link(join(from, "small"), join(from, "z-hard"));
  await symlink("small", join(from, "soft"));
  const file = join(directory, "a.tar");
  const owner = ["--owner=12", "--group=34", "--mtime=@1700000000", "--sort=name"];
  await run("tar", ["-C", from, `--format=${format}`, ...owner, "-cf", file, "."]);
  return await readFile(file);
}

async function entries(bytes: Buffer, chunk: number, options: TarOptions = {}) {
  const chunks = Array.from({ length: Math.ceil(bytes.length / chunk) }, (_, i) =>
    bytes.subarray(i * chunk, (i + 1) * chunk),
  );
  const found = new Map();
  for await (const { path, entry } of readTar(Readable.from(chunks), options)) found.set(path, entry);
  return found;
}

for (const format of ["gnu", "pax", "ustar"]) {
  test(`${format}: names, owners, times, links and contents, however the bytes arrive`, async (t) => {
    const directory = await scratch(t);
    // ustar has no names this long.
    const bytes = await archive(directory, format).catch(() => undefined);
    if (bytes === undefined) return assert.equal(format, "ustar");
    for (const chunk of [1, 511, 512, 7000, bytes.length]) {
      if (chunk === 1 && format !== "gnu") continue;
      const found = await entries(bytes, chunk);
      assert.deepEqual(found.get(LONG).content.toString(), "long");
      const { kind, uid, gid, modified, content } = found.get("small");
      assert.deepEqual([kind, uid, gid, modified, content.toString()], ["file", 12, 34, 1_700_000_000, "0123456789"]);
      assert.equal(found.get("empty").content.length, 0);
      assert.deepEqual([found.get("z-hard").kind, found.get("z-hard").target], ["hardlink", "small"]);
      assert.deepEqual([found.get("soft").kind, found.get("soft").target], ["symlink", "small"]);
      assert.equal(found.get("deep").kind, "directory");
    }
  });
}

test("large content goes to a file, small content stays in memory", async (t) => {
  const directory = await scratch(t);
  const bytes = await archive(directory, "gnu");
  let serial = 0;
  const found = await entries(bytes, 3000, { spool: () => join(directory, `${serial++}`), inMemoryBytes: 100 });
  assert.deepEqual(await readFile(found.get("big").content.path), Buffer.alloc(100_000, "big"));
  assert.equal(found.get("small").content.toString(), "0123456789");
});

test("an archive that is cut off or damaged is an error, never a shorter tree", async (t) => {
  const bytes = await archive(await scratch(t), "gnu");
  const end = bytes.indexOf("bigbigbig");
  await assert.rejects(entries(bytes.subarray(0, end + 1000), 512), /the archive ends in a file/);
  const damaged = Buffer.from(bytes);
  damaged[100] = damaged[100]! ^ 1;
  await assert.rejects(entries(damaged, 512), /checksum is wrong/);
});
