// What an archive's head says of its image: everything that makes it the machine it is, but for what belongs to an account
// or a Region. It comes from whoever wrote the object: nothing in it is believed unread.
import type { SnapshotId } from "../base/ids.ts";
import { GIB, volumeSizeGib } from "../base/units.ts";
import { type BlockDevice, isVolumeType, type VolumeType } from "../model/block-device.ts";
import type { Image } from "../model/image.ts";
import { MOST_TAGS, type Tag } from "../model/tags.ts";
import { ArchiveError } from "./image-archive.ts";

const FORMAT = 1;
const MOST_DISKS = 64;
const MOST_DISK_BYTES = 16 * 1024 * GIB;

/** A volume of the mapping; `disk` is its number in the archive, null for one that is empty. */
export type HeadDevice =
  | {
      readonly deviceName: string;
      readonly ebs: {
        readonly disk: number | null;
        readonly sizeGib: number;
        readonly type: VolumeType;
        readonly iops: number | null;
        readonly throughput: number | null;
        readonly deleteOnTermination: boolean;
      };
    }
  | { readonly deviceName: string; readonly virtualName: string };

export interface ImageHead {
  readonly format: typeof FORMAT;
  readonly image: {
    readonly id: string;
    readonly name: string;
    readonly description: string | null;
    readonly createdAt: string;
    readonly architecture: string;
    readonly virtualizationType: "hvm" | "paravirtual";
    readonly bootMode: Image["boot_mode"];
    readonly rootDeviceName: string;
    readonly enaSupport: boolean;
    readonly sriovNetSupport: string | null;
    readonly tpmSupport: string | null;
    readonly imdsSupport: string | null;
    readonly uefiData: string | null;
    readonly tags: readonly Tag[];
    readonly devices: readonly HeadDevice[];
  };
  /** In the archive's order. */
  readonly disks: readonly { readonly bytes: number; readonly description: string; readonly tags: readonly Tag[] }[];
}

/** @throws ArchiveError naming the member that is not what it has to be */
export function parseImageHead(given: unknown): ImageHead {
  const head = record(given, "head");
  if (head.format !== FORMAT) throw new ArchiveError(`its format, ${String(head.format)}, is not known`);
  const image = record(head.image, "image");
  const disks = list(head.disks, "disks", MOST_DISKS).map((value) => {
    const disk = record(value, "disks");
    return {
      bytes: number(disk.bytes, "disks.bytes", 1, MOST_DISK_BYTES),
      description: text(disk.description, "disks.description"),
      tags: tags(disk.tags),
    };
  });
  const devices = list(image.devices, "image.devices", MOST_DISKS).map((value) => device(value, disks));
  const rootDeviceName = text(image.rootDeviceName, "image.rootDeviceName");
  const root = devices.find((one) => one.deviceName === rootDeviceName);
  if (root === undefined || !("ebs" in root) || root.ebs.disk === null) throw wrong("image.devices");
  return {
    format: FORMAT,
    image: {
      id: text(image.id, "image.id"),
      name: text(image.name, "image.name"),
      description: textOrNull(image.description, "image.description"),
      createdAt: text(image.createdAt, "image.createdAt"),
      architecture: oneOf(image.architecture, ["i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"], "architecture"),
      virtualizationType: oneOf(image.virtualizationType, ["hvm", "paravirtual"], "virtualizationType"),
      bootMode: image.bootMode === null ? null : oneOf(image.bootMode, BOOT_MODES, "bootMode"),
      rootDeviceName,
      enaSupport: image.enaSupport === true,
      sriovNetSupport: textOrNull(image.sriovNetSupport, "image.sriovNetSupport"),
      tpmSupport: textOrNull(image.tpmSupport, "image.tpmSupport"),
      imdsSupport: textOrNull(image.imdsSupport, "image.imdsSupport"),
      uefiData: textOrNull(image.uefiData, "image.uefiData"),
      tags: tags(image.tags),
      devices,
    },
    disks,
  };
}

const BOOT_MODES = ["legacy-bios", "uefi", "uefi-preferred"] as const;
const MOST_CHARS = 64 * 1024;

function device(value: unknown, disks: ImageHead["disks"]): HeadDevice {
  const given = record(value, "image.devices");
  const deviceName = text(given.deviceName, "deviceName");
  if (given.ebs === undefined) return { deviceName, virtualName: text(given.virtualName, "virtualName") };
  const ebs = record(given.ebs, "ebs");
  const type = text(ebs.type, "type");
  if (!isVolumeType(type)) throw wrong("type");
  const disk = ebs.disk === null ? null : number(ebs.disk, "disk", 0, disks.length - 1);
  const least = disk === null ? 1 : volumeSizeGib(disks[disk]?.bytes ?? 0);
  const orNull = (member: unknown, name: string) => (member === null ? null : number(member, name, 1, 1_000_000));
  return {
    deviceName,
    ebs: {
      disk,
      sizeGib: number(ebs.sizeGib, "sizeGib", least, MOST_DISK_BYTES / GIB),
      type,
      iops: orNull(ebs.iops, "iops"),
      throughput: orNull(ebs.throughput, "throughput"),
      deleteOnTermination: ebs.deleteOnTermination === true,
    },
  };
}

const wrong = (name: string): ArchiveError => new ArchiveError(`its head's ${name} makes no sense`);

function record(value: unknown, name: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(name);
  return value as Readonly<Record<string, unknown>>;
}

function list(value: unknown, name: string, most: number): readonly unknown[] {
  if (!Array.isArray(value) || value.length > most) throw wrong(name);
  return value;
}

function text(value: unknown, name: string): string {
  if (typeof value !== "string" || value.length > MOST_CHARS) throw wrong(name);
  return value;
}

const textOrNull = (value: unknown, name: string): string | null => (value === null ? null : text(value, name));

function number(value: unknown, name: string, least: number, most: number): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least || value > most) throw wrong(name);
  return value;
}

function oneOf<const T extends string>(value: unknown, allowed: readonly T[], name: string): T {
  const found = allowed.find((one) => one === value);
  if (found === undefined) throw wrong(name);
  return found;
}

const tags = (value: unknown): Tag[] =>
  list(value, "tags", MOST_TAGS).map((given) => {
    const tag = record(given, "tags");
    return { key: text(tag.key, "tags"), value: text(tag.value, "tags") };
  });

/** The mapping with the snapshots that the archive's disks have become. @param snapshots  by the disks' numbers */
export const devicesOf = (head: ImageHead, snapshots: readonly SnapshotId[]): BlockDevice[] =>
  head.image.devices.map((one) => {
    if (!("ebs" in one)) return one;
    const { disk, ...ebs } = one.ebs;
    return {
      deviceName: one.deviceName,
      ebs: { ...ebs, snapshotId: disk === null ? null : (snapshots[disk] ?? null) },
    };
  });

/** @param disks  the content of each of the image's snapshots, in the order of `snapshotsOf` */
export function imageHead(
  image: Image,
  own: readonly Tag[],
  disks: readonly {
    readonly id: SnapshotId;
    readonly bytes: number;
    readonly description: string;
    readonly tags: readonly Tag[];
  }[],
): ImageHead {
  const numberOf = (id: SnapshotId): number => disks.findIndex((disk) => disk.id === id);
  return {
    format: FORMAT,
    image: {
      id: image.id,
      name: image.name,
      description: image.description,
      createdAt: image.created_at,
      architecture: image.architecture,
      virtualizationType: image.virtualization_type,
      bootMode: image.boot_mode,
      rootDeviceName: image.root_device_name,
      enaSupport: image.ena_support === 1,
      sriovNetSupport: image.sriov_net_support,
      tpmSupport: image.tpm_support,
      imdsSupport: image.imds_support,
      uefiData: image.uefi_data,
      tags: ownTags(own),
      devices: image.block_devices.map((one) => {
        if (!("ebs" in one)) return one;
        const { snapshotId, ...ebs } = one.ebs;
        return { deviceName: one.deviceName, ebs: { ...ebs, disk: snapshotId === null ? null : numberOf(snapshotId) } };
      }),
    },
    disks: disks.map(({ bytes, description, tags: given }) => ({ bytes, description, tags: ownTags(given) })),
  };
}

/** What EC2 itself has written stays behind: it would be taken for the truth elsewhere. */
const ownTags = (given: readonly Tag[]): Tag[] => given.filter(({ key }) => !/^aws:/i.test(key));
