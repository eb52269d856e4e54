import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { applyWrite, OWNER, temporaryStore, writeDisk } from "../../test/support/storage-disk.ts";
import { newId } from "../base/ids.ts";
import { MIB } from "../base/units.ts";
import { DiskFormatError, exportDisk, importDisk } from "./import-disk.ts";

function someDisk(): Buffer {
  const disk = Buffer.alloc(16 * MIB);
  applyWrite(disk, { block: 20, blocks: 900, seed: 3 });
  randomBytes(MIB).copy(disk, 9 * MIB);
  return disk;
}

const qemuImg = (...argv: string[]): void => {
  execFileSync("qemu-img", argv, { stdio: ["ignore", "ignore", "inherit"] });
};

for (const [format, qemu, options] of [
  ["raw", "raw", ""],
  ["qcow2", "qcow2", ""],
  ["vmdk", "vmdk", "subformat=monolithicSparse"],
  ["vmdk", "vmdk", "subformat=streamOptimized"],
  ["vhd", "vpc", "subformat=dynamic,force_size=on"],
  ["vhd", "vpc", "subformat=fixed,force_size=on"],
  ["vhdx", "vhdx", ""],
] as const) {
  test(`${format} ${options} is imported to the byte`, async (t) => {
    const { store, directory } = await temporaryStore(t);
    const disk = someDisk();
    await writeDisk(join(directory, "disk"), disk);
    const path = join(directory, `disk.${format}`);
    qemuImg(
      "convert",
      "-f",
      "raw",
      "-O",
      qemu,
      ...(options === "" ? [] : ["-o", options]),
      join(directory, "disk"),
      path,
    );
    const id = newId("snapshot");
    const progress: number[] = [];
    const snapshot = await importDisk(
      store,
      { owner: OWNER, path, format, snapshotId: id },
      { scratch: directory, onProgress: ({ doneBytes, totalBytes }) => progress.push(doneBytes / totalBytes) },
    );
    assert.ok(snapshot.bytes >= disk.length);
    assert.ok((await (await store.open(id)).read(0, disk.length)).equals(disk));
    assert.equal(progress.at(-1), 1);
    assert.deepEqual(
      progress,
      [...progress].sort((a, b) => a - b),
    );
    assert.deepEqual(
      (await readdir(directory)).filter((name) => name.startsWith("ingot-import-")),
      [],
    );
  });
}

test("an OVA's first disk is imported", async (t) => {
  const { store, directory } = await temporaryStore(t);
  const disk = someDisk();
  await writeDisk(join(directory, "disk"), disk);
  qemuImg(
    "convert",
    "-f",
    "raw",
    "-O",
    "vmdk",
    "-o",
    "subformat=streamOptimized",
    join(directory, "disk"),
    join(directory, "vm-disk1.vmdk"),
  );
  await writeFile(
    join(directory, "vm.ovf"),
    `<?xml version="1.0"?><Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>
     <File ovf:href="vm-disk1.vmdk" ovf:id="file1" ovf:size="1"/></References>
     <DiskSection><Disk ovf:capacity="16" ovf:diskId="vmdisk1" ovf:fileRef="file1"/></DiskSection></Envelope>`,
  );
  execFileSync("tar", ["--format=ustar", "-cf", join(directory, "vm.ova"), "-C", directory, "vm.ovf", "vm-disk1.vmdk"]);
  const id = newId("snapshot");
  await importDisk(
    store,
    { owner: OWNER, path: join(directory, "vm.ova"), format: "ova", snapshotId: id },
    { scratch: directory },
  );
  assert.ok((await (await store.open(id)).read(0, disk.length)).equals(disk));
});

test("files that name other files import nothing, and say why", async (t) => {
  const { store, directory } = await temporaryStore(t);
  const at = (name: string): string => join(directory, name);
  await writeDisk(at("disk"), someDisk());
  qemuImg("create", "-q", "-u", "-f", "qcow2", "-b", "/etc/shadow", "-F", "raw", at("backing.qcow2"), "1M");
  qemuImg("create", "-q", "-u", "-f", "qcow2", "-b", "nbd://127.0.0.1/x", "-F", "raw", at("protocol.qcow2"), "1M");
  qemuImg("create", "-q", "-f", "qcow2", "-o", `data_file=${at("data")},data_file_raw=on`, at("data.qcow2"), "1M");
  await writeFile(
    at("flat.vmdk"),
    '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8 FLAT "/etc/shadow" 0\n',
  );
  qemuImg("convert", "-f", "raw", "-O", "vmdk", at("disk"), at("sparse.vmdk"));
  const sparse = await readFile(at("sparse.vmdk"));
  const hostile = sparse.toString("latin1").replace(/RW \d+ SPARSE "[^"]*"/, 'RW 8 FLAT "/etc/passwd" 0');
  await writeFile(at("extent.vmdk"), Buffer.from(hostile, "latin1"));
  const parent = Buffer.alloc(1024);
  parent.write("conectix", 512);
  parent.writeUInt32BE(4, 512 + 60);
  await writeFile(at("parent.vhd"), parent);
  await writeFile(at("text.qcow2"), "not a disk at all");
  for (const [name, format, reason] of [
    ["backing.qcow2", "qcow2", /names a backing file \("\/etc\/shadow"\)/],
    ["protocol.qcow2", "qcow2", /names a backing file \("nbd:\/\/127/],
    ["data.qcow2", "qcow2", /keeps its data in another file/],
    ["flat.vmdk", "vmdk", /hold their data themselves/],
    ["extent.vmdk", "vmdk", /names other files/],
    ["parent.vhd", "vhd", /names a parent/],
    ["text.qcow2", "qcow2", /not a qcow2 file/],
    ["text.qcow2", "vhdx", /not a VHDX file/],
    ["text.qcow2", "ova", /OVA|OVF/],
  ] as const) {
    const id = newId("snapshot");
    await assert.rejects(
      importDisk(store, { owner: OWNER, path: at(name), format, snapshotId: id }, { scratch: directory }),
      (error) => {
        assert.ok(error instanceof DiskFormatError, String(error));
        assert.match(error.message, reason);
        return true;
      },
    );
    assert.equal(await store.has(id), false);
  }
  assert.deepEqual(
    (await readdir(directory)).filter((name) => name.startsWith("ingot-import-")),
    [],
  );
});

test("a disk that claims to be huge is refused before a byte of it is written", async (t) => {
  const { store, directory } = await temporaryStore(t);
  qemuImg("create", "-q", "-f", "qcow2", join(directory, "huge.qcow2"), "64T");
  await assert.rejects(
    importDisk(store, {
      owner: OWNER,
      path: join(directory, "huge.qcow2"),
      format: "qcow2",
      snapshotId: newId("snapshot"),
    }),
    /at most \d+ are taken/,
  );
});

test("a snapshot goes out as qcow2, vmdk and raw, and comes back the same", async (t) => {
  let stop: (() => Promise<void>) | undefined;
  t.after(() => stop?.());
  const { store, directory } = await temporaryStore(t);
  const server = store.blockServer({ cacheBytes: 4 * MIB });
  stop = () => server.stop();
  await server.ensure();
  const disk = someDisk();
  await writeDisk(join(directory, "disk"), disk);
  const id = newId("snapshot");
  const { digest } = await store.capture({
    owner: OWNER,
    snapshotId: id,
    bytes: disk.length,
    base: null,
    source: { kind: "file", path: join(directory, "disk") },
  });
  for (const [format, compress] of [
    ["raw", false],
    ["qcow2", true],
    ["vmdk", true],
    ["vmdk", false],
  ] as const) {
    const path = join(directory, `out-${compress}.${format}`);
    await exportDisk(server.export(id, disk.length), path, { format, compress });
    await assert.rejects(exportDisk(server.export(id, disk.length), path, { format }), /EEXIST/);
    const again = newId("snapshot");
    assert.equal(
      (await importDisk(store, { owner: OWNER, path, format, snapshotId: again }, { scratch: directory })).digest,
      digest,
    );
  }
});
