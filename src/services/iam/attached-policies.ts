// Managed policies on users, groups and roles: the same three actions for each.
import {
  AttachGroupPolicy$,
  type AttachGroupPolicyRequest,
  AttachRolePolicy$,
  type AttachRolePolicyRequest,
  AttachUserPolicy$,
  type AttachUserPolicyRequest,
  DetachGroupPolicy$,
  type DetachGroupPolicyRequest,
  DetachRolePolicy$,
  type DetachRolePolicyRequest,
  DetachUserPolicy$,
  type DetachUserPolicyRequest,
  ListAttachedGroupPolicies$,
  type ListAttachedGroupPoliciesRequest,
  ListAttachedRolePolicies$,
  type ListAttachedRolePoliciesRequest,
  ListAttachedUserPolicies$,
  type ListAttachedUserPoliciesRequest,
  ListEntitiesForPolicy$,
  type ListEntitiesForPolicyRequest,
} from "@aws-sdk/client-iam";
import type { StaticOperationSchema } from "@smithy/types";
import { ApiError } from "../../base/api-error.ts";
import { awsManagedPolicy } from "../../identity/aws-managed/index.ts";
import type { Action } from "../../model/access.ts";
import { type EntityKind, listEntities } from "../../model/identity/entities.ts";
import { findManagedPolicy } from "../../model/identity/managed-policies.ts";
import { operation } from "../operation.ts";
import { change, current, existing, resolveEntity } from "./entity.ts";
import { arnOf, pathPrefixOf } from "./input.ts";
import { LIMITS, quotaReached } from "./limits.ts";
import { policyNotFound, resolvePolicy } from "./managed-policies.ts";
import { type PageInput, pageWithin } from "./paging.ts";
import { boundOf } from "./permissions-boundary.ts";

type Holder = "user" | "group" | "role";
const QUOTA: Readonly<Record<Holder, string>> = {
  user: "PoliciesPerUser",
  group: "PoliciesPerGroup",
  role: "PoliciesPerRole",
};

interface Attaching {
  PolicyArn: string | undefined;
}

/** Loads the holder; the policy's ARN and the holder's boundary are conditions of the permission. */
async function resolveHolder(
  ctx: Parameters<typeof resolveEntity>[0],
  kind: Holder,
  name: string | undefined,
  action: Action,
  arn: string,
) {
  const resolved = await resolveEntity(ctx, kind, name, action, { "iam:PolicyARN": arn });
  const checks = resolved.checks.map((each) => ({ ...each, keys: { ...each.keys, ...boundOf(resolved.entity) } }));
  return { ...resolved, arn, checks };
}

const attach = <const A extends Action, I extends Attaching>(
  kind: Holder,
  action: A,
  schema: StaticOperationSchema,
  nameOf: (input: I) => string | undefined,
) =>
  operation({
    action,
    schema,
    access: "write",
    resolve: (ctx, input: I) => resolveHolder(ctx, kind, nameOf(input), action, arnOf(input.PolicyArn)),
    run: async (ctx, _input, resolved, grant) => {
      const { arn } = resolved;
      await change(ctx, grant, async (tx) => {
        const { id, accountId } = await current(tx, kind, resolved);
        if (awsManagedPolicy(arn) === null && (await findManagedPolicy(tx, accountId, arn)) === undefined) {
          throw new ApiError("NoSuchEntity", `Policy ${arn} does not exist or is not attachable.`);
        }
        const attached = await tx
          .selectFrom("policy_attachments")
          .select("policy_arn")
          .where("principal_id", "=", id)
          .execute();
        if (attached.some((each) => each.policy_arn === arn)) return;
        if (attached.length >= LIMITS.attachedPolicies) throw quotaReached(QUOTA[kind], LIMITS.attachedPolicies);
        await tx
          .insertInto("policy_attachments")
          .values({ principal_id: id, policy_arn: arn, account_id: accountId, attached_at: ctx.now().toISOString() })
          .execute();
      });
      return {};
    },
  });

const detach = <const A extends Action, I extends Attaching>(
  kind: Holder,
  action: A,
  schema: StaticOperationSchema,
  nameOf: (input: I) => string | undefined,
) =>
  operation({
    action,
    schema,
    access: "write",
    resolve: (ctx, input: I) => resolveHolder(ctx, kind, nameOf(input), action, arnOf(input.PolicyArn)),
    run: async (ctx, _input, resolved, grant) => {
      await change(ctx, grant, async (tx) => {
        const { id } = await current(tx, kind, resolved);
        const { numDeletedRows } = await tx
          .deleteFrom("policy_attachments")
          .where("principal_id", "=", id)
          .where("policy_arn", "=", resolved.arn)
          .executeTakeFirst();
        if (Number(numDeletedRows) === 0) throw policyNotFound(resolved.arn);
      });
      return {};
    },
  });

const list = <const A extends Action, I extends PageInput & { PathPrefix?: string | undefined }>(
  kind: Holder,
  action: A,
  schema: StaticOperationSchema,
  nameOf: (input: I) => string | undefined,
) =>
  operation({
    action,
    schema,
    access: "read",
    resolve: (ctx, input: I) => resolveEntity(ctx, kind, nameOf(input), action),
    run: async (ctx, input, resolved) => {
      const { id } = existing(kind, resolved);
      const rows = await ctx.database.read
        .selectFrom("policy_attachments")
        .select("policy_arn")
        .where("principal_id", "=", id)
        .execute();
      const prefix = pathPrefixOf(input.PathPrefix);
      const within = rows.map((row) => row.policy_arn).filter((arn) => pathIn(arn).startsWith(prefix));
      const [page, more] = pageWithin(within, input, (arn) => arn);
      return { AttachedPolicies: page.map((arn) => ({ PolicyName: nameIn(arn), PolicyArn: arn })), ...more };
    },
  });

export const nameIn = (arn: string): string => arn.slice(arn.lastIndexOf("/") + 1);
const pathIn = (arn: string): string => arn.slice(arn.indexOf("/"), arn.lastIndexOf("/") + 1);

export const attachUserPolicy = attach(
  "user",
  "iam:AttachUserPolicy",
  AttachUserPolicy$,
  (input: AttachUserPolicyRequest) => input.UserName,
);
export const attachGroupPolicy = attach(
  "group",
  "iam:AttachGroupPolicy",
  AttachGroupPolicy$,
  (input: AttachGroupPolicyRequest) => input.GroupName,
);
export const attachRolePolicy = attach(
  "role",
  "iam:AttachRolePolicy",
  AttachRolePolicy$,
  (input: AttachRolePolicyRequest) => input.RoleName,
);
export const detachUserPolicy = detach(
  "user",
  "iam:DetachUserPolicy",
  DetachUserPolicy$,
  (input: DetachUserPolicyRequest) => input.UserName,
);
export const detachGroupPolicy = detach(
  "group",
  "iam:DetachGroupPolicy",
  DetachGroupPolicy$,
  (input: DetachGroupPolicyRequest) => input.GroupName,
);
export const detachRolePolicy = detach(
  "role",
  "iam:DetachRolePolicy",
  DetachRolePolicy$,
  (input: DetachRolePolicyRequest) => input.RoleName,
);
export const listAttachedUserPolicies = list(
  "user",
  "iam:ListAttachedUserPolicies",
  ListAttachedUserPolicies$,
  (input: ListAttachedUserPoliciesRequest) => input.UserName,
);
export const listAttachedGroupPolicies = list(
  "group",
  "iam:ListAttachedGroupPolicies",
  ListAttachedGroupPolicies$,
  (input: ListAttachedGroupPoliciesRequest) => input.GroupName,
);
export const listAttachedRolePolicies = list(
  "role",
  "iam:ListAttachedRolePolicies",
  ListAttachedRolePolicies$,
  (input: ListAttachedRolePoliciesRequest) => input.RoleName,
);

/** Who has a policy attached, or is bounded by it. */
export const listEntitiesForPolicy = operation({
  action: "iam:ListEntitiesForPolicy",
  schema: ListEntitiesForPolicy$,
  access: "read",
  resolve: (ctx, input: ListEntitiesForPolicyRequest) =>
    resolvePolicy(ctx, input.PolicyArn, "iam:ListEntitiesForPolicy"),
  run: async (ctx, input, { arn, policy, aws }) => {
    if (policy === undefined && aws === null) throw policyNotFound(arn);
    const db = ctx.database.read;
    const account = ctx.caller.accountId;
    const ids = new Set<string>();
    if (input.PolicyUsageFilter !== "PermissionsBoundary") {
      const rows = await db
        .selectFrom("policy_attachments")
        .select("principal_id")
        .where("policy_arn", "=", arn)
        .where("account_id", "=", account)
        .execute();
      for (const row of rows) ids.add(row.principal_id);
    }
    if (input.PolicyUsageFilter !== "PermissionsPolicy") {
      for (const table of ["users", "roles"] as const) {
        const rows = await db
          .selectFrom(table)
          .select("id")
          .where("boundary_arn", "=", arn)
          .where("account_id", "=", account)
          .execute();
        for (const row of rows) ids.add(row.id);
      }
    }
    const pathPrefix = pathPrefixOf(input.PathPrefix);
    const wanted: Readonly<Record<Holder, string>> = { group: "Group", role: "Role", user: "User" };
    const found = [];
    for (const kind of ["group", "role", "user"] as const satisfies readonly EntityKind[]) {
      if (input.EntityFilter !== undefined && input.EntityFilter !== wanted[kind]) continue;
      found.push(...(await listEntities(db, kind, account, { ids: [...ids], pathPrefix })));
    }
    const [page, more] = pageWithin(found, input, (entity) => `${entity.kind} ${entity.name.toLowerCase()}`);
    const of = (kind: Holder) => page.filter((entity) => entity.kind === kind);
    return {
      PolicyGroups: of("group").map(({ name, id }) => ({ GroupName: name, GroupId: id })),
      PolicyUsers: of("user").map(({ name, id }) => ({ UserName: name, UserId: id })),
      PolicyRoles: of("role").map(({ name, id }) => ({ RoleName: name, RoleId: id })),
      ...more,
    };
  },
});
