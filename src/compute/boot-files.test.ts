import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { MIB } from "../base/units.ts";
import { writeExt4 } from "../image-builder/ext4.ts";
import { FileTree } from "../image-builder/file-tree.ts";
import { layOut, PARTITION_TYPE, type Partition, partitionTable, SECTOR } from "../image-builder/gpt.ts";
import { run } from "../image-builder/program.ts";
import type { DiskRange, DiskReader } from "../model/disk.ts";
import { bootsAlike, readBootFiles } from "./boot-files.ts";

const BYTES = 80 * MIB;
const GUID = "1d6b2c4e-0e0a-4b6e-9c5e-5a1f0f7b1a01";
const KERNEL = Buffer.concat([randomBytes(2 * MIB), Buffer.alloc(MIB), randomBytes(5000)]);
const CONFIG = "linux /boot/vmlinuz root=/dev/x rw quiet\ninitrd /boot/initrd\nboot\n";

const partitionsOf = (bytes: number): Partition[] =>
  layOut(bytes, [
    { number: 14, type: PARTITION_TYPE.biosBoot, guid: GUID, name: "bios", bytes: MIB },
    { number: 1, type: PARTITION_TYPE.linuxRootX86_64, guid: GUID, name: "root", bytes: "rest" },
  ]);

let directory: string;
let original: Buffer;

async function makeDisk(config: string): Promise<Buffer> {
  const path = join(directory, "disk");
  const [bios, root] = partitionsOf(BYTES) as [Partition, Partition];
  const disk = Buffer.alloc(BYTES);
  partitionTable(BYTES, GUID, [bios, root]).primary.copy(disk);
  randomBytes(440).copy(disk);
  randomBytes(60_000).copy(disk, bios.firstSector * SECTOR);
  await writeFile(path, disk);
  const tree = new FileTree(1_600_000_000);
  tree.file("boot/grub/grub.cfg", config);
  tree.file("boot/vmlinuz", KERNEL);
  tree.file("boot/initrd", randomBytes(100_000));
  tree.file("etc/hostname", "one");
  await writeExt4(tree, {
    diskPath: path,
    offset: root.firstSector * SECTOR,
    bytes: root.sectors * SECTOR,
    uuid: GUID,
    label: "root",
    created: 1_700_000_000,
  });
  return readFile(path);
}

/** The original after debugfs commands on its root. */
async function changed(...commands: string[]): Promise<Buffer> {
  const path = join(directory, "changed");
  await writeFile(path, original);
  await writeFile(join(directory, "new"), "something else");
  const offset = partitionsOf(BYTES)[1]!.firstSector * SECTOR;
  for (const command of commands) await run("debugfs", ["-w", "-R", command, `${path}?offset=${offset}`]);
  const after_ = await readFile(path);
  assert.ok(!after_.equals(original), `nothing came of ${commands.join(", ")}`);
  return after_;
}

const readerOf = (disk: Buffer): DiskReader => ({
  bytes: disk.length,
  async read(offset, bytes) {
    if (offset < 0 || offset + bytes > disk.length) throw new RangeError("past the disk's end");
    return disk.subarray(offset, offset + bytes);
  },
});

async function alike(other: Buffer): Promise<boolean> {
  const [a, b] = [await readBootFiles(readerOf(original)), await readBootFiles(readerOf(other))];
  assert.ok(a !== null);
  const same = async ({ offset, bytes }: DiskRange): Promise<boolean> =>
    original.subarray(offset, offset + bytes).equals(other.subarray(offset, offset + bytes));
  return b !== null && (await bootsAlike(a, b, same));
}

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "ingot-boot-files-"));
  original = await makeDisk(CONFIG);
});
after(() => rm(directory, { recursive: true, force: true }));

test("a disk boots as the one that it was made of, whatever else was written on it, and however it has grown", async () => {
  assert.equal(await alike(Buffer.from(original)), true);
  const new_ = join(directory, "new");
  assert.equal(await alike(await changed(`write ${new_} /etc/motd`, "rm /etc/hostname", "mkdir /boot/more")), true);
  const grown = Buffer.concat([original, Buffer.alloc(100 * MIB)]);
  partitionTable(grown.length, GUID, partitionsOf(grown.length)).primary.copy(grown, SECTOR, SECTOR);
  assert.equal(await alike(grown), true);
});

test("a disk whose boot loader, configuration, kernel or RAM disk is another does not", async () => {
  const new_ = join(directory, "new");
  for (const name of ["/boot/vmlinuz", "/boot/initrd", "/boot/grub/grub.cfg"]) {
    assert.equal(await alike(await changed(`rm ${name}`)), false, `${name} removed`);
    assert.equal(await alike(await changed(`rm ${name}`, `write ${new_} ${name}`)), false, `${name} replaced`);
  }
  const [bios, root] = partitionsOf(BYTES) as [Partition, Partition];
  const kernelAt = original.indexOf(KERNEL.subarray(0, 4096), root.firstSector * SECTOR);
  assert.ok(kernelAt > 0);
  for (const [what, at] of [
    ["boot code", 7],
    ["the loader", bios.firstSector * SECTOR + 30_000],
    ["the kernel", kernelAt + 1000],
    ["the configuration", original.indexOf(CONFIG) + CONFIG.indexOf("quiet")],
  ] as const) {
    const other = Buffer.from(original);
    other[at]! ^= 1;
    assert.equal(await alike(other), false, what);
  }
});

test("a disk that is made in another way is none of ours", async () => {
  for (const config of [
    "set timeout=5\nlinux /boot/vmlinuz\nboot\n",
    "menuentry Debian {\n linux /boot/vmlinuz\n}\n",
    "linux /boot/vmlinuz\nsource /boot/grub/custom.cfg\nboot\n",
    "linux /boot/not-there quiet\nboot\n",
    "",
  ]) {
    assert.equal(await readBootFiles(readerOf(await makeDisk(config))), null, config);
  }
  for (const disk of [Buffer.alloc(0), Buffer.alloc(512), Buffer.alloc(BYTES), randomBytes(MIB)]) {
    assert.equal(await readBootFiles(readerOf(disk)), null);
  }
  const noLoader = Buffer.from(original);
  partitionTable(BYTES, GUID, partitionsOf(BYTES).slice(1)).primary.copy(noLoader, SECTOR, SECTOR);
  assert.equal(await readBootFiles(readerOf(noLoader)), null);
});
