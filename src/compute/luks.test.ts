// What QEMU makes of the headers that we write: it opens them with the secret, and with nothing else.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { hash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { newId } from "../base/ids.ts";
import { GIB, MIB } from "../base/units.ts";
import { type DiskKey, encryptOption, SECRET_ID } from "./disk-key.ts";
import { LuksHeaders, ZERO_STRIPES_SUM } from "./luks.ts";
import { ensureOverlay, overlayHeader, qemuImg } from "./overlay.ts";
import { createQcow2 } from "./qcow2.ts";

function world(t: TestContext): { directory: string; key: DiskKey; open: (path: string, secret?: string) => string[] } {
  const directory = mkdtempSync(join(tmpdir(), "ingot-luks-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const secret = randomBytes(32).toString("hex");
  const open = (path: string, withSecret = secret): string[] => {
    const file = join(directory, `secret-${hash("sha256", withSecret).slice(0, 8)}`);
    writeFileSync(file, withSecret);
    const image = { driver: "qcow2", ...encryptOption, file: { driver: "file", filename: path } };
    return ["--object", `secret,id=${SECRET_ID},file=${file}`, `json:${JSON.stringify(image)}`];
  };
  return { directory, key: { secret, headers: new LuksHeaders(secret) }, open };
}

test("zero stripes, diffused, are the constant", () => {
  let block = Buffer.alloc(64);
  for (let stripe = 0; stripe < 3999; stripe++) {
    const parts = [0, 1].map((part) => {
      const number = Buffer.alloc(4);
      number.writeUInt32BE(part);
      return hash("sha256", Buffer.concat([number, block.subarray(part * 32, part * 32 + 32)]), "buffer");
    });
    block = Buffer.concat(parts);
  }
  assert.deepEqual(ZERO_STRIPES_SUM, block);
});

for (const bytes of [MIB, 8 * GIB + 4096, 16 * 1024 * GIB]) {
  test(`an encrypted overlay of ${bytes} bytes: QEMU finds no fault in it, and nothing allocated`, async (t) => {
    const { directory, key, open } = world(t);
    const path = join(directory, "disk.qcow2");
    await createQcow2(path, bytes, await key.headers.create());
    assert.deepEqual(await overlayHeader(path), { bytes, encrypted: true });
    const ask = (...argv: string[]) => JSON.parse(execFileSync("qemu-img", argv, { encoding: "utf8" }));
    const [object = "", secret = "", image = ""] = open(path);
    const check = ask("check", object, secret, "--output=json", image);
    assert.deepEqual([check["check-errors"], check.corruptions ?? 0, check.leaks ?? 0], [0, 0, 0]);
    const info = ask("info", object, secret, "--output=json", image);
    assert.equal(info["virtual-size"], bytes);
    assert.deepEqual(
      [info.encrypted, info["format-specific"].data.encrypt.format, info["format-specific"].data["extended-l2"]],
      [true, "luks", true],
    );
    for (const extent of ask("map", object, secret, "--output=json", image)) assert.equal(extent.data, false);
  });
}

test("what is written reads back with the secret, and nothing of it is in the file", async (t) => {
  const { directory, key, open } = world(t);
  const disk = { volumeId: newId("volume"), deviceName: "", base: null, root: false };
  const overlays = ["a", "b"].map((name) => ({
    ...disk,
    bytes: 8 * MIB,
    overlayPath: join(directory, `${name}.qcow2`),
  }));
  for (const overlay of overlays) {
    assert.deepEqual(await ensureOverlay(overlay, key), { encrypted: true });
    execFileSync("qemu-io", ["-c", "write -P 107 1M 1M", ...open(overlay.overlayPath)], { stdio: "ignore" });
  }
  const [one, other] = overlays.map((overlay) => overlay.overlayPath);
  assert.ok(one !== undefined && other !== undefined);
  assert.equal(readFileSync(one).includes(Buffer.alloc(64, 107)), false);
  const ends = [one, other].map((path) => readFileSync(path).subarray(-MIB).toString("latin1"));
  assert.notEqual(ends[0], ends[1], "each image has a key of its own");

  const read = (secret?: string) =>
    spawnSync("qemu-io", ["-r", "-c", "read -P 107 1M 1M", "-c", "read -P 0 0 1M", ...open(one, secret)]);
  assert.equal(read().status, 0);
  assert.notEqual(read(randomBytes(32).toString("hex")).status, 0);
  assert.notEqual(spawnSync("qemu-io", ["-r", "-f", "qcow2", "-c", "read 1M 1M", one]).status, 0);

  // Grown, and given a bitmap: what is done to volumes whose machine is off.
  const grown = { ...disk, bytes: 16 * MIB, overlayPath: one };
  await assert.rejects(ensureOverlay(grown, null), /is encrypted, and there is no key/);
  assert.deepEqual(await ensureOverlay(grown, key), { encrypted: true });
  await qemuImg(["bitmap", "--add"], { path: one, key }, ["bm"]);
  const info = JSON.parse(await qemuImg(["info", "--output=json"], { path: one, key }));
  assert.equal(info["virtual-size"], 16 * MIB);
  assert.equal(info["format-specific"].data.bitmaps[0].name, "bm");
  assert.equal(read().status, 0);
});

test("an overlay that was made plain stays so", async (t) => {
  const { directory, key } = world(t);
  const overlayPath = join(directory, "plain.qcow2");
  await createQcow2(overlayPath, MIB);
  const disk = { volumeId: newId("volume"), deviceName: "", bytes: 2 * MIB, base: null, root: false, overlayPath };
  assert.deepEqual(await ensureOverlay(disk, key), { encrypted: false });
  assert.deepEqual(await overlayHeader(overlayPath), { bytes: 2 * MIB, encrypted: false });
});
