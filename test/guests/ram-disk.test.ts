// Kernels that reach their root filesystem through modules only: the RAM disk that ingot/tiny then has, in real boots.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { type TestContext } from "node:test";
import ssh2 from "ssh2";
import { buildImage } from "../../src/image-builder/build.ts";
import { hostDistribution } from "../../src/image-builder/distribution.ts";
import { bytesOf } from "../../src/image-builder/file-tree.ts";
import { Kernel } from "../../src/image-builder/kernel.ts";
import { fetchedPackages } from "../../src/image-builder/packages.ts";
import { ramDisk } from "../../src/image-builder/ram-disk.ts";
import { TINY, tinyPackages } from "../../src/image-builder/tiny.ts";
import { unpack } from "../../src/image-builder/unpack.ts";
import { bootBare, instanceMetadata } from "../support/bare-machine.ts";

const cacheDirectory = join(dirname(dirname(import.meta.dirname)), ".cache");

async function scratch(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "ingot-ram-disk-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

const key = ssh2.utils.generateKeyPairSync("ed25519");
const metadata = () => instanceMetadata("i-0123456789abcdef0", key.public);
const asUser = { user: "ec2-user", privateKey: key.private };

test("a root on a disk whose driver is a module: found by the RAM disk, which leaves nothing behind", async (t) => {
  const directory = await scratch(t);
  const image = await buildImage("tiny", { outputDirectory: directory, cacheDirectory });
  const packages = await fetchedPackages(tinyPackages(await hostDistribution()), join(cacheDirectory, "packages"));
  assert.ok(packages && image.kernelPath && image.kernelCommandLine);
  const { tree, modified } = await unpack(packages, () => {});
  const kernel = new Kernel(tree, directory);
  // Debian's cloud kernel has NVMe built in, and virtio as modules.
  const initrdPath = join(directory, "initrd");
  const archive = ramDisk({
    busybox: bytesOf(tree, "usr/bin/busybox"),
    modules: await kernel.modules(["virtio_pci", "virtio_blk", "nvme", "ext4"]),
    filesystemUuid: TINY.identity.filesystemUuid,
    modified,
  });
  await writeFile(initrdPath, archive);
  const machine = await bootBare(t, {
    disk: image.diskPath,
    firmware: "bios",
    rootModel: "virtio-blk-pci",
    kernel: { path: image.kernelPath, commandLine: image.kernelCommandLine, initrdPath },
    metadata: metadata(),
  });
  const { output } = await machine.ssh(
    "sudo awk '$2 == \"/\" { print $1, $3 }' /proc/mounts; ls -d /dev/vda1; ls /",
    asUser,
  );
  assert.match(output, /^\/dev\/vda1 ext4$/m);
  assert.doesNotMatch(output, /modules/);
  await machine.qmp("system_powerdown");
  await machine.ended;
});

const other = { ...(await hostDistribution()), kernel: "linux-image-amd64" };
const fetched = await fetchedPackages(tinyPackages(other), join(cacheDirectory, "packages"));
const skip =
  fetched !== undefined
    ? false
    : "the packages are not there: node script/fetch-recipe.ts tiny .cache linux-image-amd64";

test("ingot/tiny with Debian's general kernel, which has NVMe, virtio and ext4 as modules, boots all three ways", {
  skip,
}, async (t) => {
  const directory = await scratch(t);
  const image = await buildImage("tiny", { outputDirectory: directory, cacheDirectory, distribution: other });
  const { kernelPath: path, kernelCommandLine: commandLine, initrdPath } = image;
  assert.ok(path && commandLine && initrdPath);
  for (const [firmware, kernel] of [
    ["bios", { path, commandLine, initrdPath }],
    ["bios", undefined],
    ["uefi", undefined],
  ] as const) {
    const machine = await bootBare(t, {
      disk: image.diskPath,
      firmware,
      // A t3.nano's. In 256 UEFI's GRUB has no room for this kernel.
      memoryMib: 512,
      ...(kernel === undefined ? {} : { kernel }),
      metadata: metadata(),
    });
    const { output } = await machine.ssh(
      "uname -r; awk '$2 == \"/\" { print $1, $3 }' /proc/mounts; /usr/bin/ping -c1 127.0.0.1",
      asUser,
    );
    assert.match(output, /-amd64$/m);
    assert.doesNotMatch(output, /cloud/);
    assert.match(output, /^\/dev\/nvme0n1p1 ext4$/m);
    assert.match(output, /1 packets received/);
    await machine.qmp("system_powerdown");
    await machine.ended;
  }
});
