import {
  CreateRole$,
  type CreateRoleRequest,
  DeleteRole$,
  type DeleteRoleRequest,
  GetRole$,
  type GetRoleRequest,
  ListRoles$,
  type ListRolesRequest,
  UpdateAssumeRolePolicy$,
  type UpdateAssumeRolePolicyRequest,
  UpdateRole$,
  UpdateRoleDescription$,
  type UpdateRoleDescriptionRequest,
  type UpdateRoleRequest,
} from "@aws-sdk/client-iam";
import type { Db } from "../../database/database.ts";
import { isUniqueViolation } from "../../database/database.ts";
import type { ResourceCheck } from "../../model/access.ts";
import { entityArn, entityTaken, findRole, listRoles, noSuchEntity, type Role } from "../../model/identity/entities.ts";
import { newUniqueId } from "../../model/identity/ids.ts";
import { operation, type Resolution } from "../operation.ts";
import { roleAnswer } from "./answers.ts";
import { change, current, existing, newEntityName, resolveEntity } from "./entity.ts";
import { numberWithin, pathOf, pathPrefixOf, textOf } from "./input.ts";
import { LIMITS, withinQuota } from "./limits.ts";
import { paged, pageOf } from "./paging.ts";
import { boundaryArnOf, boundaryKeys, mustExist } from "./permissions-boundary.ts";
import { parseTags, requestTagKeys } from "./tags.ts";
import { trustIds, trustPolicyOf } from "./trust-policy.ts";
import { conflict, nothingAttached } from "./users.ts";

const sessionSeconds = (value: number | undefined): number | undefined =>
  numberWithin(value, "maxSessionDuration", 3600, 43_200);

export const createRole = operation({
  action: "iam:CreateRole",
  schema: CreateRole$,
  access: "write",
  resolve: async (ctx, input: CreateRoleRequest) => {
    const name = newEntityName("role", input.RoleName);
    const path = pathOf(input.Path);
    const tags = parseTags(input.Tags);
    const boundaryArn = boundaryArnOf(input.PermissionsBoundary);
    const resource = entityArn("role", ctx.caller.accountId, path, name);
    const keys = { ...requestTagKeys(tags), ...boundaryKeys(boundaryArn) };
    const tagging: ResourceCheck[] = Object.keys(tags).length === 0 ? [] : [{ action: "iam:TagRole", resource, keys }];
    return {
      name,
      path,
      tags,
      boundaryArn,
      trustPolicy: trustPolicyOf(input.AssumeRolePolicyDocument, "assumeRolePolicyDocument"),
      description: textOf(input.Description, "description", 1000),
      maxSessionSeconds: sessionSeconds(input.MaxSessionDuration) ?? 3600,
      checks: [{ action: "iam:CreateRole", resource, keys }, ...tagging],
    };
  },
  run: async (ctx, _input, resolved, grant) => {
    const { name, path, tags, boundaryArn, trustPolicy, description, maxSessionSeconds } = resolved;
    const account = ctx.caller.accountId;
    const id = newUniqueId("role");
    const createdAt = ctx.now();
    try {
      return await change(ctx, grant, async (tx) => {
        await withinQuota(tx, "roles", account, LIMITS.roles, "RolesPerAccount");
        await mustExist(tx, account, boundaryArn);
        const ids = await trustIds(tx, trustPolicy);
        await tx
          .insertInto("roles")
          .values({
            id,
            account_id: account,
            name,
            name_key: name.toLowerCase(),
            path,
            description,
            trust_policy: trustPolicy,
            trust_ids: JSON.stringify(ids),
            max_session_seconds: maxSessionSeconds,
            boundary_arn: boundaryArn,
            tags: JSON.stringify(tags),
            created_at: createdAt.toISOString(),
            last_used_at: null,
            last_used_region: null,
          })
          .execute();
        return { Role: roleAnswer(await roleNow(tx, { accountId: account, name }), "full") };
      });
    } catch (error) {
      if (isUniqueViolation(error)) throw entityTaken("role", name, error);
      throw error;
    }
  },
});

async function roleNow(db: Db, of: Pick<Role, "accountId" | "name">): Promise<Role> {
  const role = await findRole(db, of.accountId, of.name);
  if (role === undefined) throw noSuchEntity("role", of.name);
  return role;
}

export const getRole = operation({
  action: "iam:GetRole",
  schema: GetRole$,
  access: "read",
  resolve: (ctx, input: GetRoleRequest) => resolveEntity(ctx, "role", input.RoleName, "iam:GetRole"),
  run: async (ctx, _input, resolved) => ({
    Role: roleAnswer(await roleNow(ctx.database.read, existing("role", resolved)), "full"),
  }),
});

export const listRolesAction = operation({
  action: "iam:ListRoles",
  schema: ListRoles$,
  access: "read",
  resolve: async (ctx, input: ListRolesRequest): Promise<Resolution> => {
    const resource = `arn:aws:iam::${ctx.caller.accountId}:role${pathPrefixOf(input.PathPrefix)}`;
    return { checks: [{ action: "iam:ListRoles", resource, keys: {} }] };
  },
  run: async (ctx, input) => {
    const page = pageOf(input);
    const found = await listRoles(ctx.database.read, ctx.caller.accountId, {
      pathPrefix: pathPrefixOf(input.PathPrefix),
      limit: page.limit + 1,
      ...(page.after === undefined ? {} : { after: page.after }),
    });
    const [roles, more] = paged(found, page, (role) => role.name);
    return { Roles: roles.map((role) => roleAnswer(role, "list")), ...more };
  },
});

export const updateRole = operation({
  action: "iam:UpdateRole",
  schema: UpdateRole$,
  access: "write",
  resolve: async (ctx, input: UpdateRoleRequest) => ({
    ...(await resolveEntity(ctx, "role", input.RoleName, "iam:UpdateRole")),
    description: textOf(input.Description, "description", 1000),
    maxSessionSeconds: sessionSeconds(input.MaxSessionDuration),
  }),
  run: async (ctx, _input, resolved, grant) => {
    const { description, maxSessionSeconds } = resolved;
    await change(ctx, grant, async (tx) => {
      const { id } = await current(tx, "role", resolved);
      if (description === null && maxSessionSeconds === undefined) return;
      await tx
        .updateTable("roles")
        .set({
          ...(description === null ? {} : { description }),
          ...(maxSessionSeconds === undefined ? {} : { max_session_seconds: maxSessionSeconds }),
        })
        .where("id", "=", id)
        .execute();
    });
    return {};
  },
});

export const updateRoleDescription = operation({
  action: "iam:UpdateRoleDescription",
  schema: UpdateRoleDescription$,
  access: "write",
  resolve: async (ctx, input: UpdateRoleDescriptionRequest) => ({
    ...(await resolveEntity(ctx, "role", input.RoleName, "iam:UpdateRoleDescription")),
    description: textOf(input.Description, "description", 1000) ?? "",
  }),
  run: (ctx, _input, resolved, grant) =>
    change(ctx, grant, async (tx) => {
      const role = await current(tx, "role", resolved);
      await tx.updateTable("roles").set({ description: resolved.description }).where("id", "=", role.id).execute();
      return { Role: roleAnswer(await roleNow(tx, role), "full") };
    }),
});

export const updateAssumeRolePolicy = operation({
  action: "iam:UpdateAssumeRolePolicy",
  schema: UpdateAssumeRolePolicy$,
  access: "write",
  resolve: async (ctx, input: UpdateAssumeRolePolicyRequest) => ({
    ...(await resolveEntity(ctx, "role", input.RoleName, "iam:UpdateAssumeRolePolicy")),
    trustPolicy: trustPolicyOf(input.PolicyDocument, "policyDocument"),
  }),
  run: async (ctx, _input, resolved, grant) => {
    await change(ctx, grant, async (tx) => {
      const { id } = await current(tx, "role", resolved);
      const ids = await trustIds(tx, resolved.trustPolicy);
      await tx
        .updateTable("roles")
        .set({ trust_policy: resolved.trustPolicy, trust_ids: JSON.stringify(ids) })
        .where("id", "=", id)
        .execute();
    });
    return {};
  },
});

export const deleteRole = operation({
  action: "iam:DeleteRole",
  schema: DeleteRole$,
  access: "write",
  resolve: (ctx, input: DeleteRoleRequest) => resolveEntity(ctx, "role", input.RoleName, "iam:DeleteRole"),
  run: async (ctx, _input, resolved, grant) => {
    await change(ctx, grant, async (tx) => {
      const { id } = await current(tx, "role", resolved);
      const profile = await tx
        .selectFrom("instance_profiles")
        .select("id")
        .where("role_id", "=", id)
        .executeTakeFirst();
      if (profile !== undefined) throw conflict("remove roles from instance profile");
      await nothingAttached(tx, id);
      await tx.deleteFrom("roles").where("id", "=", id).execute();
    });
    return {};
  },
});
