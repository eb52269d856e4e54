// Where things are: Regions and zones. They are names here, one server hosting them all.
import {
  type Region as ApiRegion,
  type AvailabilityZone,
  DescribeAvailabilityZones$,
  type DescribeAvailabilityZonesRequest,
  type DescribeAvailabilityZonesResult,
  DescribeRegions$,
  type DescribeRegionsRequest,
  type DescribeRegionsResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import type { Region } from "../../../base/ids.ts";
import { isRegion, REGIONS, type Zone, zonesOf } from "../../../model/regions.ts";
import { compileFilters, type FilterTable } from "../../../protocol/filters.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";

const REGION_FILTERS: FilterTable<ApiRegion> = {
  values: {
    "region-name": (region) => region.RegionName,
    endpoint: (region) => region.Endpoint,
    "opt-in-status": (region) => region.OptInStatus,
  },
};

/** Every Region answers at the one address that the client has called. */
const endpointOf = (region: Region): string => `ec2.${region}.amazonaws.com`;

export const describeRegions = operation({
  action: "ec2:DescribeRegions",
  schema: DescribeRegions$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeRegions"),
  async run(_ctx: RequestContext, input: DescribeRegionsRequest): Promise<DescribeRegionsResult> {
    const filters = compileFilters(input.Filters, REGION_FILTERS);
    for (const name of input.RegionNames ?? []) {
      if (!isRegion(name)) throw new ApiError("InvalidParameterValue", `Invalid region names: ${name}`);
    }
    const regions = REGIONS.filter((name) => input.RegionNames === undefined || input.RegionNames.includes(name));
    return {
      Regions: regions
        .map((name) => ({ RegionName: name, Endpoint: endpointOf(name), OptInStatus: "opt-in-not-required" }))
        .filter(filters.matches),
    };
  },
});

const ZONE_FILTERS: FilterTable<AvailabilityZone> = {
  values: {
    "group-name": (zone) => zone.GroupName,
    message: () => [],
    "opt-in-status": (zone) => zone.OptInStatus,
    "parent-zone-id": () => [],
    "parent-zone-name": () => [],
    "region-name": (zone) => zone.RegionName,
    state: (zone) => zone.State,
    "zone-id": (zone) => zone.ZoneId,
    "zone-name": (zone) => zone.ZoneName,
    "zone-type": (zone) => zone.ZoneType,
  },
};

const apiZone = (region: Region, zone: Zone): AvailabilityZone => ({
  ZoneName: zone.name,
  ZoneId: zone.id,
  RegionName: region,
  State: "available",
  OptInStatus: "opt-in-not-required",
  Messages: [],
  GroupName: `${region}-zg-1`,
  NetworkBorderGroup: region,
  ZoneType: "availability-zone",
});

export const describeAvailabilityZones = operation({
  action: "ec2:DescribeAvailabilityZones",
  schema: DescribeAvailabilityZones$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeAvailabilityZones"),
  async run(ctx: RequestContext, input: DescribeAvailabilityZonesRequest): Promise<DescribeAvailabilityZonesResult> {
    const filters = compileFilters(input.Filters, ZONE_FILTERS);
    const zones = zonesOf(ctx.region);
    for (const name of input.ZoneNames ?? []) {
      if (!zones.some((zone) => zone.name === name)) {
        throw new ApiError("InvalidParameterValue", `Invalid availability zone: [${name}]`);
      }
    }
    for (const id of input.ZoneIds ?? []) {
      if (!zones.some((zone) => zone.id === id)) {
        throw new ApiError("InvalidParameterValue", `Invalid availability zone-id: [${id}]`);
      }
    }
    return {
      AvailabilityZones: zones
        .filter((zone) => input.ZoneNames?.includes(zone.name) ?? true)
        .filter((zone) => input.ZoneIds?.includes(zone.id) ?? true)
        .map((zone) => apiZone(ctx.region, zone))
        .filter(filters.matches),
    };
  },
});
