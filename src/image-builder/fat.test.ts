import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { MIB } from "../base/units.ts";
import { fatImage } from "./fat.ts";

const options = { bytes: 4 * MIB, label: "EFI", serial: 0x1234abcd, hiddenSectors: 4096 };

/** All files of a FAT16 image by path, read by its boot sector, tables and directories alone. */
function readFat(image: Buffer): Map<string, Buffer> {
  const sectorBytes = image.readUInt16LE(11);
  const clusterBytes = image[13]! * sectorBytes;
  const table = image.readUInt16LE(14) * sectorBytes;
  const tableBytes = image.readUInt16LE(22) * sectorBytes;
  const root = table + image[16]! * tableBytes;
  const rootBytes = image.readUInt16LE(17) * 32;
  assert.deepEqual(image.subarray(table, table + tableBytes), image.subarray(table + tableBytes, root));
  const chain = (first: number): Buffer => {
    const parts: Buffer[] = [];
    for (let cluster = first; cluster >= 2 && cluster < 0xfff8; cluster = image.readUInt16LE(table + cluster * 2)) {
      const at = root + rootBytes + (cluster - 2) * clusterBytes;
      parts.push(image.subarray(at, at + clusterBytes));
    }
    return Buffer.concat(parts);
  };
  const files = new Map<string, Buffer>();
  const walk = (rows: Buffer, path: string): void => {
    for (let at = 0; at < rows.length && rows[at] !== 0; at += 32) {
      const base = rows.toString("latin1", at, at + 8).trim();
      const extension = rows.toString("latin1", at + 8, at + 11).trim();
      const name = path + base + (extension === "" ? "" : `.${extension}`);
      const attributes = rows[at + 11]!;
      const content = chain(rows.readUInt16LE(at + 26));
      if (base === "." || base === ".." || attributes === 0x08) continue;
      if ((attributes & 0x10) !== 0) walk(content, `${name}/`);
      else files.set(name, content.subarray(0, rows.readUInt32LE(at + 28)));
    }
  };
  walk(image.subarray(root, root + rootBytes), "");
  return files;
}

test("every file reads back by its path", () => {
  const part = fc.stringMatching(/^[A-Z0-9]{1,8}$/);
  const path = fc
    .tuple(
      fc.array(
        part.map((name) => `D${name.slice(1)}`),
        { maxLength: 3 },
      ),
      part.map((name) => `${name}.EFI`),
    )
    .map(([directories, file]) => [...directories, file].join("/"));
  const content = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.constant(new Uint8Array(300_001).fill(7)));
  fc.assert(
    fc.property(fc.dictionary(path, content, { maxKeys: 8 }), (dictionary) => {
      const files = new Map(Object.entries(dictionary).map(([name, bytes]) => [name, Buffer.from(bytes)]));
      const image = fatImage({ ...options, files });
      const byName = (map: Map<string, Buffer>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
      assert.deepEqual(byName(readFat(image)), byName(files));
    }),
    { numRuns: 50 },
  );
});

test("names that FAT cannot hold and files that do not fit are refused", () => {
  const withFile = (name: string, bytes: number) =>
    fatImage({ ...options, files: new Map([[name, Buffer.alloc(bytes)]]) });
  assert.throws(() => withFile("EFI/BOOT/bootx64.efi", 1), /not an 8\.3 name/);
  assert.throws(() => withFile("BIG.EFI", 4 * MIB), /do not fit/);
});
