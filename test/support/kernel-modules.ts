// Modules of a distribution's unpacked kernel package, for guests that the tests make.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MIB } from "../../src/base/units.ts";

/**
 * Copies a module to `into`, uncompressed; does nothing when this kernel has it built in. Debian 13 keeps modules below
 * /usr and compresses them.
 * @param packageRoot  what dpkg has unpacked. @param path  below the kernel's own folder, such as "drivers/net/virtio_net.ko"
 */
export function copyKernelModule(packageRoot: string, kernelVersion: string, path: string, into: string): void {
  for (const lib of ["lib", "usr/lib"]) {
    const module = join(packageRoot, lib, "modules", kernelVersion, "kernel", path);
    if (existsSync(module)) copyFileSync(module, into);
    else if (existsSync(`${module}.xz`)) {
      writeFileSync(into, execFileSync("xz", ["-dc", `${module}.xz`], { maxBuffer: 16 * MIB }));
    }
  }
}
