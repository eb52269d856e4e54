// DescribeInstanceTypes, DescribeInstanceTypeOfferings, DescribeInstanceCreditSpecifications.
import {
  DescribeInstanceCreditSpecifications$,
  type DescribeInstanceCreditSpecificationsRequest,
  type DescribeInstanceCreditSpecificationsResult,
  DescribeInstanceTypeOfferings$,
  type DescribeInstanceTypeOfferingsRequest,
  type DescribeInstanceTypeOfferingsResult,
  DescribeInstanceTypes$,
  type DescribeInstanceTypesRequest,
  type DescribeInstanceTypesResult,
  type InstanceTypeInfo,
  type InstanceTypeOffering,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import { findInstanceType, INSTANCE_TYPES, type InstanceType } from "../../../compute/instance-types.ts";
import { instancesByIds, instancesOf } from "../../../model/instance.ts";
import { zonesOf } from "../../../model/regions.ts";
import { compileFilters, type FilterTable } from "../../../protocol/filters.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { pageOf } from "../page.ts";

type TypeName = NonNullable<InstanceTypeInfo["InstanceType"]>;

const typeInfo = (type: InstanceType): InstanceTypeInfo => ({
  InstanceType: type.name as TypeName,
  CurrentGeneration: type.currentGeneration,
  FreeTierEligible: false,
  SupportedUsageClasses: ["on-demand"],
  SupportedRootDeviceTypes: ["ebs"],
  SupportedVirtualizationTypes: ["hvm"],
  BareMetal: false,
  Hypervisor: "nitro",
  ProcessorInfo: { SupportedArchitectures: [type.architecture] },
  VCpuInfo: { DefaultVCpus: type.vcpus, DefaultCores: type.vcpus, DefaultThreadsPerCore: 1 },
  MemoryInfo: { SizeInMiB: type.memoryMib },
  InstanceStorageSupported: false,
  EbsInfo: { EbsOptimizedSupport: "default", EncryptionSupport: "unsupported", NvmeSupport: "required" },
  NetworkInfo: {
    NetworkPerformance: "Up to 5 Gigabit",
    MaximumNetworkInterfaces: 1,
    MaximumNetworkCards: 1,
    DefaultNetworkCardIndex: 0,
    NetworkCards: [{ NetworkCardIndex: 0, NetworkPerformance: "Up to 5 Gigabit", MaximumNetworkInterfaces: 1 }],
    Ipv4AddressesPerInterface: 1,
    Ipv6AddressesPerInterface: 0,
    Ipv6Supported: false,
    EnaSupport: "supported",
    EfaSupported: false,
  },
  PlacementGroupInfo: { SupportedStrategies: [] },
  HibernationSupported: false,
  BurstablePerformanceSupported: type.burstable,
  DedicatedHostsSupported: false,
  AutoRecoverySupported: false,
  SupportedBootModes: ["legacy-bios", "uefi"],
  NitroEnclavesSupport: "unsupported",
  NitroTpmSupport: "unsupported",
});

const TYPE_FILTERS: FilterTable<InstanceTypeInfo> = {
  values: {
    "auto-recovery-supported": () => false,
    "bare-metal": () => false,
    "burstable-performance-supported": (type) => type.BurstablePerformanceSupported,
    "current-generation": (type) => type.CurrentGeneration,
    "dedicated-hosts-supported": () => false,
    "free-tier-eligible": () => false,
    "hibernation-supported": () => false,
    hypervisor: (type) => type.Hypervisor,
    "instance-storage-supported": () => false,
    "instance-type": (type) => type.InstanceType,
    "memory-info.size-in-mib": (type) => type.MemoryInfo?.SizeInMiB,
    "network-info.ena-support": (type) => type.NetworkInfo?.EnaSupport,
    "network-info.ipv6-supported": () => false,
    "processor-info.supported-architecture": (type) => type.ProcessorInfo?.SupportedArchitectures,
    "supported-boot-mode": (type) => type.SupportedBootModes,
    "supported-root-device-type": () => "ebs",
    "supported-usage-class": () => "on-demand",
    "supported-virtualization-type": () => "hvm",
    "vcpu-info.default-cores": (type) => type.VCpuInfo?.DefaultCores,
    "vcpu-info.default-threads-per-core": () => 1,
    "vcpu-info.default-vcpus": (type) => type.VCpuInfo?.DefaultVCpus,
  },
};

export const describeInstanceTypes = operation({
  action: "ec2:DescribeInstanceTypes",
  schema: DescribeInstanceTypes$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeInstanceTypes"),
  async run(ctx: RequestContext, input: DescribeInstanceTypesRequest): Promise<DescribeInstanceTypesResult> {
    const filters = compileFilters(input.Filters, TYPE_FILTERS);
    const named: readonly string[] | undefined = input.InstanceTypes;
    const missing = (named ?? []).filter((name) => !INSTANCE_TYPES.has(name));
    if (missing.length > 0) {
      throw new ApiError(
        "InvalidInstanceType",
        `The following supplied instance types do not exist: [${missing.join(", ")}]`,
      );
    }
    const types = named === undefined ? [...INSTANCE_TYPES.values()] : named.map(findInstanceType);
    const found = types.map(typeInfo).filter(filters.matches);
    const { page, token } = pageOf(ctx, "DescribeInstanceTypes", input, found, (type) => type.InstanceType ?? "");
    return { InstanceTypes: page, ...token };
  },
});

const OFFERING_FILTERS: FilterTable<InstanceTypeOffering> = {
  values: { "instance-type": (offering) => offering.InstanceType, location: (offering) => offering.Location },
};

export const describeInstanceTypeOfferings = operation({
  action: "ec2:DescribeInstanceTypeOfferings",
  schema: DescribeInstanceTypeOfferings$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeInstanceTypeOfferings"),
  async run(
    ctx: RequestContext,
    input: DescribeInstanceTypeOfferingsRequest,
  ): Promise<DescribeInstanceTypeOfferingsResult> {
    const filters = compileFilters(input.Filters, OFFERING_FILTERS);
    const kind = input.LocationType ?? "region";
    const locations = locationsOf(ctx, kind);
    const offerings: InstanceTypeOffering[] = [...INSTANCE_TYPES.keys()].flatMap((name) =>
      locations.map((location) => ({ InstanceType: name as TypeName, LocationType: kind, Location: location })),
    );
    const found = offerings.filter(filters.matches);
    const { page, token } = pageOf(
      ctx,
      "DescribeInstanceTypeOfferings",
      input,
      found,
      (offering) => `${offering.InstanceType} ${offering.Location}`,
    );
    return { InstanceTypeOfferings: page, ...token };
  },
});

function locationsOf(ctx: RequestContext, kind: string): readonly string[] {
  switch (kind) {
    case "region":
      return [ctx.region];
    case "availability-zone":
      return zonesOf(ctx.region).map((zone) => zone.name);
    case "availability-zone-id":
      return zonesOf(ctx.region).map((zone) => zone.id);
    case "outpost":
      return [];
    default:
      throw new ApiError("InvalidParameterValue", `Value (${kind}) for parameter locationType is invalid.`);
  }
}

/** Nothing is throttled here, whatever a type is called: what EC2 calls `unlimited`. */
export const describeInstanceCreditSpecifications = operation({
  action: "ec2:DescribeInstanceCreditSpecifications",
  schema: DescribeInstanceCreditSpecifications$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeInstanceCreditSpecifications"),
  async run(
    ctx: RequestContext,
    input: DescribeInstanceCreditSpecificationsRequest,
  ): Promise<DescribeInstanceCreditSpecificationsResult> {
    const db = ctx.database.read;
    const owner = ownerOf(ctx);
    const instances =
      input.InstanceIds === undefined
        ? await instancesOf(db, owner, ctx.now())
        : await instancesByIds(
            db,
            owner,
            input.InstanceIds.map((id) => parseId("instance", id)),
          );
    const burstable = instances.filter((instance) => findInstanceType(instance.type).burstable);
    const { page, token } = pageOf(
      ctx,
      "DescribeInstanceCreditSpecifications",
      input,
      burstable,
      (instance) => instance.id,
    );
    return {
      InstanceCreditSpecifications: page.map((instance) => ({ InstanceId: instance.id, CpuCredits: "unlimited" })),
      ...token,
    };
  },
});
