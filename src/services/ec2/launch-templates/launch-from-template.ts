// RunInstances with a launch template: the request as if it had said all that the template says, and which of what it
// refers to is the template's. `ec2:IsLaunchTemplateResource` lets a policy hold people to the template: it is false for
// whatever the request itself names in place of, or beside, the template's.
import type { RequestLaunchTemplateData, RunInstancesRequest } from "@aws-sdk/client-ec2";
import type { ConditionKeys, ResourceCheck } from "../../../model/access.ts";
import { type LaunchTemplate, templateArn, templateVersion } from "../../../model/launch-template.ts";
import type { Tag } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { ownerOf } from "../owner.ts";
import { findTemplate, templateCheck } from "./named-template.ts";
import { dataOf, overTemplate } from "./template-data.ts";

export interface TemplateLaunch {
  /** What is to be launched. */
  readonly input: RunInstancesRequest;
  /** On every instance. */
  readonly systemTags: readonly Tag[];
  /** The question about the template itself. */
  readonly checks: readonly ResourceCheck[];
  /** Condition keys of a resource of this kind; `name` is a device's name or a snapshot's id. */
  keysOf(kind: LaunchedKind, name?: string): ConditionKeys;
}

export type LaunchedKind =
  | "image"
  | "instance"
  | "subnet"
  | "network-interface"
  | "security-group"
  | "volume"
  | "snapshot"
  | "key-pair";

/** @throws ApiError as `findTemplate`, `templateVersion` and `overTemplate` do */
export async function launchFromTemplate(ctx: RequestContext, input: RunInstancesRequest): Promise<TemplateLaunch> {
  const named = input.LaunchTemplate;
  if (named === undefined) {
    return { input, systemTags: [], checks: [], keysOf: () => ({ "ec2:IsLaunchTemplateResource": "false" }) };
  }
  const template = await findTemplate(ctx, named);
  const version = await templateVersion(ctx.database.read, template, named.Version);
  const { LaunchTemplate: _template, ...request } = input;
  const data = dataOf(version.data);
  const keysOf = (ofTemplate: boolean): ConditionKeys => ({
    "ec2:LaunchTemplate": templateArn(ownerOf(ctx), template.id),
    "ec2:IsLaunchTemplateResource": String(ofTemplate),
  });
  return {
    input: overTemplate(data, request),
    systemTags: systemTags(template, version.version),
    checks: [await templateCheck(ctx, "ec2:RunInstances", template, keysOf(true))],
    keysOf: (kind, name) => keysOf(isTemplates(request, data, kind, name)),
  };
}

const systemTags = (template: LaunchTemplate, version: number): Tag[] => [
  { key: "aws:ec2launchtemplate:id", value: template.id },
  { key: "aws:ec2launchtemplate:version", value: String(version) },
];

/** Has the request left this to the template? */
function isTemplates(
  request: RunInstancesRequest,
  data: RequestLaunchTemplateData,
  kind: LaunchedKind,
  name: string | undefined,
): boolean {
  const has = (list: readonly unknown[] | undefined): boolean => (list ?? []).length > 0;
  switch (kind) {
    case "image":
      return request.ImageId === undefined;
    case "instance":
      return true;
    case "key-pair":
      return request.KeyName === undefined;
    case "subnet":
      return request.SubnetId === undefined && !has(request.NetworkInterfaces) && !namesZone(request);
    case "network-interface":
      return !has(request.NetworkInterfaces);
    case "security-group":
      return !has(request.SecurityGroupIds) && !has(request.SecurityGroups) && !has(request.NetworkInterfaces);
    case "volume":
      return !(request.BlockDeviceMappings ?? []).some((device) => device.DeviceName === name);
    case "snapshot":
      return (
        (data.BlockDeviceMappings ?? []).some((device) => device.Ebs?.SnapshotId === name) &&
        !(request.BlockDeviceMappings ?? []).some((device) => device.Ebs?.SnapshotId === name)
      );
  }
}

const namesZone = ({ Placement: place }: RunInstancesRequest): boolean =>
  place?.AvailabilityZone !== undefined || place?.AvailabilityZoneId !== undefined;
