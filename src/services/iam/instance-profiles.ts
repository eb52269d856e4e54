import {
  AddRoleToInstanceProfile$,
  type AddRoleToInstanceProfileRequest,
  CreateInstanceProfile$,
  type CreateInstanceProfileRequest,
  DeleteInstanceProfile$,
  type DeleteInstanceProfileRequest,
  GetInstanceProfile$,
  type GetInstanceProfileRequest,
  ListInstanceProfiles$,
  ListInstanceProfilesForRole$,
  type ListInstanceProfilesForRoleRequest,
  type ListInstanceProfilesRequest,
  RemoveRoleFromInstanceProfile$,
  type RemoveRoleFromInstanceProfileRequest,
} from "@aws-sdk/client-iam";
import { type Db, isUniqueViolation } from "../../database/database.ts";
import type { ResourceCheck } from "../../model/access.ts";
import {
  type Entity,
  entityArn,
  entityTaken,
  findEntity,
  listEntities,
  listRoles,
  noSuchEntity,
  type Role,
} from "../../model/identity/entities.ts";
import { newUniqueId } from "../../model/identity/ids.ts";
import { operation, type Resolution } from "../operation.ts";
import { instanceProfileAnswer } from "./answers.ts";
import { change, current, entityCheck, entityName, existing, newEntityName, resolveEntity } from "./entity.ts";
import { pathOf, pathPrefixOf } from "./input.ts";
import { LIMITS, quotaReached, withinQuota } from "./limits.ts";
import { paged, pageOf, pageWithin } from "./paging.ts";
import { parseTags, requestTagKeys } from "./tags.ts";
import { conflict } from "./users.ts";

/** The role in each profile (one at most), by the profile's id. */
async function rolesIn(db: Db, profiles: readonly Entity[]): Promise<Map<string, Role[]>> {
  const account = profiles[0]?.accountId;
  if (account === undefined) return new Map();
  const rows = await db
    .selectFrom("instance_profiles")
    .select(["id", "role_id"])
    .where(
      "id",
      "in",
      profiles.map(({ id }) => id),
    )
    .execute();
  const ids = rows.flatMap(({ role_id }) => (role_id === null ? [] : [role_id]));
  const roles = new Map((await listRoles(db, account, { ids })).map((role) => [role.id, role]));
  return new Map(
    rows.map((row) => {
      const role = row.role_id === null ? undefined : roles.get(row.role_id);
      return [row.id, role === undefined ? [] : [role]];
    }),
  );
}

export const createInstanceProfile = operation({
  action: "iam:CreateInstanceProfile",
  schema: CreateInstanceProfile$,
  access: "write",
  resolve: async (ctx, input: CreateInstanceProfileRequest) => {
    const name = newEntityName("instance-profile", input.InstanceProfileName);
    const path = pathOf(input.Path);
    const tags = parseTags(input.Tags);
    const resource = entityArn("instance-profile", ctx.caller.accountId, path, name);
    const keys = requestTagKeys(tags);
    const tagging: ResourceCheck[] =
      Object.keys(tags).length === 0 ? [] : [{ action: "iam:TagInstanceProfile", resource, keys }];
    return { name, path, tags, checks: [{ action: "iam:CreateInstanceProfile", resource, keys }, ...tagging] };
  },
  run: async (ctx, _input, { name, path, tags }, grant) => {
    const account = ctx.caller.accountId;
    const profile: Entity = {
      kind: "instance-profile",
      id: newUniqueId("instanceProfile"),
      accountId: account,
      name,
      path,
      arn: entityArn("instance-profile", account, path, name),
      boundaryArn: null,
      tags,
      createdAt: ctx.now(),
    };
    try {
      await change(ctx, grant, async (tx) => {
        await withinQuota(tx, "instance_profiles", account, LIMITS.instanceProfiles, "InstanceProfilesPerAccount");
        await tx
          .insertInto("instance_profiles")
          .values({
            id: profile.id,
            account_id: account,
            name,
            name_key: name.toLowerCase(),
            path,
            role_id: null,
            tags: JSON.stringify(tags),
            created_at: profile.createdAt.toISOString(),
          })
          .execute();
      });
    } catch (error) {
      if (isUniqueViolation(error)) throw entityTaken("instance-profile", name, error);
      throw error;
    }
    return { InstanceProfile: instanceProfileAnswer(profile, [], "full") };
  },
});

export const getInstanceProfile = operation({
  action: "iam:GetInstanceProfile",
  schema: GetInstanceProfile$,
  access: "read",
  resolve: (ctx, input: GetInstanceProfileRequest) =>
    resolveEntity(ctx, "instance-profile", input.InstanceProfileName, "iam:GetInstanceProfile"),
  run: async (ctx, _input, resolved) => {
    const profile = existing("instance-profile", resolved);
    const roles = await rolesIn(ctx.database.read, [profile]);
    return { InstanceProfile: instanceProfileAnswer(profile, roles.get(profile.id) ?? [], "full") };
  },
});

export const listInstanceProfiles = operation({
  action: "iam:ListInstanceProfiles",
  schema: ListInstanceProfiles$,
  access: "read",
  resolve: async (ctx, input: ListInstanceProfilesRequest): Promise<Resolution> => {
    const resource = `arn:aws:iam::${ctx.caller.accountId}:instance-profile${pathPrefixOf(input.PathPrefix)}`;
    return { checks: [{ action: "iam:ListInstanceProfiles", resource, keys: {} }] };
  },
  run: async (ctx, input) => {
    const page = pageOf(input);
    const db = ctx.database.read;
    const found = await listEntities(db, "instance-profile", ctx.caller.accountId, {
      pathPrefix: pathPrefixOf(input.PathPrefix),
      limit: page.limit + 1,
      ...(page.after === undefined ? {} : { after: page.after }),
    });
    const [profiles, more] = paged(found, page, (profile) => profile.name);
    const roles = await rolesIn(db, profiles);
    return {
      InstanceProfiles: profiles.map((each) => instanceProfileAnswer(each, roles.get(each.id) ?? [], "list")),
      ...more,
    };
  },
});

export const listInstanceProfilesForRole = operation({
  action: "iam:ListInstanceProfilesForRole",
  schema: ListInstanceProfilesForRole$,
  access: "read",
  resolve: (ctx, input: ListInstanceProfilesForRoleRequest) =>
    resolveEntity(ctx, "role", input.RoleName, "iam:ListInstanceProfilesForRole"),
  run: async (ctx, input, resolved) => {
    const role = existing("role", resolved);
    const db = ctx.database.read;
    const rows = await db.selectFrom("instance_profiles").select("id").where("role_id", "=", role.id).execute();
    const profiles = await listEntities(db, "instance-profile", role.accountId, { ids: rows.map(({ id }) => id) });
    const [page, more] = pageWithin(profiles, input, (profile) => profile.name.toLowerCase());
    const roles = await rolesIn(db, page);
    return {
      InstanceProfiles: page.map((each) => instanceProfileAnswer(each, roles.get(each.id) ?? [], "list")),
      ...more,
    };
  },
});

/** Whoever puts a role where instances get at it must be allowed to pass it. */
export const addRoleToInstanceProfile = operation({
  action: "iam:AddRoleToInstanceProfile",
  schema: AddRoleToInstanceProfile$,
  access: "write",
  resolve: async (ctx, input: AddRoleToInstanceProfileRequest) => {
    const resolved = await resolveEntity(
      ctx,
      "instance-profile",
      input.InstanceProfileName,
      "iam:AddRoleToInstanceProfile",
    );
    const roleName = entityName("role", input.RoleName);
    const role = await findEntity(ctx.database.read, "role", ctx.caller.accountId, roleName);
    const pass = entityCheck(ctx, "role", roleName, role, "iam:PassRole", {
      "iam:PassedToService": "ec2.amazonaws.com",
    });
    return { ...resolved, role, roleName, checks: [...resolved.checks, pass] };
  },
  run: async (ctx, _input, resolved, grant) => {
    await change(ctx, grant, async (tx) => {
      const profile = await current(tx, "instance-profile", resolved);
      const role = await current(tx, "role", { ...resolved, name: resolved.roleName, entity: resolved.role });
      const row = await tx
        .selectFrom("instance_profiles")
        .select("role_id")
        .where("id", "=", profile.id)
        .executeTakeFirstOrThrow();
      if (row.role_id !== null) throw quotaReached("InstanceSessionsPerInstanceProfile", 1);
      await tx.updateTable("instance_profiles").set({ role_id: role.id }).where("id", "=", profile.id).execute();
    });
    return {};
  },
});

export const removeRoleFromInstanceProfile = operation({
  action: "iam:RemoveRoleFromInstanceProfile",
  schema: RemoveRoleFromInstanceProfile$,
  access: "write",
  resolve: async (ctx, input: RemoveRoleFromInstanceProfileRequest) => ({
    ...(await resolveEntity(ctx, "instance-profile", input.InstanceProfileName, "iam:RemoveRoleFromInstanceProfile")),
    roleName: entityName("role", input.RoleName),
  }),
  run: async (ctx, _input, resolved, grant) => {
    await change(ctx, grant, async (tx) => {
      const profile = await current(tx, "instance-profile", resolved);
      const role = await findEntity(tx, "role", profile.accountId, resolved.roleName);
      if (role === undefined) throw noSuchEntity("role", resolved.roleName);
      const { numUpdatedRows } = await tx
        .updateTable("instance_profiles")
        .set({ role_id: null })
        .where("id", "=", profile.id)
        .where("role_id", "=", role.id)
        .executeTakeFirst();
      if (Number(numUpdatedRows) === 0) throw noSuchEntity("role", resolved.roleName);
    });
    return {};
  },
});

export const deleteInstanceProfile = operation({
  action: "iam:DeleteInstanceProfile",
  schema: DeleteInstanceProfile$,
  access: "write",
  resolve: (ctx, input: DeleteInstanceProfileRequest) =>
    resolveEntity(ctx, "instance-profile", input.InstanceProfileName, "iam:DeleteInstanceProfile"),
  run: async (ctx, _input, resolved, grant) => {
    await change(ctx, grant, async (tx) => {
      const { id } = await current(tx, "instance-profile", resolved);
      const row = await tx
        .selectFrom("instance_profiles")
        .select("role_id")
        .where("id", "=", id)
        .executeTakeFirstOrThrow();
      if (row.role_id !== null) throw conflict("remove roles from instance profile");
      await tx.deleteFrom("instance_profiles").where("id", "=", id).execute();
    });
    return {};
  },
});
