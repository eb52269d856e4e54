// IAM's default quotas, and what it says when one is reached.
import { ApiError } from "../../base/api-error.ts";
import type { AccountId } from "../../base/ids.ts";
import type { Db } from "../../database/database.ts";

export const LIMITS = {
  users: 5000,
  groups: 300,
  roles: 1000,
  instanceProfiles: 1000,
  policies: 1500,
  groupsPerUser: 10,
  accessKeysPerUser: 2,
  attachedPolicies: 10,
  versionsPerPolicy: 5,
  /** Characters that are not white space. */
  managedPolicyChars: 6144,
  userPolicyChars: 2048,
  groupPolicyChars: 5120,
  rolePolicyChars: 10_240,
  trustPolicyChars: 2048,
} as const;

export const quotaReached = (quota: string, limit: number): ApiError =>
  new ApiError("LimitExceeded", `Cannot exceed quota for ${quota}: ${limit}`);

/** @throws ApiError `LimitExceeded` when the account already has `limit` of them */
export async function withinQuota(
  tx: Db,
  table: "users" | "user_groups" | "roles" | "instance_profiles" | "policies",
  account: AccountId,
  limit: number,
  quota: string,
): Promise<void> {
  const { count } = await tx
    .selectFrom(table)
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("account_id", "=", account)
    .executeTakeFirstOrThrow();
  if (Number(count) >= limit) throw quotaReached(quota, limit);
}

/** IAM does not count white space. */
export const countedChars = (document: string): number => document.replace(/[\t\n\r ]/g, "").length;
