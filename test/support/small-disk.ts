// A file system that is soon full, for a data directory.
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, statfsSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { KIB, MIB } from "../../src/base/units.ts";
import { type Platform, type PlatformOptions, startPlatform } from "./platform.ts";

export interface SmallDisk {
  readonly path: string;
  /** Takes what is free, but for `freeBytes`. Called again: takes, or gives back, the difference. */
  fill(freeBytes: number): void;
  /** Gives back what `fill` has taken. */
  empty(): void;
}

/** Why no file system can be mounted here; false when one can. */
export const cannotMount = process.getuid?.() === 0 ? false : "mounting a file system needs root";

/** A platform whose data directory is a file system of `mib` MiB, unmounted at the test's end. */
export async function platformOnSmallDisk(
  t: TestContext,
  mib: number,
  options: PlatformOptions,
): Promise<{ readonly platform: Platform; readonly disk: SmallDisk }> {
  const path = mkdtempSync(join(tmpdir(), "ingot-disk-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${mib}m`, "ingot-test", path]);
  const ballast = join(path, "ballast");
  const empty = (): void => rmSync(ballast, { force: true });
  let platform: Platform | undefined;
  // Before the platform's own end, which then has nothing left to do: it needs room, and the mount must go whatever fails.
  t.after(async () => {
    empty();
    try {
      await platform?.stop();
    } finally {
      execFileSync("umount", platform === undefined ? ["--lazy", path] : [path]);
      rmdirSync(path);
    }
  });
  platform = await startPlatform(t, { ...options, directory: path });
  return {
    platform,
    disk: {
      path,
      empty,
      fill(freeBytes) {
        empty();
        const file = openSync(ballast, "w");
        try {
          for (const piece of [MIB, 4 * KIB]) {
            for (;;) {
              const { bavail, bsize } = statfsSync(path);
              if (bavail * bsize - piece < freeBytes) break;
              writeSync(file, Buffer.alloc(piece));
            }
          }
        } finally {
          closeSync(file);
        }
      },
    },
  };
}
