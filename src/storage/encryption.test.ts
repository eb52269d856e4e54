import assert from "node:assert/strict";
import { createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { mkdir, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryStore, writeDisk } from "../../test/support/storage-disk.ts";
import { chain } from "../base/errors.ts";
import { accountId, newId, type SnapshotId } from "../base/ids.ts";
import { BLOCK_BYTES, MIB } from "../base/units.ts";
import { type ContentOwner, Domains, domainIdOf, newWrappedKey } from "./encryption.ts";
import { DamageError } from "./format.ts";

const ALICE = accountId("111111111111");
const BOB = accountId("222222222222");

/** A store with a key of its own; `keep` captures `disk` for an owner. */
async function encryptedStore(t: TestContext) {
  const { store, directory, reopen } = await temporaryStore(t, { key: randomBytes(32) });
  let number = 0;
  const keep = async (owner: ContentOwner, disk: Buffer, base: SnapshotId | null = null) => {
    const path = join(directory, `disk-${number++}`);
    await writeDisk(path, disk);
    const id = newId("snapshot");
    const kept = await store.capture({
      owner,
      snapshotId: id,
      bytes: disk.length,
      base,
      source: { kind: "file", path },
    });
    await rm(path);
    return { ...kept, id };
  };
  const read = async (id: SnapshotId, bytes: number) => (await store.open(id)).read(0, bytes);
  return { store, directory, keep, read, reopen };
}

test("an owner shares with everybody's content and with nobody else's", async (t) => {
  const { store, keep, read } = await encryptedStore(t);
  const disk = randomBytes(4 * MIB);
  const everybodys = await keep("public", disk);
  assert.ok(everybodys.newBytes > 4 * MIB);
  const alices = await keep(ALICE, disk);
  assert.ok(alices.newBytes < MIB / 10, `${alices.newBytes} bytes: a manifest only`);

  const secret = randomBytes(4 * MIB);
  await keep(ALICE, secret);
  const again = await keep(ALICE, secret);
  assert.ok(again.newBytes < 1000, "her own content is stored once");
  const bobs = await keep(BOB, secret);
  assert.ok(bobs.newBytes > 4 * MIB, "who stores what another has learns nothing from it");
  assert.notEqual(bobs.digest, again.digest);
  assert.ok((await read(bobs.id, secret.length)).equals(secret));
  assert.equal((await readdir(join(store.directory, "keys"))).length, 3);
});

test("a capture over a stranger's shared snapshot stores what changed, in its own domain", async (t) => {
  const { store, keep, read } = await encryptedStore(t);
  const disk = randomBytes(12 * MIB);
  const shared = await keep(ALICE, disk);
  const same = await keep(BOB, disk, shared.id);
  assert.equal(same.newBytes, 0, "read anew and found equal, place by place");
  assert.equal(same.digest, shared.digest);

  const changed = Buffer.from(disk);
  randomBytes(4096).copy(changed, 5 * MIB);
  // What the shared disk has elsewhere is not looked for: nothing tells Bob what else Alice keeps.
  disk.copy(changed, 9 * MIB, 0, MIB);
  const bobs = await keep(BOB, changed, shared.id);
  assert.ok(bobs.newBytes > MIB && bobs.newBytes < 1.3 * MIB, `${bobs.newBytes} bytes`);

  await store.delete(shared.id);
  await store.delete(same.id);
  const { freedBytes } = await store.collect();
  assert.ok(freedBytes >= 0);
  assert.ok((await read(bobs.id, disk.length)).equals(changed), "his snapshot outlives hers");
  assert.deepEqual((await store.scrub({ bytesPerSecond: 1e12 })).damage, []);
});

test("a collection rewrites a pack under its own key", async (t) => {
  const { store, keep, read, reopen } = await encryptedStore(t);
  const kept = randomBytes(2 * MIB);
  const both = Buffer.concat([kept, randomBytes(6 * MIB)]);
  const first = await keep(ALICE, both);
  const second = await keep(BOB, both);
  const alices = await keep(ALICE, kept);
  const bobs = await keep(BOB, kept);
  await store.delete(first.id);
  await store.delete(second.id);
  assert.ok((await store.collect()).rewrittenBytes > 3 * MIB);
  for (const { id } of [alices, bobs]) assert.ok((await read(id, kept.length)).equals(kept));
  await store.rebuildIndex();
  const again = await reopen();
  for (const { id } of [alices, bobs]) assert.ok((await (await again.open(id)).read(0, kept.length)).equals(kept));
});

test("an upload's blocks and their checksums are sealed, and a changed bit is found", async (t) => {
  const { store, reopen } = await encryptedStore(t);
  const block = Buffer.alloc(BLOCK_BYTES, "the treasure lies under the third oak ");
  const id = newId("snapshot");
  await store.beginDraft(id, { bytes: 4 * BLOCK_BYTES, base: null, owner: ALICE });
  await store.putDraftBlock(id, 2, block);
  await store.putDraftBlock(id, 3, randomBytes(BLOCK_BYTES));
  await store.putDraftBlock(id, 3, block);
  const sum = createHash("sha256").update(block).digest();
  const files = ["draft.json", "data", "log"].map((name) => join(store.directory, "drafts", id, name));
  for (const path of files) {
    const bytes = await readFile(path);
    assert.equal(bytes.includes("third oak"), false, path);
    assert.equal(bytes.includes(sum), false, path);
  }
  const again = await reopen();
  assert.deepEqual(
    (await again.draftBlocks(id)).map(({ index, sha256 }) => [index, sha256.equals(sum)]),
    [
      [2, true],
      [3, true],
    ],
  );

  const data = await open(files[1]!, "r+");
  await data.write(Buffer.of(0x55), 0, 1, 1000);
  await data.close();
  await assert.rejects(again.completeDraft(id), (error) =>
    /block 2 of a draft fails authentication/.test(chain(error)),
  );
});

test("a missing, foreign or swapped key is told in words", async (t) => {
  const { store, keep, reopen } = await encryptedStore(t);
  const disk = randomBytes(MIB);
  const { id } = await keep(ALICE, disk);
  const keys = join(store.directory, "keys");
  const [name] = await readdir(keys);
  await rm(join(keys, name!));
  const again = await reopen();
  await assert.rejects(
    again.open(id).then((reader) => reader.read(0, MIB)),
    (error) => /the wrapped key of domain [0-9a-f]{32} is missing/.test(chain(error)),
  );

  const storeKey = randomBytes(32);
  const domain = domainIdOf("ab".repeat(16), BOB);
  const domains = new Domains(store.directory, storeKey);
  const put = async (text: string) => {
    const file = await open(join(keys, domain), "w");
    await file.writeFile(text);
    await file.close();
  };
  await put(newWrappedKey(randomBytes(32), domain, BOB));
  assert.throws(() => domains.get(domain), /another master key/);
  await put(newWrappedKey(storeKey, domainIdOf("ab".repeat(16), ALICE), ALICE));
  assert.throws(() => domains.get(domain), /is another's/);
  await put(newWrappedKey(storeKey, domain, BOB));
  assert.equal(domains.get(domain).id, domain);
  assert.throws(() => domains.get(null), DamageError);
  assert.throws(() => new Domains(store.directory, null).get(domain), /opened without its key/);
});

test("an id is the HMAC that FORMAT.md names", async (t) => {
  const { store } = await encryptedStore(t);
  const storeKey = randomBytes(32);
  const id = domainIdOf("cd".repeat(16), ALICE);
  await mkdir(join(store.directory, "keys"), { recursive: true });
  await writeFile(join(store.directory, "keys", id), newWrappedKey(storeKey, id, ALICE));
  const { nonce, sealed } = JSON.parse(await readFile(join(store.directory, "keys", id), "utf8"));
  const wrapping = Buffer.from(hkdfSync("sha256", storeKey, Buffer.alloc(0), "ingot domain keys", 32));
  const bytes = Buffer.from(sealed, "hex");
  const decipher = createDecipheriv("aes-256-gcm", wrapping, Buffer.from(nonce, "hex")).setAAD(Buffer.from(id, "hex"));
  decipher.setAuthTag(bytes.subarray(32));
  const key = Buffer.concat([decipher.update(bytes.subarray(0, 32)), decipher.final()]);
  const idKey = Buffer.from(hkdfSync("sha256", key, Buffer.from(id, "hex"), "ingot ids", 32));
  const blob = randomBytes(5000);
  const expected = createHmac("sha256", idKey).update(createHash("sha256").update(blob).digest()).digest();
  assert.deepEqual(new Domains(store.directory, storeKey).get(id).blobId(blob), expected);
});
