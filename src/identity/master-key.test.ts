import assert from "node:assert/strict";
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { loadMasterKey, newMasterKey } from "./master-key.ts";
import { seal, unseal } from "./seal.ts";

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "identity-"));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

test("the key is made once, for the owner's eyes only, and stays", async (t) => {
  const path = join(await directory(t), "master.key");
  const first = await loadMasterKey(path);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  const again = await loadMasterKey(path);
  assert.deepEqual(again.derive("session tokens"), first.derive("session tokens"));
  assert.notDeepEqual(first.derive("session tokens"), first.derive("session secrets"));
});

test("two that make it at once end with the same key, and leave no draft", async (t) => {
  const folder = await directory(t);
  const path = join(folder, "master.key");
  const keys = await Promise.all(Array.from({ length: 8 }, () => loadMasterKey(path)));
  const [first, ...others] = keys.map((key) => key.derive("session tokens").toString("hex"));
  for (const other of others) assert.equal(other, first);
  assert.deepEqual(await readdir(folder), ["master.key"]);
});

test("a key that others may read, or that is none, is refused", async (t) => {
  const path = join(await directory(t), "master.key");
  await loadMasterKey(path);
  await chmod(path, 0o644);
  await assert.rejects(loadMasterKey(path), (error: Error) =>
    /others may read it/.test((error.cause as Error).message),
  );
  await chmod(path, 0o600);
  await writeFile(path, "short");
  await assert.rejects(loadMasterKey(path));
});

test("a key from the environment touches no file", async (t) => {
  const folder = await directory(t);
  const hex = "ab".repeat(32);
  const key = await loadMasterKey(join(folder, "master.key"), hex);
  const base64 = await loadMasterKey(join(folder, "master.key"), Buffer.from(hex, "hex").toString("base64"));
  assert.deepEqual(key.derive("parameters"), base64.derive("parameters"));
  assert.deepEqual(await readdir(folder), []);
  await assert.rejects(loadMasterKey(join(folder, "master.key"), "nonsense"), /64 hex digits/);
});

test("the key's text is nowhere but in its file", async (t) => {
  const path = join(await directory(t), "master.key");
  const key = await loadMasterKey(path);
  const text = (await readFile(path, "utf8")).trim();
  assert.ok(!JSON.stringify({ key }).includes(text));
});

test("what is sealed opens with the same key for the same purpose, unchanged, or not at all", () => {
  const key = newMasterKey().derive("parameters");
  const sealed = seal(key, "secret", "here");
  assert.equal(unseal(key, sealed, "here")?.toString(), "secret");
  assert.equal(unseal(key, sealed, "there"), null);
  assert.equal(unseal(newMasterKey().derive("parameters"), sealed, "here"), null);
  const bytes = Buffer.from(sealed, "base64");
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    assert.equal(unseal(key, changed.toString("base64"), "here"), null, `byte ${at}`);
  }
  assert.equal(unseal(key, `${sealed}=`, "here"), null);
  assert.equal(unseal(key, "", "here"), null);
  assert.notEqual(seal(key, "secret", "here"), sealed);
});
