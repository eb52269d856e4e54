import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parseId } from "../base/ids.ts";
import { GIB, MIB } from "../base/units.ts";
import type { MachineDisk } from "../model/disk.ts";
import { ensureOverlay, overlayHeader } from "./overlay.ts";
import { createQcow2 } from "./qcow2.ts";

const qemuImg = (...argv: string[]) => JSON.parse(execFileSync("qemu-img", argv, { encoding: "utf8" }));

for (const bytes of [512, 1 * GIB, 8 * GIB + 4096, 16 * 1024 * GIB]) {
  test(`an empty qcow2 of ${bytes} bytes: QEMU finds no fault in it, and nothing allocated`, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "ingot-qcow2-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const path = join(directory, "disk.qcow2");
    await createQcow2(path, bytes);
    const check = qemuImg("check", "--output=json", "-f", "qcow2", path);
    assert.equal(check["check-errors"], 0);
    assert.equal(check.corruptions ?? 0, 0);
    assert.equal(check.leaks ?? 0, 0);
    const info = qemuImg("info", "--output=json", "-f", "qcow2", path);
    assert.equal(info["virtual-size"], bytes);
    assert.equal(info["format-specific"].data["extended-l2"], true);
    assert.equal(info["format-specific"].data.corrupt, false);
    assert.equal(info["backing-filename"], undefined);
    assert.deepEqual(await overlayHeader(path), { bytes, encrypted: false });
    for (const extent of qemuImg("map", "--output=json", "-f", "qcow2", path)) assert.equal(extent.data, false);
  });
}

test("ensureOverlay: makes what is absent, leaves what is there, grows what is too small, refuses the rest", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "ingot-overlay-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const overlayPath = join(directory, "disk.qcow2");
  const disk = (bytes: number): MachineDisk => ({
    volumeId: parseId("volume", "vol-0123456789abcdef0"),
    deviceName: "/dev/sdf",
    bytes,
    overlayPath,
    base: null,
    root: false,
  });
  await ensureOverlay(disk(8 * MIB), null);
  execFileSync("qemu-io", ["-f", "qcow2", "-c", "write -P 7 1M 4k", overlayPath]);
  await ensureOverlay(disk(8 * MIB), null);
  await ensureOverlay(disk(16 * MIB), null);
  assert.deepEqual(await overlayHeader(overlayPath), { bytes: 16 * MIB, encrypted: false });
  execFileSync("qemu-io", ["-f", "qcow2", "-c", "read -P 7 1M 4k", "-c", "read -P 0 8M 8M", overlayPath]);
  await assert.rejects(ensureOverlay(disk(8 * MIB), null), /holds 16777216 bytes/);
  execFileSync("truncate", ["-s", "0", overlayPath]);
  await assert.rejects(ensureOverlay(disk(8 * MIB), null), /is not a qcow2 image/);
});
