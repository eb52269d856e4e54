// UEFI firmware on this host. SeaBIOS comes with QEMU and needs nothing.
import { constants } from "node:fs";
import { access, copyFile, rename, stat } from "node:fs/promises";

interface UefiFirmware {
  readonly code: string;
  /** Empty variables; each machine writes to a copy of its own. */
  readonly vars: string;
}

/** Where distributions keep OVMF: Debian and Ubuntu, Fedora, Arch, SUSE. Without Secure Boot: no image of ours is signed. */
const KNOWN: readonly UefiFirmware[] = [
  { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", vars: "/usr/share/OVMF/OVMF_VARS_4M.fd" },
  { code: "/usr/share/OVMF/OVMF_CODE.fd", vars: "/usr/share/OVMF/OVMF_VARS.fd" },
  { code: "/usr/share/edk2/ovmf/OVMF_CODE.fd", vars: "/usr/share/edk2/ovmf/OVMF_VARS.fd" },
  { code: "/usr/share/edk2/x64/OVMF_CODE.4m.fd", vars: "/usr/share/edk2/x64/OVMF_VARS.4m.fd" },
  { code: "/usr/share/qemu/ovmf-x86_64-code.bin", vars: "/usr/share/qemu/ovmf-x86_64-vars.bin" },
];

/** The host's UEFI firmware, or `null` when none is installed. */
export async function findUefi(): Promise<UefiFirmware | null> {
  for (const firmware of KNOWN) {
    if ((await isReadable(firmware.code)) && (await isReadable(firmware.vars))) return firmware;
  }
  return null;
}

const isReadable = (path: string): Promise<boolean> =>
  access(path, constants.R_OK).then(
    () => true,
    () => false,
  );

/** Gives a machine its own variables at `path`, unless it has them: boot entries that a guest made outlive a stop. */
export async function ensureUefiVars(firmware: UefiFirmware, path: string): Promise<void> {
  if (await stat(path).catch(() => null)) return;
  const temporary = `${path}.new`;
  await copyFile(firmware.vars, temporary);
  await rename(temporary, path);
}
