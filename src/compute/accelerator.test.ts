import assert from "node:assert/strict";
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { silentLog } from "../base/log.ts";
import { probeAccelerator, probeFirmware, runStub } from "./accelerator.ts";

const hasKvm = (() => {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
})();

test("the stub is a BIOS image that starts at the reset vector, and ends a machine that works", async () => {
  const image = probeFirmware();
  assert.equal(image.length, 65536);
  assert.deepEqual([...image.subarray(0xfff0, 0xfff5)], [0xea, 0, 0, 0, 0xf0]);
  assert.equal(await runStub("tcg"), 33);
});

test("without a /dev/kvm that we may open it is TCG, and that is not kept", { skip: hasKvm }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "ingot-accelerator-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const found = await probeAccelerator(directory, silentLog);
  assert.equal(found.kind, "tcg");
  assert.match(found.reason, /KVM cannot be used: .*\/dev\/kvm/);
  assert.throws(() => readFileSync(join(directory, "accelerator.json")), /ENOENT/);
});

test("with one, the answer is kept until the host boots again", { skip: !hasKvm && "no /dev/kvm here" }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "ingot-accelerator-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const cache = join(directory, "accelerator.json");
  const found = await probeAccelerator(directory, silentLog);
  const kept = JSON.parse(readFileSync(cache, "utf8"));
  assert.deepEqual({ kind: kept.kind, reason: kept.reason }, found);
  writeFileSync(cache, JSON.stringify({ ...kept, reason: "kept" }));
  assert.equal((await probeAccelerator(directory, silentLog)).reason, "kept");
  writeFileSync(cache, JSON.stringify({ ...kept, reason: "kept", bootId: "another boot" }));
  assert.deepEqual(await probeAccelerator(directory, silentLog), found);
  writeFileSync(cache, "{torn");
  assert.deepEqual(await probeAccelerator(directory, silentLog), found);
});
