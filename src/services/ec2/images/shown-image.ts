// An image as DescribeImages shows it, and the filters over that.
import type { Image as ShownImage } from "@aws-sdk/client-ec2";
import { deregistrationProtection, type Image } from "../../../model/image.ts";
import type { Tag } from "../../../model/tags.ts";
import type { FilterTable } from "../../../protocol/filters.ts";
import { shownMappings } from "../block-device-mappings.ts";
import { shownTags } from "../tags/shown-tags.ts";

/** An image with what hangs on it, as one viewer sees it. */
export interface ImageView {
  readonly image: Image;
  /** The viewer's own tags. */
  readonly tags: readonly Tag[];
  /** Would the Allowed AMIs setting let the viewer use it? undefined while that is switched off. */
  readonly allowed: boolean | undefined;
}

export function shownImage({ image, tags, allowed }: ImageView, accountId: string, now: Date): ShownImage {
  const mine = image.account_id === accountId;
  return {
    ImageId: image.id,
    ImageLocation: image.location,
    ImageType: "machine",
    Architecture: image.architecture as NonNullable<ShownImage["Architecture"]>,
    CreationDate: image.created_at,
    OwnerId: image.account_id,
    Public: image.is_public,
    PlatformDetails: "Linux/UNIX",
    UsageOperation: "RunInstances",
    ProductCodes: [],
    State: image.state,
    BlockDeviceMappings: shownMappings(image.block_devices),
    Description: image.description ?? undefined,
    EnaSupport: image.ena_support === 1,
    Hypervisor: "xen",
    ImageOwnerAlias: image.owner_alias ?? undefined,
    Name: image.name,
    RootDeviceName: image.root_device_name,
    RootDeviceType: "ebs",
    SriovNetSupport: image.sriov_net_support ?? undefined,
    StateReason: stateReason(image),
    Tags: shownTags(tags),
    VirtualizationType: image.virtualization_type,
    BootMode: image.boot_mode ?? undefined,
    TpmSupport: image.tpm_support === "v2.0" ? "v2.0" : undefined,
    DeprecationTime: image.deprecate_at ?? undefined,
    ImdsSupport: image.imds_support === "v2.0" ? "v2.0" : undefined,
    ImageAllowed: allowed,
    // What its owner did with it is the owner's business.
    SourceInstanceId: mine ? (image.source_instance_id ?? undefined) : undefined,
    SourceImageId: image.source_image_id ?? undefined,
    SourceImageRegion: image.source_image_region ?? undefined,
    DeregistrationProtection: mine ? deregistrationProtection(image, now) : undefined,
    LastLaunchedTime: mine ? (image.last_launched_at ?? undefined) : undefined,
    FreeTierEligible: false,
  };
}

function stateReason(image: Image): ShownImage["StateReason"] {
  if (image.state !== "failed") return undefined;
  return { Code: FAILED_CODE, Message: image.state_reason ?? "The image could not be made." };
}
const FAILED_CODE = "Server.InternalError";

const volumes = (view: ImageView) =>
  view.image.block_devices.flatMap((device) => ("ebs" in device ? [device.ebs] : []));

/** All filters of DescribeImages. Those over what no image here has (watermarks, product codes) match none. */
export const IMAGE_FILTERS: FilterTable<ImageView> = {
  values: {
    architecture: ({ image }) => image.architecture,
    "block-device-mapping.delete-on-termination": (view) => volumes(view).map((ebs) => ebs.deleteOnTermination),
    "block-device-mapping.device-name": ({ image }) => image.block_devices.map((device) => device.deviceName),
    "block-device-mapping.encrypted": (view) => volumes(view).map(() => false),
    "block-device-mapping.snapshot-id": (view) => volumes(view).map((ebs) => ebs.snapshotId),
    "block-device-mapping.volume-size": (view) => volumes(view).map((ebs) => ebs.sizeGib),
    "block-device-mapping.volume-type": (view) => volumes(view).map((ebs) => ebs.type),
    "creation-date": ({ image }) => image.created_at,
    description: ({ image }) => image.description,
    "ena-support": ({ image }) => image.ena_support === 1,
    "free-tier-eligible": () => false,
    hypervisor: () => "xen",
    "image-allowed": ({ allowed }) => allowed,
    "image-id": ({ image }) => image.id,
    "image-type": () => "machine",
    "image-watermark-key": () => undefined,
    "image-watermark.source-image-creation-time": () => undefined,
    "image-watermark.source-image-id": () => undefined,
    "image-watermark.source-image-region": () => undefined,
    "image-watermark.watermark-creation-time": () => undefined,
    "image-watermark.watermark-key": () => undefined,
    "is-public": ({ image }) => image.is_public,
    "kernel-id": () => undefined,
    "manifest-location": ({ image }) => image.location,
    name: ({ image }) => image.name,
    "owner-alias": ({ image }) => image.owner_alias,
    "owner-id": ({ image }) => image.account_id,
    platform: () => undefined,
    "product-code": () => undefined,
    "product-code.type": () => undefined,
    "public-ssm-parameter-name": () => undefined,
    "ramdisk-id": () => undefined,
    "root-device-name": ({ image }) => image.root_device_name,
    "root-device-type": () => "ebs",
    "source-image-id": ({ image }) => image.source_image_id,
    "source-image-region": ({ image }) => image.source_image_region,
    "source-instance-id": ({ image }) => image.source_instance_id,
    "sriov-net-support": ({ image }) => image.sriov_net_support,
    state: ({ image }) => image.state,
    "state-reason-code": ({ image }) => (image.state === "failed" ? FAILED_CODE : undefined),
    "state-reason-message": ({ image }) => image.state_reason,
    "virtualization-type": ({ image }) => image.virtualization_type,
  },
  tags: ({ tags }) => shownTags(tags),
};
