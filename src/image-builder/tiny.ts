// `ingot/tiny`: a distribution's cloud kernel, busybox, dropbear, and the few scripts in images/tiny/root.
import { readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { MIB } from "../base/units.ts";
import type { DiskIdentity } from "./disk.ts";
import type { Distribution } from "./distribution.ts";
import { bytesOf, FileTree, mergedPath, treePath } from "./file-tree.ts";
import { dependencyList, Kernel } from "./kernel.ts";
import type { PackageRequest } from "./packages.ts";
import { run } from "./program.ts";
import { ramDisk, rootModules } from "./ram-disk.ts";
import { addRecipeFiles } from "./recipe-files.ts";
import { sharedLibraries } from "./shared-libraries.ts";

export const TINY = {
  name: "ingot/tiny",
  description: "A small Linux: the distribution's cloud kernel, busybox and dropbear. Log in as ec2-user.",
  /** A whole GiB, so that the smallest volume has nothing to grow. */
  bytes: 1024 * MIB,
  efiBytes: 4 * MIB,
  // Fixed, so that two builds are equal. Volumes made from one image share them anyway.
  identity: {
    diskGuid: "1d6b2c4e-0e0a-4b6e-9c5e-5a1f0f7b1a00",
    biosGuid: "1d6b2c4e-0e0a-4b6e-9c5e-5a1f0f7b1a14",
    efiGuid: "1d6b2c4e-0e0a-4b6e-9c5e-5a1f0f7b1a15",
    rootGuid: "1d6b2c4e-0e0a-4b6e-9c5e-5a1f0f7b1a01",
    filesystemUuid: "1d6b2c4e-0e0a-4b6e-9c5e-5a1f0f7b1af5",
    efiSerial: 0x1d6b2c4e,
  } satisfies DiskIdentity,
} as const;

export const tinyPackages = ({ kernel }: Distribution): PackageRequest => ({
  packages: [
    "busybox-static",
    "dropbear-bin",
    "e2fsprogs",
    "fdisk",
    "openssh-client",
    "openssh-sftp-server",
    "util-linux",
    // For this machine, not for the image: they make its boot loader.
    "grub-common",
    "grub-pc-bin",
    "grub-efi-amd64-bin",
  ],
  kernel,
});

/**
 * Programs that busybox does not have. dropbear runs sftp-server for sftp and today's scp. The older scp, which Packer and
 * Terraform's provisioners speak by default, runs scp over there.
 */
const PROGRAMS = [
  "usr/sbin/dropbear",
  "usr/bin/dropbearkey",
  "usr/bin/dbclient",
  "usr/bin/scp",
  "usr/lib/openssh/sftp-server",
  "usr/sbin/sfdisk",
  "usr/bin/partx",
  "usr/sbin/resize2fs",
];

/** What a virtual machine of ours has, and the disk and network cards of other hypervisors that cost little. */
const MODULES = [
  "virtio_pci",
  "virtio_net",
  "virtio_blk",
  "virtio_balloon",
  "virtio_rng",
  "virtio_console",
  "evdev",
  "button",
  "pvpanic_pci",
];

/**
 * `io_timeout`: a disk whose server is away must wait, not be reset (else 30 s to aborts, then a frozen guest).
 * `loglevel` to `no_timer_check`: 0.9 of 4.6 s of the processor's time to SSH, emulated: fewer lines on the serial port
 * (the kernel's version and whatever is wrong still show), no self-tests of ciphers, no search for more ports and timers.
 */
export const tinyCommandLine = (rootGuid: string): string =>
  [
    `root=PARTUUID=${rootGuid}`,
    "rw rootwait rootfstype=ext4",
    "console=ttyS0,115200",
    "nvme_core.io_timeout=4294967295",
    "net.ifnames=0",
    "loglevel=6 cryptomgr.notests 8250.nr_uarts=1 no_timer_check",
  ].join(" ");

/** VFS_CAP_REVISION_2 with the effective flag; CAP_NET_RAW permitted. Little-endian, as linux/capability.h has it. */
const MAY_OPEN_RAW_SOCKETS = Buffer.from([0x01, 0, 0, 0x02, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/** Extended attributes, by path. */
const XATTRS: ReadonlyMap<string, ReadonlyMap<string, Buffer>> = new Map([
  ["usr/bin/ping", new Map([["security.capability", MAY_OPEN_RAW_SOCKETS]])],
]);

export interface TinySystem {
  readonly tree: FileTree;
  readonly xattrs: typeof XATTRS;
  readonly kernel: Buffer;
  /** Where the kernel can't reach its root filesystem by itself. */
  readonly initrd?: Buffer;
  readonly commandLine: string;
}

/** Puts the system together from unpacked packages. `unpacked` is a tree of all of them, merged (`/bin` is `/usr/bin`). */
export async function tinySystem(
  unpacked: FileTree,
  overlayDirectory: string,
  options: { readonly modified: number; readonly scratchDirectory: string; readonly system: string },
): Promise<TinySystem> {
  const { modified, scratchDirectory } = options;
  const tree = new FileTree(modified);
  for (const path of ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64"]) tree.directory(path);
  for (const name of ["bin", "sbin", "lib", "lib64"]) tree.symlink(name, `usr/${name}`);
  for (const path of ["boot/grub", "dev", "etc/dropbear", "home", "mnt", "opt", "proc", "run", "srv", "sys"]) {
    tree.directory(path);
  }
  for (const path of ["usr/local/bin", "usr/local/sbin", "var/lib/cloud/data", "var/log", "var/spool"]) {
    tree.directory(path);
  }
  tree.directory("root", 0o700);
  tree.directory("home/ec2-user", 0o755, 1000);
  tree.directory("lost+found", 0o700);
  for (const path of ["tmp", "var/tmp"]) tree.directory(path, 0o1777);
  tree.symlink("var/run", "/run");
  tree.symlink("etc/mtab", "../proc/self/mounts");
  // The kernel opens /dev/console before anything of ours mounts devtmpfs.
  const device = { uid: 0, gid: 0, modified, mode: 0o600, kind: "character" } as const;
  tree.set("dev/console", { ...device, major: 5, minor: 1 });
  tree.set("dev/null", { ...device, mode: 0o666, major: 1, minor: 3 });

  await addBusybox(tree, unpacked, options);
  addPrograms(tree, unpacked);
  const kernel = new Kernel(unpacked, scratchDirectory);
  await addKernel(tree, kernel);
  const first = await rootModules(kernel);
  await addRecipeFiles(tree, overlayDirectory);
  tree.file("etc/shadow", await readFile(join(overlayDirectory, "etc/shadow")), 0o600);
  tree.file("etc/hostname", "localhost\n");
  tree.file("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
  tree.file("etc/resolv.conf", "");
  tree.file(
    "etc/os-release",
    `ID=ingot-tiny\nNAME="Ingot tiny"\nPRETTY_NAME="Ingot tiny (packages of ${options.system})"\n`,
  );

  const commandLine = tinyCommandLine(TINY.identity.rootGuid);
  const made = { tree, xattrs: XATTRS, kernel: kernel.image, commandLine };
  if (first.length === 0) {
    tree.file("boot/grub/grub.cfg", `linux /boot/vmlinuz ${commandLine}\nboot\n`);
    return made;
  }
  const initrd = ramDisk({
    busybox: bytesOf(unpacked, "usr/bin/busybox"),
    modules: first,
    filesystemUuid: TINY.identity.filesystemUuid,
    modified,
  });
  tree.file("boot/initrd", initrd, 0o600);
  tree.file("boot/grub/grub.cfg", `linux /boot/vmlinuz ${commandLine}\ninitrd /boot/initrd\nboot\n`);
  return { ...made, initrd };
}

async function addBusybox(
  tree: FileTree,
  unpacked: FileTree,
  { modified, scratchDirectory }: { readonly modified: number; readonly scratchDirectory: string },
): Promise<void> {
  const busybox = bytesOf(unpacked, "usr/bin/busybox");
  tree.file("usr/bin/busybox", busybox, 0o755);
  // It is static: it runs here as it will there, and knows best what it can do.
  const program = join(scratchDirectory, "busybox");
  await writeFile(program, busybox, { mode: 0o700 });
  const applets = (await run(program, ["--list-full"])).trim().split("\n");
  for (const applet of applets) {
    const path = /^s?bin\//.test(applet) ? `usr/${applet}` : applet;
    if (basename(path) !== "busybox" && path.startsWith("usr/")) tree.symlink(path, "/usr/bin/busybox");
  }
  tree.symlink("usr/sbin/init", "/usr/bin/busybox");
  // Root has no password, so whoever may run su is root: the group wheel, as EC2's sudoers have it. SSH takes no
  // passwords, the console refuses root (etc/securetty). A copy of its own, since a set-uid busybox with a busybox.conf
  // that says the same crashes (1.35.0, walking the list that it read), and without one it would let everybody in.
  const wheel = 10;
  const su = { kind: "file", mode: 0o4750, uid: 0, gid: wheel, modified, content: busybox } as const;
  tree.set("usr/bin/su", su);
  // Debian's busybox pings through a raw socket only: a copy of its own that may open one (XATTRS), and nothing else. Set-uid
  // it would be everybody's su, which goes by the name that it is called.
  tree.file("usr/bin/ping", busybox, 0o755);
}

/** Puts in the programs and whatever libraries they need, where the dynamic linker looks without a cache. */
function addPrograms(tree: FileTree, unpacked: FileTree): void {
  for (const program of PROGRAMS) {
    tree.file(program, bytesOf(unpacked, program), 0o755);
    const { libraries, linker } = sharedLibraries(unpacked, program);
    for (const [name, path] of libraries) {
      if (name !== basename(linker?.name ?? "")) tree.file(`usr/lib/${name}`, bytesOf(unpacked, path), 0o755);
    }
    if (linker !== undefined) tree.file(mergedPath(treePath(linker.name)), bytesOf(unpacked, linker.path), 0o755);
  }
}

async function addKernel(tree: FileTree, kernel: Kernel): Promise<void> {
  const directory = `usr/lib/modules/${kernel.version}`;
  const modules = await kernel.modules(MODULES);
  for (const { path, content } of modules) tree.file(`${directory}/${path}`, content);
  tree.file(`${directory}/modules.dep`, dependencyList(modules));
  tree.file("boot/vmlinuz", kernel.image, 0o600);
}
