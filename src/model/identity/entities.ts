// What IAM names: users, groups, roles and instance profiles. Names are unique per kind and account, whatever their case.
import { type RawBuilder, type SqlBool, sql } from "kysely";
import { ApiError } from "../../base/api-error.ts";
import type { AccountId } from "../../base/ids.ts";
import type { Db } from "../../database/database.ts";

export type EntityKind = "user" | "group" | "role" | "instance-profile";

export type IamTags = Readonly<Record<string, string>>;

export interface Entity {
  readonly kind: EntityKind;
  /** `AIDA…`, `AGPA…`, `AROA…`, `AIPA…` */
  readonly id: string;
  readonly accountId: AccountId;
  readonly name: string;
  /** Begins and ends with a slash. */
  readonly path: string;
  readonly arn: string;
  /** ARN of the policy that bounds it: users and roles only. */
  readonly boundaryArn: string | null;
  readonly tags: IamTags;
  readonly createdAt: Date;
}

export interface Role extends Entity {
  readonly kind: "role";
  readonly description: string | null;
  /** JSON text. */
  readonly trustPolicy: string;
  /** Unique ids of the users and roles that the trust policy names, by ARN, from when it was written. */
  readonly trustIds: Readonly<Record<string, string>>;
  readonly maxSessionSeconds: number;
  readonly lastUsed: { readonly at: Date; readonly region: string } | null;
}

export const entityArn = (kind: EntityKind, account: string, path: string, name: string): string =>
  `arn:aws:iam::${account}:${kind}${path}${name}`;

const COMMON = ["id", "account_id", "name", "path", "created_at"] as const;

/** By name; undefined when the account has none. */
export async function findEntity(
  db: Db,
  kind: EntityKind,
  account: AccountId,
  name: string,
): Promise<Entity | undefined> {
  return (await listEntities(db, kind, account, { name }))[0];
}

export interface EntityFilter {
  readonly name?: string;
  readonly ids?: readonly string[];
  readonly pathPrefix?: string;
  /** Names that come after this one, in the order of the list. */
  readonly after?: string;
  readonly limit?: number;
}

/** By lower-cased name, ascending. */
export async function listEntities(
  db: Db,
  kind: EntityKind,
  account: AccountId,
  filter: EntityFilter,
): Promise<Entity[]> {
  switch (kind) {
    case "user": {
      const rows = await db
        .selectFrom("users")
        .select([...COMMON, "boundary_arn", "tags"])
        .where(matching(account, filter))
        .orderBy("name_key")
        .limit(filter.limit ?? NO_LIMIT)
        .execute();
      return rows.map((row) => entityOf(kind, row));
    }
    case "role":
      return listRoles(db, account, filter);
    case "group": {
      const rows = await db
        .selectFrom("user_groups")
        .select(COMMON)
        .where(matching(account, filter))
        .orderBy("name_key")
        .limit(filter.limit ?? NO_LIMIT)
        .execute();
      return rows.map((row) => entityOf(kind, { ...row, boundary_arn: null, tags: "{}" }));
    }
    case "instance-profile": {
      const rows = await db
        .selectFrom("instance_profiles")
        .select([...COMMON, "tags"])
        .where(matching(account, filter))
        .orderBy("name_key")
        .limit(filter.limit ?? NO_LIMIT)
        .execute();
      return rows.map((row) => entityOf(kind, { ...row, boundary_arn: null }));
    }
  }
}

export async function findRole(db: Db, account: AccountId, name: string): Promise<Role | undefined> {
  return (await listRoles(db, account, { name }))[0];
}

export async function listRoles(db: Db, account: AccountId, filter: EntityFilter): Promise<Role[]> {
  const rows = await db
    .selectFrom("roles")
    .selectAll()
    .where(matching(account, filter))
    .orderBy("name_key")
    .limit(filter.limit ?? NO_LIMIT)
    .execute();
  return rows.map((row) => ({
    ...entityOf("role", row),
    kind: "role",
    description: row.description,
    trustPolicy: row.trust_policy,
    trustIds: JSON.parse(row.trust_ids) as Record<string, string>,
    maxSessionSeconds: Number(row.max_session_seconds),
    lastUsed:
      row.last_used_at === null
        ? null
        : { at: new Date(row.last_used_at), region: row.last_used_region ?? "us-east-1" },
  }));
}

interface CommonRow {
  readonly id: string;
  readonly account_id: string;
  readonly name: string;
  readonly path: string;
  readonly created_at: string;
  readonly boundary_arn: string | null;
  readonly tags: string;
}

const entityOf = (kind: EntityKind, row: CommonRow): Entity => ({
  kind,
  id: row.id,
  accountId: row.account_id as AccountId,
  name: row.name,
  path: row.path,
  arn: entityArn(kind, row.account_id, row.path, row.name),
  boundaryArn: row.boundary_arn,
  tags: JSON.parse(row.tags) as IamTags,
  createdAt: new Date(row.created_at),
});

/** The condition that all four tables' queries share: they name these columns alike. */
function matching(account: AccountId, filter: EntityFilter): RawBuilder<SqlBool> {
  const all = [sql<SqlBool>`account_id = ${account}`];
  if (filter.name !== undefined) all.push(sql`name_key = ${filter.name.toLowerCase()}`);
  if (filter.after !== undefined) all.push(sql`name_key > ${filter.after.toLowerCase()}`);
  if (filter.ids !== undefined) all.push(filter.ids.length === 0 ? sql`1 = 0` : sql`id in (${sql.join(filter.ids)})`);
  if (filter.pathPrefix !== undefined && filter.pathPrefix !== "/") {
    // Not LIKE: its wildcards would be the client's, and its case rules differ between the engines.
    all.push(sql`substr(path, 1, ${sql.lit(filter.pathPrefix.length)}) = ${filter.pathPrefix}`);
  }
  return sql.join(all, sql` and `);
}

const NO_LIMIT = 1_000_000;

const NOUN: Readonly<Record<EntityKind, (name: string) => string>> = {
  user: (name) => `The user with name ${name}`,
  group: (name) => `The group with name ${name}`,
  role: (name) => `The role with name ${name}`,
  "instance-profile": (name) => `Instance Profile ${name}`,
};

export const noSuchEntity = (kind: EntityKind, name: string): ApiError =>
  new ApiError("NoSuchEntity", `${NOUN[kind](name)} cannot be found.`);

const TAKEN: Readonly<Record<EntityKind, (name: string) => string>> = {
  user: (name) => `User with name ${name} already exists.`,
  group: (name) => `Group with name ${name} already exists.`,
  role: (name) => `Role with name ${name} already exists.`,
  "instance-profile": (name) => `Instance Profile ${name} already exists.`,
};

export const entityTaken = (kind: EntityKind, name: string, cause?: unknown): ApiError =>
  new ApiError("EntityAlreadyExists", TAKEN[kind](name), { cause });
