import type { AccountId } from "../../base/ids.ts";
import type { Db } from "../../database/database.ts";
import type { IamTags } from "./entities.ts";

/** A customer managed policy. */
export interface ManagedPolicy {
  /** `ANPA…` */
  readonly id: string;
  readonly arn: string;
  readonly name: string;
  readonly path: string;
  readonly description: string | null;
  readonly defaultVersion: number;
  readonly lastVersion: number;
  readonly tags: IamTags;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export interface PolicyVersion {
  readonly version: number;
  readonly document: string;
  readonly createdAt: Date;
}

/** By ARN, or all of the account by name; undefined or empty when the account has none. */
export async function listManagedPolicies(
  db: Db,
  account: AccountId,
  filter: { readonly arn?: string },
): Promise<ManagedPolicy[]> {
  let query = db.selectFrom("policies").selectAll().where("account_id", "=", account);
  if (filter.arn !== undefined) query = query.where("arn", "=", filter.arn);
  const rows = await query.orderBy("name_key").execute();
  return rows.map((row) => ({
    id: row.id,
    arn: row.arn,
    name: row.name,
    path: row.path,
    description: row.description,
    defaultVersion: Number(row.default_version),
    lastVersion: Number(row.last_version),
    tags: JSON.parse(row.tags) as IamTags,
    createdAt: new Date(row.created_at),
    updatedAt: new Date(row.updated_at),
  }));
}

export async function findManagedPolicy(db: Db, account: AccountId, arn: string): Promise<ManagedPolicy | undefined> {
  return (await listManagedPolicies(db, account, { arn }))[0];
}

/** Newest first. */
export async function versionsOf(db: Db, policyId: string): Promise<PolicyVersion[]> {
  const rows = await db
    .selectFrom("policy_versions")
    .select(["version", "document", "created_at"])
    .where("policy_id", "=", policyId)
    .orderBy("version", "desc")
    .execute();
  return rows.map((row) => ({
    version: Number(row.version),
    document: row.document,
    createdAt: new Date(row.created_at),
  }));
}

/** How often each policy is attached, and serves as a boundary, in one account; by ARN. */
export async function policyUse(
  db: Db,
  account: AccountId,
): Promise<Map<string, { attached: number; bounds: number }>> {
  const use = new Map<string, { attached: number; bounds: number }>();
  const of = (arn: string) => {
    const found = use.get(arn) ?? { attached: 0, bounds: 0 };
    use.set(arn, found);
    return found;
  };
  const attachments = await db
    .selectFrom("policy_attachments")
    .select((eb) => ["policy_arn", eb.fn.countAll<number>().as("count")])
    .where("account_id", "=", account)
    .groupBy("policy_arn")
    .execute();
  for (const row of attachments) of(row.policy_arn).attached = Number(row.count);
  for (const table of ["users", "roles"] as const) {
    const bounds = await db
      .selectFrom(table)
      .select((eb) => ["boundary_arn", eb.fn.countAll<number>().as("count")])
      .where("account_id", "=", account)
      .where("boundary_arn", "is not", null)
      .groupBy("boundary_arn")
      .execute();
    for (const row of bounds) if (row.boundary_arn !== null) of(row.boundary_arn).bounds += Number(row.count);
  }
  return use;
}

export const policyArn = (account: string, path: string, name: string): string =>
  `arn:aws:iam::${account}:policy${path}${name}`;
