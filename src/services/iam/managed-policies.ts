// Customer managed policies, and Amazon's as far as they are read.
import {
  CreatePolicy$,
  type CreatePolicyRequest,
  DeletePolicy$,
  type DeletePolicyRequest,
  GetPolicy$,
  type GetPolicyRequest,
  ListPolicies$,
  type ListPoliciesRequest,
  type Policy,
} from "@aws-sdk/client-iam";
import { ApiError } from "../../base/api-error.ts";
import { type Db, isUniqueViolation } from "../../database/database.ts";
import {
  AWS_MANAGED_SINCE,
  type AwsManagedPolicy,
  awsManagedPolicies,
  awsManagedPolicy,
} from "../../identity/aws-managed/index.ts";
import { parsePolicy } from "../../identity/policy/document.ts";
import type { Action, ConditionKeys, ResourceCheck } from "../../model/access.ts";
import { newUniqueId } from "../../model/identity/ids.ts";
import {
  findManagedPolicy,
  listManagedPolicies,
  type ManagedPolicy,
  policyArn,
  policyUse,
} from "../../model/identity/managed-policies.ts";
import type { RequestContext } from "../context.ts";
import { operation, type Resolution } from "../operation.ts";
import { change } from "./entity.ts";
import { arnOf, nameOf, pathOf, pathPrefixOf, required, textOf } from "./input.ts";
import { countedChars, LIMITS, quotaReached, withinQuota } from "./limits.ts";
import { pageWithin } from "./paging.ts";
import { parseTags, requestTagKeys, resourceTagKeys, tagList } from "./tags.ts";

/** @throws ApiError `MalformedPolicyDocument`, `LimitExceeded`, `ValidationError` */
export function managedDocument(value: string | undefined): string {
  const document = required(value, "policyDocument");
  if (countedChars(document) > LIMITS.managedPolicyChars) throw quotaReached("PolicySize", LIMITS.managedPolicyChars);
  parsePolicy(document, "managed");
  return document;
}

export const policyNotFound = (arn: string): ApiError => new ApiError("NoSuchEntity", `Policy ${arn} was not found.`);

export interface PolicyResolution extends Resolution {
  readonly arn: string;
  /** Undefined for Amazon's, and when there is none. */
  readonly policy: ManagedPolicy | undefined;
  readonly aws: AwsManagedPolicy | null;
}

/** Loads the policy that a call names, and asks for `action` on it. */
export async function resolvePolicy(
  ctx: RequestContext,
  value: string | undefined,
  action: Action,
  keys: ConditionKeys = {},
): Promise<PolicyResolution> {
  const arn = arnOf(value);
  const policy = await findManagedPolicy(ctx.database.read, ctx.caller.accountId, arn);
  const checks = [{ action, resource: arn, keys: { ...resourceTagKeys(policy?.tags ?? {}), ...keys } }];
  return { arn, policy, aws: awsManagedPolicy(arn), checks };
}

/** A policy that may be changed. @throws ApiError `NoSuchEntity`; `AccessDenied` for Amazon's */
export async function ownPolicy(tx: Db, ctx: RequestContext, { arn, aws }: PolicyResolution): Promise<ManagedPolicy> {
  if (aws !== null) throw new ApiError("AccessDenied", `Policy ${arn} is managed by AWS and cannot be changed.`);
  const policy = await findManagedPolicy(tx, ctx.caller.accountId, arn);
  if (policy === undefined) throw policyNotFound(arn);
  return policy;
}

interface Use {
  readonly attached: number;
  readonly bounds: number;
}

const ownAnswer = (policy: ManagedPolicy, use: Use | undefined, full: boolean): Policy => ({
  PolicyName: policy.name,
  PolicyId: policy.id,
  Arn: policy.arn,
  Path: policy.path,
  DefaultVersionId: `v${policy.defaultVersion}`,
  AttachmentCount: use?.attached ?? 0,
  PermissionsBoundaryUsageCount: use?.bounds ?? 0,
  IsAttachable: true,
  CreateDate: policy.createdAt,
  UpdateDate: policy.updatedAt,
  // Lists leave out description and tags.
  ...(full && policy.description !== null ? { Description: policy.description } : {}),
  ...(full && Object.keys(policy.tags).length > 0 ? { Tags: tagList(policy.tags) } : {}),
});

const awsAnswer = (policy: AwsManagedPolicy, use: Use | undefined, full: boolean): Policy => ({
  PolicyName: policy.name,
  PolicyId: policy.id,
  Arn: policy.arn,
  Path: policy.path,
  DefaultVersionId: policy.version,
  AttachmentCount: use?.attached ?? 0,
  PermissionsBoundaryUsageCount: use?.bounds ?? 0,
  IsAttachable: true,
  CreateDate: AWS_MANAGED_SINCE,
  UpdateDate: AWS_MANAGED_SINCE,
  ...(full ? { Description: policy.description } : {}),
});

export const createPolicy = operation({
  action: "iam:CreatePolicy",
  schema: CreatePolicy$,
  access: "write",
  resolve: async (ctx, input: CreatePolicyRequest) => {
    const name = nameOf(input.PolicyName, "policyName", 128);
    const path = pathOf(input.Path);
    const tags = parseTags(input.Tags);
    const resource = policyArn(ctx.caller.accountId, path, name);
    const keys = requestTagKeys(tags);
    const tagging: ResourceCheck[] =
      Object.keys(tags).length === 0 ? [] : [{ action: "iam:TagPolicy", resource, keys }];
    return {
      name,
      path,
      tags,
      document: managedDocument(input.PolicyDocument),
      description: textOf(input.Description, "description", 1000),
      checks: [{ action: "iam:CreatePolicy", resource, keys }, ...tagging],
    };
  },
  run: async (ctx, _input, { name, path, tags, document, description }, grant) => {
    const account = ctx.caller.accountId;
    const createdAt = ctx.now();
    const policy: ManagedPolicy = {
      id: newUniqueId("policy"),
      arn: policyArn(account, path, name),
      name,
      path,
      description,
      defaultVersion: 1,
      lastVersion: 1,
      tags,
      createdAt,
      updatedAt: createdAt,
    };
    try {
      await change(ctx, grant, async (tx) => {
        await withinQuota(tx, "policies", account, LIMITS.policies, "PoliciesPerAccount");
        await tx
          .insertInto("policies")
          .values({
            id: policy.id,
            account_id: account,
            arn: policy.arn,
            name,
            name_key: name.toLowerCase(),
            path,
            description,
            default_version: 1,
            last_version: 1,
            tags: JSON.stringify(tags),
            created_at: createdAt.toISOString(),
            updated_at: createdAt.toISOString(),
          })
          .execute();
        await tx
          .insertInto("policy_versions")
          .values({ policy_id: policy.id, version: 1, document, created_at: createdAt.toISOString() })
          .execute();
      });
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      throw new ApiError(
        "EntityAlreadyExists",
        `A policy called ${name} already exists. Duplicate names are not allowed.`,
        { cause: error },
      );
    }
    return { Policy: ownAnswer(policy, undefined, true) };
  },
});

export const getPolicy = operation({
  action: "iam:GetPolicy",
  schema: GetPolicy$,
  access: "read",
  resolve: (ctx, input: GetPolicyRequest) => resolvePolicy(ctx, input.PolicyArn, "iam:GetPolicy"),
  run: async (ctx, _input, { arn, policy, aws }) => {
    const use = (await policyUse(ctx.database.read, ctx.caller.accountId)).get(arn);
    if (aws !== null) return { Policy: awsAnswer(aws, use, true) };
    if (policy === undefined) throw policyNotFound(arn);
    return { Policy: ownAnswer(policy, use, true) };
  },
});

export const listPolicies = operation({
  action: "iam:ListPolicies",
  schema: ListPolicies$,
  access: "read",
  resolve: async (_ctx, _input: ListPoliciesRequest): Promise<Resolution> => ({
    checks: [{ action: "iam:ListPolicies", resource: "*", keys: {} }],
  }),
  run: async (ctx, input) => {
    const db = ctx.database.read;
    const use = await policyUse(db, ctx.caller.accountId);
    const scope = input.Scope ?? "All";
    const own = scope === "AWS" ? [] : await listManagedPolicies(db, ctx.caller.accountId, {});
    const aws = scope === "Local" ? [] : awsManagedPolicies();
    const prefix = pathPrefixOf(input.PathPrefix);
    const all = [
      ...own.map((policy) => ownAnswer(policy, use.get(policy.arn), false)),
      ...aws.map((policy) => awsAnswer(policy, use.get(policy.arn), false)),
    ].filter((policy) => {
      if (!policy.Path?.startsWith(prefix)) return false;
      const { AttachmentCount: attached = 0, PermissionsBoundaryUsageCount: bounds = 0 } = policy;
      if (input.PolicyUsageFilter === "PermissionsPolicy" && attached === 0) return false;
      if (input.PolicyUsageFilter === "PermissionsBoundary" && bounds === 0) return false;
      return input.OnlyAttached !== true || attached > 0;
    });
    const [page, more] = pageWithin(all, input, (policy) => policy.Arn ?? "");
    return { Policies: page, ...more };
  },
});

export const deletePolicy = operation({
  action: "iam:DeletePolicy",
  schema: DeletePolicy$,
  access: "write",
  resolve: (ctx, input: DeletePolicyRequest) => resolvePolicy(ctx, input.PolicyArn, "iam:DeletePolicy"),
  run: async (ctx, _input, resolved, grant) => {
    await change(ctx, grant, async (tx) => {
      const policy = await ownPolicy(tx, ctx, resolved);
      const use = (await policyUse(tx, ctx.caller.accountId)).get(policy.arn);
      if (use !== undefined && use.attached + use.bounds > 0) {
        throw new ApiError("DeleteConflict", "Cannot delete a policy attached to entities.");
      }
      const versions = await tx
        .selectFrom("policy_versions")
        .select("version")
        .where("policy_id", "=", policy.id)
        .execute();
      if (versions.length > 1) {
        throw new ApiError(
          "DeleteConflict",
          "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.",
        );
      }
      await tx.deleteFrom("policy_versions").where("policy_id", "=", policy.id).execute();
      await tx.deleteFrom("policies").where("id", "=", policy.id).execute();
    });
    return {};
  },
});
