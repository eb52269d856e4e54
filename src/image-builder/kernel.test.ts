import assert from "node:assert/strict";
import test from "node:test";
import { FileTree } from "./file-tree.ts";
import { dependencyList, Kernel } from "./kernel.ts";
import { rootModules } from "./ram-disk.ts";

const module = (depends: string): Buffer => Buffer.from(`\0license=GPL\0depends=${depends}\0name=x\0`);

/** Packages with a kernel of these modules (and what each depends on), and these built in. */
function packages(modules: Readonly<Record<string, string>>, builtIn: readonly string[] = []): FileTree {
  const tree = new FileTree(1);
  tree.file("boot/vmlinuz-6.12-cloud", "the kernel");
  for (const [path, depends] of Object.entries(modules)) {
    tree.file(`usr/lib/modules/6.12-cloud/kernel/${path}.ko`, module(depends));
  }
  tree.file("usr/lib/modules/6.12-cloud/modules.builtin", builtIn.map((path) => `kernel/${path}.ko\n`).join(""));
  return tree;
}

const generic = {
  "drivers/nvme/host/nvme": "nvme-core",
  "drivers/nvme/host/nvme-core": "t10-pi",
  "lib/t10-pi": "",
  "fs/ext4/ext4": "mbcache,jbd2",
  "fs/mbcache": "",
  "fs/jbd2/jbd2": "",
  "crypto/crc32c_generic": "",
};

test("modules come after what they need; what is built in, or not there, is left out", async () => {
  const kernel = new Kernel(packages(generic, ["crypto/crc32"]), "/nonexistent");
  const names = (await kernel.modules(["nvme", "ext4", "virtio_blk"])).map(({ name }) => name);
  assert.deepEqual(names, ["t10_pi", "nvme_core", "nvme", "mbcache", "jbd2", "ext4"]);
  assert.equal(kernel.version, "6.12-cloud");
  assert.equal(kernel.image.toString(), "the kernel");
});

test("modules.dep: as depmod writes it", async () => {
  const kernel = new Kernel(packages(generic), "/nonexistent");
  assert.equal(
    dependencyList(await kernel.modules(["nvme"])),
    [
      "kernel/drivers/nvme/host/nvme-core.ko: kernel/lib/t10-pi.ko\n",
      "kernel/drivers/nvme/host/nvme.ko: kernel/drivers/nvme/host/nvme-core.ko kernel/lib/t10-pi.ko\n",
      "kernel/lib/t10-pi.ko:\n",
    ].join(""),
  );
});

test("a kernel that has its root's drivers built in needs no RAM disk, one with modules does, one with neither is refused", async () => {
  const builtIn = ["drivers/nvme/host/nvme", "drivers/nvme/host/nvme-core", "fs/ext4/ext4"];
  const cloud = new Kernel(packages({ "drivers/block/virtio_blk": "" }, builtIn), "/nonexistent");
  assert.deepEqual(await rootModules(cloud), []);
  const first = await rootModules(new Kernel(packages(generic), "/nonexistent"));
  assert.equal(first[0]?.name, "crc32c_generic", "ext4 asks for it by what it does");
  // As Ubuntu: ext4 is built in, NVMe is not.
  const half = new Kernel(
    packages({ "drivers/nvme/host/nvme": "nvme-core", "drivers/nvme/host/nvme-core": "" }, ["fs/ext4/ext4"]),
    "/nonexistent",
  );
  assert.deepEqual(
    (await rootModules(half)).map(({ name }) => name),
    ["nvme_core", "nvme"],
  );
  await assert.rejects(rootModules(new Kernel(packages({}), "/nonexistent")), /6\.12-cloud has no nvme/);
});

test("packages without a kernel say so", () => {
  assert.throws(() => new Kernel(new FileTree(1), "/nonexistent"), /hold no kernel/);
});
