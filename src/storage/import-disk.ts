// Disk files of other worlds, in and out, through qemu-img: in a process of its own, with limits on its memory, its time,
// its files and the length of what it writes, and never with a file that names another (disk-format.ts).
import { spawn } from "node:child_process";
import { mkdtemp, open, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SnapshotId } from "../base/ids.ts";
import { GIB, MIB } from "../base/units.ts";
import { writeFully } from "../base/write-fully.ts";
import type { BlockExport, CaptureProgress } from "../model/disk.ts";
import { COPY_BYTES, checkDiskFile, type DiskFormat, DiskFormatError, findOvaDisk } from "./disk-format.ts";
import type { ContentOwner, SnapshotStore, StoredSnapshot } from "./store.ts";

export { DISK_FORMATS, type DiskFormat, DiskFormatError } from "./disk-format.ts";

export interface ImportOptions {
  readonly signal?: AbortSignal;
  /** Of the conversion and of the capture together, in the disk's bytes. */
  readonly onProgress?: (progress: CaptureProgress) => void;
  /** Where the disk is unpacked, sparse; the system's folder for temporary files when absent. */
  readonly scratch?: string;
  /** Largest virtual size; 16 TiB, EBS's own limit, when absent. */
  readonly maxBytes?: number;
}

const MAX_BYTES = 16 * 1024 * GIB;
const QEMU_FORMAT = { raw: "raw", qcow2: "qcow2", vmdk: "vmdk", vhd: "vpc", vhdx: "vhdx" } as const;

/**
 * Keeps a disk file as a new snapshot. A raw file is read where it is; others are unpacked first.
 * @throws DiskFormatError when the file is not what it is said to be, or names other files: nothing is kept then
 */
export function importDisk(
  store: SnapshotStore,
  disk: {
    readonly path: string;
    readonly format: DiskFormat;
    readonly snapshotId: SnapshotId;
    readonly owner: ContentOwner;
  },
  options: ImportOptions = {},
): Promise<StoredSnapshot> {
  const { signal, onProgress } = options;
  return withRawDisk(disk, options, ({ path, bytes }) => {
    const before = disk.format === "raw" ? 0 : bytes;
    return store.capture(
      { snapshotId: disk.snapshotId, owner: disk.owner, bytes, base: null, source: { kind: "file", path } },
      {
        ...(signal && { signal }),
        onProgress: ({ doneBytes, totalBytes }) =>
          onProgress?.({ doneBytes: before + doneBytes, totalBytes: before + totalBytes }),
      },
    );
  });
}

/**
 * Hands a disk file over as a raw one, which is gone again when `use` has ended.
 * Progress is that of the unpacking, as the first half of twice the disk's size; a raw file is used where it is.
 * @throws DiskFormatError when the file is not what it is said to be, or names other files
 */
export async function withRawDisk<T>(
  disk: { readonly path: string; readonly format: DiskFormat },
  options: ImportOptions,
  use: (raw: { readonly path: string; readonly bytes: number }) => Promise<T>,
): Promise<T> {
  const { signal, onProgress, maxBytes = MAX_BYTES } = options;
  const checked = (bytes: number): number => {
    if (bytes === 0) throw new DiskFormatError("the disk is empty");
    if (bytes > maxBytes) throw new DiskFormatError(`the disk has ${bytes} bytes: at most ${maxBytes} are taken`);
    return bytes;
  };
  if (disk.format === "raw") return use({ path: disk.path, bytes: checked((await stat(disk.path)).size) });

  const scratch = await mkdtemp(join(options.scratch ?? tmpdir(), "ingot-import-"));
  try {
    let { path, format } = disk;
    if (format === "ova") {
      path = join(scratch, "disk.vmdk");
      await copyOut(disk.path, path, signal);
      format = "vmdk";
    }
    await checkDiskFile(path, format);
    const bytes = checked(await virtualSize(path, QEMU_FORMAT[format], signal));
    const raw = join(scratch, "disk.raw");
    const argv = ["convert", "-p", "-f", QEMU_FORMAT[format], "-O", "raw", "-S", "4k", path, raw];
    await qemuImg(argv, { fileBytes: bytes + MIB, ...(signal && { signal }) }, (fraction) =>
      onProgress?.({ doneBytes: Math.floor(bytes * fraction), totalBytes: 2 * bytes }),
    );
    return await use({ path: raw, bytes });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

export interface ExportOptions {
  readonly format: "raw" | "qcow2" | "vmdk" | "vhd";
  /** Compresses each cluster (qcow2 by zstd, vmdk as stream-optimized). */
  readonly compress?: boolean;
  readonly signal?: AbortSignal;
  /** 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
}

/** Writes a snapshot, through the block server's export of it, to a new disk file. @throws Error when the file exists */
export async function exportDisk(from: BlockExport, path: string, options: ExportOptions): Promise<void> {
  const { format, compress = false, signal, onProgress } = options;
  // Claims the name: qemu-img would overwrite what is there.
  await (await open(path, "wx", 0o600)).close();
  try {
    const source = { driver: "nbd", server: { type: "unix", path: from.socket }, export: from.name };
    const target: string[] = ["-O", QEMU_FORMAT[format]];
    // Else the size is rounded to what some cylinders, heads and sectors make.
    if (format === "vhd") target.push("-o", "subformat=dynamic,force_size=on");
    if (compress && format === "qcow2") target.push("-c", "-o", "compression_type=zstd");
    if (compress && format === "vmdk") target.push("-o", "subformat=streamOptimized");
    const argv = ["convert", "-p", ...target, `json:${JSON.stringify({ driver: "raw", file: source })}`, path];
    await qemuImg(argv, signal === undefined ? {} : { signal }, (fraction) => onProgress?.(fraction));
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

async function copyOut(ova: string, to: string, signal?: AbortSignal): Promise<void> {
  const disk = await findOvaDisk(ova);
  const source = await open(ova, "r");
  const target = await open(to, "wx", 0o600);
  try {
    const buffer = Buffer.allocUnsafe(COPY_BYTES);
    for (let done = 0; done < disk.bytes; ) {
      signal?.throwIfAborted();
      const length = Math.min(COPY_BYTES, disk.bytes - done);
      const { bytesRead } = await source.read(buffer, 0, length, disk.offset + done);
      if (bytesRead === 0) throw new DiskFormatError("the OVA file is cut short");
      await writeFully(target, buffer.subarray(0, bytesRead));
      done += bytesRead;
    }
  } finally {
    await source.close();
    await target.close();
  }
}

async function virtualSize(path: string, format: string, signal?: AbortSignal): Promise<number> {
  const text = await qemuImg(["info", "--output=json", "-f", format, path], signal === undefined ? {} : { signal });
  const info = JSON.parse(text) as {
    "virtual-size"?: number;
    "backing-filename"?: string;
    "format-specific"?: { data?: { "data-file"?: string; extents?: { filename: string }[] } };
  };
  const specific = info["format-specific"]?.data;
  // Our own reading has refused these already; QEMU's has the last word.
  if (info["backing-filename"] !== undefined || specific?.["data-file"] !== undefined) {
    throw new DiskFormatError("the disk file names another file: a disk must be whole to be imported");
  }
  if (specific?.extents?.some(({ filename }) => filename !== path)) {
    throw new DiskFormatError("the disk file names another file: a disk must be whole to be imported");
  }
  const bytes = info["virtual-size"];
  if (bytes === undefined || !Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new DiskFormatError("the disk file has no size");
  }
  return bytes;
}

/** A conversion that takes longer than this in processor time is not one. */
const CPU_SECONDS = 4 * 3600;
const ADDRESS_SPACE = 4 * GIB;
const OPEN_FILES = 64;

/** Runs qemu-img under resource limits; gives its standard output. @throws DiskFormatError with QEMU's own words */
function qemuImg(
  argv: readonly string[],
  limits: { readonly fileBytes?: number; readonly signal?: AbortSignal },
  onFraction?: (fraction: number) => void,
): Promise<string> {
  const prlimit = [
    `--cpu=${CPU_SECONDS}`,
    `--as=${ADDRESS_SPACE}`,
    `--nofile=${OPEN_FILES}`,
    "--core=0",
    ...(limits.fileBytes === undefined ? [] : [`--fsize=${limits.fileBytes}`]),
  ];
  return new Promise((resolve, reject) => {
    const child = spawn("prlimit", [...prlimit, "--", "qemu-img", ...argv], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
      ...(limits.signal && { signal: limits.signal }),
      killSignal: "SIGKILL",
    });
    let output = "";
    let errors = "";
    child.stdout.on("data", (chunk: Buffer) => {
      const text = chunk.toString("utf8");
      if (onFraction === undefined) output = (output + text).slice(0, MIB);
      else {
        const percent = /\(\s*([\d.]+)\/100%\)[^(]*$/.exec(text)?.[1];
        if (percent !== undefined) onFraction(Number(percent) / 100);
      }
    });
    child.stderr.on("data", (chunk: Buffer) => {
      errors = (errors + chunk.toString("utf8")).slice(0, 4096);
    });
    child.once("error", (cause) => {
      reject(limits.signal?.aborted ? limits.signal.reason : new Error("run qemu-img", { cause }));
    });
    child.once("close", (code, signal) => {
      if (code === 0) resolve(output);
      else if (signal !== null)
        reject(new DiskFormatError(`qemu-img was ended by ${signal}: the file asks for too much`));
      else reject(new DiskFormatError(errors.trim().split("\n")[0] || `qemu-img ended with ${code}`));
    });
  });
}
