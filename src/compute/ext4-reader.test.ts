import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { MIB } from "../base/units.ts";
import { writeExt4 } from "../image-builder/ext4.ts";
import { FileTree } from "../image-builder/file-tree.ts";
import type { DiskReader } from "../model/disk.ts";
import { type DiskFile, Ext4Reader, Unreadable } from "./ext4-reader.ts";

const OFFSET = 2 * MIB;
const BYTES = 64 * MIB;

/** A disk with a real ext4, made by mke2fs and debugfs. */
async function diskWith(t: TestContext, tree: FileTree): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), "ingot-ext4-reader-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const diskPath = join(directory, "disk");
  const disk = await open(diskPath, "w");
  await disk.truncate(OFFSET + BYTES);
  await disk.close();
  const uuid = "1d6b2c4e-0e0a-4b6e-9c5e-5a1f0f7b1af5";
  await writeExt4(tree, { diskPath, offset: OFFSET, bytes: BYTES, uuid, label: "test", created: 1_700_000_000 });
  return readFile(diskPath);
}

const readerOf = (disk: Buffer): DiskReader => ({
  bytes: disk.length,
  async read(offset, bytes) {
    if (offset < 0 || offset + bytes > disk.length) throw new RangeError("past the disk's end");
    return Buffer.from(disk.subarray(offset, offset + bytes));
  },
});

function contentOf(disk: Buffer, { bytes, pieces }: DiskFile): Buffer {
  const content = Buffer.alloc(bytes);
  for (const piece of pieces) disk.copy(content, piece.at, piece.offset, piece.offset + piece.bytes);
  return content;
}

function sample(): { tree: FileTree; files: Map<string, Buffer> } {
  const holes = Buffer.concat([randomBytes(9000), Buffer.alloc(300_000), randomBytes(70_000), Buffer.alloc(50_000)]);
  const files = new Map<string, Buffer>([
    ["empty", Buffer.alloc(0)],
    ["boot/grub/grub.cfg", Buffer.from("linux /boot/vmlinuz quiet\nboot\n")],
    ["boot/vmlinuz", randomBytes(5 * MIB + 123)],
    ["boot/holes", holes],
    ["a/b/c/d/e/one block", randomBytes(4096)],
    ...Array.from({ length: 2000 }, (_, i) => [`many/${"n".repeat(60)}${i}`, Buffer.from(`${i}`)] as const),
  ]);
  const tree = new FileTree(1_600_000_000);
  for (const [path, content] of files) tree.file(path, content);
  tree.symlink("link", "boot/vmlinuz");
  return { tree, files };
}

test("every file of a real filesystem is found, with all of its bytes", async (t) => {
  const { tree, files } = sample();
  const disk = await diskWith(t, tree);
  const reader = await Ext4Reader.open(readerOf(disk), OFFSET);
  for (const [path, content] of files) {
    assert.ok(contentOf(disk, await reader.file(`/${path}`)).equals(content), path);
  }
  const { pieces } = await reader.file("/boot/holes");
  assert.ok(pieces.reduce((sum, { bytes }) => sum + bytes, 0) < 100_000, "its holes are not on the disk");
});

test("what is no file, or is not there, is told", async (t) => {
  const disk = await diskWith(t, sample().tree);
  const reader = await Ext4Reader.open(readerOf(disk), OFFSET);
  for (const path of ["/boot", "/boot/nothing", "/boot/vmlinuz/below", "/link", "/", "/many/n"]) {
    await assert.rejects(reader.file(path), Unreadable, path);
  }
  await assert.rejects(Ext4Reader.open(readerOf(disk), 0), Unreadable);
  await assert.rejects(Ext4Reader.open(readerOf(disk), disk.length - 100), RangeError);
});

test("a damaged filesystem gives a file, or says that it can't; it never hangs, or fails in another way", async (t) => {
  const { tree } = sample();
  const disk = await diskWith(t, tree);
  // Superblock, descriptors, inodes and directories lie at the beginning.
  const damage = fc.array(fc.tuple(fc.nat(3 * MIB), fc.nat(255)), { minLength: 1, maxLength: 2000 });
  const targeted = fc.array(fc.tuple(fc.nat(4096), fc.nat(255)), { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(damage, targeted, async (anywhere, head) => {
      const copy = Buffer.from(disk.subarray(0, OFFSET + 8 * MIB));
      for (const [at, value] of [...anywhere, ...head]) copy[OFFSET + at] = value;
      // Else nearly nothing gets past it.
      copy.writeUInt16LE(0xef53, OFFSET + 1024 + 0x38);
      try {
        const file = await (await Ext4Reader.open(readerOf(copy), OFFSET)).file("/boot/vmlinuz");
        assert.ok(file.pieces.length <= 4096);
      } catch (error) {
        assert.ok(error instanceof Unreadable || error instanceof RangeError, String(error));
      }
    }),
    { numRuns: 200 },
  );
});
