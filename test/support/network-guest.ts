// The smallest real guest: the distribution's cloud kernel and busybox in an initramfs, driven over its serial console.
// Nothing is installed: the kernel package is fetched once and unpacked into `.cache/network-guest`.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Nic, NicAttachment } from "../../src/model/nic.ts";
import { copyKernelModule } from "./kernel-modules.ts";

const CACHE = fileURLToPath(new URL("../../.cache/network-guest", import.meta.url));

/** A guest boots in 2 s on an idle machine; this one may be busy with other tests. */
const BOOT_TIMEOUT_MS = 120_000;
const COMMAND_TIMEOUT_MS = 60_000;

/** Grows with INIT and DHCP_SCRIPT: an older initramfs is made anew. */
const RECIPE = 3;

/** In the order in which they need one another. */
const MODULES = [
  "drivers/virtio/virtio_ring.ko",
  "drivers/virtio/virtio.ko",
  "drivers/virtio/virtio_pci_modern_dev.ko",
  "drivers/virtio/virtio_pci_legacy_dev.ko",
  "drivers/virtio/virtio_pci.ko",
  "net/core/failover.ko",
  "drivers/net/net_failover.ko",
  "drivers/net/virtio_net.ko",
];

const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
echo 1 >/proc/sys/kernel/printk
for m in ${MODULES.map((path) => basename(path, ".ko")).join(" ")}; do insmod /modules/$m.ko; done
ip link set lo up; ip link set eth0 up
stty -echo
cd /tmp
echo GUEST-READY
# Not an interactive shell: busybox' takes the end of a child, which interrupts its reading, for the end of its input.
while true; do read -r line && eval "$line"; done
`;

const DHCP_SCRIPT = `#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
set >/run/dhcp
ip addr replace $ip/$mask dev eth0
[ -z "$mtu" ] || ip link set eth0 mtu $mtu
ip route replace default via $router
[ -z "$dns" ] || echo "nameserver $dns" >/etc/resolv.conf
`;

/** Makes kernel and initramfs once. @returns why not, for a test's skip reason; null when they are there */
export function prepareGuest(): string | null {
  if (existsSync(join(CACHE, `initrd-${RECIPE}`))) return null;
  try {
    const work = `${CACHE}.new`;
    rmSync(work, { recursive: true, force: true });
    mkdirSync(join(work, "root"), { recursive: true });
    const depends = execFileSync("apt-cache", ["depends", "linux-image-cloud-amd64"], { encoding: "utf8" });
    const name = /Depends: (linux-image-\S+)/.exec(depends)![1]!;
    execFileSync("apt-get", ["download", "-q", name], { cwd: work, stdio: "ignore" });
    const deb = readdirSync(work).find((file) => file.endsWith(".deb"))!;
    execFileSync("dpkg", ["-x", deb, "package"], { cwd: work });
    const kernel = readdirSync(join(work, "package/boot")).find((file) => file.startsWith("vmlinuz-"))!;
    copyFileSync(join(work, "package/boot", kernel), join(work, "vmlinuz"));
    const root = join(work, "root");
    for (const folder of ["bin", "modules", "proc", "sys", "dev", "run", "etc", "tmp", "www", "etc/udhcpc"]) {
      mkdirSync(join(root, folder), { recursive: true });
    }
    for (const path of MODULES) {
      copyKernelModule(
        join(work, "package"),
        kernel.slice("vmlinuz-".length),
        path,
        join(root, "modules", basename(path)),
      );
    }
    copyFileSync("/bin/busybox", join(root, "bin/busybox"));
    for (const [path, text] of [
      ["init", INIT],
      ["etc/udhcpc/default.script", DHCP_SCRIPT],
    ] as const) {
      writeFileSync(join(root, path), text);
      chmodSync(join(root, path), 0o755);
    }
    const files = execFileSync("find", ["."], { cwd: root });
    const archive = execFileSync("busybox", ["cpio", "-o", "-H", "newc"], {
      stdio: ["pipe", "pipe", "ignore"],
      cwd: root,
      input: files,
      maxBuffer: 1 << 28,
    });
    writeFileSync(join(work, `initrd-${RECIPE}`), archive);
    rmSync(join(work, "package"), { recursive: true });
    rmSync(root, { recursive: true });
    rmSync(join(work, deb));
    rmSync(CACHE, { recursive: true, force: true });
    renameSync(work, CACHE);
    return null;
  } catch (error) {
    return `no guest kernel: ${error instanceof Error ? error.message : error}`;
  }
}

export interface Guest {
  readonly pid: number;
  /** Runs one shell command. Standard output and error together; the status does not matter. */
  run(command: string): Promise<string>;
  /** Packets that the guest's interface has sent and received, oldest first, as Ethernet frames. */
  frames(): Buffer[];
  kill(): Promise<void>;
}

/** Boots a guest on its place in the network and waits for its shell. It has no address until it asks for one. */
export async function bootGuest(nic: Nic, attachment: NicAttachment, directory: string): Promise<Guest> {
  const pcap = join(directory, `${nic.instanceId}-${process.hrtime.bigint()}.pcap`);
  const argv = [
    ...attachment.launcher,
    "qemu-system-x86_64",
    // As `qemuArgv`: one emulated processor alone would do without memory barriers.
    ...["-smp", "1,maxcpus=2"],
    ...["-machine", "q35", "-accel", "tcg", "-m", "96", "-nodefaults", "-no-user-config", "-display", "none"],
    ...[
      "-kernel",
      join(CACHE, "vmlinuz"),
      "-initrd",
      join(CACHE, `initrd-${RECIPE}`),
      "-append",
      "console=ttyS0 quiet",
    ],
    ...[
      "-serial",
      "stdio",
      "-netdev",
      attachment.netdev,
      "-device",
      `virtio-net-pci,netdev=net0,mac=${nic.mac},romfile=`,
    ],
    ...["-object", `filter-dump,id=dump0,netdev=net0,file=${pcap}`, "-action", "panic=exit-failure"],
  ];
  const child = spawn(argv[0]!, argv.slice(1), { stdio: ["pipe", "pipe", "pipe"] });
  const console = new Console(child);
  await console.waitFor("GUEST-READY", BOOT_TIMEOUT_MS);
  let commands = 0;
  return {
    pid: child.pid!,
    async run(command) {
      const end = `END-${++commands}-END`;
      // The end's text is not in what is written, should the console echo.
      child.stdin!.write(`{ ${command}; } 2>&1 </dev/null; echo; echo END-''${commands}-END\n`);
      const text = await console.waitFor(end, COMMAND_TIMEOUT_MS);
      return text
        .replaceAll("\r", "")
        .replace(/^[#~/ ]+/, "")
        .trim();
    },
    frames: () => parsePcap(readFileSync(pcap)),
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await gone;
    },
  };
}

class Console {
  #text = "";
  #errors = "";
  #wake: () => void = () => {};
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout!.setEncoding("latin1").on("data", (text: string) => {
      this.#text += text;
      this.#wake();
    });
    child.stderr!.setEncoding("latin1").on("data", (text: string) => {
      this.#errors += text;
    });
    child.once("exit", () => this.#wake());
  }

  /** What came before `mark`, which must come within `ms`; both are then taken off. */
  async waitFor(mark: string, ms: number): Promise<string> {
    const giveUpAt = performance.now() + ms;
    for (;;) {
      const at = this.#text.indexOf(mark);
      if (at >= 0) {
        const before = this.#text.slice(0, at);
        this.#text = this.#text.slice(at + mark.length);
        return before;
      }
      const left = giveUpAt - performance.now();
      if (this.#child.exitCode !== null || left <= 0 || this.#text.includes("end Kernel panic")) {
        throw new Error(`the guest did not say ${mark}: ${this.#text.slice(-4000)} ${this.#errors}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

function parsePcap(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 24; at + 16 <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    if (at + 16 + length > bytes.length) break;
    const frame = bytes.subarray(at + 16, at + 16 + length);
    // Of a tap QEMU records the virtio header before the frame, too.
    frames.push(
      isFrame(frame) || !isFrame(frame.subarray(VIRTIO_HEADER_BYTES)) ? frame : frame.subarray(VIRTIO_HEADER_BYTES),
    );
    at += 16 + length;
  }
  return frames;
}

const VIRTIO_HEADER_BYTES = 12;
const isFrame = (bytes: Buffer): boolean =>
  bytes.length >= 14 && [0x0800, 0x0806, 0x86dd].includes(bytes.readUInt16BE(12));
