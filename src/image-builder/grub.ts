// GRUB for both firmwares, put in place by hand: grub-install wants a mounted filesystem and a real disk.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FileTree } from "./file-tree.ts";
import { SECTOR } from "./gpt.ts";
import { run } from "./program.ts";
import { sharedLibraries } from "./shared-libraries.ts";
import { writeOut } from "./unpack.ts";

/** Puts the parts of grub-common, grub-pc-bin and grub-efi-amd64-bin that make boot loaders into a directory. */
export async function layOutGrub(unpacked: FileTree, directory: string): Promise<GrubPackages> {
  const program = "usr/bin/grub-mkimage";
  const paths = new Map([[program, program]]);
  for (const [path, { kind }] of unpacked)
    if (kind === "file" && path.startsWith("usr/lib/grub/")) paths.set(path, path);
  // A small system may lack one of these; its C library it has, and no program takes that from elsewhere.
  for (const [name, path] of sharedLibraries(unpacked, program).libraries) {
    if (!/^(ld-linux|lib(c|m|dl|rt|pthread))[-.]/.test(name)) paths.set(path, `libraries/${name}`);
  }
  await writeOut(unpacked, directory, paths);
  return { root: directory, libraryPath: join(directory, "libraries") };
}

export interface GrubPackages {
  /** The directory that holds `usr`. */
  readonly root: string;
  /** Where the libraries of `grub-mkimage` are found, should this machine not have them. */
  readonly libraryPath: string;
}

export interface BootLoader {
  /** The boot code for sector 0, without partition table: 440 bytes. */
  readonly bootCode: Buffer;
  /** The whole content of the BIOS boot partition. */
  readonly core: Buffer;
  /** `EFI/BOOT/BOOTX64.EFI`. */
  readonly efiProgram: Buffer;
}

export interface GrubOptions {
  readonly packages: GrubPackages;
  readonly scratchDirectory: string;
  /** First sector of the BIOS boot partition. */
  readonly coreSector: number;
  /** UUID of the filesystem with /boot/grub/grub.cfg, and its partition's number, which is looked at first. */
  readonly rootUuid: string;
  readonly rootPartition: number;
  readonly signal?: AbortSignal | undefined;
}

/** Without a terminal, a serial port or a picture: only what reads a kernel from ext4, and the menu's language. */
const MODULES = ["part_gpt", "ext2", "search_fs_uuid", "linux", "normal", "configfile", "test", "echo", "all_video"];

/** Bytes of boot.img before the disk's signature and the partition table. */
const BOOT_CODE_BYTES = 440;
/** boot.S, `kernel_sector`: u64, the sector of the core's first sector. */
const KERNEL_SECTOR_AT = 0x5c;
/** boot.S, `boot_drive_check`: a jump that some BIOSes need; grub-install makes it two no-ops on hard disks. */
const DRIVE_CHECK_AT = 0x66;
/** diskboot.S: the list of the core's further sectors ends its first sector: u64 start, u16 count, u16 segment. */
const BLOCK_LIST_AT = SECTOR - 12;

/** @throws Error when GRUB's packages are not what this was written for */
export async function makeBootLoader(options: GrubOptions): Promise<BootLoader> {
  const { packages, coreSector } = options;
  const core = await makeImage("i386-pc", ["biosdisk"], options);
  const boot = await readFile(join(packages.root, "usr/lib/grub/i386-pc/boot.img"));
  if (boot.length !== SECTOR || core.length < 2 * SECTOR)
    throw new Error("GRUB's boot.img or core.img is not as known");
  boot.writeBigUInt64LE(BigInt(coreSector), KERNEL_SECTOR_AT);
  boot.writeUInt16LE(0x9090, DRIVE_CHECK_AT);
  core.writeBigUInt64LE(BigInt(coreSector + 1), BLOCK_LIST_AT);
  return { bootCode: boot.subarray(0, BOOT_CODE_BYTES), core, efiProgram: await makeImage("x86_64-efi", [], options) };
}

async function makeImage(
  format: "i386-pc" | "x86_64-efi",
  modules: readonly string[],
  { packages, scratchDirectory, rootUuid, rootPartition, signal }: GrubOptions,
): Promise<Buffer> {
  const config = join(scratchDirectory, `grub-${format}.cfg`);
  // The hint spares the search on the first disk. A second disk made from the same image has the same UUID.
  const search = `search.fs_uuid ${rootUuid} root hd0,gpt${rootPartition}\nset prefix=($root)/boot/grub\n`;
  await writeFile(config, search);
  const output = join(scratchDirectory, `grub-${format}.img`);
  const library = join(packages.root, "usr/lib/grub", format);
  const argv = ["-O", format, "-d", library, "-o", output, "-p", "/boot/grub", "-c", config, ...MODULES, ...modules];
  const env = { LD_LIBRARY_PATH: packages.libraryPath };
  await run(join(packages.root, "usr/bin/grub-mkimage"), argv, { env, signal });
  return await readFile(output);
}
