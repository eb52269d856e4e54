// What most actions of IAM have in common: they name a user, group, role or instance profile of the caller's account.
import { ApiError } from "../../base/api-error.ts";
import type { Db } from "../../database/database.ts";
import type { Action, ConditionKeys, Grant, ResourceCheck } from "../../model/access.ts";
import { raiseGeneration } from "../../model/identity/account.ts";
import { type Entity, type EntityKind, entityArn, findEntity, noSuchEntity } from "../../model/identity/entities.ts";
import type { RequestContext } from "../context.ts";
import type { Resolution } from "../operation.ts";
import { nameOf } from "./input.ts";
import { resourceTagKeys } from "./tags.ts";

const NAME: Readonly<Record<EntityKind, { readonly member: string; readonly mostChars: number }>> = {
  user: { member: "userName", mostChars: 128 },
  group: { member: "groupName", mostChars: 128 },
  role: { member: "roleName", mostChars: 128 },
  "instance-profile": { member: "instanceProfileName", mostChars: 128 },
};

/** A name of its kind for one that is to be found. @throws ApiError `ValidationError` */
export const entityName = (kind: EntityKind, value: string | undefined): string =>
  nameOf(value, NAME[kind].member, NAME[kind].mostChars);

/** Names of new users and roles are shorter than what their parameter takes elsewhere. */
export const newEntityName = (kind: EntityKind, value: string | undefined): string =>
  nameOf(value, NAME[kind].member, kind === "user" || kind === "role" ? 64 : 128);

export interface EntityResolution extends Resolution {
  readonly name: string;
  /** Undefined when there is none of this name: told only to those who have permission on it. */
  readonly entity: Entity | undefined;
}

/** Loads the entity that a call names, and asks for `action` on it. */
export async function resolveEntity(
  ctx: RequestContext,
  kind: EntityKind,
  value: string | undefined,
  action: Action,
  keys: ConditionKeys = {},
): Promise<EntityResolution> {
  const name = entityName(kind, value);
  const entity = await findEntity(ctx.database.read, kind, ctx.caller.accountId, name);
  return { name, entity, checks: [entityCheck(ctx, kind, name, entity, action, keys)] };
}

export function entityCheck(
  ctx: RequestContext,
  kind: EntityKind,
  name: string,
  entity: Entity | undefined,
  action: Action,
  keys: ConditionKeys = {},
): ResourceCheck {
  return {
    action,
    resource: entity?.arn ?? entityArn(kind, ctx.caller.accountId, "/", name),
    keys: { ...resourceTagKeys(entity?.tags ?? {}), ...keys },
  };
}

/** A user's name; the caller's own where IAM allows to leave it out. @throws ApiError `ValidationError` */
export function ownUserName(ctx: RequestContext, value: string | undefined): string {
  if (value !== undefined) return value;
  if (ctx.caller.kind === "user") return ctx.caller.userName;
  throw new ApiError("ValidationError", "Must specify userName when calling with non-User credentials");
}

/** The entity, read again inside the transaction: it may have gone or changed since permission was asked for. */
export async function current(tx: Db, kind: EntityKind, resolved: EntityResolution): Promise<Entity> {
  const { entity, name } = resolved;
  const found = entity && (await findEntity(tx, kind, entity.accountId, name));
  // Made again in between: permission was for the one before.
  if (found === undefined || found.id !== entity?.id) throw noSuchEntity(kind, name);
  return found;
}

/** The entity as it was read for permission. @throws ApiError `NoSuchEntity` */
export function existing(kind: EntityKind, resolved: EntityResolution): Entity {
  if (resolved.entity === undefined) throw noSuchEntity(kind, resolved.name);
  return resolved.entity;
}

/** One transaction over identity's tables of the caller's account; caches of its policies end with it. */
export function change<T>(ctx: RequestContext, _grant: Grant, work: (tx: Db) => Promise<T>): Promise<T> {
  return ctx.database.transaction(async (tx) => {
    const result = await work(tx);
    await raiseGeneration(tx, ctx.caller.accountId);
    return result;
  });
}
