// The first account, made at the first start, with an administrator whose keys `ingot env` puts to use.
//
// Its secrets are in `credentials.json` and nowhere else, so the file is durable before the account is committed. A crash
// between the two leaves keys that nobody has; the next start makes the account, and the file, anew.
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { AccountId } from "../base/ids.ts";
import type { Database } from "../database/database.ts";
import { createAccount, drawAccount, opensSecrets } from "../identity/bootstrap.ts";
import type { MasterKey } from "../identity/master-key.ts";
import { PLATFORM_ACCOUNT } from "../model/identity/account.ts";
import { DEFAULT_REGION } from "../model/regions.ts";
import type { StoredCredentials } from "./data-directory.ts";

export interface FirstAccountParts {
  readonly database: Database;
  readonly masterKey: MasterKey;
  readonly now: Date;
  /** Path of `credentials.json`. */
  readonly credentials: string;
}

/**
 * The first account's id, made when there is none.
 * @param asked  the id that it must have; drawn when absent
 * @throws Error when it has another one, or the master key opens nothing of this database
 */
export async function firstAccount(parts: FirstAccountParts, asked: AccountId | undefined): Promise<AccountId> {
  const existing = await parts.database.read
    .selectFrom("accounts")
    .select("id")
    .where("id", "<>", PLATFORM_ACCOUNT)
    .orderBy("created_at")
    .limit(1)
    .executeTakeFirst();
  if (existing !== undefined) {
    if (asked !== undefined && asked !== existing.id) {
      throw new Error(
        `this data directory's first account is ${existing.id}: --account only counts at the first start`,
      );
    }
    if (!(await opensSecrets(parts.database, parts.masterKey))) {
      throw new Error(
        "the master key is not the one that this data directory's secrets are sealed with: give the right one with --master-key or INGOT_MASTER_KEY",
      );
    }
    return existing.id as AccountId;
  }
  const drawn = drawAccount(asked);
  const { id: accountId, administrator, root } = drawn;
  await writeCredentials(parts.credentials, { accountId, region: DEFAULT_REGION, administrator, root });
  try {
    await createAccount(parts, { name: "First account", email: "root@localhost" }, drawn);
  } catch (error) {
    // Another server on this database was quicker: its keys are not ours.
    await rm(parts.credentials, { force: true });
    throw error;
  }
  return accountId;
}

/** Whole and durable under its name when it returns; for its owner's eyes only. */
async function writeCredentials(path: string, credentials: StoredCredentials): Promise<void> {
  const draft = `${path}.new`;
  const file = await open(draft, "w", 0o600);
  try {
    await file.writeFile(`${JSON.stringify(credentials, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
  const directory = await open(dirname(path), "r");
  await directory.sync().finally(() => directory.close());
}
