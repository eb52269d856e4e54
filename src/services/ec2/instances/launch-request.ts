// What RunInstances is asked for, checked as far as the request alone can tell. Which image, subnet and key it names is
// looked up by the action.
import { createHash } from "node:crypto";
import type { BlockDeviceMapping, RunInstancesRequest } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";

/** Instances that one call may make. */
const MOST_INSTANCES = 100;
/** EC2's limit on decoded user data. */
const MOST_USER_DATA_BYTES = 16 * 1024;
const MOST_TOKEN_CHARS = 64;
const DEFAULT_TYPE = "t3.micro";

export interface MetadataRequest {
  readonly httpTokens: "optional" | "required" | undefined;
  readonly httpEndpoint: "enabled" | "disabled" | undefined;
  readonly httpHopLimit: number | undefined;
  readonly metadataTags: "enabled" | "disabled" | undefined;
}

export interface LaunchRequest {
  readonly image: string;
  readonly minCount: number;
  readonly maxCount: number;
  readonly type: string;
  readonly keyName: string | undefined;
  readonly subnetId: string | undefined;
  readonly zone: string | undefined;
  readonly privateIp: string | undefined;
  /** undefined: as the subnet says. */
  readonly publicIp: boolean | undefined;
  readonly groupIds: readonly string[];
  readonly groupNames: readonly string[];
  readonly profile: { readonly arn?: string; readonly name?: string } | undefined;
  readonly blockDevices: readonly BlockDeviceMapping[];
  /** base64, as it came. */
  readonly userData: string | undefined;
  readonly metadata: MetadataRequest;
  readonly clientToken: string | undefined;
  readonly ebsOptimized: boolean;
  readonly monitoring: boolean;
  readonly disableApiTermination: boolean;
  readonly disableApiStop: boolean;
  readonly shutdownBehavior: "stop" | "terminate";
}

/**
 * @param input  what its launch template says is in it already
 * @throws ApiError as EC2 refuses such a request
 */
export function parseLaunch(input: RunInstancesRequest): LaunchRequest {
  if (input.InstanceMarketOptions !== undefined) throw unsupported("Spot instances are");
  if (input.HibernationOptions?.Configured === true) throw unsupported("Hibernation is");
  if (input.EnclaveOptions?.Enabled === true) throw unsupported("Nitro Enclaves are");
  if (input.KernelId !== undefined || input.RamdiskId !== undefined)
    throw unsupported("Kernel and RAM disk images are");
  if (input.ImageId === undefined) throw missing("ImageId");
  const { minCount, maxCount } = counts(input.MinCount, input.MaxCount);
  const network = networkOf(input);
  if (network.privateIp !== undefined && maxCount > 1) {
    throw new ApiError(
      "InvalidParameterCombination",
      "The parameter PrivateIpAddress may not be used with more than one instance",
    );
  }
  return {
    image: input.ImageId,
    minCount,
    maxCount,
    type: input.InstanceType ?? DEFAULT_TYPE,
    keyName: input.KeyName,
    ...network,
    zone: input.Placement?.AvailabilityZone,
    profile: profileOf(input.IamInstanceProfile),
    blockDevices: input.BlockDeviceMappings ?? [],
    userData: parseUserData(input.UserData),
    metadata: parseMetadataRequest(input.MetadataOptions ?? {}),
    clientToken: parseToken(input.ClientToken),
    ebsOptimized: input.EbsOptimized === true,
    monitoring: input.Monitoring?.Enabled === true,
    disableApiTermination: input.DisableApiTermination === true,
    disableApiStop: input.DisableApiStop === true,
    shutdownBehavior: parseShutdownBehavior(input.InstanceInitiatedShutdownBehavior),
  };
}

/** What makes two calls with one client token the same call. */
export const fingerprint = (input: RunInstancesRequest): string =>
  createHash("sha256")
    .update(JSON.stringify({ ...input, DryRun: undefined, ClientToken: undefined }))
    .digest("hex");

function counts(minCount: number | undefined, maxCount: number | undefined) {
  if (minCount === undefined) throw missing("MinCount");
  if (maxCount === undefined) throw missing("MaxCount");
  if (minCount < 1) throw invalid("minCount", String(minCount));
  if (maxCount < 1) throw invalid("maxCount", String(maxCount));
  if (minCount > maxCount) {
    throw new ApiError("InvalidParameterValue", `Value (${maxCount}) for parameter maxCount is less than minCount.`);
  }
  if (minCount > MOST_INSTANCES) {
    throw new ApiError("InstanceLimitExceeded", `You may launch at most ${MOST_INSTANCES} instances with one request.`);
  }
  return { minCount, maxCount: Math.min(maxCount, MOST_INSTANCES) };
}

/** The instance's one interface, from either of EC2's two ways to describe it. */
function networkOf(input: RunInstancesRequest) {
  const [card, ...others] = input.NetworkInterfaces ?? [];
  if (others.length > 0) throw unsupported("Instances with several network interfaces are");
  const top = {
    subnetId: input.SubnetId,
    privateIp: input.PrivateIpAddress,
    publicIp: undefined,
    groupIds: input.SecurityGroupIds ?? [],
    groupNames: input.SecurityGroups ?? [],
  };
  if (card === undefined) return top;
  if (card.NetworkInterfaceId !== undefined) throw unsupported("Network interfaces made beforehand are");
  if ((card.DeviceIndex ?? 0) !== 0) {
    throw new ApiError("InvalidParameterValue", "The primary network interface has the device index 0.");
  }
  if (top.subnetId !== undefined || top.groupIds.length > 0 || top.groupNames.length > 0) {
    throw new ApiError(
      "InvalidParameterCombination",
      "Network interfaces and an instance-level security groups or subnet ID may not be specified on the same request",
    );
  }
  return {
    subnetId: card.SubnetId,
    privateIp: card.PrivateIpAddress ?? top.privateIp,
    publicIp: card.AssociatePublicIpAddress,
    groupIds: card.Groups ?? [],
    groupNames: [],
  };
}

/** Packer 1.6 sends a profile with an empty name: none is meant. */
function profileOf(profile: RunInstancesRequest["IamInstanceProfile"]): LaunchRequest["profile"] {
  if (profile?.Arn === undefined && profile?.Name === undefined) return undefined;
  if (profile.Arn !== undefined && profile.Name !== undefined) {
    throw new ApiError(
      "InvalidParameterCombination",
      "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'",
    );
  }
  return profile.Arn === undefined ? { name: profile.Name ?? "" } : { arn: profile.Arn };
}

/** @throws ApiError `InvalidUserData.Malformed`, `InvalidParameterValue` when over 16 KiB */
export function parseUserData(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const bare = text.replaceAll(/\s/g, "");
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(bare)) {
    throw new ApiError("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.");
  }
  if (Buffer.from(bare, "base64").length > MOST_USER_DATA_BYTES) {
    throw new ApiError("InvalidParameterValue", "User data is limited to 16384 bytes");
  }
  return bare;
}

/** @throws ApiError `InvalidParameterValue` */
export function parseMetadataRequest(options: {
  readonly HttpTokens?: string | undefined;
  readonly HttpEndpoint?: string | undefined;
  readonly HttpPutResponseHopLimit?: number | undefined;
  readonly HttpProtocolIpv6?: string | undefined;
  readonly InstanceMetadataTags?: string | undefined;
}): MetadataRequest {
  const hops = options.HttpPutResponseHopLimit;
  if (hops !== undefined && (hops < 1 || hops > 64)) throw invalid("httpPutResponseHopLimit", String(hops));
  if (options.HttpProtocolIpv6 === "enabled") throw unsupported("The IPv6 endpoint of the metadata service is");
  return {
    httpTokens: oneOf("httpTokens", options.HttpTokens, ["optional", "required"]),
    httpEndpoint: oneOf("httpEndpoint", options.HttpEndpoint, ["enabled", "disabled"]),
    httpHopLimit: hops,
    metadataTags: oneOf("instanceMetadataTags", options.InstanceMetadataTags, ["enabled", "disabled"]),
  };
}

/** @throws ApiError `InvalidParameterValue` */
export const parseShutdownBehavior = (text: string | undefined): "stop" | "terminate" =>
  oneOf("instanceInitiatedShutdownBehavior", text, ["stop", "terminate"]) ?? "stop";

function parseToken(token: string | undefined): string | undefined {
  if (token !== undefined && token.length > MOST_TOKEN_CHARS) throw invalid("clientToken", token);
  return token;
}

function oneOf<T extends string>(name: string, text: string | undefined, allowed: readonly T[]): T | undefined {
  if (text === undefined) return undefined;
  const found = allowed.find((value) => value === text);
  if (found === undefined) throw invalid(name, text);
  return found;
}

const invalid = (parameter: string, value: string): ApiError =>
  new ApiError("InvalidParameterValue", `Value (${value}) for parameter ${parameter} is invalid.`);
const missing = (parameter: string): ApiError =>
  new ApiError("MissingParameter", `The request must contain the parameter ${parameter}`);
const unsupported = (what: string): ApiError => new ApiError("UnsupportedOperation", `${what} not supported here.`);
