import {
  AddUserToGroup$,
  type AddUserToGroupRequest,
  CreateGroup$,
  type CreateGroupRequest,
  DeleteGroup$,
  type DeleteGroupRequest,
  GetGroup$,
  type GetGroupRequest,
  ListGroups$,
  ListGroupsForUser$,
  type ListGroupsForUserRequest,
  type ListGroupsRequest,
  RemoveUserFromGroup$,
  type RemoveUserFromGroupRequest,
  UpdateGroup$,
  type UpdateGroupRequest,
} from "@aws-sdk/client-iam";
import { isUniqueViolation } from "../../database/database.ts";
import type { ResourceCheck } from "../../model/access.ts";
import {
  type Entity,
  entityArn,
  entityTaken,
  findEntity,
  listEntities,
  noSuchEntity,
} from "../../model/identity/entities.ts";
import { newUniqueId } from "../../model/identity/ids.ts";
import { operation, type Resolution } from "../operation.ts";
import { groupAnswer, userAnswer } from "./answers.ts";
import { change, current, entityName, existing, newEntityName, resolveEntity } from "./entity.ts";
import { pathOf, pathPrefixOf } from "./input.ts";
import { LIMITS, quotaReached, withinQuota } from "./limits.ts";
import { paged, pageOf, pageWithin } from "./paging.ts";
import { conflict, nothingAttached } from "./users.ts";

export const createGroup = operation({
  action: "iam:CreateGroup",
  schema: CreateGroup$,
  access: "write",
  resolve: async (ctx, input: CreateGroupRequest) => {
    const name = newEntityName("group", input.GroupName);
    const path = pathOf(input.Path);
    const resource = entityArn("group", ctx.caller.accountId, path, name);
    return { name, path, checks: [{ action: "iam:CreateGroup", resource, keys: {} }] };
  },
  run: async (ctx, _input, { name, path }, grant) => {
    const account = ctx.caller.accountId;
    const group: Entity = {
      kind: "group",
      id: newUniqueId("group"),
      accountId: account,
      name,
      path,
      arn: entityArn("group", account, path, name),
      boundaryArn: null,
      tags: {},
      createdAt: ctx.now(),
    };
    try {
      await change(ctx, grant, async (tx) => {
        await withinQuota(tx, "user_groups", account, LIMITS.groups, "GroupsPerAccount");
        await tx
          .insertInto("user_groups")
          .values({
            id: group.id,
            account_id: account,
            name,
            name_key: name.toLowerCase(),
            path,
            created_at: group.createdAt.toISOString(),
          })
          .execute();
      });
    } catch (error) {
      if (isUniqueViolation(error)) throw entityTaken("group", name, error);
      throw error;
    }
    return { Group: groupAnswer(group) };
  },
});

/** The group and a page of its users. */
export const getGroup = operation({
  action: "iam:GetGroup",
  schema: GetGroup$,
  access: "read",
  resolve: (ctx, input: GetGroupRequest) => resolveEntity(ctx, "group", input.GroupName, "iam:GetGroup"),
  run: async (ctx, input, resolved) => {
    const group = existing("group", resolved);
    const db = ctx.database.read;
    const members = await db.selectFrom("group_members").select("user_id").where("group_id", "=", group.id).execute();
    const users = await listEntities(db, "user", group.accountId, { ids: members.map((each) => each.user_id) });
    const [page, more] = pageWithin(users, input, (user) => user.name.toLowerCase());
    return { Group: groupAnswer(group), Users: page.map((user) => userAnswer(user, "list")), ...more };
  },
});

export const listGroups = operation({
  action: "iam:ListGroups",
  schema: ListGroups$,
  access: "read",
  resolve: async (ctx, input: ListGroupsRequest): Promise<Resolution> => {
    const resource = `arn:aws:iam::${ctx.caller.accountId}:group${pathPrefixOf(input.PathPrefix)}`;
    return { checks: [{ action: "iam:ListGroups", resource, keys: {} }] };
  },
  run: async (ctx, input) => {
    const page = pageOf(input);
    const found = await listEntities(ctx.database.read, "group", ctx.caller.accountId, {
      pathPrefix: pathPrefixOf(input.PathPrefix),
      limit: page.limit + 1,
      ...(page.after === undefined ? {} : { after: page.after }),
    });
    const [groups, more] = paged(found, page, (group) => group.name);
    return { Groups: groups.map(groupAnswer), ...more };
  },
});

export const listGroupsForUser = operation({
  action: "iam:ListGroupsForUser",
  schema: ListGroupsForUser$,
  access: "read",
  resolve: (ctx, input: ListGroupsForUserRequest) =>
    resolveEntity(ctx, "user", input.UserName, "iam:ListGroupsForUser"),
  run: async (ctx, input, resolved) => {
    const user = existing("user", resolved);
    const db = ctx.database.read;
    const member = await db.selectFrom("group_members").select("group_id").where("user_id", "=", user.id).execute();
    const groups = await listEntities(db, "group", user.accountId, { ids: member.map((each) => each.group_id) });
    const [page, more] = pageWithin(groups, input, (group) => group.name.toLowerCase());
    return { Groups: page.map(groupAnswer), ...more };
  },
});

export const updateGroup = operation({
  action: "iam:UpdateGroup",
  schema: UpdateGroup$,
  access: "write",
  resolve: async (ctx, input: UpdateGroupRequest) => {
    const resolved = await resolveEntity(ctx, "group", input.GroupName, "iam:UpdateGroup");
    const name = input.NewGroupName === undefined ? resolved.name : newEntityName("group", input.NewGroupName);
    const path = input.NewPath === undefined ? (resolved.entity?.path ?? "/") : pathOf(input.NewPath);
    const resource = entityArn("group", ctx.caller.accountId, path, name);
    const checks: ResourceCheck[] = [...resolved.checks, { action: "iam:UpdateGroup", resource, keys: {} }];
    return { ...resolved, to: { name, path }, checks };
  },
  run: async (ctx, input, resolved, grant) => {
    const { name, path } = resolved.to;
    await change(ctx, grant, async (tx) => {
      const group = await current(tx, "group", resolved);
      const holder = await findEntity(tx, "group", group.accountId, name);
      if (holder !== undefined && holder.id !== group.id) throw entityTaken("group", name);
      await tx
        .updateTable("user_groups")
        .set({
          name: input.NewGroupName === undefined ? group.name : name,
          name_key: name.toLowerCase(),
          path: input.NewPath === undefined ? group.path : path,
        })
        .where("id", "=", group.id)
        .execute();
    });
    return {};
  },
});

export const deleteGroup = operation({
  action: "iam:DeleteGroup",
  schema: DeleteGroup$,
  access: "write",
  resolve: (ctx, input: DeleteGroupRequest) => resolveEntity(ctx, "group", input.GroupName, "iam:DeleteGroup"),
  run: async (ctx, _input, resolved, grant) => {
    await change(ctx, grant, async (tx) => {
      const { id } = await current(tx, "group", resolved);
      const member = await tx
        .selectFrom("group_members")
        .select("user_id")
        .where("group_id", "=", id)
        .executeTakeFirst();
      if (member !== undefined) throw conflict("remove users from group");
      await nothingAttached(tx, id);
      await tx.deleteFrom("user_groups").where("id", "=", id).execute();
    });
    return {};
  },
});

export const addUserToGroup = operation({
  action: "iam:AddUserToGroup",
  schema: AddUserToGroup$,
  access: "write",
  resolve: async (ctx, input: AddUserToGroupRequest) => ({
    ...(await resolveEntity(ctx, "group", input.GroupName, "iam:AddUserToGroup")),
    userName: entityName("user", input.UserName),
  }),
  run: async (ctx, _input, resolved, grant) => {
    await change(ctx, grant, async (tx) => {
      const group = await current(tx, "group", resolved);
      const user = await findEntity(tx, "user", group.accountId, resolved.userName);
      if (user === undefined) throw noSuchEntity("user", resolved.userName);
      const groups = await tx.selectFrom("group_members").select("group_id").where("user_id", "=", user.id).execute();
      if (groups.some((each) => each.group_id === group.id)) return;
      if (groups.length >= LIMITS.groupsPerUser) throw quotaReached("GroupsPerUser", LIMITS.groupsPerUser);
      await tx
        .insertInto("group_members")
        .values({ group_id: group.id, user_id: user.id, account_id: group.accountId })
        .execute();
    });
    return {};
  },
});

export const removeUserFromGroup = operation({
  action: "iam:RemoveUserFromGroup",
  schema: RemoveUserFromGroup$,
  access: "write",
  resolve: async (ctx, input: RemoveUserFromGroupRequest) => ({
    ...(await resolveEntity(ctx, "group", input.GroupName, "iam:RemoveUserFromGroup")),
    userName: entityName("user", input.UserName),
  }),
  run: async (ctx, _input, resolved, grant) => {
    await change(ctx, grant, async (tx) => {
      const group = await current(tx, "group", resolved);
      const user = await findEntity(tx, "user", group.accountId, resolved.userName);
      if (user === undefined) throw noSuchEntity("user", resolved.userName);
      await tx.deleteFrom("group_members").where("group_id", "=", group.id).where("user_id", "=", user.id).execute();
    });
    return {};
  },
});
