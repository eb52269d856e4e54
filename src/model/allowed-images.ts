// Allowed AMIs: an account's guard, per Region, over whose images its people may see and launch. Its own are always allowed.
//
//   disabled     nothing is asked
//   audit-mode   images say whether they would be allowed
//   enabled      images that are not allowed are neither listed nor launched
//
// An image is allowed when it meets one criterion; a criterion is met when all that it says holds.
import { ApiError } from "../base/api-error.ts";
import type { Db } from "../database/database.ts";
import { imageArn } from "./arn.ts";
import type { Image } from "./image.ts";
import { settingOf } from "./settings.ts";
import type { Owner } from "./vpc.ts";

export interface AllowedImages {
  readonly state: "disabled" | "audit-mode" | "enabled";
  readonly criteria: readonly ImageCriterion[];
}

/** What is absent is not asked. */
export interface ImageCriterion {
  /** `amazon`, `aws-marketplace`, `aws-backup-vault`, account ids; `none` stands for nobody. */
  readonly providers?: readonly string[];
  /** With `*` and `?`. */
  readonly names?: readonly string[];
  readonly marketplaceProductCodes?: readonly string[];
  readonly maximumDaysSinceCreated?: number;
  /** 0: not deprecated at all. */
  readonly maximumDaysSinceDeprecated?: number;
}

const OFF: AllowedImages = { state: "disabled", criteria: [] };
const DAY_MS = 24 * 3600 * 1000;

export async function allowedImagesOf(db: Db, owner: Owner): Promise<AllowedImages> {
  const kept = await settingOf(db, owner, "allowed-images");
  return kept === undefined ? OFF : (JSON.parse(kept) as AllowedImages);
}

type Judged = Pick<Image, "account_id" | "owner_alias" | "name" | "created_at" | "deprecate_at">;

/** Would `accountId` be allowed to use the image? Compile once per call, ask per image. */
export function allowance(settings: AllowedImages, accountId: string, now: Date): (image: Judged) => boolean {
  const criteria = settings.criteria.map((criterion) => compile(criterion, now));
  return (image) => image.account_id === accountId || criteria.some((meets) => meets(image));
}

/**
 * For launches. @throws ApiError `InvalidAMIID.Unavailable` when the setting is enabled and the image is not allowed
 */
export async function mustBeAllowed(db: Db, owner: Owner, image: Image, now: Date): Promise<void> {
  if (image.account_id === owner.accountId) return;
  const settings = await allowedImagesOf(db, owner);
  if (settings.state !== "enabled" || allowance(settings, owner.accountId, now)(image)) return;
  throw new ApiError(
    "InvalidAMIID.Unavailable",
    `AMI '${image.id}' is not allowed by the Allowed AMIs setting of this account, and cannot be run`,
    { resourceArn: imageArn(image.region, image.id) },
  );
}

function compile(criterion: ImageCriterion, now: Date): (image: Judged) => boolean {
  const names = criterion.names?.map(wildcard);
  const { providers, marketplaceProductCodes, maximumDaysSinceCreated, maximumDaysSinceDeprecated } = criterion;
  return (image) => {
    if (providers !== undefined && !providers.includes(image.owner_alias ?? image.account_id)) return false;
    if (names !== undefined && !names.some((name) => name.test(image.name))) return false;
    // No image here has a Marketplace product code.
    if (marketplaceProductCodes !== undefined) return false;
    if (maximumDaysSinceCreated !== undefined && daysSince(image.created_at, now) > maximumDaysSinceCreated) {
      return false;
    }
    return (
      maximumDaysSinceDeprecated === undefined ||
      image.deprecate_at === null ||
      image.deprecate_at > now.toISOString() ||
      (maximumDaysSinceDeprecated > 0 && daysSince(image.deprecate_at, now) <= maximumDaysSinceDeprecated)
    );
  };
}

const daysSince = (at: string, now: Date): number => (now.getTime() - Date.parse(at)) / DAY_MS;

/** `*` any characters, `?` any one; everything else is itself. */
function wildcard(pattern: string): RegExp {
  const source = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", "[^]*")
    .replaceAll("?", "[^]");
  return new RegExp(`^${source}$`);
}
