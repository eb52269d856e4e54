// A volume as QEMU's block layer sees it. The graph is always overlay -> store: nothing to commit, it never grows.
//
//   vol…        qcow2, the overlay; what the device and captures use
//   vol…-file   its file
//   vol…-base   the snapshot beneath, read-only over NBD; absent for a volume that was made empty
//
// Names hold the volume's serial (`vol` and hex digits, no dash, 20 characters), as EC2's NVMe disks show it.
// QEMU allows 31 characters.
import { isId, type VolumeId } from "../base/ids.ts";
import type { MachineDisk } from "../model/disk.ts";
import { encryptOption } from "./disk-key.ts";

/** A server that was killed is started again within a second; an hour also covers a host's bad day. Guests just wait. */
const NBD_RECONNECT_SECONDS = 3600;
/** At start QEMU waits this long for the block server instead of exiting at once. */
const NBD_OPEN_SECONDS = 10;

export interface BlockNode {
  readonly driver: string;
  readonly "node-name": string;
  readonly [option: string]: unknown;
}

/** `vol-0123456789abcdef0` -> `vol0123456789abcdef0`: the disk's serial number and its node's name. */
export const volumeSerial = (volumeId: VolumeId): string => volumeId.replace("-", "");

/** The volume of a node name or serial; `null` when it is no volume's. */
export function volumeOfSerial(serial: string): VolumeId | null {
  const volumeId = serial.replace(/^vol/, "vol-");
  return isId("volume", volumeId) ? volumeId : null;
}

export const deviceName = (volumeId: VolumeId): string => `dev-${volumeSerial(volumeId)}`;
/** The volume of a device's id; `null` when it is no volume's. */
export const volumeOfDevice = (device: string): VolumeId | null =>
  device.startsWith("dev-") ? volumeOfSerial(device.slice("dev-".length)) : null;
export const fileNodeName = (volumeId: VolumeId): string => `${volumeSerial(volumeId)}-file`;
export const baseNodeName = (volumeId: VolumeId): string => `${volumeSerial(volumeId)}-base`;

/** The volume's nodes, in the order in which they must be added (and removed backwards). */
export function volumeNodes(
  disk: MachineDisk,
  options: { readonly readOnly?: boolean; readonly encrypted?: boolean } = {},
): BlockNode[] {
  const name = volumeSerial(disk.volumeId);
  const readOnly = options.readOnly === true;
  const nodes: BlockNode[] = [];
  if (disk.base !== null) {
    nodes.push({
      driver: "nbd",
      "node-name": baseNodeName(disk.volumeId),
      server: { type: "unix", path: disk.base.socket },
      export: disk.base.name,
      "read-only": true,
      "reconnect-delay": NBD_RECONNECT_SECONDS,
      "open-timeout": NBD_OPEN_SECONDS,
    });
  }
  nodes.push({
    driver: "file",
    "node-name": fileNodeName(disk.volumeId),
    filename: disk.overlayPath,
    discard: "unmap",
    aio: "threads",
    ...(readOnly ? { "read-only": true } : {}),
  });
  nodes.push({
    driver: "qcow2",
    "node-name": name,
    file: fileNodeName(disk.volumeId),
    // Explicitly none: an overlay's header names no backing file, and if one ever did, it must not be followed.
    backing: disk.base === null ? null : baseNodeName(disk.volumeId),
    discard: "unmap",
    ...(options.encrypted === true ? encryptOption : {}),
    ...(readOnly ? { "read-only": true } : { "detect-zeroes": "unmap" }),
  });
  return nodes;
}
