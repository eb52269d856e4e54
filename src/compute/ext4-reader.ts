// Finds files in an ext4 filesystem without mounting it: where on the disk their bytes lie.
//
// It reads what a boot loader would: the journal is not replayed. The disk is a guest's, so nothing in it is believed:
// every length is bounded, every place is looked at by a reader that knows the disk's end, and what is not understood, or
// makes no sense, is told apart from nothing by `Unreadable` alone.
// Layout: the kernel's Documentation/filesystems/ext4.
import type { DiskRange, DiskReader } from "../model/disk.ts";

export interface DiskFile {
  readonly bytes: number;
  /** In the file's order, joined where they touch. What lies between them, or after the last, reads as zeroes. */
  readonly pieces: readonly FilePiece[];
}

export interface FilePiece extends DiskRange {
  /** Where in the file. */
  readonly at: number;
}

/** Not a filesystem, or a file, that this reads. */
export class Unreadable extends Error {
  override readonly name = "Unreadable";
}

const SUPERBLOCK_AT = 1024;
const MAGIC = 0xef53;
const EXTENT_MAGIC = 0xf30a;
const INCOMPAT = { filetype: 0x2, recover: 0x4, extents: 0x40, bits64: 0x80, flexBg: 0x200, checksumSeed: 0x2000 };
const KNOWN_INCOMPAT = Object.values(INCOMPAT).reduce((all, one) => all | one, 0);
const INODE_EXTENTS = 0x80000;
const ROOT_INODE = 2;
const TYPE_MASK = 0xf000;
const DIRECTORY = 0x4000;
const REGULAR = 0x8000;
/** An extent longer than this is allocated and not written, by as much: it reads as zeroes. */
const MAX_WRITTEN_BLOCKS = 32_768;

const MAX_DIRECTORY_BYTES = 4 << 20;
const MAX_FILE_BYTES = 2 ** 30;
const MAX_EXTENTS = 4096;
const MAX_DEPTH = 5;

interface Inode {
  readonly mode: number;
  readonly bytes: number;
  readonly flags: number;
  /** The root of its extent tree. */
  readonly tree: Buffer;
}

export class Ext4Reader {
  readonly #disk: DiskReader;
  readonly #at: number;
  readonly #blockBytes: number;
  readonly #inodesPerGroup: number;
  readonly #inodeBytes: number;
  readonly #descriptorBytes: number;
  readonly #descriptorsAt: number;

  private constructor(disk: DiskReader, at: number, superblock: Buffer) {
    if (superblock.readUInt16LE(0x38) !== MAGIC) throw new Unreadable("no ext4");
    const incompat = superblock.readUInt32LE(0x60);
    if ((incompat & ~KNOWN_INCOMPAT) !== 0 || (incompat & INCOMPAT.filetype) === 0) {
      throw new Unreadable(`ext4 with features 0x${incompat.toString(16)}`);
    }
    const shift = superblock.readUInt32LE(0x18);
    if (shift > 6) throw new Unreadable("ext4 with impossible blocks");
    this.#disk = disk;
    this.#at = at;
    this.#blockBytes = 1024 << shift;
    this.#inodesPerGroup = superblock.readUInt32LE(0x28);
    this.#inodeBytes = superblock.readUInt16LE(0x58);
    this.#descriptorBytes = incompat & INCOMPAT.bits64 ? superblock.readUInt16LE(0xfe) : 32;
    this.#descriptorsAt = superblock.readUInt32LE(0x14) + 1;
    if (this.#inodesPerGroup === 0 || this.#inodeBytes < 128 || this.#descriptorBytes < 32) {
      throw new Unreadable("ext4 with impossible sizes");
    }
  }

  /** @param at  where the filesystem begins on the disk. @throws Unreadable */
  static async open(disk: DiskReader, at: number): Promise<Ext4Reader> {
    return new Ext4Reader(disk, at, await disk.read(at + SUPERBLOCK_AT, 1024));
  }

  /**
   * A regular file by its absolute path, without symbolic links. Costs some reads of a block for each part of the path.
   * @throws Unreadable when there is none
   */
  async file(path: string): Promise<DiskFile> {
    let inode = await this.#inode(ROOT_INODE);
    for (const name of path.split("/").filter((part) => part !== "")) {
      if ((inode.mode & TYPE_MASK) !== DIRECTORY) throw new Unreadable(`${path}: not below a directory`);
      inode = await this.#inode(await this.#entry(inode, name));
    }
    if ((inode.mode & TYPE_MASK) !== REGULAR) throw new Unreadable(`${path} is no file`);
    return { bytes: inode.bytes, pieces: await this.#pieces(inode, MAX_FILE_BYTES) };
  }

  async #inode(number: number): Promise<Inode> {
    if (number < 1) throw new Unreadable("an impossible inode");
    const group = Math.floor((number - 1) / this.#inodesPerGroup);
    const descriptor = await this.#disk.read(
      this.#block(this.#descriptorsAt) + group * this.#descriptorBytes,
      this.#descriptorBytes,
    );
    const high = this.#descriptorBytes >= 64 ? descriptor.readUInt32LE(0x28) : 0;
    const table = high * 2 ** 32 + descriptor.readUInt32LE(0x8);
    const place = this.#block(table) + ((number - 1) % this.#inodesPerGroup) * this.#inodeBytes;
    const bytes = await this.#disk.read(place, 128);
    return {
      mode: bytes.readUInt16LE(0),
      bytes: bytes.readUInt32LE(0x6c) * 2 ** 32 + bytes.readUInt32LE(4),
      flags: bytes.readUInt32LE(0x20),
      tree: bytes.subarray(0x28, 0x28 + 60),
    };
  }

  /** The inode of a name in a directory. Index blocks of a large one look like blocks without names. */
  async #entry(directory: Inode, name: string): Promise<number> {
    const wanted = Buffer.from(name);
    for (const { offset, bytes } of await this.#pieces(directory, MAX_DIRECTORY_BYTES)) {
      const entries = await this.#disk.read(offset, bytes);
      for (let at = 0; at + 8 <= entries.length; ) {
        const length = entries.readUInt16LE(at + 4);
        if (length < 8 || at + length > entries.length) throw new Unreadable("a directory that makes no sense");
        const inode = entries.readUInt32LE(at);
        const end = at + 8 + entries.readUInt8(at + 6);
        if (inode !== 0 && end <= at + length && entries.subarray(at + 8, end).equals(wanted)) return inode;
        at += length;
      }
    }
    throw new Unreadable(`there is no ${name}`);
  }

  async #pieces(inode: Inode, most: number): Promise<FilePiece[]> {
    if ((inode.flags & INODE_EXTENTS) === 0) throw new Unreadable("a file without extents");
    if (inode.bytes > most) throw new Unreadable("a file that is too large");
    const pieces: { at: number; offset: number; bytes: number }[] = [];
    let extents = 0;
    let next = 0;
    const walk = async (node: Buffer, depth: number): Promise<void> => {
      const count = node.readUInt16LE(2);
      if (node.readUInt16LE(0) !== EXTENT_MAGIC || node.readUInt16LE(6) !== depth || 12 + count * 12 > node.length) {
        throw new Unreadable("an extent tree that makes no sense");
      }
      for (let entry = 1; entry <= count; entry++) {
        if (++extents > MAX_EXTENTS) throw new Unreadable("a file in too many pieces");
        const at = entry * 12;
        if (depth > 0) {
          const block = node.readUInt16LE(at + 8) * 2 ** 32 + node.readUInt32LE(at + 4);
          await walk(await this.#disk.read(this.#block(block), this.#blockBytes), depth - 1);
          continue;
        }
        const first = node.readUInt32LE(at);
        const blocks = node.readUInt16LE(at + 4);
        if (first < next || blocks === 0) throw new Unreadable("an extent tree that makes no sense");
        next = first + (blocks > MAX_WRITTEN_BLOCKS ? blocks - MAX_WRITTEN_BLOCKS : blocks);
        const start = first * this.#blockBytes;
        const bytes = Math.min(blocks * this.#blockBytes, inode.bytes - start);
        if (blocks > MAX_WRITTEN_BLOCKS || bytes <= 0) continue;
        const offset = this.#block(node.readUInt16LE(at + 6) * 2 ** 32 + node.readUInt32LE(at + 8));
        const last = pieces.at(-1);
        if (last !== undefined && last.at + last.bytes === start && last.offset + last.bytes === offset) {
          last.bytes += bytes;
        } else pieces.push({ at: start, offset, bytes });
      }
    };
    const depth = inode.tree.readUInt16LE(6);
    if (depth > MAX_DEPTH) throw new Unreadable("an extent tree that makes no sense");
    await walk(inode.tree, depth);
    return pieces;
  }

  #block(number: number): number {
    return this.#at + number * this.#blockBytes;
  }
}
