// ingot import FILE: a disk file of any usual kind as an image.
import { open } from "node:fs/promises";
import { basename, resolve } from "node:path";
import type { BootModeValues } from "@aws-sdk/client-ec2";
import { DISK_FORMATS, type DiskFormat, withRawDisk } from "../../storage/import-disk.ts";
import { CliError, EXIT } from "../failure.ts";
import { interruption } from "../interruption.ts";
import { registerDisk } from "../register.ts";
import { type CommonOptions, openSession } from "../session.ts";

const BOOT_MODES: readonly string[] = ["legacy-bios", "uefi", "uefi-preferred"] satisfies BootModeValues[];

export interface ImportOptions extends CommonOptions {
  readonly format?: string;
  readonly name?: string;
  readonly description?: string;
  readonly bootMode?: string;
}

export async function importFile(file: string, options: ImportOptions): Promise<void> {
  const session = openSession(options);
  const { output } = session;
  const path = resolve(file);
  const format = options.format === undefined ? await formatOf(path) : parseFormat(options.format);
  const bootMode = options.bootMode;
  if (bootMode !== undefined && !isBootMode(bootMode)) {
    throw new CliError(`--boot-mode is one of ${BOOT_MODES.join(", ")}`, { exitCode: EXIT.usage });
  }
  const name = options.name ?? basename(path).replace(/\.\w+$/, "");
  const unpacking = output.progress("Unpacking", "bytes");
  const imageId = await withRawDisk(
    { path, format },
    {
      signal: interruption(),
      onProgress: ({ doneBytes, totalBytes }) => unpacking.update(doneBytes, totalBytes / 2),
    },
    (raw) => {
      unpacking.done();
      return registerDisk(session, {
        ...raw,
        name,
        description: options.description ?? `Imported from ${basename(path)}`,
        rootDeviceName: "/dev/xvda",
        ...(bootMode === undefined ? {} : { bootMode }),
      });
    },
  ).finally(() => unpacking.failed());
  output.result({ ImageId: imageId, Name: name, State: "available" }, `${imageId}  ${name}`);
}

const isBootMode = (text: string): text is BootModeValues => BOOT_MODES.includes(text);

function parseFormat(text: string): DiskFormat {
  const format = DISK_FORMATS.find((each) => each === text);
  if (format === undefined) {
    throw new CliError(`--format is one of ${DISK_FORMATS.join(", ")}, not ${text}`, { exitCode: EXIT.usage });
  }
  return format;
}

/** By its first bytes. What nothing announces is raw: then the whole file is the disk. */
async function formatOf(path: string): Promise<DiskFormat> {
  const file = await open(path, "r").catch((cause) => {
    throw new CliError(`open ${path}`, { cause });
  });
  try {
    const head = Buffer.alloc(512);
    await file.read(head, 0, head.length, 0);
    const starts = (text: string, at = 0) => head.subarray(at, at + text.length).equals(Buffer.from(text, "latin1"));
    if (starts("QFI\xfb")) return "qcow2";
    if (starts("KDMV") || starts("# Disk DescriptorFile")) return "vmdk";
    if (starts("vhdxfile")) return "vhdx";
    if (starts("conectix")) return "vhd";
    if (starts("ustar", 257)) return "ova";
    return "raw";
  } finally {
    await file.close();
  }
}
