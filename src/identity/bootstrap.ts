// Accounts are made by the operator: with a root user's key, and an administrator so that nobody needs it.
import { ApiError } from "../base/api-error.ts";
import type { AccountId } from "../base/ids.ts";
import { type Database, type Db, isUniqueViolation } from "../database/database.ts";
import { rootArn } from "../model/identity/account.ts";
import { newAccessKeyId, newAccountId, newSecretAccessKey, newUniqueId } from "../model/identity/ids.ts";
import { sealedFor } from "./authenticate.ts";
import type { MasterKey } from "./master-key.ts";
import { seal, unseal } from "./seal.ts";

export interface AccessKey {
  readonly accessKeyId: string;
  /** Shown once: only its sealed form is kept. */
  readonly secretAccessKey: string;
}

export interface NewAccount {
  readonly id: AccountId;
  readonly root: AccessKey;
  /** Of the user `admin`, with AdministratorAccess. */
  readonly administrator: AccessKey & { readonly userName: string };
}

export const ADMINISTRATOR = "admin";
const ADMINISTRATOR_ACCESS = "arn:aws:iam::aws:policy/AdministratorAccess";

/** An account's id and keys before it is made, for those who must have the secrets safe by then. */
export const drawAccount = (id: AccountId = newAccountId()): NewAccount => ({
  id,
  root: drawAccessKey(id),
  administrator: { ...drawAccessKey(id), userName: ADMINISTRATOR },
});

const drawAccessKey = (account: AccountId): AccessKey => ({
  accessKeyId: newAccessKeyId("AKIA", account),
  secretAccessKey: newSecretAccessKey(),
});

/**
 * Makes an account; all of it or nothing.
 * @throws ApiError `EntityAlreadyExists` when the id is taken
 */
export async function createAccount(
  parts: { readonly database: Database; readonly masterKey: MasterKey; readonly now: Date },
  account: { readonly id?: AccountId; readonly name: string; readonly email: string },
  drawn: NewAccount = drawAccount(account.id),
): Promise<NewAccount> {
  const { database, masterKey, now } = parts;
  const { id, root, administrator } = drawn;
  const createdAt = now.toISOString();
  try {
    return await database.transaction(async (tx) => {
      await tx
        .insertInto("accounts")
        .values({
          id,
          name: account.name,
          email: account.email,
          alias: null,
          status: "ACTIVE",
          generation: 1,
          created_at: createdAt,
        })
        .execute();
      const userId = newUniqueId("user");
      await tx
        .insertInto("users")
        .values({
          id: userId,
          account_id: id,
          name: ADMINISTRATOR,
          name_key: ADMINISTRATOR,
          path: "/",
          boundary_arn: null,
          tags: "{}",
          created_at: createdAt,
        })
        .execute();
      await tx
        .insertInto("policy_attachments")
        .values({
          principal_id: userId,
          policy_arn: ADMINISTRATOR_ACCESS,
          account_id: id,
          attached_at: createdAt,
        })
        .execute();
      await insertAccessKey(tx, masterKey, { account: id, userId: null, now }, root);
      await insertAccessKey(tx, masterKey, { account: id, userId, now }, administrator);
      return drawn;
    });
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    throw new ApiError("EntityAlreadyExists", `Account ${id} already exists.`, { cause: error });
  }
}

/** Is it the key that this database's secrets are sealed with? Seen at one of them; yes where there are none. */
export async function opensSecrets(database: Database, masterKey: MasterKey): Promise<boolean> {
  const key = await database.read.selectFrom("access_keys").select(["id", "sealed_secret"]).limit(1).executeTakeFirst();
  return (
    key === undefined || unseal(masterKey.derive("access key secrets"), key.sealed_secret, sealedFor(key.id)) !== null
  );
}

/** A new active key. The caller raises the account's generation. */
export async function insertAccessKey(
  tx: Db,
  masterKey: MasterKey,
  of: { readonly account: AccountId; readonly userId: string | null; readonly now: Date },
  key: AccessKey = drawAccessKey(of.account),
): Promise<AccessKey> {
  const { accessKeyId, secretAccessKey } = key;
  await tx
    .insertInto("access_keys")
    .values({
      id: accessKeyId,
      account_id: of.account,
      user_id: of.userId,
      sealed_secret: seal(masterKey.derive("access key secrets"), secretAccessKey, sealedFor(accessKeyId)),
      status: "Active",
      created_at: of.now.toISOString(),
      last_used_at: null,
      last_used_service: null,
      last_used_region: null,
    })
    .execute();
  return key;
}

/** An account without a user: another account's principals come in by a role that may do everything. */
export async function insertDelegatedAccount(
  tx: Db,
  account: { readonly id: AccountId; readonly name: string; readonly email: string; readonly now: Date },
  way: { readonly roleName: string; readonly trusts: AccountId },
): Promise<void> {
  const createdAt = account.now.toISOString();
  await tx
    .insertInto("accounts")
    .values({
      id: account.id,
      name: account.name,
      email: account.email,
      alias: null,
      status: "ACTIVE",
      generation: 1,
      created_at: createdAt,
    })
    .execute();
  const roleId = newUniqueId("role");
  const trust = { Effect: "Allow", Principal: { AWS: rootArn(way.trusts) }, Action: "sts:AssumeRole" };
  await tx
    .insertInto("roles")
    .values({
      id: roleId,
      account_id: account.id,
      name: way.roleName,
      name_key: way.roleName.toLowerCase(),
      path: "/",
      description: null,
      trust_policy: JSON.stringify({ Version: "2012-10-17", Statement: [trust] }),
      // It names an account, and no user or role that could be made anew.
      trust_ids: "{}",
      max_session_seconds: 3600,
      boundary_arn: null,
      tags: "{}",
      created_at: createdAt,
      last_used_at: null,
      last_used_region: null,
    })
    .execute();
  await tx
    .insertInto("policy_attachments")
    .values({
      principal_id: roleId,
      policy_arn: ADMINISTRATOR_ACCESS,
      account_id: account.id,
      attached_at: createdAt,
    })
    .execute();
}
