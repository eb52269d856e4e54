import {
  CreateAccountAlias$,
  type CreateAccountAliasRequest,
  DeleteAccountAlias$,
  type DeleteAccountAliasRequest,
  GetAccountSummary$,
  ListAccountAliases$,
  type ListAccountAliasesRequest,
} from "@aws-sdk/client-iam";
import { ApiError } from "../../base/api-error.ts";
import { isUniqueViolation } from "../../database/database.ts";
import { onAnything, operation } from "../operation.ts";
import { change } from "./entity.ts";
import { required } from "./input.ts";
import { LIMITS } from "./limits.ts";

/** @throws ApiError `ValidationError` */
function aliasOf(value: string | undefined): string {
  const alias = required(value, "accountAlias");
  if (!/^[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?$/.test(alias) || alias.length < 3 || alias.length > 63) {
    throw new ApiError(
      "ValidationError",
      `1 validation error detected: Value '${alias}' at 'accountAlias' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?$`,
    );
  }
  return alias;
}

/** Takes the place of the alias before. */
export const createAccountAlias = operation({
  action: "iam:CreateAccountAlias",
  schema: CreateAccountAlias$,
  access: "write",
  resolve: async (_ctx, input: CreateAccountAliasRequest) => ({
    ...onAnything("iam:CreateAccountAlias"),
    alias: aliasOf(input.AccountAlias),
  }),
  run: async (ctx, _input, { alias }, grant) => {
    try {
      await change(ctx, grant, (tx) =>
        tx.updateTable("accounts").set({ alias }).where("id", "=", ctx.caller.accountId).execute(),
      );
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      throw new ApiError("EntityAlreadyExists", `The account alias ${alias} already exists.`, { cause: error });
    }
    return {};
  },
});

export const deleteAccountAlias = operation({
  action: "iam:DeleteAccountAlias",
  schema: DeleteAccountAlias$,
  access: "write",
  resolve: async (_ctx, input: DeleteAccountAliasRequest) => ({
    ...onAnything("iam:DeleteAccountAlias"),
    alias: aliasOf(input.AccountAlias),
  }),
  run: async (ctx, _input, { alias }, grant) => {
    await change(ctx, grant, async (tx) => {
      const { numUpdatedRows } = await tx
        .updateTable("accounts")
        .set({ alias: null })
        .where("id", "=", ctx.caller.accountId)
        .where("alias", "=", alias)
        .executeTakeFirst();
      if (Number(numUpdatedRows) === 0) {
        throw new ApiError("NoSuchEntity", `The account alias ${alias} cannot be found.`);
      }
    });
    return {};
  },
});

export const listAccountAliases = operation({
  action: "iam:ListAccountAliases",
  schema: ListAccountAliases$,
  access: "read",
  resolve: async (_ctx, _input: ListAccountAliasesRequest) => onAnything("iam:ListAccountAliases"),
  run: async (ctx) => {
    const { alias } = await ctx.database.read
      .selectFrom("accounts")
      .select("alias")
      .where("id", "=", ctx.caller.accountId)
      .executeTakeFirstOrThrow();
    return { AccountAliases: alias === null ? [] : [alias], IsTruncated: false };
  },
});

export const getAccountSummary = operation({
  action: "iam:GetAccountSummary",
  schema: GetAccountSummary$,
  access: "read",
  resolve: async () => onAnything("iam:GetAccountSummary"),
  run: async (ctx) => {
    const db = ctx.database.read;
    const account = ctx.caller.accountId;
    const count = async (table: "users" | "user_groups" | "roles" | "instance_profiles" | "policies") => {
      const row = await db
        .selectFrom(table)
        .select((eb) => eb.fn.countAll<number>().as("count"))
        .where("account_id", "=", account)
        .executeTakeFirstOrThrow();
      return Number(row.count);
    };
    const rootKeys = await db
      .selectFrom("access_keys")
      .select("id")
      .where("account_id", "=", account)
      .where("user_id", "is", null)
      .execute();
    const versions = await db
      .selectFrom("policy_versions")
      .innerJoin("policies", "policies.id", "policy_versions.policy_id")
      .select((eb) => eb.fn.countAll<number>().as("count"))
      .where("policies.account_id", "=", account)
      .executeTakeFirstOrThrow();
    return {
      SummaryMap: {
        AccessKeysPerUserQuota: LIMITS.accessKeysPerUser,
        AccountAccessKeysPresent: rootKeys.length > 0 ? 1 : 0,
        AccountMFAEnabled: 0,
        AccountPasswordPresent: 0,
        AccountSigningCertificatesPresent: 0,
        AssumeRolePolicySizeQuota: LIMITS.trustPolicyChars,
        AttachedPoliciesPerGroupQuota: LIMITS.attachedPolicies,
        AttachedPoliciesPerRoleQuota: LIMITS.attachedPolicies,
        AttachedPoliciesPerUserQuota: LIMITS.attachedPolicies,
        GlobalEndpointTokenVersion: 2,
        GroupPolicySizeQuota: LIMITS.groupPolicyChars,
        Groups: await count("user_groups"),
        GroupsPerUserQuota: LIMITS.groupsPerUser,
        GroupsQuota: LIMITS.groups,
        InstanceProfiles: await count("instance_profiles"),
        InstanceProfilesQuota: LIMITS.instanceProfiles,
        MFADevices: 0,
        MFADevicesInUse: 0,
        Policies: await count("policies"),
        PoliciesQuota: LIMITS.policies,
        PolicySizeQuota: LIMITS.managedPolicyChars,
        PolicyVersionsInUse: Number(versions.count),
        PolicyVersionsInUseQuota: LIMITS.policies * LIMITS.versionsPerPolicy,
        Providers: 0,
        RolePolicySizeQuota: LIMITS.rolePolicyChars,
        Roles: await count("roles"),
        RolesQuota: LIMITS.roles,
        ServerCertificates: 0,
        ServerCertificatesQuota: 0,
        SigningCertificatesPerUserQuota: 0,
        UserPolicySizeQuota: LIMITS.userPolicyChars,
        Users: await count("users"),
        UsersQuota: LIMITS.users,
        VersionsPerPolicyQuota: LIMITS.versionsPerPolicy,
      },
    };
  },
});
