// The instance profile that a launch names: it must exist, and the caller must be allowed to hand its role on.
import { ApiError } from "../../../base/api-error.ts";
import type { Db } from "../../../database/database.ts";
import type { ResourceCheck } from "../../../model/access.ts";
import { findInstanceProfile } from "../../../model/identity/instance-profiles.ts";

export interface LaunchProfile {
  readonly arn: string;
  readonly id: string;
  readonly name: string;
  /** ARN of the role in it; null for a profile without a role, which gives no credentials. */
  readonly roleArn: string | null;
}

/** @throws ApiError `InvalidParameterValue` in the words that Packer and Terraform wait and retry on */
export async function launchProfile(
  db: Db,
  accountId: string,
  named: { readonly arn?: string | undefined; readonly name?: string | undefined },
): Promise<LaunchProfile> {
  const name = named.name ?? named.arn?.split("/").at(-1) ?? "";
  const profile = await findInstanceProfile(db, accountId, name);
  if (profile === undefined || (named.arn !== undefined && named.arn !== profile.arn)) {
    const shown = named.arn === undefined ? `iamInstanceProfile.name` : `iamInstanceProfile.arn`;
    throw new ApiError(
      "InvalidParameterValue",
      `Value (${named.arn ?? name}) for parameter ${shown} is invalid. Invalid IAM Instance Profile ${named.arn === undefined ? "name" : "ARN"}`,
    );
  }
  return profile;
}

/** Whoever gives an instance a role must be allowed to pass it to EC2. */
export const passRoleCheck = (profile: LaunchProfile): ResourceCheck[] =>
  profile.roleArn === null
    ? []
    : [{ action: "iam:PassRole", resource: profile.roleArn, keys: { "iam:PassedToService": "ec2.amazonaws.com" } }];
