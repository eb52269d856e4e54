import {
  CreatePolicyVersion$,
  type CreatePolicyVersionRequest,
  DeletePolicyVersion$,
  type DeletePolicyVersionRequest,
  GetPolicyVersion$,
  type GetPolicyVersionRequest,
  ListPolicyVersions$,
  type ListPolicyVersionsRequest,
  SetDefaultPolicyVersion$,
  type SetDefaultPolicyVersionRequest,
} from "@aws-sdk/client-iam";
import { ApiError } from "../../base/api-error.ts";
import { AWS_MANAGED_SINCE } from "../../identity/aws-managed/index.ts";
import { versionsOf } from "../../model/identity/managed-policies.ts";
import { operation } from "../operation.ts";
import { encodedDocument } from "./answers.ts";
import { change } from "./entity.ts";
import { required } from "./input.ts";
import { LIMITS } from "./limits.ts";
import { managedDocument, ownPolicy, policyNotFound, resolvePolicy } from "./managed-policies.ts";
import { pageWithin } from "./paging.ts";

/** `v3` → 3. @throws ApiError `ValidationError` */
function versionOf(value: string | undefined): number {
  const text = required(value, "versionId");
  const digits = /^v([1-9][0-9]*)(?:\.[A-Za-z0-9-]*)?$/.exec(text)?.[1];
  if (digits === undefined || digits.length > 9) {
    throw new ApiError(
      "ValidationError",
      `1 validation error detected: Value '${text}' at 'versionId' failed to satisfy constraint: Member must satisfy regular expression pattern: v[1-9][0-9]*(\\.[A-Za-z0-9-]*)?`,
    );
  }
  return Number(digits);
}

const noSuchVersion = (arn: string, version: number): ApiError =>
  new ApiError("NoSuchEntity", `Policy ${arn} version v${version} does not exist or is not attachable.`);

export const createPolicyVersion = operation({
  action: "iam:CreatePolicyVersion",
  schema: CreatePolicyVersion$,
  access: "write",
  resolve: async (ctx, input: CreatePolicyVersionRequest) => ({
    ...(await resolvePolicy(ctx, input.PolicyArn, "iam:CreatePolicyVersion")),
    document: managedDocument(input.PolicyDocument),
  }),
  run: async (ctx, input, resolved, grant) => {
    const isDefault = input.SetAsDefault === true;
    const createdAt = ctx.now();
    const version = await change(ctx, grant, async (tx) => {
      const policy = await ownPolicy(tx, ctx, resolved);
      const versions = await versionsOf(tx, policy.id);
      if (versions.length >= LIMITS.versionsPerPolicy) {
        throw new ApiError(
          "LimitExceeded",
          `A managed policy can have up to ${LIMITS.versionsPerPolicy} versions. Before you create a new version, you must delete an existing version.`,
        );
      }
      const next = policy.lastVersion + 1;
      await tx
        .insertInto("policy_versions")
        .values({
          policy_id: policy.id,
          version: next,
          document: resolved.document,
          created_at: createdAt.toISOString(),
        })
        .execute();
      await tx
        .updateTable("policies")
        .set({
          last_version: next,
          updated_at: createdAt.toISOString(),
          ...(isDefault ? { default_version: next } : {}),
        })
        .where("id", "=", policy.id)
        .execute();
      return next;
    });
    return { PolicyVersion: { VersionId: `v${version}`, IsDefaultVersion: isDefault, CreateDate: createdAt } };
  },
});

export const getPolicyVersion = operation({
  action: "iam:GetPolicyVersion",
  schema: GetPolicyVersion$,
  access: "read",
  resolve: async (ctx, input: GetPolicyVersionRequest) => ({
    ...(await resolvePolicy(ctx, input.PolicyArn, "iam:GetPolicyVersion")),
    version: versionOf(input.VersionId),
  }),
  run: async (ctx, _input, { arn, policy, aws, version }) => {
    if (aws !== null) {
      if (version !== 1) throw noSuchVersion(arn, version);
      return {
        PolicyVersion: {
          Document: encodedDocument(aws.document),
          VersionId: aws.version,
          IsDefaultVersion: true,
          CreateDate: AWS_MANAGED_SINCE,
        },
      };
    }
    if (policy === undefined) throw policyNotFound(arn);
    const found = (await versionsOf(ctx.database.read, policy.id)).find((each) => each.version === version);
    if (found === undefined) throw noSuchVersion(arn, version);
    return {
      PolicyVersion: {
        Document: encodedDocument(found.document),
        VersionId: `v${version}`,
        IsDefaultVersion: version === policy.defaultVersion,
        CreateDate: found.createdAt,
      },
    };
  },
});

export const listPolicyVersions = operation({
  action: "iam:ListPolicyVersions",
  schema: ListPolicyVersions$,
  access: "read",
  resolve: (ctx, input: ListPolicyVersionsRequest) => resolvePolicy(ctx, input.PolicyArn, "iam:ListPolicyVersions"),
  run: async (ctx, input, { arn, policy, aws }) => {
    if (aws !== null) {
      const Versions = [{ VersionId: aws.version, IsDefaultVersion: true, CreateDate: AWS_MANAGED_SINCE }];
      return { Versions, IsTruncated: false };
    }
    if (policy === undefined) throw policyNotFound(arn);
    const versions = await versionsOf(ctx.database.read, policy.id);
    // Newest first: the sort key counts down.
    const [page, more] = pageWithin(versions, input, ({ version }) => String(1e9 - version).padStart(10, "0"));
    return {
      Versions: page.map(({ version, createdAt }) => ({
        VersionId: `v${version}`,
        IsDefaultVersion: version === policy.defaultVersion,
        CreateDate: createdAt,
      })),
      ...more,
    };
  },
});

export const setDefaultPolicyVersion = operation({
  action: "iam:SetDefaultPolicyVersion",
  schema: SetDefaultPolicyVersion$,
  access: "write",
  resolve: async (ctx, input: SetDefaultPolicyVersionRequest) => ({
    ...(await resolvePolicy(ctx, input.PolicyArn, "iam:SetDefaultPolicyVersion")),
    version: versionOf(input.VersionId),
  }),
  run: async (ctx, _input, resolved, grant) => {
    const { arn, version } = resolved;
    await change(ctx, grant, async (tx) => {
      const policy = await ownPolicy(tx, ctx, resolved);
      const versions = await versionsOf(tx, policy.id);
      if (!versions.some((each) => each.version === version)) throw noSuchVersion(arn, version);
      await tx
        .updateTable("policies")
        .set({ default_version: version, updated_at: ctx.now().toISOString() })
        .where("id", "=", policy.id)
        .execute();
    });
    return {};
  },
});

export const deletePolicyVersion = operation({
  action: "iam:DeletePolicyVersion",
  schema: DeletePolicyVersion$,
  access: "write",
  resolve: async (ctx, input: DeletePolicyVersionRequest) => ({
    ...(await resolvePolicy(ctx, input.PolicyArn, "iam:DeletePolicyVersion")),
    version: versionOf(input.VersionId),
  }),
  run: async (ctx, _input, resolved, grant) => {
    const { arn, version } = resolved;
    await change(ctx, grant, async (tx) => {
      const policy = await ownPolicy(tx, ctx, resolved);
      if (version === policy.defaultVersion) {
        throw new ApiError("DeleteConflict", "Cannot delete the default version of a policy.");
      }
      const { numDeletedRows } = await tx
        .deleteFrom("policy_versions")
        .where("policy_id", "=", policy.id)
        .where("version", "=", version)
        .executeTakeFirst();
      if (Number(numDeletedRows) === 0) throw noSuchVersion(arn, version);
    });
    return {};
  },
});
