import type { Db } from "../../database/database.ts";

export interface InstanceProfile {
  /** `AIPA…` */
  readonly id: string;
  readonly arn: string;
  readonly name: string;
  /** ARN of the role in it; null for a profile without a role, which gives no credentials. */
  readonly roleArn: string | null;
}

/** By name, whatever its case; undefined when the account has none of it. */
export async function findInstanceProfile(db: Db, account: string, name: string): Promise<InstanceProfile | undefined> {
  const row = await profiles(db)
    .where("instance_profiles.account_id", "=", account)
    .where("instance_profiles.name_key", "=", name.toLowerCase())
    .executeTakeFirst();
  return row && profileOf(row);
}

/** By its unique id, which stays when a profile is made again under the same name: then it is not found. */
export async function findInstanceProfileById(db: Db, id: string): Promise<InstanceProfile | undefined> {
  const row = await profiles(db).where("instance_profiles.id", "=", id).executeTakeFirst();
  return row && profileOf(row);
}

const profiles = (db: Db) =>
  db
    .selectFrom("instance_profiles")
    .leftJoin("roles", "roles.id", "instance_profiles.role_id")
    .select([
      "instance_profiles.id",
      "instance_profiles.account_id",
      "instance_profiles.name",
      "instance_profiles.path",
      "roles.name as role_name",
      "roles.path as role_path",
    ]);

interface ProfileRow {
  readonly id: string;
  readonly account_id: string;
  readonly name: string;
  readonly path: string;
  readonly role_name: string | null;
  readonly role_path: string | null;
}

const profileOf = (row: ProfileRow): InstanceProfile => ({
  id: row.id,
  arn: `arn:aws:iam::${row.account_id}:instance-profile${row.path}${row.name}`,
  name: row.name,
  roleArn: row.role_name === null ? null : `arn:aws:iam::${row.account_id}:role${row.role_path ?? "/"}${row.role_name}`,
});
