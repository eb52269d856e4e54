import {
  CreateUser$,
  type CreateUserRequest,
  DeleteUser$,
  type DeleteUserRequest,
  GetUser$,
  type GetUserRequest,
  ListUsers$,
  type ListUsersRequest,
  UpdateUser$,
  type UpdateUserRequest,
} from "@aws-sdk/client-iam";
import { ApiError } from "../../base/api-error.ts";
import { isUniqueViolation } from "../../database/database.ts";
import type { ResourceCheck } from "../../model/access.ts";
import { rootArn } from "../../model/identity/account.ts";
import { type Entity, entityArn, entityTaken, findEntity, listEntities } from "../../model/identity/entities.ts";
import { newUniqueId } from "../../model/identity/ids.ts";
import { operation, type Resolution } from "../operation.ts";
import { userAnswer } from "./answers.ts";
import { change, current, entityCheck, existing, newEntityName, ownUserName, resolveEntity } from "./entity.ts";
import { pathOf, pathPrefixOf } from "./input.ts";
import { LIMITS, withinQuota } from "./limits.ts";
import { paged, pageOf } from "./paging.ts";
import { boundaryArnOf, boundaryKeys, mustExist } from "./permissions-boundary.ts";
import { parseTags, requestTagKeys } from "./tags.ts";

export const createUser = operation({
  action: "iam:CreateUser",
  schema: CreateUser$,
  access: "write",
  resolve: async (ctx, input: CreateUserRequest) => {
    const name = newEntityName("user", input.UserName);
    const path = pathOf(input.Path);
    const tags = parseTags(input.Tags);
    const boundaryArn = boundaryArnOf(input.PermissionsBoundary);
    const resource = entityArn("user", ctx.caller.accountId, path, name);
    const keys = { ...requestTagKeys(tags), ...boundaryKeys(boundaryArn) };
    const tagging: ResourceCheck[] = Object.keys(tags).length === 0 ? [] : [{ action: "iam:TagUser", resource, keys }];
    return { name, path, tags, boundaryArn, checks: [{ action: "iam:CreateUser", resource, keys }, ...tagging] };
  },
  run: async (ctx, _input, { name, path, tags, boundaryArn }, grant) => {
    const account = ctx.caller.accountId;
    const user: Entity = {
      kind: "user",
      id: newUniqueId("user"),
      accountId: account,
      name,
      path,
      arn: entityArn("user", account, path, name),
      boundaryArn,
      tags,
      createdAt: ctx.now(),
    };
    try {
      await change(ctx, grant, async (tx) => {
        await withinQuota(tx, "users", account, LIMITS.users, "UsersPerAccount");
        await mustExist(tx, account, boundaryArn);
        await tx
          .insertInto("users")
          .values({
            id: user.id,
            account_id: account,
            name,
            name_key: name.toLowerCase(),
            path,
            boundary_arn: boundaryArn,
            tags: JSON.stringify(tags),
            created_at: user.createdAt.toISOString(),
          })
          .execute();
      });
    } catch (error) {
      if (isUniqueViolation(error)) throw entityTaken("user", name, error);
      throw error;
    }
    return { User: userAnswer(user, "full") };
  },
});

export const getUser = operation({
  action: "iam:GetUser",
  schema: GetUser$,
  access: "read",
  resolve: async (ctx, input: GetUserRequest) => {
    const { caller } = ctx;
    if (input.UserName === undefined && caller.kind === "root") {
      const checks: ResourceCheck[] = [{ action: "iam:GetUser", resource: rootArn(caller.accountId), keys: {} }];
      return { name: "root", entity: undefined, checks };
    }
    return resolveEntity(ctx, "user", ownUserName(ctx, input.UserName), "iam:GetUser");
  },
  run: async (ctx, input, resolved) => {
    const { caller } = ctx;
    if (input.UserName === undefined && caller.kind === "root") {
      const account = await ctx.database.read
        .selectFrom("accounts")
        .select("created_at")
        .where("id", "=", caller.accountId)
        .executeTakeFirstOrThrow();
      // The one user without a name or a path.
      const createdAt = new Date(account.created_at);
      return {
        User: {
          UserId: caller.accountId,
          Arn: caller.arn,
          CreateDate: createdAt,
          UserName: undefined,
          Path: undefined,
        },
      };
    }
    return { User: userAnswer(existing("user", resolved), "full") };
  },
});

export const listUsers = operation({
  action: "iam:ListUsers",
  schema: ListUsers$,
  access: "read",
  resolve: async (ctx, input: ListUsersRequest): Promise<Resolution> => {
    const resource = `arn:aws:iam::${ctx.caller.accountId}:user${pathPrefixOf(input.PathPrefix)}`;
    return { checks: [{ action: "iam:ListUsers", resource, keys: {} }] };
  },
  run: async (ctx, input) => {
    const page = pageOf(input);
    const found = await listEntities(ctx.database.read, "user", ctx.caller.accountId, {
      pathPrefix: pathPrefixOf(input.PathPrefix),
      limit: page.limit + 1,
      ...(page.after === undefined ? {} : { after: page.after }),
    });
    const [users, more] = paged(found, page, (user) => user.name);
    return { Users: users.map((user) => userAnswer(user, "list")), ...more };
  },
});

/** Renames, or moves to another path: the ARN changes, the id and all that hangs on it stay. */
export const updateUser = operation({
  action: "iam:UpdateUser",
  schema: UpdateUser$,
  access: "write",
  resolve: async (ctx, input: UpdateUserRequest) => {
    const resolved = await resolveEntity(ctx, "user", input.UserName, "iam:UpdateUser");
    const name = input.NewUserName === undefined ? resolved.name : newEntityName("user", input.NewUserName);
    const path = input.NewPath === undefined ? (resolved.entity?.path ?? "/") : pathOf(input.NewPath);
    // Permission on the new name too, as AWS asks.
    const to = entityCheck(ctx, "user", name, undefined, "iam:UpdateUser");
    const resource = entityArn("user", ctx.caller.accountId, path, name);
    return { ...resolved, to: { name, path }, checks: [...resolved.checks, { ...to, resource }] };
  },
  run: async (ctx, input, resolved, grant) => {
    const { name, path } = resolved.to;
    await change(ctx, grant, async (tx) => {
      const user = await current(tx, "user", resolved);
      const holder = await findEntity(tx, "user", user.accountId, name);
      if (holder !== undefined && holder.id !== user.id) throw entityTaken("user", name);
      await tx
        .updateTable("users")
        .set({
          name: input.NewUserName === undefined ? user.name : name,
          name_key: name.toLowerCase(),
          path: input.NewPath === undefined ? user.path : path,
        })
        .where("id", "=", user.id)
        .execute();
    });
    return {};
  },
});

export const deleteUser = operation({
  action: "iam:DeleteUser",
  schema: DeleteUser$,
  access: "write",
  resolve: (ctx, input: DeleteUserRequest) => resolveEntity(ctx, "user", input.UserName, "iam:DeleteUser"),
  run: async (ctx, _input, resolved, grant) => {
    await change(ctx, grant, async (tx) => {
      const { id } = await current(tx, "user", resolved);
      const has = async (table: "access_keys" | "group_members"): Promise<boolean> =>
        (await tx.selectFrom(table).select("account_id").where("user_id", "=", id).limit(1).executeTakeFirst()) !==
        undefined;
      if (await has("access_keys")) throw conflict("delete access keys");
      if (await has("group_members")) throw conflict("remove user from all groups");
      await nothingAttached(tx, id);
      await tx.deleteFrom("users").where("id", "=", id).execute();
    });
    return {};
  },
});

export const conflict = (first: string): ApiError =>
  new ApiError("DeleteConflict", `Cannot delete entity, must ${first} first.`);

/** @throws ApiError `DeleteConflict` while policies hang on it */
export async function nothingAttached(tx: Parameters<typeof listEntities>[0], id: string): Promise<void> {
  for (const [table, first] of [
    ["policy_attachments", "detach all policies"],
    ["inline_policies", "delete policies"],
  ] as const) {
    const row = await tx.selectFrom(table).select("account_id").where("principal_id", "=", id).executeTakeFirst();
    if (row !== undefined) throw conflict(first);
  }
}
