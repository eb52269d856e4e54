// A FAT16 filesystem as bytes: what UEFI firmware reads its boot program from. Pure, and small enough for memory.
// "FAT: General Overview of On-Disk Format", version 1.03.

const SECTOR = 512;
const RESERVED_SECTORS = 1;
const FATS = 2;
const ROOT_ENTRIES = 512;
const DIRECTORY = 0x10;
const ARCHIVE = 0x20;
/** The number of clusters alone tells FAT12, FAT16 and FAT32 apart. */
const FAT16_CLUSTERS = { least: 4085, most: 65_524 };

export interface FatOptions {
  readonly bytes: number;
  readonly label: string;
  readonly serial: number;
  /** Sectors before it on the disk. */
  readonly hiddenSectors: number;
  /** By path; every part an 8.3 name in capitals: `EFI/BOOT/BOOTX64.EFI`. */
  readonly files: ReadonlyMap<string, Buffer>;
}

interface Directory {
  readonly entries: Map<string, Directory | Buffer>;
}

/** The used part of the filesystem: what follows, up to `bytes`, is zeroes. @throws Error when the files do not fit */
export function fatImage({ bytes, label, serial, hiddenSectors, files }: FatOptions): Buffer {
  const sectors = bytes / SECTOR;
  const { sectorsPerCluster, fatSectors, clusters } = geometry(sectors);
  const clusterBytes = sectorsPerCluster * SECTOR;
  const fat: number[] = [0xfff8, 0xffff];
  const data: Buffer[] = [];

  /** Gives `content` the next free clusters, one behind another, and says which is the first (0: none). */
  const store = (content: Buffer): number => {
    if (content.length === 0) return 0;
    const first = fat.length;
    const count = Math.ceil(content.length / clusterBytes);
    for (let i = 0; i < count; i++) fat.push(i === count - 1 ? 0xffff : fat.length + 1);
    if (fat.length - 2 > clusters) throw new Error("the files do not fit the EFI system partition");
    data.push(Buffer.concat([content, Buffer.alloc(count * clusterBytes - content.length)]));
    return first;
  };
  const write = (directory: Directory, self: number, parent: number): Buffer => {
    const rows: Buffer[] = [];
    if (self !== 0) rows.push(row(".          ", DIRECTORY, self, 0), row("..         ", DIRECTORY, parent, 0));
    for (const [name, child] of [...directory.entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (Buffer.isBuffer(child)) rows.push(row(shortName(name), ARCHIVE, store(child), child.length));
      else {
        // Its cluster is taken before its content is known: its own rows name it.
        const place = store(Buffer.alloc(clusterBytes));
        const index = data.length - 1;
        const content = write(child, place, self);
        if (content.length > clusterBytes) throw new Error(`${name} has too many entries`);
        content.copy(data[index]!);
        rows.push(row(shortName(name), DIRECTORY, place, 0));
      }
    }
    return Buffer.concat(rows);
  };
  const rootRows = Buffer.concat([row(label.padEnd(11).slice(0, 11), 0x08, 0, 0), write(tree(files), 0, 0)]);

  const boot = Buffer.alloc(RESERVED_SECTORS * SECTOR);
  boot.set([0xeb, 0x3c, 0x90]);
  boot.write("MSWIN4.1", 3, "latin1"); // what the specification recommends, for readers that look
  boot.writeUInt16LE(SECTOR, 11);
  boot.writeUInt8(sectorsPerCluster, 13);
  boot.writeUInt16LE(RESERVED_SECTORS, 14);
  boot.writeUInt8(FATS, 16);
  boot.writeUInt16LE(ROOT_ENTRIES, 17);
  boot.writeUInt16LE(sectors < 0x10000 ? sectors : 0, 19);
  boot.writeUInt8(0xf8, 21);
  boot.writeUInt16LE(fatSectors, 22);
  boot.writeUInt16LE(63, 24);
  boot.writeUInt16LE(255, 26);
  boot.writeUInt32LE(hiddenSectors, 28);
  boot.writeUInt32LE(sectors < 0x10000 ? 0 : sectors, 32);
  boot.writeUInt8(0x80, 36);
  boot.writeUInt8(0x29, 38);
  boot.writeUInt32LE(serial, 39);
  boot.write(label.padEnd(11).slice(0, 11), 43, "latin1");
  boot.write("FAT16   ", 54, "latin1");
  boot.writeUInt16LE(0xaa55, 510);

  const table = Buffer.alloc(fatSectors * SECTOR);
  fat.forEach((next, cluster) => {
    table.writeUInt16LE(next, cluster * 2);
  });
  const root = Buffer.alloc(ROOT_ENTRIES * 32);
  rootRows.copy(root);
  return Buffer.concat([boot, table, table, root, ...data]);
}

function geometry(sectors: number) {
  const rootSectors = (ROOT_ENTRIES * 32) / SECTOR;
  for (let sectorsPerCluster = 1; sectorsPerCluster <= 64; sectorsPerCluster *= 2) {
    // Enough for every cluster there could be; the specification's own formula is as generous.
    const fatSectors = Math.ceil((Math.ceil(sectors / sectorsPerCluster) + 2) / (SECTOR / 2));
    const dataSectors = sectors - RESERVED_SECTORS - FATS * fatSectors - rootSectors;
    const clusters = Math.floor(dataSectors / sectorsPerCluster);
    if (clusters >= FAT16_CLUSTERS.least && clusters <= FAT16_CLUSTERS.most) {
      return { sectorsPerCluster, fatSectors, clusters };
    }
  }
  throw new Error(`no FAT16 has ${sectors} sectors`);
}

function tree(files: ReadonlyMap<string, Buffer>): Directory {
  const root: Directory = { entries: new Map() };
  for (const [path, content] of files) {
    const parts = path.split("/");
    let place = root;
    for (const part of parts.slice(0, -1)) {
      const next = place.entries.get(part) ?? { entries: new Map() };
      if (Buffer.isBuffer(next)) throw new Error(`${path}: ${part} is a file`);
      place.entries.set(part, next);
      place = next;
    }
    place.entries.set(parts.at(-1)!, content);
  }
  return root;
}

function shortName(name: string): string {
  const match = /^([A-Z0-9_-]{1,8})(?:\.([A-Z0-9_-]{1,3}))?$/.exec(name);
  if (match === null) throw new Error(`not an 8.3 name in capitals: ${name}`);
  return match[1]!.padEnd(8) + (match[2] ?? "").padEnd(3);
}

/** Dated 1 January 1980, the first day there is. */
function row(name: string, attributes: number, cluster: number, size: number): Buffer {
  const entry = Buffer.alloc(32);
  entry.write(name, 0, "latin1");
  entry.writeUInt8(attributes, 11);
  for (const at of [16, 18, 24]) entry.writeUInt16LE(0x21, at);
  entry.writeUInt16LE(cluster, 26);
  entry.writeUInt32LE(size, 28);
  return entry;
}
