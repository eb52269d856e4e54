// `ingot/debian-12`: a whole Debian with systemd, OpenSSH and cloud-init, as mmdebstrap puts it together.
//
// What a hook in the new system would do (enable a service, remove a key) is done to the tree here: it works the same
// for root and for ordinary users, and nothing of the new system runs except its packages' own scripts.
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { MIB } from "../base/units.ts";
import type { DiskIdentity } from "./disk.ts";
import { FileTree } from "./file-tree.ts";
import type { PackageRequest } from "./packages.ts";
import { stream } from "./program.ts";
import { readTar } from "./tar.ts";

export const DEBIAN_12 = {
  name: "ingot/debian-12",
  description: "Debian 12 (bookworm) with systemd, OpenSSH and cloud-init. Log in as admin.",
  bytes: 2048 * MIB,
  efiBytes: 16 * MIB,
  identity: {
    diskGuid: "7f0d1c52-3e0b-4d0e-8f3a-0deb1a120000",
    biosGuid: "7f0d1c52-3e0b-4d0e-8f3a-0deb1a120014",
    efiGuid: "7f0d1c52-3e0b-4d0e-8f3a-0deb1a120015",
    rootGuid: "7f0d1c52-3e0b-4d0e-8f3a-0deb1a120001",
    filesystemUuid: "7f0d1c52-3e0b-4d0e-8f3a-0deb1a12f5f5",
    efiSerial: 0x0deb1a12,
  } satisfies DiskIdentity,
} as const;

const SUITE = "bookworm";

/** Only what this machine needs to make the boot loader: the system's own packages mmdebstrap gets. */
export const debianTools: PackageRequest = { packages: ["grub-common", "grub-pc-bin", "grub-efi-amd64-bin"] };

const PACKAGES = [
  "linux-image-cloud-amd64",
  "systemd-sysv",
  "systemd-resolved",
  "systemd-timesyncd",
  "udev",
  "dbus",
  "openssh-server",
  "cloud-init",
  "cloud-guest-utils",
  "qemu-guest-agent",
  "grub2-common",
  "sudo",
  "ca-certificates",
  "iproute2",
  "iputils-ping",
  "netbase",
  "less",
  "nano",
  "bash-completion",
  "procps",
];

/** dpkg leaves these out, at the first installation and at every upgrade: half of the files, and none that runs. */
const EXCLUDED = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*"];

const UNITS = {
  /** Wanted by whom. */
  enabled: [
    ["multi-user.target.wants", "systemd-networkd.service"],
    ["sockets.target.wants", "systemd-networkd.socket"],
    ["network-online.target.wants", "systemd-networkd-wait-online.service"],
  ],
  /** Work that a machine of a few minutes' age has no need of, and that a template should not do a hundred times. */
  masked: [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
  ],
} as const;

export const debianCommandLine = (rootGuid: string): string =>
  [
    `root=PARTUUID=${rootGuid}`,
    "ro rootwait rootfstype=ext4",
    "console=tty0 console=ttyS0,115200",
    "nvme_core.io_timeout=4294967295",
    "net.ifnames=0",
  ].join(" ");

export interface DebianSystem {
  readonly tree: FileTree;
  readonly xattrs: ReadonlyMap<string, ReadonlyMap<string, Buffer>>;
  /** Seconds since 1970: the newest file's time. */
  readonly modified: number;
}

export interface DebianOptions {
  /** Gets the contents of the larger files; must live until the disk is written. */
  readonly scratchDirectory: string;
  /** Besides `PACKAGES`. */
  readonly packages?: readonly string[] | undefined;
  readonly onProgress?: ((step: string, done?: number, total?: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes of the archive, about: only the progress depends on it. */
const USUAL_ARCHIVE_BYTES = 480 * MIB;
const SPOOL_BYTES = 64 * 1024;

/** Runs mmdebstrap (a minute or two, needs its mirror) and reads what it made. */
export async function installDebian(options: DebianOptions): Promise<DebianSystem> {
  const { scratchDirectory, packages = [], onProgress, signal } = options;
  const argv = ["--variant=minbase", "--format=tar", `--include=${[...PACKAGES, ...packages].join(",")}`];
  argv.push(...EXCLUDED.map((path) => `--dpkgopt=path-exclude=${path}`));
  // Licences stay: whoever passes the image on must pass them on.
  argv.push("--dpkgopt=path-include=/usr/share/doc/*/copyright", '--aptopt=Apt::Install-Recommends "false"');
  argv.push(SUITE, "-");
  // Its working directory goes with ours, even if it is killed; as an ordinary user it works under other user ids.
  await chmod(scratchDirectory, 0o755);
  let reading = false;
  // As root it mounts /proc and more in the new system: in a mount namespace of its own, so that none of it outlives it,
  // however it ends. As an ordinary user it takes one itself.
  const alone = ["--mount", "--fork", "--kill-child=TERM", "mmdebstrap"];
  const [program, first] = process.getuid?.() === 0 ? ["unshare", alone] : ["mmdebstrap", []];
  const archive = stream(program, [...first, ...argv], {
    signal,
    env: { TMPDIR: scratchDirectory },
    onStderrLine(line) {
      const step = /^I: (.+?)\.*$/.exec(line)?.[1];
      if (step !== undefined && !reading) onProgress?.(`mmdebstrap: ${step}`);
    },
  });
  const tree = new FileTree(0);
  const xattrs = new Map<string, ReadonlyMap<string, Buffer>>();
  let modified = 1;
  let serial = 0;
  const files = readTar(archive.stdout, {
    spool: () => join(scratchDirectory, `file-${serial++}`),
    inMemoryBytes: SPOOL_BYTES,
    onRead(bytes) {
      reading = true;
      onProgress?.("read the new system", Math.min(bytes, USUAL_ARCHIVE_BYTES), USUAL_ARCHIVE_BYTES);
    },
  });
  for await (const { path, entry, xattrs: attributes } of files) {
    modified = Math.max(modified, entry.modified);
    tree.set(path, entry);
    if (attributes.size > 0) xattrs.set(path, attributes);
  }
  await archive.finished;
  return { tree, xattrs, modified };
}

/** Turns a freshly installed system into an image of one: no identity, our configuration, our boot loader's menu. */
export function prepareDebian(system: DebianSystem): { readonly tree: FileTree; readonly commandLine: string } {
  const { tree, modified } = system;
  for (const path of tree.paths()) {
    if (/^etc\/ssh\/ssh_host_/.test(path) || /^var\/(cache\/apt|lib\/apt\/lists|log)\/./.test(path)) tree.delete(path);
  }
  tree.at(modified);
  for (const path of ["var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/log"]) tree.directory(path);
  tree.directory("lost+found", 0o700);
  // Empty: systemd draws one at the first boot, and does not take that boot for an installation.
  tree.file("etc/machine-id", "", 0o444);
  tree.delete("var/lib/dbus/machine-id");
  tree.symlink("var/lib/dbus/machine-id", "/etc/machine-id");
  tree.file("etc/hostname", "localhost\n");
  tree.file("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
  tree.file("etc/fstab", `PARTUUID=${DEBIAN_12.identity.rootGuid} / ext4 rw,discard,errors=remount-ro 0 1\n`);
  tree.delete("etc/resolv.conf");
  tree.symlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
  for (const [wanter, unit] of UNITS.enabled) {
    tree.symlink(`etc/systemd/system/${wanter}/${unit}`, `/lib/systemd/system/${unit}`);
  }
  tree.symlink(
    "etc/systemd/system/dbus-org.freedesktop.network1.service",
    "/lib/systemd/system/systemd-networkd.service",
  );
  for (const unit of UNITS.masked) tree.symlink(`etc/systemd/system/${unit}`, "/dev/null");

  const kernel = tree.paths().find((path) => /^boot\/vmlinuz-/.test(path));
  if (kernel === undefined) throw new Error("the new system has no kernel");
  for (const path of tree.paths()) if (/^boot\/initrd/.test(path) || /^initrd/.test(path)) tree.delete(path);
  const commandLine = debianCommandLine(DEBIAN_12.identity.rootGuid);
  tree.file("boot/grub/grub.cfg", `linux /${kernel} ${commandLine}\nboot\n`);
  return { tree, commandLine };
}
