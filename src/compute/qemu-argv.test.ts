import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { parseId } from "../base/ids.ts";
import type { MachineDisk } from "../model/disk.ts";
import { instanceUuid, type MachineSpec } from "./machine-spec.ts";
import { type QemuFiles, qemuArgv, translationCacheMib } from "./qemu-argv.ts";

const instanceId = parseId("instance", "i-0123456789abcdef0");
const volume = (n: number, over: Partial<MachineDisk> = {}): MachineDisk => {
  const volumeId = parseId("volume", `vol-${n.toString(16).padStart(17, "0")}`);
  return {
    volumeId,
    deviceName: "/dev/xvda",
    bytes: 2 ** 30,
    overlayPath: `/data/volumes/${volumeId}.qcow2`,
    base: { socket: "/data/blocks", name: "snap-0123456789abcdef0", bytes: 2 ** 30 },
    root: n === 0,
    ...over,
  };
};
const spec = (over: Partial<MachineSpec> = {}): MachineSpec => ({
  instanceId,
  uuid: instanceUuid(instanceId),
  instanceType: "t3.micro",
  directory: "/data/machines/i-0123456789abcdef0",
  vcpus: 2,
  memoryMib: 1024,
  firmware: "bios",
  disks: [volume(0)],
  nic: {
    mac: "02:00:ac:1f:00:05",
    attachment: { launcher: ["nsenter"], netdev: "tap,id=net0,ifname=tap5,script=no,downscript=no" },
  },
  accelerator: "tcg",
  ...over,
});
const files = { uefiCode: "/usr/share/OVMF/OVMF_CODE_4M.fd" };

/** Every flag, one option a line. `UPDATE_GOLDEN=1` writes the files anew: look at the difference. */
const golden = (name: string, one: MachineSpec, more: Partial<QemuFiles> = {}) =>
  test(`argv, ${name}: as in test/golden/qemu-argv/${name}.txt`, () => {
    const file = new URL(`../../test/golden/qemu-argv/${name}.txt`, import.meta.url);
    const text = `${qemuArgv(one, { ...files, ...more })
      .join(" ")
      .replaceAll(" -", "\n-")}\n`;
    if (process.env.UPDATE_GOLDEN === "1") writeFileSync(file, text);
    assert.equal(text, readFileSync(file, "utf8"));
  });

golden("bios-tcg", spec());
golden(
  "uefi-kvm",
  spec({ firmware: "uefi", accelerator: "kvm", instanceType: "m5.xlarge", vcpus: 4, memoryMib: 16384 }),
);
golden(
  "direct-kernel-data-volumes",
  spec({
    nic: null,
    directKernel: { path: "/data/kernel", commandLine: "root=/dev/nvme0n1p3 console=ttyS0" },
    disks: [volume(0), volume(1, { base: null }), volume(2)],
  }),
);
golden("virtio-data-volume", spec({ nic: null, dataDiskModel: "virtio-blk", disks: [volume(0), volume(1)] }));

golden("encrypted-and-plain-volume", spec({ nic: null, disks: [volume(0), volume(1)] }), {
  encrypted: new Set([volume(0).volumeId]),
});

test("a comma in a path is doubled where QEMU would split at it", () => {
  const argv = qemuArgv(spec({ directory: "/data/a,b" }), files);
  assert.ok(argv.some((one) => one.includes("path=/data/a,,b/qmp,")));
  assert.ok(argv.includes("/data/a,b/pid"), "-pidfile takes a plain path");
});

test("a kernel that needs a RAM disk for its root gets one", () => {
  const directKernel = { path: "/data/kernel", commandLine: "quiet", initrdPath: "/data/initrd" };
  const argv = qemuArgv(spec({ directKernel }), files);
  assert.equal(argv[argv.indexOf("-initrd") + 1], "/data/initrd");
});

test("specs that no machine can be made from are refused", () => {
  assert.throws(() => qemuArgv(spec({ disks: [] }), files), /one root disk/);
  assert.throws(() => qemuArgv(spec({ disks: [volume(0), volume(1, { root: true })] }), files), /one root disk/);
  const many = Array.from({ length: 26 }, (_, n) => volume(n));
  assert.equal(qemuArgv(spec({ disks: many.slice(0, 25) }), files).filter((one) => one.startsWith("nvme,")).length, 25);
  assert.throws(() => qemuArgv(spec({ disks: many }), files), /takes 24 volumes/);
  assert.throws(() => qemuArgv(spec({ firmware: "uefi" }), { uefiCode: null }), /UEFI firmware is not installed/);
  assert.throws(() => qemuArgv(spec({ directory: `/${"d".repeat(110)}` }), files), /too long.*107/);
});

test("an instance's UUID is a UUID, stays the same, and begins with ec2", () => {
  assert.match(instanceUuid(instanceId), /^ec2[0-9a-f]{5}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(instanceUuid(instanceId), instanceUuid(instanceId));
  assert.notEqual(instanceUuid(instanceId), instanceUuid(parseId("instance", "i-0123456789abcdef1")));
});

test("TCG's cache grows with the guest", () => {
  assert.deepEqual([128, 512, 1024, 8192].map(translationCacheMib), [32, 64, 128, 256]);
});

test("one emulated processor might get a second: else QEMU leaves out memory barriers", () => {
  const smp = (over: Partial<MachineSpec>) => {
    const argv = qemuArgv(spec(over), files);
    return argv[argv.indexOf("-smp") + 1];
  };
  assert.equal(smp({ vcpus: 1 }), "1,maxcpus=2");
  assert.equal(smp({ vcpus: 1, accelerator: "kvm" }), "1");
  assert.equal(smp({ vcpus: 2 }), "2");
});
