import assert from "node:assert/strict";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { chain } from "../base/errors.ts";
import { MIB } from "../base/units.ts";
import { writeExt4 } from "./ext4.ts";
import { FileTree } from "./file-tree.ts";
import { run } from "./program.ts";

const OFFSET = 2 * MIB;
const UUID = "1d6b2c4e-0e0a-4b6e-9c5e-5a1f0f7b1af5";

async function write(t: TestContext, tree: FileTree): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "ingot-ext4-test-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const diskPath = join(directory, "disk");
  const disk = await open(diskPath, "w");
  await disk.truncate(OFFSET + 64 * MIB);
  await disk.close();
  await writeExt4(tree, {
    diskPath,
    offset: OFFSET,
    bytes: 64 * MIB,
    uuid: UUID,
    label: "test",
    created: 1_700_000_000,
  });
  return diskPath;
}

const debugfs = async (disk: string, command: string): Promise<string> =>
  await run("debugfs", ["-R", command, `${disk}?offset=${OFFSET}`]);

function sample(order: 1 | -1): FileTree {
  const tree = new FileTree(1_600_000_000);
  const actions = [
    () => tree.directory("lost+found", 0o700),
    () => tree.file('bin/a file with "quotes" and spaces', "content", 0o4755),
    () => tree.file("bin/big", Buffer.alloc(300_000, "x")),
    () => tree.symlink("lib/long", "x".repeat(200)),
    () => tree.symlink("lib/short", "../bin/big"),
    () => tree.set("home/me", { kind: "directory", mode: 0o1777, uid: 1000, gid: 100_000, modified: 1_500_000_000 }),
    () => tree.set("dev/null", { kind: "character", mode: 0o666, uid: 0, gid: 0, modified: 5, major: 1, minor: 3 }),
    () => tree.set("bin/hard", { kind: "hardlink", target: "bin/big", mode: 0, uid: 0, gid: 0, modified: 0 }),
    ...Array.from({ length: 300 }, (_, i) => () => tree.file(`many/${"n".repeat(100)}${i}`, `${i}`)),
  ];
  for (const act of order === 1 ? actions : actions.reverse()) act();
  return tree;
}

test("the tree is there as it was given, and e2fsck finds nothing to say", async (t) => {
  const disk = await write(t, sample(1));
  await run("e2fsck", ["-f", "-n", `${disk}?offset=${OFFSET}`]);
  const quoted = '"/bin/a file with ""quotes"" and spaces"';
  assert.equal(await debugfs(disk, `cat ${quoted}`), "content");
  assert.match(await debugfs(disk, `stat ${quoted}`), /Type: regular +Mode: +04755[\s\S]*User: +0 +Group: +0 /);
  assert.match(await debugfs(disk, "stat /home/me"), /Type: directory +Mode: +01777[\s\S]*User: +1000 +Group: 100000/);
  assert.match(await debugfs(disk, "stat /home/me"), / mtime: 0x59682f00/);
  assert.match(
    await debugfs(disk, "stat /dev/null"),
    /Type: character special[\s\S]*Device major\/minor number: 01:03/,
  );
  assert.match(await debugfs(disk, "stat /bin/hard"), /Links: 2/);
  assert.match(await debugfs(disk, "stat /lib/short"), /Fast link dest: "..\/bin\/big"/);
  assert.equal(await debugfs(disk, "cat /lib/long"), "x".repeat(200));
  assert.equal(await debugfs(disk, `cat /many/${"n".repeat(100)}299`), "299");
});

test("the same tree gives the same bytes, in whatever order it was put together", async (t) => {
  const [one, other] = [await write(t, sample(1)), await write(t, sample(-1))];
  assert.ok((await readFile(one)).equals(await readFile(other)));
});

test("a tree that does not fit is an error", async (t) => {
  const tree = new FileTree(0);
  tree.file("big", Buffer.alloc(80 * MIB, "x"));
  await assert.rejects(write(t, tree), (error) => {
    assert.match(chain(error), /write the root filesystem of .*: debugfs: .*Could not allocate block/);
    return true;
  });
});
