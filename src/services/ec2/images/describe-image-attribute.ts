import {
  type AttributeValue,
  DescribeImageAttribute$,
  type DescribeImageAttributeRequest,
  type ImageAttribute,
  type LaunchPermission as ShownPermission,
} from "@aws-sdk/client-ec2";
import { deregistrationProtection, type Image, type LaunchPermission } from "../../../model/image.ts";
import { permissionsOf } from "../../../model/image-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { shownMappings } from "../block-device-mappings.ts";
import { oneOf, required } from "../parameters.ts";
import { resolveOwnImage } from "./own-image.ts";

const ATTRIBUTES = [
  "description",
  "kernel",
  "ramdisk",
  "launchPermission",
  "productCodes",
  "blockDeviceMapping",
  "sriovNetSupport",
  "bootMode",
  "tpmSupport",
  "uefiData",
  "lastLaunchedTime",
  "imdsSupport",
  "deregistrationProtection",
] as const;
type Attribute = (typeof ATTRIBUTES)[number];

/** One attribute of an own image; the answer holds that one and nothing else. */
export const describeImageAttribute = operation({
  action: "ec2:DescribeImageAttribute",
  schema: DescribeImageAttribute$,
  access: "read",
  async resolve(ctx: RequestContext, input: DescribeImageAttributeRequest) {
    const attribute = required(oneOf(input.Attribute, ATTRIBUTES, "attribute"), "attribute");
    return { attribute, ...(await resolveOwnImage(ctx, "ec2:DescribeImageAttribute", input.ImageId)) };
  },
  async run(ctx, _input, { attribute, image }): Promise<ImageAttribute> {
    return { ImageId: image.id, ...(await shown(ctx, attribute, image)) };
  },
});

async function shown(ctx: RequestContext, attribute: Attribute, image: Image): Promise<ImageAttribute> {
  switch (attribute) {
    case "description":
      return { Description: value(image.description) };
    case "kernel":
      return { KernelId: {} };
    case "ramdisk":
      return { RamdiskId: {} };
    case "launchPermission":
      return { LaunchPermissions: (await permissionsOf(ctx.database.read, image.id)).map(shownPermission) };
    case "productCodes":
      return { ProductCodes: [] };
    case "blockDeviceMapping":
      return { BlockDeviceMappings: shownMappings(image.block_devices) };
    case "sriovNetSupport":
      return { SriovNetSupport: value(image.sriov_net_support) };
    case "bootMode":
      return { BootMode: value(image.boot_mode) };
    case "tpmSupport":
      return { TpmSupport: value(image.tpm_support) };
    case "uefiData":
      return { UefiData: value(image.uefi_data) };
    case "lastLaunchedTime":
      return { LastLaunchedTime: value(image.last_launched_at) };
    case "imdsSupport":
      return { ImdsSupport: value(image.imds_support) };
    case "deregistrationProtection":
      return { DeregistrationProtection: value(deregistrationProtection(image, ctx.now())) };
  }
}

/** An attribute without a value is there all the same, empty. */
const value = (text: string | null): AttributeValue => (text === null ? {} : { Value: text });

function shownPermission({ kind, value }: LaunchPermission): ShownPermission {
  switch (kind) {
    case "user":
      return { UserId: value };
    case "group":
      return { Group: "all" };
    case "organization":
      return { OrganizationArn: value };
    case "organizational-unit":
      return { OrganizationalUnitArn: value };
  }
}
