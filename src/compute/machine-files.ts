// A machine's files beside its disks: who owns them, logs kept within bounds, what the console and the display show.
import { execFile } from "node:child_process";
import { chownSync, existsSync } from "node:fs";
import { readFile, rm, stat } from "node:fs/promises";
import { promisify } from "node:util";
import { systemCode } from "../base/errors.ts";
import { KIB, MIB } from "../base/units.ts";
import { type InstanceDirectory, instanceDirectory } from "./instance-directory.ts";
import type { MachineSpec } from "./machine-spec.ts";
import { readTail } from "./qemu-process.ts";
import type { Qmp } from "./qmp.ts";

const run = promisify(execFile);

/** EC2's GetConsoleOutput gives the last 64 KiB. */
export const CONSOLE_BYTES = 64 * KIB;
/** A log that takes more room than this on the disk is cut. */
const LOG_BYTES_MAX = 4 * MIB;
/** What is left of it. */
const LOG_BYTES_KEPT = 256 * KIB;

/** Gives a file to the user that QEMU runs as, where that isn't ours. */
export function giveTo(user: MachineSpec["runAs"], path: string): void {
  if (user !== undefined && existsSync(path)) chownSync(path, user.uid, user.gid);
}

/** The last `maxBytes` that the guest wrote to its serial port, over all its boots; nothing before its first. */
export function readConsole(directory: string, maxBytes = CONSOLE_BYTES): Promise<Buffer> {
  return readTail(instanceDirectory(directory).consoleLog, maxBytes);
}

export async function takeScreenshot(qmp: Qmp, directory: InstanceDirectory): Promise<Buffer> {
  await qmp.execute("screendump", { filename: directory.screenshot, format: "png" });
  try {
    return await readFile(directory.screenshot);
  } finally {
    await rm(directory.screenshot, { force: true });
  }
}

/**
 * Frees the older part of QEMU's log and of the console log when they are long: QEMU writes a line per failed read
 * (86 000 in 10 s seen), a guest whatever it likes.
 *
 * By a hole, so that nothing is lost that is being written meanwhile: the file's length stays, its room is freed.
 */
export async function boundLogs(directory: InstanceDirectory): Promise<void> {
  for (const file of [directory.log, directory.consoleLog]) {
    try {
      const { size, blocks } = await stat(file);
      if (blocks * 512 <= LOG_BYTES_MAX) continue;
      await run("fallocate", ["--punch-hole", "--offset", "0", "--length", String(size - LOG_BYTES_KEPT), file]);
    } catch (cause) {
      if (systemCode(cause) !== "ENOENT") throw new Error(`cut ${file}`, { cause });
    }
  }
}
