import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdtempSync, openSync, rmdirSync } from "node:fs";
import { open, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { cannotMount } from "../../test/support/small-disk.ts";
import { MIB } from "./units.ts";
import { writeFully, writeFullySync } from "./write-fully.ts";

function fullSoon(t: TestContext, mib: number): string {
  const path = mkdtempSync(join(tmpdir(), "ingot-write-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${mib}m`, "ingot-test", path]);
  t.after(() => {
    execFileSync("umount", [path]);
    rmdirSync(path);
  });
  return path;
}

test("what a disk takes only a part of is an error, not a short file", { skip: cannotMount }, async (t) => {
  const path = join(fullSoon(t, 1), "file");
  const bytes = randomBytes(2 * MIB);
  const file = await open(path, "w");
  try {
    // The kernel says nothing of what it left out.
    assert.ok((await file.write(bytes)).bytesWritten < bytes.length);
    await rm(path);
  } finally {
    await file.close();
  }
  const again = await open(path, "w");
  try {
    await assert.rejects(writeFully(again, bytes, 0), { code: "ENOSPC" });
  } finally {
    await again.close();
  }
  await rm(path);
  const fd = openSync(path, "w");
  try {
    assert.throws(() => writeFullySync(fd, bytes), { code: "ENOSPC" });
  } finally {
    closeSync(fd);
  }
  await rm(path);
});

test("all of it is written, where it was told or where the file stands", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "ingot-write-"));
  t.after(() => rm(directory, { recursive: true }));
  const path = join(directory, "file");
  const bytes = randomBytes(3 * MIB);
  const file = await open(path, "w");
  await writeFully(file, bytes.subarray(MIB));
  await writeFully(file, bytes, MIB);
  await writeFully(file, Buffer.alloc(0), 9 * MIB);
  writeFullySync(file.fd, bytes.subarray(0, 5), 100);
  await file.close();
  const expected = Buffer.concat([bytes.subarray(MIB, 2 * MIB), bytes]);
  bytes.copy(expected, 100, 0, 5);
  assert.ok((await readFile(path)).equals(expected));
  assert.equal((await stat(path)).size, 4 * MIB);
});
