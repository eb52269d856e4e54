// A bootable disk from a file tree: GPT, GRUB for BIOS and UEFI, ext4 root. Written as a sparse raw file.
import { open } from "node:fs/promises";
import { MIB } from "../base/units.ts";
import { writeFully } from "../base/write-fully.ts";
import { writeExt4 } from "./ext4.ts";
import { fatImage } from "./fat.ts";
import type { FileTree } from "./file-tree.ts";
import { layOut, PARTITION_TYPE, type Partition, partitionTable, SECTOR } from "./gpt.ts";
import { type GrubPackages, makeBootLoader } from "./grub.ts";

/** Numbers as in Debian's and Ubuntu's own cloud images: the root is partition 1 and last on the disk, so it can grow. */
export const ROOT_PARTITION = 1;
const BIOS_PARTITION = 14;
const EFI_PARTITION = 15;

export interface DiskIdentity {
  readonly diskGuid: string;
  readonly rootGuid: string;
  readonly biosGuid: string;
  readonly efiGuid: string;
  readonly filesystemUuid: string;
  readonly efiSerial: number;
}

export interface DiskOptions {
  readonly path: string;
  readonly bytes: number;
  readonly efiBytes: number;
  readonly identity: DiskIdentity;
  readonly label: string;
  readonly created: number;
  readonly grub: GrubPackages;
  readonly scratchDirectory: string;
  readonly xattrs?: ReadonlyMap<string, ReadonlyMap<string, Buffer>>;
  readonly signal?: AbortSignal | undefined;
}

/** Where the parts of a disk lie. Pure. */
export function diskLayout(bytes: number, efiBytes: number, identity: DiskIdentity) {
  const [bios, efi, root] = layOut(bytes, [
    { number: BIOS_PARTITION, type: PARTITION_TYPE.biosBoot, guid: identity.biosGuid, name: "bios", bytes: MIB },
    { number: EFI_PARTITION, type: PARTITION_TYPE.efiSystem, guid: identity.efiGuid, name: "efi", bytes: efiBytes },
    {
      number: ROOT_PARTITION,
      type: PARTITION_TYPE.linuxRootX86_64,
      guid: identity.rootGuid,
      name: "root",
      bytes: "rest",
    },
  ]) as [Partition, Partition, Partition];
  return { bios, efi, root };
}

/** Writes the disk. A file that was there is replaced. */
export async function writeDisk(tree: FileTree, options: DiskOptions): Promise<void> {
  const { path, bytes, identity, signal } = options;
  const { bios, efi, root } = diskLayout(bytes, options.efiBytes, identity);
  const loader = await makeBootLoader({
    packages: options.grub,
    scratchDirectory: options.scratchDirectory,
    coreSector: bios.firstSector,
    rootUuid: identity.filesystemUuid,
    rootPartition: ROOT_PARTITION,
    signal,
  });
  if (loader.core.length > bios.sectors * SECTOR) throw new Error("GRUB does not fit the BIOS boot partition");
  const esp = fatImage({
    bytes: efi.sectors * SECTOR,
    label: "EFI",
    serial: identity.efiSerial,
    hiddenSectors: efi.firstSector,
    files: new Map([["EFI/BOOT/BOOTX64.EFI", loader.efiProgram]]),
  });
  const { primary, backup } = partitionTable(bytes, identity.diskGuid, [bios, efi, root]);
  loader.bootCode.copy(primary);

  const disk = await open(path, "w");
  try {
    await disk.truncate(bytes);
    await writeFully(disk, primary, 0);
    await writeFully(disk, loader.core, bios.firstSector * SECTOR);
    await writeFully(disk, esp, efi.firstSector * SECTOR);
    await writeFully(disk, backup, bytes - backup.length);
  } finally {
    await disk.close();
  }
  await writeExt4(tree, {
    diskPath: path,
    offset: root.firstSector * SECTOR,
    bytes: root.sectors * SECTOR,
    uuid: identity.filesystemUuid,
    label: options.label,
    created: options.created,
    signal,
    ...(options.xattrs === undefined ? {} : { xattrs: options.xattrs }),
  });
}
