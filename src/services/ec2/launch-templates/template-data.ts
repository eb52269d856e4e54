// What a launch template holds: checked as EC2 checks it when it is written, kept as JSON, shown again, and put under a
// RunInstances request.
//
// EC2 takes nearly anything into a template and only warns of what would not launch; so do we (`template-warnings.ts`).
import type {
  RequestLaunchTemplateData,
  ResponseLaunchTemplateData,
  RunInstancesRequest,
  TagSpecification,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { isId } from "../../../base/ids.ts";
import { parseTags } from "../../../model/tags.ts";
import { parseUserData } from "../instances/launch-request.ts";

/** What a template may tag at launch. The last two come with Spot requests and accelerators only: a launch skips them. */
const TAGGED_AT_LAUNCH = ["instance", "volume", "network-interface", "spot-instances-request", "elastic-gpu"];
const SKIPPED_AT_LAUNCH = new Set(["spot-instances-request", "elastic-gpu"]);

/**
 * @throws ApiError `MissingParameter` for a template without anything in it, `InvalidUserData.Malformed`,
 *   `InvalidParameterValue` for tags that no launch could write
 */
export function parseTemplateData(data: RequestLaunchTemplateData | undefined): RequestLaunchTemplateData {
  const given = withoutAbsent(data ?? {});
  if (Object.keys(given).length === 0) {
    throw new ApiError("MissingParameter", "The request must contain the parameter LaunchTemplateData");
  }
  parseUserData(given.UserData);
  const seen = new Set<string>();
  for (const { ResourceType: type = "", Tags: tags = [] } of given.TagSpecifications ?? []) {
    if (!TAGGED_AT_LAUNCH.includes(type)) {
      throw new ApiError(
        "InvalidParameterValue",
        `'${type}' is not a valid taggable resource type for this operation.`,
      );
    }
    if (seen.has(type)) {
      throw new ApiError("InvalidParameterValue", `Duplicate resource type '${type}' in tag specifications.`);
    }
    seen.add(type);
    parseTags(tags);
  }
  return given;
}

/**
 * A new version's data over its source's. A parameter replaces its namesake whole. As on EC2, snapshots in the source's
 * block device mapping are not taken over: they have to be named again.
 */
export function overSource(
  source: RequestLaunchTemplateData,
  data: RequestLaunchTemplateData,
): RequestLaunchTemplateData {
  const { BlockDeviceMappings: devices, ...rest } = source;
  const inherited = devices?.map(({ Ebs: ebs, ...device }) => {
    if (ebs === undefined) return device;
    const { SnapshotId: _snapshot, ...volume } = ebs;
    return { ...device, Ebs: volume };
  });
  return { ...rest, ...(inherited === undefined ? {} : { BlockDeviceMappings: inherited }), ...data };
}

export const keptData = (data: RequestLaunchTemplateData): string => JSON.stringify(data);

export function dataOf(kept: string): RequestLaunchTemplateData {
  const data = JSON.parse(kept) as RequestLaunchTemplateData;
  const spot = data.InstanceMarketOptions?.SpotOptions;
  // The one time in all of it.
  if (spot?.ValidUntil !== undefined) spot.ValidUntil = new Date(spot.ValidUntil);
  return data;
}

/** The image that the data names by its id. */
export const imageIdOf = ({ ImageId: id }: RequestLaunchTemplateData): string | null =>
  id !== undefined && isId("image", id) ? id : null;

/** As DescribeLaunchTemplateVersions shows it. */
export function shownData(data: RequestLaunchTemplateData, image?: string): ResponseLaunchTemplateData {
  const { Operator: operator, ...rest } = data;
  return {
    ...rest,
    ...(image === undefined ? {} : { ImageId: image }),
    ...(operator === undefined ? {} : { Operator: { Managed: true, Principal: operator.Principal } }),
  };
}

/**
 * The request as if it had said all that the template says. What the request says wins: a parameter replaces its
 * namesake, but for devices and interfaces, which replace those of the same name or index only, for tags, which replace
 * those of the same key, and for placement and metadata options, which replace member by member.
 * @throws ApiError `UnsupportedOperation` for a template that describes an instance type instead of naming one, or
 *   with secondary interfaces
 */
export function overTemplate(data: RequestLaunchTemplateData, request: RunInstancesRequest): RunInstancesRequest {
  const {
    RamDiskId: ramdisk,
    TagSpecifications: tags,
    ElasticGpuSpecifications: gpus,
    InstanceRequirements: requirements,
    NetworkInterfaces: cards,
    BlockDeviceMappings: devices,
    Placement: placement,
    MetadataOptions: metadata,
    Monitoring: monitoring,
    SecondaryInterfaces: secondary,
    SecurityGroupIds: groupIds,
    SecurityGroups: groupNames,
    ...rest
  } = data;
  const given = withoutAbsent(request);
  if (requirements !== undefined && given.InstanceType === undefined && rest.InstanceType === undefined) {
    throw new ApiError(
      "UnsupportedOperation",
      "Instance requirements in place of an instance type are not supported here.",
    );
  }
  if (secondary !== undefined)
    throw new ApiError("UnsupportedOperation", "Secondary interfaces are not supported here.");
  const grouped = given.SecurityGroupIds !== undefined || given.SecurityGroups !== undefined;
  return withoutAbsent({
    ...rest,
    RamdiskId: ramdisk,
    Monitoring: monitoring === undefined ? undefined : { Enabled: monitoring.Enabled === true },
    ElasticGpuSpecification: gpus,
    ...(grouped ? {} : { SecurityGroupIds: groupIds, SecurityGroups: groupNames }),
    ...given,
    BlockDeviceMappings: byKey(devices, given.BlockDeviceMappings, (device) => device.DeviceName),
    NetworkInterfaces: byKey(cards, given.NetworkInterfaces, (card) => card.DeviceIndex ?? 0),
    Placement: members(placement, given.Placement),
    MetadataOptions: members(metadata, given.MetadataOptions),
    TagSpecifications: mergedTags(tags, given.TagSpecifications),
  });
}

/** The template's in their order, each replaced by the request's of the same key; then the request's others. */
function byKey<T, K>(
  template: readonly T[] | undefined,
  request: readonly T[] | undefined,
  key: (item: T) => K,
): T[] | undefined {
  if (template === undefined || request === undefined) return [...(request ?? template ?? [])];
  const own = new Set(template.map(key));
  return [
    ...template.flatMap((item) => {
      const replaced = request.filter((candidate) => key(candidate) === key(item));
      return replaced.length > 0 ? replaced : [item];
    }),
    ...request.filter((item) => !own.has(key(item))),
  ];
}

const members = <T extends object>(template: T | undefined, request: T | undefined): T | undefined =>
  template === undefined || request === undefined ? (request ?? template) : { ...template, ...withoutAbsent(request) };

/** What the request says twice stays said twice: the launch refuses it. */
function mergedTags(
  template: readonly TagSpecification[] | undefined,
  request: readonly TagSpecification[] | undefined,
): TagSpecification[] {
  const own = (request ?? []).map((specification) => {
    const under = template?.find((candidate) => candidate.ResourceType === specification.ResourceType);
    const said = new Set(specification.Tags?.map((tag) => tag.Key));
    const kept = (under?.Tags ?? []).filter((tag) => !said.has(tag.Key));
    return { ...specification, Tags: [...kept, ...(specification.Tags ?? [])] };
  });
  const others = (template ?? []).filter(
    ({ ResourceType: type = "", Tags: tags = [] }) =>
      !SKIPPED_AT_LAUNCH.has(type) &&
      tags.length > 0 &&
      !own.some((specification) => specification.ResourceType === type),
  );
  return [...others, ...own];
}

const withoutAbsent = <T extends object>(value: T): T =>
  Object.fromEntries(
    Object.entries(value).filter(
      ([, member]) => member !== undefined && !(Array.isArray(member) && member.length === 0),
    ),
  ) as T;
