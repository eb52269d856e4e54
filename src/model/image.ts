// What an image is: a named description of a machine whose disks are snapshots.
//
//   CreateImage, RegisterImage, CopyImage → pending → available ⇄ disabled
//                                                   ↘ failed (state_reason says why)
//   available, disabled, failed → deregistered (kept for lineage and for instances that were launched from it)
//
// Three things besides decide who may see and launch one: the owner, the launch permissions, and the deprecation time,
// which only hides it from lists. Disabling drops every launch permission, enabling does not give them back.
import { ApiError } from "../base/api-error.ts";
import type { ImageId, Region } from "../base/ids.ts";
import type { ImagePermissionsTable, ImagesTable } from "../database/tables/ec2.ts";
import type { ConditionKeys } from "./access.ts";
import { imageArn } from "./arn.ts";
import type { BlockDevice } from "./block-device.ts";
import { resourceTagKeys, type Tag } from "./tags.ts";

export type Image = Readonly<Omit<ImagesTable, "id" | "region" | "block_devices">> & {
  readonly id: ImageId;
  readonly region: Region;
  readonly block_devices: readonly BlockDevice[];
  /** Anyone may launch it. */
  readonly is_public: boolean;
};
export type ImageState = Image["state"];

/** What `direct_kernel` holds, as JSON: paths below the data directory, for a first boot without firmware. */
export interface DirectKernel {
  readonly file: string;
  readonly commandLine: string;
  /** Absent when the kernel finds its root filesystem by itself. */
  readonly initrd?: string;
}

/** Who looks at an image or wants to launch it. */
export interface Viewer {
  readonly accountId: string;
  /** ARNs of the account's organisation and of every organisational unit above it. */
  readonly memberOf?: readonly string[];
}

/** One entry of an image's launch permissions. */
export type LaunchPermission = Pick<ImagePermissionsTable, "kind" | "value">;

/** The permission that makes an image public. */
export const EVERYONE: LaunchPermission = { kind: "group", value: "all" };

/** May `viewer` see and launch the image, as far as its owner is concerned? State and policies are asked elsewhere. */
export function canLaunch(
  image: Pick<Image, "account_id">,
  permissions: readonly LaunchPermission[],
  viewer: Viewer,
): boolean {
  if (image.account_id === viewer.accountId) return true;
  // Account ids and ARNs cannot be taken for one another, so one list serves for all three kinds that name somebody.
  const names = [viewer.accountId, ...(viewer.memberOf ?? [])];
  return permissions.some(({ kind, value }) => (kind === "group" ? value === EVERYONE.value : names.includes(value)));
}

/** Is it hidden from the lists of those who do not own it? */
export const isDeprecated = (image: Pick<Image, "deprecate_at">, now: Date): boolean =>
  image.deprecate_at !== null && image.deprecate_at <= now.toISOString();

/** What policies may ask of an image. `tags` are those that the caller's own account has put on it. */
export const imageKeys = (
  image: Pick<Image, "id" | "region" | "account_id" | "owner_alias" | "is_public">,
  tags: readonly Tag[],
): ConditionKeys => ({
  "ec2:ImageID": image.id,
  "ec2:ImageType": "machine",
  "ec2:Owner": image.owner_alias ?? image.account_id,
  "ec2:Public": String(image.is_public),
  "ec2:RootDeviceType": "ebs",
  "ec2:Region": image.region,
  ...resourceTagKeys(tags),
});

const NAME = /^[A-Za-z0-9()[\] ./\-'@_]{3,128}$/;
const MOST_DESCRIPTION_CHARS = 255;

/** @throws ApiError `MissingParameter`, `InvalidAMIName.Malformed` */
export function parseImageName(name: string | undefined): string {
  if (name === undefined || name === "") {
    throw new ApiError("MissingParameter", "The request must contain the parameter name");
  }
  if (!NAME.test(name)) {
    throw new ApiError(
      "InvalidAMIName.Malformed",
      "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'",
    );
  }
  return name;
}

/** @throws ApiError `InvalidParameterValue` when longer than 255 characters */
export function parseDescription(description: string | undefined): string | null {
  if (description === undefined || description === "") return null;
  if (description.length > MOST_DESCRIPTION_CHARS) {
    throw new ApiError(
      "InvalidParameterValue",
      `Value (${description.slice(0, 20)}…) for parameter description is invalid. It has more than ${MOST_DESCRIPTION_CHARS} characters.`,
    );
  }
  return description;
}

// Refusals. Each names the image's ARN, so that the pipeline can first ask the policies about it.

export const imageNotFound = (region: Region, ...ids: readonly ImageId[]): ApiError =>
  new ApiError(
    "InvalidAMIID.NotFound",
    ids.length === 1 ? `The image id '[${ids[0]}]' does not exist` : `The image ids '[${ids.join(", ")}]' do not exist`,
    ids[0] === undefined ? {} : { resourceArn: imageArn(region, ids[0]) },
  );

export const imageGone = (region: Region, id: ImageId): ApiError =>
  new ApiError("InvalidAMIID.Unavailable", `The image id '[${id}]' is no longer available`, {
    resourceArn: imageArn(region, id),
  });

/** What an account that does not own the image hears when it wants to change or inspect it. */
export const notImageOwner = (region: Region, id: ImageId): ApiError =>
  new ApiError("AuthFailure", `Not authorized for image:${id}`, { resourceArn: imageArn(region, id) });

/** What an account without launch permission hears when it wants to launch or copy it. */
export const notAuthorizedToLaunch = (region: Region, id: ImageId): ApiError =>
  new ApiError("AuthFailure", `Not authorized for images: [${id}]`, { resourceArn: imageArn(region, id) });

/**
 * Refuses what can only be done to an image that is ready.
 * @throws ApiError `InvalidAMIID.Unavailable`
 */
export function mustBeReady(image: Image, allowed: readonly ImageState[] = ["available"]): void {
  if (allowed.includes(image.state)) return;
  throw new ApiError(
    "InvalidAMIID.Unavailable",
    `The AMI ID '${image.id}' is currently ${image.state} and may not be used for this operation`,
    { resourceArn: imageArn(image.region, image.id) },
  );
}

/** How long DeregisterImage stays refused after protection with a cool-down has been switched off. */
export const DEREGISTRATION_COOLDOWN_MS = 24 * 3600 * 1000;
const COOLING = "disabled-after-";

/** Value of `deregistration_protection` from when protection with a cool-down is switched off. */
export const coolingProtection = (now: Date): string =>
  `${COOLING}${new Date(now.getTime() + DEREGISTRATION_COOLDOWN_MS).toISOString()}`;

/** The protection as of `now`: a cool-down that has ended reads `disabled`. */
export function deregistrationProtection(image: Pick<Image, "deregistration_protection">, now: Date): string {
  const kept = image.deregistration_protection ?? "disabled";
  return kept.startsWith(COOLING) && kept.slice(COOLING.length) <= now.toISOString() ? "disabled" : kept;
}
