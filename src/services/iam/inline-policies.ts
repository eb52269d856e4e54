// Policies that belong to one user, group or role: the same four actions for each.
import {
  DeleteGroupPolicy$,
  type DeleteGroupPolicyRequest,
  DeleteRolePolicy$,
  type DeleteRolePolicyRequest,
  DeleteUserPolicy$,
  type DeleteUserPolicyRequest,
  GetGroupPolicy$,
  type GetGroupPolicyRequest,
  GetRolePolicy$,
  type GetRolePolicyRequest,
  GetUserPolicy$,
  type GetUserPolicyRequest,
  ListGroupPolicies$,
  type ListGroupPoliciesRequest,
  ListRolePolicies$,
  type ListRolePoliciesRequest,
  ListUserPolicies$,
  type ListUserPoliciesRequest,
  PutGroupPolicy$,
  type PutGroupPolicyRequest,
  PutRolePolicy$,
  type PutRolePolicyRequest,
  PutUserPolicy$,
  type PutUserPolicyRequest,
} from "@aws-sdk/client-iam";
import type { StaticOperationSchema } from "@smithy/types";
import { ApiError } from "../../base/api-error.ts";
import { parsePolicy } from "../../identity/policy/document.ts";
import type { Action } from "../../model/access.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { encodedDocument } from "./answers.ts";
import { change, current, existing, resolveEntity } from "./entity.ts";
import { nameOf, required } from "./input.ts";
import { countedChars, LIMITS } from "./limits.ts";
import { type PageInput, pageWithin } from "./paging.ts";
import { boundOf } from "./permissions-boundary.ts";

type Holder = "user" | "group" | "role";
/** For all inline policies of one holder together. */
const MOST_CHARS: Readonly<Record<Holder, number>> = {
  user: LIMITS.userPolicyChars,
  group: LIMITS.groupPolicyChars,
  role: LIMITS.rolePolicyChars,
};

interface Named {
  PolicyName: string | undefined;
}

const noSuchPolicy = (kind: Holder, name: string): ApiError =>
  new ApiError("NoSuchEntity", `The ${kind} policy with name ${name} cannot be found.`);

async function resolveHolder(ctx: RequestContext, kind: Holder, name: string | undefined, action: Action) {
  const resolved = await resolveEntity(ctx, kind, name, action);
  const checks = resolved.checks.map((each) => ({ ...each, keys: { ...each.keys, ...boundOf(resolved.entity) } }));
  return { ...resolved, checks };
}

const put = <const A extends Action, I extends Named & { PolicyDocument: string | undefined }>(
  kind: Holder,
  action: A,
  schema: StaticOperationSchema,
  holderOf: (input: I) => string | undefined,
) =>
  operation({
    action,
    schema,
    access: "write",
    resolve: async (ctx, input: I) => {
      const policyName = nameOf(input.PolicyName, "policyName", 128);
      const document = required(input.PolicyDocument, "policyDocument");
      parsePolicy(document, "inline");
      return { ...(await resolveHolder(ctx, kind, holderOf(input), action)), policyName, document };
    },
    run: async (ctx, _input, resolved, grant) => {
      const { policyName, document } = resolved;
      await change(ctx, grant, async (tx) => {
        const { id, name, accountId } = await current(tx, kind, resolved);
        const others = await tx
          .selectFrom("inline_policies")
          .select("document")
          .where("principal_id", "=", id)
          .where("name", "!=", policyName)
          .execute();
        const chars = others.reduce((sum, each) => sum + countedChars(each.document), countedChars(document));
        if (chars > MOST_CHARS[kind]) {
          throw new ApiError(
            "LimitExceeded",
            `Maximum policy size of ${MOST_CHARS[kind]} bytes exceeded for ${kind} ${name}`,
          );
        }
        await tx
          .insertInto("inline_policies")
          .values({ principal_id: id, name: policyName, account_id: accountId, document })
          .onConflict((conflict) => conflict.columns(["principal_id", "name"]).doUpdateSet({ document }))
          .execute();
      });
      return {};
    },
  });

/** The one answer's member differs by holder: `UserName`, `GroupName`, `RoleName`. */
const get = <const A extends Action, I extends Named, const M extends string>(
  kind: Holder,
  action: A,
  schema: StaticOperationSchema,
  holderOf: (input: I) => string | undefined,
  member: M,
) =>
  operation({
    action,
    schema,
    access: "read",
    resolve: async (ctx, input: I) => ({
      ...(await resolveEntity(ctx, kind, holderOf(input), action)),
      policyName: nameOf(input.PolicyName, "policyName", 128),
    }),
    run: async (ctx, _input, resolved) => {
      const { id, name } = existing(kind, resolved);
      const row = await ctx.database.read
        .selectFrom("inline_policies")
        .select("document")
        .where("principal_id", "=", id)
        .where("name", "=", resolved.policyName)
        .executeTakeFirst();
      if (row === undefined) throw noSuchPolicy(kind, resolved.policyName);
      const holder: { [K in M]?: string } = {};
      holder[member] = name;
      return { ...holder, PolicyName: resolved.policyName, PolicyDocument: encodedDocument(row.document) };
    },
  });

const remove = <const A extends Action, I extends Named>(
  kind: Holder,
  action: A,
  schema: StaticOperationSchema,
  holderOf: (input: I) => string | undefined,
) =>
  operation({
    action,
    schema,
    access: "write",
    resolve: async (ctx, input: I) => ({
      ...(await resolveHolder(ctx, kind, holderOf(input), action)),
      policyName: nameOf(input.PolicyName, "policyName", 128),
    }),
    run: async (ctx, _input, resolved, grant) => {
      await change(ctx, grant, async (tx) => {
        const { id } = await current(tx, kind, resolved);
        const { numDeletedRows } = await tx
          .deleteFrom("inline_policies")
          .where("principal_id", "=", id)
          .where("name", "=", resolved.policyName)
          .executeTakeFirst();
        if (Number(numDeletedRows) === 0) throw noSuchPolicy(kind, resolved.policyName);
      });
      return {};
    },
  });

const list = <const A extends Action, I extends PageInput>(
  kind: Holder,
  action: A,
  schema: StaticOperationSchema,
  holderOf: (input: I) => string | undefined,
) =>
  operation({
    action,
    schema,
    access: "read",
    resolve: (ctx, input: I) => resolveEntity(ctx, kind, holderOf(input), action),
    run: async (ctx, input, resolved) => {
      const { id } = existing(kind, resolved);
      const rows = await ctx.database.read
        .selectFrom("inline_policies")
        .select("name")
        .where("principal_id", "=", id)
        .execute();
      const [page, more] = pageWithin(rows, input, ({ name }) => name);
      return { PolicyNames: page.map(({ name }) => name), ...more };
    },
  });

export const putUserPolicy = put(
  "user",
  "iam:PutUserPolicy",
  PutUserPolicy$,
  (input: PutUserPolicyRequest) => input.UserName,
);
export const putGroupPolicy = put(
  "group",
  "iam:PutGroupPolicy",
  PutGroupPolicy$,
  (input: PutGroupPolicyRequest) => input.GroupName,
);
export const putRolePolicy = put(
  "role",
  "iam:PutRolePolicy",
  PutRolePolicy$,
  (input: PutRolePolicyRequest) => input.RoleName,
);
export const getUserPolicy = get(
  "user",
  "iam:GetUserPolicy",
  GetUserPolicy$,
  (input: GetUserPolicyRequest) => input.UserName,
  "UserName",
);
export const getGroupPolicy = get(
  "group",
  "iam:GetGroupPolicy",
  GetGroupPolicy$,
  (input: GetGroupPolicyRequest) => input.GroupName,
  "GroupName",
);
export const getRolePolicy = get(
  "role",
  "iam:GetRolePolicy",
  GetRolePolicy$,
  (input: GetRolePolicyRequest) => input.RoleName,
  "RoleName",
);
export const deleteUserPolicy = remove(
  "user",
  "iam:DeleteUserPolicy",
  DeleteUserPolicy$,
  (input: DeleteUserPolicyRequest) => input.UserName,
);
export const deleteGroupPolicy = remove(
  "group",
  "iam:DeleteGroupPolicy",
  DeleteGroupPolicy$,
  (input: DeleteGroupPolicyRequest) => input.GroupName,
);
export const deleteRolePolicy = remove(
  "role",
  "iam:DeleteRolePolicy",
  DeleteRolePolicy$,
  (input: DeleteRolePolicyRequest) => input.RoleName,
);
export const listUserPolicies = list(
  "user",
  "iam:ListUserPolicies",
  ListUserPolicies$,
  (input: ListUserPoliciesRequest) => input.UserName,
);
export const listGroupPolicies = list(
  "group",
  "iam:ListGroupPolicies",
  ListGroupPolicies$,
  (input: ListGroupPoliciesRequest) => input.GroupName,
);
export const listRolePolicies = list(
  "role",
  "iam:ListRolePolicies",
  ListRolePolicies$,
  (input: ListRolePoliciesRequest) => input.RoleName,
);
