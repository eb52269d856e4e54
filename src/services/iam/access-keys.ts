import {
  CreateAccessKey$,
  type CreateAccessKeyRequest,
  DeleteAccessKey$,
  type DeleteAccessKeyRequest,
  GetAccessKeyLastUsed$,
  type GetAccessKeyLastUsedRequest,
  ListAccessKeys$,
  type ListAccessKeysRequest,
  UpdateAccessKey$,
  type UpdateAccessKeyRequest,
} from "@aws-sdk/client-iam";
import { ApiError } from "../../base/api-error.ts";
import type { Db } from "../../database/database.ts";
import { insertAccessKey } from "../../identity/bootstrap.ts";
import type { Action } from "../../model/access.ts";
import { rootArn } from "../../model/identity/account.ts";
import { type Entity, entityArn, noSuchEntity } from "../../model/identity/entities.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { change, type EntityResolution, existing, ownUserName, resolveEntity } from "./entity.ts";
import { required } from "./input.ts";
import { LIMITS, quotaReached } from "./limits.ts";
import { pageWithin } from "./paging.ts";

/** Whose keys: a user's, or root's own, which have no user. */
interface Holder extends EntityResolution {
  readonly root: boolean;
}

async function holderOf(ctx: RequestContext, userName: string | undefined, action: Action): Promise<Holder> {
  const { caller } = ctx;
  if (userName === undefined && caller.kind === "root") {
    const checks = [{ action, resource: rootArn(caller.accountId), keys: {} }];
    return { root: true, name: "root", entity: undefined, checks };
  }
  return { root: false, ...(await resolveEntity(ctx, "user", ownUserName(ctx, userName), action)) };
}

/** The user, or null for root. @throws ApiError `NoSuchEntity` */
const userOf = (holder: Holder): Entity | null => (holder.root ? null : existing("user", holder));

const keysOf = (db: Db, account: string, user: Entity | null) => {
  const all = db.selectFrom("access_keys").where("account_id", "=", account);
  return user === null ? all.where("user_id", "is", null) : all.where("user_id", "=", user.id);
};

const noSuchKey = (id: string): ApiError =>
  new ApiError("NoSuchEntity", `The Access Key with id ${id} cannot be found.`);

/** The only answer that ever shows the secret. */
export const createAccessKey = operation({
  action: "iam:CreateAccessKey",
  schema: CreateAccessKey$,
  access: "write",
  resolve: (ctx, input: CreateAccessKeyRequest) => holderOf(ctx, input.UserName, "iam:CreateAccessKey"),
  run: async (ctx, _input, resolved, grant) => {
    const user = userOf(resolved);
    const account = ctx.caller.accountId;
    const now = ctx.now();
    const key = await change(ctx, grant, async (tx) => {
      const keys = await keysOf(tx, account, user).select("id").execute();
      if (keys.length >= LIMITS.accessKeysPerUser) throw quotaReached("AccessKeysPerUser", LIMITS.accessKeysPerUser);
      if (user !== null) {
        const there = await tx.selectFrom("users").select("id").where("id", "=", user.id).executeTakeFirst();
        if (there === undefined) throw noSuchEntity("user", user.name);
      }
      return insertAccessKey(tx, ctx.parts.identity.masterKey, { account, userId: user?.id ?? null, now });
    });
    return {
      AccessKey: {
        UserName: resolved.name,
        AccessKeyId: key.accessKeyId,
        SecretAccessKey: key.secretAccessKey,
        Status: "Active" as const,
        CreateDate: now,
      },
    };
  },
});

export const updateAccessKey = operation({
  action: "iam:UpdateAccessKey",
  schema: UpdateAccessKey$,
  access: "write",
  resolve: async (ctx, input: UpdateAccessKeyRequest) => {
    const { Status: status } = input;
    if (status !== "Active" && status !== "Inactive") {
      throw new ApiError(
        "ValidationError",
        `1 validation error detected: Value '${required(status, "status")}' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [Active, Inactive]`,
      );
    }
    const holder = await holderOf(ctx, input.UserName, "iam:UpdateAccessKey");
    return { ...holder, status, keyId: required(input.AccessKeyId, "accessKeyId") };
  },
  run: async (ctx, _input, resolved, grant) => {
    const user = userOf(resolved);
    const { keyId, status } = resolved;
    await change(ctx, grant, async (tx) => {
      const key = await keysOf(tx, ctx.caller.accountId, user).select("id").where("id", "=", keyId).executeTakeFirst();
      if (key === undefined) throw noSuchKey(keyId);
      await tx.updateTable("access_keys").set({ status }).where("id", "=", keyId).execute();
    });
    return {};
  },
});

export const deleteAccessKey = operation({
  action: "iam:DeleteAccessKey",
  schema: DeleteAccessKey$,
  access: "write",
  resolve: async (ctx, input: DeleteAccessKeyRequest) => ({
    ...(await holderOf(ctx, input.UserName, "iam:DeleteAccessKey")),
    keyId: required(input.AccessKeyId, "accessKeyId"),
  }),
  run: async (ctx, _input, resolved, grant) => {
    const user = userOf(resolved);
    const { keyId } = resolved;
    await change(ctx, grant, async (tx) => {
      const key = await keysOf(tx, ctx.caller.accountId, user).select("id").where("id", "=", keyId).executeTakeFirst();
      if (key === undefined) throw noSuchKey(keyId);
      await tx.deleteFrom("access_keys").where("id", "=", keyId).execute();
    });
    return {};
  },
});

export const listAccessKeys = operation({
  action: "iam:ListAccessKeys",
  schema: ListAccessKeys$,
  access: "read",
  resolve: (ctx, input: ListAccessKeysRequest) => holderOf(ctx, input.UserName, "iam:ListAccessKeys"),
  run: async (ctx, input, resolved) => {
    const user = userOf(resolved);
    const keys = await keysOf(ctx.database.read, ctx.caller.accountId, user)
      .select(["id", "status", "created_at"])
      .execute();
    const [page, more] = pageWithin(keys, input, (key) => key.id);
    return {
      AccessKeyMetadata: page.map((key) => ({
        UserName: resolved.name,
        AccessKeyId: key.id,
        Status: key.status,
        CreateDate: new Date(key.created_at),
      })),
      ...more,
    };
  },
});

export const getAccessKeyLastUsed = operation({
  action: "iam:GetAccessKeyLastUsed",
  schema: GetAccessKeyLastUsed$,
  access: "read",
  resolve: async (ctx, input: GetAccessKeyLastUsedRequest) => {
    const keyId = required(input.AccessKeyId, "accessKeyId");
    const account = ctx.caller.accountId;
    const key = await ctx.database.read
      .selectFrom("access_keys")
      .leftJoin("users", "users.id", "access_keys.user_id")
      .select(["users.name", "users.path", "last_used_at", "last_used_service", "last_used_region"])
      .where("access_keys.id", "=", keyId)
      .where("access_keys.account_id", "=", account)
      .executeTakeFirst();
    const resource =
      key === undefined || key.name === null ? rootArn(account) : entityArn("user", account, key.path ?? "/", key.name);
    return { keyId, key, checks: [{ action: "iam:GetAccessKeyLastUsed", resource, keys: {} }] };
  },
  run: async (_ctx, _input, { keyId, key }) => {
    if (key === undefined) throw noSuchKey(keyId);
    return {
      UserName: key.name ?? "root",
      AccessKeyLastUsed: {
        ...(key.last_used_at === null ? {} : { LastUsedDate: new Date(key.last_used_at) }),
        ServiceName: key.last_used_service ?? "N/A",
        Region: key.last_used_region ?? "N/A",
      },
    };
  },
});
