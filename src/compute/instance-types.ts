// The instance types that are offered: sizes that people know by name, with EC2's vCPUs and memory. All are x86_64 machines
// on this host; families differ in nothing but their sizes.
import { ApiError } from "../base/api-error.ts";
import { overheadMib } from "./qemu-argv.ts";

export interface InstanceType {
  readonly name: string;
  readonly vcpus: number;
  readonly memoryMib: number;
  readonly architecture: "x86_64";
  /** EC2 calls t-types burstable; nothing is throttled here. */
  readonly burstable: boolean;
  readonly currentGeneration: boolean;
}

/** [size, vCPUs, GiB] */
type Size = readonly [string, number, number];

const BURSTABLE: readonly Size[] = [
  ["nano", 2, 0.5],
  ["micro", 2, 1],
  ["small", 2, 2],
  ["medium", 2, 4],
  ["large", 2, 8],
  ["xlarge", 4, 16],
  ["2xlarge", 8, 32],
];
const T2: readonly Size[] = [
  ["nano", 1, 0.5],
  ["micro", 1, 1],
  ["small", 1, 2],
  ["medium", 2, 4],
  ["large", 2, 8],
  ["xlarge", 4, 16],
  ["2xlarge", 8, 32],
];
/** Larger families: so many GiB for each vCPU. */
const sizes = (gibPerVcpu: number): readonly Size[] => [
  ["large", 2, 2 * gibPerVcpu],
  ["xlarge", 4, 4 * gibPerVcpu],
  ["2xlarge", 8, 8 * gibPerVcpu],
  ["4xlarge", 16, 16 * gibPerVcpu],
];

interface Family {
  readonly name: string;
  readonly sizes: readonly Size[];
  readonly burstable?: boolean;
  readonly old?: boolean;
}

const FAMILIES: readonly Family[] = [
  { name: "t2", sizes: T2, burstable: true, old: true },
  { name: "t3", sizes: BURSTABLE, burstable: true },
  { name: "t3a", sizes: BURSTABLE, burstable: true },
  { name: "m1", sizes: [["small", 1, 1.7]], old: true },
  { name: "m4", sizes: sizes(4), old: true },
  { name: "m5", sizes: sizes(4) },
  { name: "m6i", sizes: sizes(4) },
  { name: "m7i", sizes: sizes(4) },
  { name: "c5", sizes: sizes(2) },
  { name: "c6i", sizes: sizes(2) },
  { name: "c7i", sizes: sizes(2) },
  { name: "r5", sizes: sizes(8) },
  { name: "r6i", sizes: sizes(8) },
];

/** By name, in the order of the families. */
export const INSTANCE_TYPES: ReadonlyMap<string, InstanceType> = new Map(
  FAMILIES.flatMap((family) =>
    family.sizes.map(([size, vcpus, gib]) => {
      const type: InstanceType = {
        name: `${family.name}.${size}`,
        vcpus,
        memoryMib: Math.floor(gib * 1024),
        architecture: "x86_64",
        burstable: family.burstable === true,
        currentGeneration: family.old !== true,
      };
      return [type.name, type] as const;
    }),
  ),
);

/** @throws ApiError `InvalidParameterValue`, as EC2 says of a type that it does not have */
export function findInstanceType(name: string): InstanceType {
  const type = INSTANCE_TYPES.get(name);
  if (type === undefined) {
    throw new ApiError("InvalidParameterValue", `Invalid value '${name}' for InstanceType.`);
  }
  return type;
}

/** What this host can give to guests. */
export interface HostCapacity {
  readonly memoryMib: number;
  readonly cpus: number;
}

export interface Demand {
  readonly memoryMib: number;
  readonly vcpus: number;
}

/** Guests' vCPUs for each of the host's: idle guests cost next to nothing, busy ones share. */
const VCPUS_PER_CPU = 64;

/**
 * Does one more fit? Memory is given out once, processors many times over.
 * @returns null when it fits; else why not, for the operator
 */
export function admission(running: readonly Demand[], demand: Demand, host: HostCapacity): string | null {
  const needMib = (one: Demand) => one.memoryMib + overheadMib(one.memoryMib);
  const used = running.reduce((sum, one) => sum + needMib(one), 0);
  if (used + needMib(demand) > host.memoryMib) {
    return `the host gives ${host.memoryMib} MiB to instances; ${used} MiB are in use, ${needMib(demand)} MiB were asked for`;
  }
  const vcpus = running.reduce((sum, one) => sum + one.vcpus, 0);
  if (vcpus + demand.vcpus > host.cpus * VCPUS_PER_CPU) {
    return `the host gives ${host.cpus * VCPUS_PER_CPU} vCPUs to instances; ${vcpus} are in use, ${demand.vcpus} were asked for`;
  }
  return null;
}
