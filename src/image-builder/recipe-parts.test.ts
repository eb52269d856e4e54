import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";
import { parseOsRelease } from "./distribution.ts";
import { moduleDependencies, neededLibraries } from "./elf.ts";
import { FileTree, mergedPath, treePath } from "./file-tree.ts";
import { parseUris } from "./packages.ts";

test("apt-get's list of downloads: packages only, sorted by name", () => {
  const printed = `'http://mirror/pool/z/zlib1g_1%3a1.2_amd64.deb' zlib1g_1%3a1.2_amd64.deb 86684 SHA256:aa
'http://mirror/pool/l/libc6_2.36_amd64.deb' libc6_2.36_amd64.deb 2759320 SHA256:bb
Reading package lists...
`;
  assert.deepEqual(parseUris(printed), [
    { name: "libc6", file: "libc6_2.36_amd64.deb", bytes: 2_759_320, hash: "SHA256:bb" },
    { name: "zlib1g", file: "zlib1g_1%3a1.2_amd64.deb", bytes: 86_684, hash: "SHA256:aa" },
  ]);
});

test("os-release: quoted or not; an unknown system says its name", () => {
  assert.equal(parseOsRelease('ID=debian\nVERSION_ID="13"\n').kernel, "linux-image-cloud-amd64");
  assert.equal(parseOsRelease("ID='ubuntu'\nVERSION_ID=\"24.04\"\n").kernel, "linux-image-virtual");
  assert.throws(() => parseOsRelease('ID=arch\nPRETTY_NAME="Arch Linux"\n'), /this is Arch Linux/);
});

test("an ELF program's libraries are those that the dynamic linker loads", async () => {
  const { libraries, interpreter } = neededLibraries(await readFile(process.execPath));
  assert.ok(libraries.includes("libc.so.6"), `${libraries}`);
  assert.equal(interpreter, "/lib64/ld-linux-x86-64.so.2");
  assert.throws(() => neededLibraries(Buffer.from("#!/bin/sh\n")), /not a 64-bit/);
});

test("a module's dependencies are written with underscores", () => {
  assert.deepEqual(moduleDependencies(Buffer.from("\0license=GPL\0depends=net_failover,virtio-ring\0alias=x\0")), [
    "net_failover",
    "virtio_ring",
  ]);
  assert.deepEqual(moduleDependencies(Buffer.from("\0license=GPL\0depends=\0")), []);
});

test("a tree's paths never leave it, and a directory comes before what it holds", () => {
  assert.equal(treePath("./usr//lib/x/"), "usr/lib/x");
  assert.throws(() => treePath("usr/../../etc"), /leaves the tree/);
  const tree = new FileTree(1);
  tree.file("b/c/d", "");
  tree.file("b-c", "");
  assert.deepEqual(
    [...tree].map(([path]) => path),
    ["b", "b-c", "b/c", "b/c/d"],
  );
  assert.throws(() => tree.file("b-c/e", ""), /b-c is not a directory/);
});

test("what distributions moved into usr is found there", () => {
  assert.equal(mergedPath("lib64/ld.so"), "usr/lib64/ld.so");
  assert.equal(mergedPath("sbin"), "usr/sbin");
  assert.equal(mergedPath("libexec/x"), "libexec/x");
});
