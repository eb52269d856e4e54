// What a machine is to be, as plain data: all that its QEMU is started from.
import { createHash } from "node:crypto";
import type { InstanceId } from "../base/ids.ts";
import type { MachineDisk } from "../model/disk.ts";
import type { NicAttachment } from "../model/nic.ts";
import type { Accelerator } from "./accelerator.ts";

export type Firmware = "bios" | "uefi";

/** How a volume that isn't the root is plugged in. Only virtio-blk can grow while the guest runs; only NVMe is named as EC2 names it. */
export type DataDiskModel = "nvme" | "virtio-blk";

export interface MachineSpec {
  readonly instanceId: InstanceId;
  /** SMBIOS UUID; see `instanceUuid`. Also how a QEMU process is known to be this instance's. */
  readonly uuid: string;
  /** `t3.micro`: what the guest finds as its product name. */
  readonly instanceType: string;
  /** The instance's own directory; see `instance-directory.ts`. */
  readonly directory: string;
  readonly vcpus: number;
  readonly memoryMib: number;
  readonly firmware: Firmware;
  /** Exactly one is the root. At most 24 others. */
  readonly disks: readonly MachineDisk[];
  readonly dataDiskModel?: DataDiskModel;
  readonly nic: { readonly mac: string; readonly attachment: NicAttachment } | null;
  /** Boots this kernel from the host instead of what the root disk's boot sector holds. */
  readonly directKernel?: { readonly path: string; readonly commandLine: string; readonly initrdPath?: string };
  readonly accelerator: Accelerator["kind"];
  /** User to run QEMU as, where the server is root. It gets the instance's directory and overlays; the rest must be open to it. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
}

/**
 * The instance's SMBIOS UUID. Derived, so that it stays the same over stop and start; begins with `ec2`, by which
 * cloud-init and others know that they are on EC2.
 */
export function instanceUuid(instanceId: InstanceId): string {
  const hex = createHash("sha256").update(instanceId).digest("hex");
  return `ec2${hex.slice(0, 5)}-${hex.slice(5, 9)}-4${hex.slice(9, 12)}-a${hex.slice(12, 15)}-${hex.slice(15, 27)}`;
}
