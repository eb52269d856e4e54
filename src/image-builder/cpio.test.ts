import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { cpioArchive } from "./cpio.ts";
import { FileTree } from "./file-tree.ts";

function sample(): FileTree {
  const tree = new FileTree(1_700_000_000);
  tree.file("init", "#!/bin/sh\n", 0o755);
  tree.file("a/odd", "abcde");
  tree.symlink("a/link", "odd");
  tree.directory("empty", 0o700);
  return tree;
}

test("an archive's headers and contents start at multiples of four, and it ends with its trailer", () => {
  const archive = cpioArchive(sample());
  assert.equal(archive.length % 4, 0);
  assert.equal(archive.toString("latin1", 0, 6), "070701");
  assert.match(archive.toString("latin1"), /TRAILER!!!\0+$/);
  assert.deepEqual(cpioArchive(sample()), archive, "the same tree gives the same bytes");
});

test("a hard link is refused: the kernel would make an empty file of it", () => {
  const tree = sample();
  tree.set("b", { kind: "hardlink", target: "init", mode: 0o644, uid: 0, gid: 0, modified: 0 });
  assert.throws(() => cpioArchive(tree), /hard links/);
});

const noCpio = spawnSync("cpio", ["--version"]).status === 0 ? false : "there is no cpio program";

test("cpio unpacks what was packed", { skip: noCpio }, (t) => {
  const directory = mkdtempSync(join(tmpdir(), "ingot-cpio-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  execFileSync("cpio", ["-idm", "--quiet"], { cwd: directory, input: cpioArchive(sample()) });
  assert.equal(readFileSync(join(directory, "a/odd"), "utf8"), "abcde");
  assert.equal(readlinkSync(join(directory, "a/link")), "odd");
  const init = statSync(join(directory, "init"));
  assert.deepEqual([init.mode & 0o7777, init.mtimeMs], [0o755, 1_700_000_000_000]);
});
