// The way from a kernel to its root filesystem where the drivers for that are modules, as in a distribution's general
// kernel: a few files that the kernel unpacks first, of which `/init` loads the modules, finds the root and goes on there.
//
// A cloud's kernel (Debian's) has these built in and needs none of it, which saves its guests half a second.
import { cpioArchive } from "./cpio.ts";
import { FileTree } from "./file-tree.ts";
import type { Kernel, KernelModule } from "./kernel.ts";

/** Without these an image boots nowhere: a kernel has each of them, one way or the other. */
const NEEDED = ["nvme", "ext4"] as const;

/**
 * What is loaded before the root is looked for, in this order; what the kernel does not have as a module it does not need.
 * Checksums first: ext4 asks for crc32c by what it does, which only modprobe's lists would find.
 */
const MODULES = ["crc32c_generic", "crc32c_intel", "virtio_pci", "virtio_blk", ...NEEDED];

/** The modules to begin with; none when the kernel finds its root by itself. @throws Error when it can't at all */
export async function rootModules(kernel: Kernel): Promise<readonly KernelModule[]> {
  for (const name of NEEDED) {
    if (!kernel.isBuiltIn(name) && !kernel.hasModule(name)) {
      throw new Error(`the kernel ${kernel.version} has no ${name}, built in or as a module`);
    }
  }
  return NEEDED.every((name) => kernel.isBuiltIn(name)) ? [] : kernel.modules(MODULES);
}

export interface RamDiskOptions {
  /** Static. */
  readonly busybox: Buffer;
  readonly modules: readonly KernelModule[];
  readonly filesystemUuid: string;
  readonly modified: number;
}

/** `s_uuid`, in the superblock that begins at 1024. */
const EXT4_UUID_AT = 1024 + 0x68;

/**
 * The first disk is the instance's own (several may have been made from one image and be alike), so disks are looked at in
 * the order of their names. What fails ends in a panic, as without a RAM disk, with its last words above. Debian's busybox has no
 * blkid, and its findfs takes any of several that are alike. It waits as `rootwait` does: a disk may come late, and there is nothing else to do.
 */
const initScript = (uuid: string): string => `#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
looked=0
while :; do
  for device in /dev/nvme?n?p* /dev/nvme?n? /dev/vd?? /dev/vd? /dev/sd?? /dev/sd?; do
    [ -b "$device" ] || continue
    [ "$(od -An -v -tx1 -j${EXT4_UUID_AT} -N16 "$device" 2> /dev/null | tr -d ' \\n')" != ${uuid} ] || { root=$device; break 2; }
  done
  looked=$((looked + 1))
  [ "$looked" != 600 ] || echo 'ram disk: still waiting for the root filesystem ${uuid}' > /dev/console
  sleep 0.05
done
mount -t ext4 -o rw "$root" /root || exit 1
umount /dev /sys /proc
exec switch_root /root /sbin/init
`;

export function ramDisk({ busybox, modules, filesystemUuid, modified }: RamDiskOptions): Buffer {
  const tree = new FileTree(modified);
  for (const path of ["bin", "dev", "modules", "proc", "root", "sys"]) tree.directory(path);
  // The kernel opens it for /init before that mounts anything.
  tree.set("dev/console", { kind: "character", major: 5, minor: 1, mode: 0o600, uid: 0, gid: 0, modified });
  tree.file("bin/busybox", busybox, 0o755);
  tree.file("init", initScript(filesystemUuid.replaceAll("-", "")), 0o755);
  for (const { name, content } of modules) tree.file(`modules/${name}.ko`, content);
  tree.file("modules/order", modules.map(({ name }) => `${name}.ko\n`).join(""));
  return cpioArchive(tree);
}
