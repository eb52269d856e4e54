// A small real guest for compute's tests: the distribution's cloud kernel, booted directly, and busybox on an ext4 disk.
// Driven over the serial console: a line in, its output and status out. Fetched and built once, kept in `.cache`.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createConnection, type Socket } from "node:net";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { copyKernelModule } from "../support/kernel-modules.ts";

const CACHE = fileURLToPath(new URL("../../.cache/compute-guest", import.meta.url));
export const GUEST_KERNEL = join(CACHE, "vmlinuz");
export const GUEST_DISK = join(CACHE, "disk.raw");
export const GUEST_DISK_BYTES = 64 << 20;
export const GUEST_COMMAND_LINE = "root=/dev/nvme0n1 rw console=ttyS0 quiet init=/init nvme_core.io_timeout=4294967295";

const MODULES = [
  "drivers/acpi/button.ko",
  "drivers/input/evdev.ko",
  "drivers/misc/pvpanic/pvpanic.ko",
  "drivers/misc/pvpanic/pvpanic-pci.ko",
];

// In the last line, `exec` of a file that isn't there would end init, and so the kernel: the loop only ends with the guest.
const INIT = `#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
for m in /modules/*.ko; do insmod $m; done
acpid -c /etc/acpi -l /tmp/acpid.log -p /tmp/acpid.pid
stty -echo
echo "GUEST READY"
while read -r line; do eval "$line"; echo "<<$?>>"; done
`;

/** Builds kernel and disk if they are not there. @returns why not, as a test's reason to skip; `null` when they are there */
export function prepareGuest(): string | null {
  if (existsSync(GUEST_DISK)) return null;
  const work = `${CACHE}.${process.pid}`;
  try {
    mkdirSync(join(work, "root"), { recursive: true });
    const depends = execFileSync("apt-cache", ["depends", "linux-image-cloud-amd64"], { encoding: "utf8" });
    const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
    if (!name) throw new Error("no cloud kernel among the packages");
    execFileSync("apt-get", ["download", "-q", name], { cwd: work, stdio: "ignore" });
    execFileSync("dpkg", ["-x", readdirSync(work).find((file) => file.endsWith(".deb")) ?? "", "package"], {
      cwd: work,
    });
    const kernel = readdirSync(join(work, "package/boot")).find((file) => file.startsWith("vmlinuz-")) ?? "";
    copyFileSync(join(work, "package/boot", kernel), join(work, "vmlinuz"));
    const root = join(work, "root");
    for (const folder of ["bin", "modules", "proc", "sys", "dev", "tmp", "etc/acpi/PWRF"])
      mkdirSync(join(root, folder), { recursive: true });
    copyFileSync("/bin/busybox", join(root, "bin/busybox"));
    for (const applet of execFileSync("/bin/busybox", ["--list"], { encoding: "utf8" }).trim().split("\n")) {
      if (applet !== "busybox") execFileSync("ln", ["-s", "busybox", join(root, "bin", applet)]);
    }
    // Numbered: insmod resolves nothing, so they load in this order.
    for (const [n, path] of MODULES.entries()) {
      const into = join(root, "modules", `${n}-${basename(path)}`);
      copyKernelModule(join(work, "package"), kernel.slice("vmlinuz-".length), path, into);
    }
    for (const [path, text] of [
      ["init", INIT],
      ["etc/acpi/PWRF/00000080", "#!/bin/sh\nsync; poweroff -f\n"],
    ] as const) {
      writeFileSync(join(root, path), text);
      chmodSync(join(root, path), 0o755);
    }
    execFileSync("truncate", ["-s", String(GUEST_DISK_BYTES), join(work, "disk.raw")]);
    execFileSync("mke2fs", ["-q", "-t", "ext4", "-d", root, join(work, "disk.raw")], {
      env: { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin` },
    });
    mkdirSync(CACHE, { recursive: true });
    for (const file of ["vmlinuz", "disk.raw"]) renameSync(join(work, file), join(CACHE, file));
    return null;
  } catch (error) {
    return `no guest could be built: ${error instanceof Error ? error.message : error}`;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The guest's end of the serial port. One client at a time. */
export class GuestConsole {
  readonly #socket: Socket;
  #text = "";
  #changed = Promise.withResolvers<void>();

  constructor(path: string) {
    this.#socket = createConnection(path);
    const wake = () => {
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    };
    this.#socket.setEncoding("latin1");
    this.#socket.on("data", (text: string) => {
      this.#text += text;
      wake();
    });
    this.#socket.on("error", wake);
    this.#socket.on("close", wake);
  }

  /** Waits for a text, takes it and all before it. */
  async until(marker: RegExp, limitMs = 120_000): Promise<string> {
    const timeout = AbortSignal.timeout(limitMs);
    for (;;) {
      const match = marker.exec(this.#text);
      if (match) {
        const taken = this.#text.slice(0, match.index + match[0].length);
        this.#text = this.#text.slice(taken.length);
        return taken;
      }
      if (this.#socket.destroyed || timeout.aborted)
        throw new Error(`the guest never said ${marker}: ${this.#text.slice(-500)}`);
      await Promise.race([
        this.#changed.promise,
        new Promise((resolve) => timeout.addEventListener("abort", resolve, { once: true })),
      ]);
    }
  }

  booted(): Promise<string> {
    return this.until(/GUEST READY\r?\n/);
  }

  /** Runs one line in the guest's shell. @returns its output @throws Error when its status isn't 0 */
  async run(line: string): Promise<string> {
    this.type(line);
    const output = await this.until(/<<(\d+)>>\r?\n/);
    const [, status] = /<<(\d+)>>/.exec(output) ?? [];
    if (status !== "0") throw new Error(`the guest's '${line}' ended with ${status}: ${output}`);
    return output.slice(0, output.lastIndexOf("<<")).replaceAll("\r", "").trim();
  }

  /** Types one line and doesn't wait. */
  type(line: string): void {
    this.#socket.write(`${line}\n`);
  }

  close(): void {
    this.#socket.destroy();
  }
}
