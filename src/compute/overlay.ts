// The local qcow2 file that takes a volume's writes.
//
// Clusters of 64 KiB in 32 subclusters (`extended_l2`): a guest's first write of 4 KiB over the store copies nothing
// else (3896 against 2231 random writes a second measured, and less than half the file). The header names no backing
// file: the store may move, and who opens an overlay says what lies beneath.
import { spawn } from "node:child_process";
import { open, rename, rm } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { systemCode } from "../base/errors.ts";
import type { MachineDisk } from "../model/disk.ts";
import { type DiskKey, encryptOption, secretObject, withSecretFile } from "./disk-key.ts";
import { CRYPT_LUKS, createQcow2 } from "./qcow2.ts";
import { findProgram, QEMU_IMG } from "./qemu-process.ts";

/** All that we ask of it takes 10 ms; only a disk that hangs takes more than this. */
const QEMU_IMG_LIMIT_MS = 60_000;

/**
 * Runs a command of `qemu-img` on an overlay, whether encrypted or not; its standard output.
 * @param before  options that stand before the overlay. @param after  what stands after it
 * @throws Error with what it said on standard error
 */
export async function qemuImg(
  [command, ...before]: readonly [string, ...string[]],
  { path, key }: { readonly path: string; readonly key: DiskKey | null },
  after: readonly string[] = [],
): Promise<string> {
  const encrypted = (await overlayHeader(path))?.encrypted === true;
  if (encrypted && key === null) throw new Error(`${path} is encrypted, and there is no key for it`);
  const image = encrypted
    ? ["--object", secretObject, `json:${JSON.stringify(encryptedImage(path))}`]
    : ["-f", "qcow2", path];
  const argv = [command, ...before, ...image, ...after];
  const program = await findProgram(QEMU_IMG);
  return withSecretFile(encrypted ? key : null, undefined, async (secret) => {
    const child = spawn(program, argv, {
      stdio: ["ignore", "pipe", "pipe", ...(secret === null ? [] : [secret])],
      timeout: QEMU_IMG_LIMIT_MS,
      killSignal: "SIGKILL",
    });
    const ended = new Promise<number | null>((resolve, reject) => {
      child.once("close", resolve);
      child.once("error", (cause) => reject(new Error(`start ${program}`, { cause })));
    });
    // Of a child whose stdio is an array TypeScript does not know which of it are pipes.
    const { stdout, stderr } = child;
    if (stdout === null || stderr === null) throw new Error("qemu-img has no output");
    const [code, output, said] = await Promise.all([ended, text(stdout), text(stderr)]);
    if (code !== 0) throw new Error(`qemu-img ${command}: ${said.trim() || "failed"}`);
    return output;
  });
}

const encryptedImage = (path: string) => ({
  driver: "qcow2",
  ...encryptOption,
  file: { driver: "file", filename: path },
});

/**
 * Makes the volume's overlay if it is absent (a few ms), grows it if the volume has grown while its machine was off.
 * An interrupted call leaves no half overlay under the name.
 * One that is there stays as it is, encrypted or not.
 * @throws Error when there is a file that is no qcow2 image, or one larger than the volume
 */
export async function ensureOverlay(disk: MachineDisk, key: DiskKey | null): Promise<{ readonly encrypted: boolean }> {
  const path = disk.overlayPath;
  const header = await overlayHeader(path);
  if (header === null) {
    const temporary = `${path}.new`;
    await rm(temporary, { force: true });
    await createQcow2(temporary, disk.bytes, key === null ? null : await key.headers.create());
    await rename(temporary, path);
    return { encrypted: key !== null };
  }
  const { bytes, encrypted } = header;
  if (bytes < disk.bytes) {
    await qemuImg(["resize", "-q"], { path, key }, [String(disk.bytes)]);
  } else if (bytes > disk.bytes) {
    throw new Error(`${disk.overlayPath} holds ${bytes} bytes, more than the ${disk.bytes} of ${disk.volumeId}`);
  }
  return { encrypted };
}

/** Virtual size, and whether it takes a key; `null` when there is no such file. @throws Error when it isn't a qcow2 image */
export async function overlayHeader(
  path: string,
): Promise<{ readonly bytes: number; readonly encrypted: boolean } | null> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, "r");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw new Error(`open overlay ${path}`, { cause: error });
  }
  try {
    const header = Buffer.alloc(36);
    const { bytesRead } = await file.read(header, 0, 36, 0);
    if (bytesRead < 36 || header.toString("latin1", 0, 4) !== "QFI\xfb")
      throw new Error(`${path} is not a qcow2 image`);
    return { bytes: Number(header.readBigUInt64BE(24)), encrypted: header.readUInt32BE(32) === CRYPT_LUKS };
  } finally {
    await file.close();
  }
}
