// Block device mappings: how an image, a launch and CreateVolume describe the volumes that they make.
import { ApiError } from "../base/api-error.ts";
import type { SnapshotId } from "../base/ids.ts";

export type VolumeType = "gp2" | "gp3" | "io1" | "io2" | "st1" | "sc1" | "standard";

/** A volume to be made at launch. */
export interface EbsDevice {
  /** `null`: an empty volume. */
  readonly snapshotId: SnapshotId | null;
  readonly sizeGib: number;
  readonly type: VolumeType;
  readonly iops: number | null;
  /** MiB/s, gp3 only. */
  readonly throughput: number | null;
  readonly deleteOnTermination: boolean;
}

/** One entry of an image's mapping, as `images.block_devices` keeps it. */
export type BlockDevice =
  | { readonly deviceName: string; readonly ebs: EbsDevice }
  /** `ephemeral0`: kept and shown, but no instance type here has such a disk. */
  | { readonly deviceName: string; readonly virtualName: string };

/** The snapshots that an image holds, in the mapping's order, each once. */
export function snapshotsOf(devices: readonly BlockDevice[]): SnapshotId[] {
  const ids = new Set<SnapshotId>();
  for (const device of devices) {
    if ("ebs" in device && device.ebs.snapshotId !== null) ids.add(device.ebs.snapshotId);
  }
  return [...ids];
}

interface VolumeTypeLimits {
  readonly minGib: number;
  readonly maxGib: number;
  /** Provisioned IOPS; absent where the type has none. */
  readonly iops?: { readonly min: number; readonly max: number; readonly perGib: number; readonly required: boolean };
  /** MiB/s; absent where the type has none. */
  readonly throughput?: { readonly min: number; readonly max: number };
}

/** EC2's limits per volume type (user guide, "Amazon EBS volume types", 2026). */
const LIMITS: Readonly<Record<VolumeType, VolumeTypeLimits>> = {
  gp2: { minGib: 1, maxGib: 16_384 },
  gp3: {
    minGib: 1,
    maxGib: 65_536,
    iops: { min: 3_000, max: 80_000, perGib: 500, required: false },
    throughput: { min: 125, max: 2_000 },
  },
  io1: { minGib: 4, maxGib: 16_384, iops: { min: 100, max: 64_000, perGib: 50, required: true } },
  io2: { minGib: 4, maxGib: 65_536, iops: { min: 100, max: 256_000, perGib: 1_000, required: true } },
  st1: { minGib: 125, maxGib: 16_384 },
  sc1: { minGib: 125, maxGib: 16_384 },
  standard: { minGib: 1, maxGib: 1_024 },
};

/** What a gp3 volume has when nothing is asked. */
const GP3_IOPS = 3_000;
const GP3_THROUGHPUT = 125;

/** EC2's default where a request names no type. */
export const DEFAULT_VOLUME_TYPE: VolumeType = "gp2";

export const isVolumeType = (text: string): text is VolumeType => Object.hasOwn(LIMITS, text);

export interface VolumeRequest {
  readonly type: string | undefined;
  readonly sizeGib: number;
  readonly iops: number | undefined;
  readonly throughput: number | undefined;
}

/**
 * A volume's type, IOPS and throughput, checked against each other and filled in as EC2 does.
 * @throws ApiError `UnknownVolumeType`, `InvalidParameterValue`, `InvalidParameterCombination`, `MissingParameter`
 */
export function volumeShape(request: VolumeRequest): Pick<EbsDevice, "sizeGib" | "type" | "iops" | "throughput"> {
  const type = request.type === undefined || request.type === "" ? DEFAULT_VOLUME_TYPE : request.type;
  if (!isVolumeType(type)) throw new ApiError("UnknownVolumeType", `Unsupported volume type '${type}'.`);
  const limits = LIMITS[type];
  const { sizeGib } = request;
  if (!Number.isInteger(sizeGib) || sizeGib < limits.minGib) {
    throw invalid(`Volume of ${sizeGib}GiB is too small; minimum is ${limits.minGib}GiB.`);
  }
  if (sizeGib > limits.maxGib) {
    throw invalid(`Volume of ${sizeGib}GiB is too large for volume type ${type}; maximum is ${limits.maxGib}GiB.`);
  }
  return {
    sizeGib,
    type,
    iops: iopsOf(type, limits, sizeGib, request.iops),
    throughput: throughputOf(type, limits, request.throughput),
  };
}

function iopsOf(type: VolumeType, limits: VolumeTypeLimits, sizeGib: number, asked: number | undefined): number | null {
  if (limits.iops === undefined) {
    if (asked !== undefined) {
      throw new ApiError("InvalidParameterCombination", `The parameter iops is not supported for ${type} volumes.`);
    }
    // What a gp2 volume of this size has: 3 per GiB, between 100 and 16,000.
    return type === "gp2" ? Math.min(16_000, Math.max(100, 3 * sizeGib)) : null;
  }
  const { min, max, perGib, required } = limits.iops;
  if (asked === undefined) {
    if (required) throw new ApiError("MissingParameter", `The parameter iops must be specified for ${type} volumes.`);
    return GP3_IOPS;
  }
  if (asked < min) throw invalid(`Volume iops of ${asked} is too low; minimum is ${min}.`);
  if (asked > max) throw invalid(`Volume iops of ${asked} is too high; maximum is ${max}.`);
  if (asked > Math.max(min, perGib * sizeGib)) {
    throw invalid(`Iops to volume size ratio of ${(asked / sizeGib).toFixed(6)} is too high; maximum is ${perGib}.`);
  }
  return asked;
}

function throughputOf(type: VolumeType, limits: VolumeTypeLimits, asked: number | undefined): number | null {
  if (limits.throughput === undefined) {
    if (asked !== undefined) {
      throw new ApiError(
        "InvalidParameterCombination",
        `The parameter throughput is not supported for ${type} volumes.`,
      );
    }
    return null;
  }
  if (asked === undefined) return GP3_THROUGHPUT;
  const { min, max } = limits.throughput;
  if (asked < min || asked > max) throw invalid(`Throughput must be between ${min} and ${max} MiB/s, not ${asked}.`);
  return asked;
}

const invalid = (message: string): ApiError => new ApiError("InvalidParameterValue", message);
