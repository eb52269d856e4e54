import { type AccountId, accountId } from "../../base/ids.ts";
import type { Db } from "../../database/database.ts";

/** Owns what Ingot itself brings along. Nobody has credentials of it. */
export const PLATFORM_ACCOUNT = accountId("100000000001");

/** The account that was made first: whoever administrates it operates the platform. */
export async function operatorAccount(db: Db): Promise<AccountId> {
  const row = await db
    .selectFrom("accounts")
    .select("id")
    .where("id", "<>", PLATFORM_ACCOUNT)
    .orderBy("created_at")
    .orderBy("id")
    .limit(1)
    .executeTakeFirstOrThrow();
  return accountId(row.id);
}

export const rootArn = (account: AccountId): string => `arn:aws:iam::${account}:root`;

/**
 * Says that the account's identities or policies have changed. Every transaction that writes identity's tables calls it:
 * caches of compiled policies, here and in other processes, live for one generation.
 */
export async function raiseGeneration(tx: Db, account: string): Promise<void> {
  await tx
    .updateTable("accounts")
    .set((eb) => ({ generation: eb("generation", "+", 1) }))
    .where("id", "=", account)
    .execute();
}

/** `null` when there is no such account, or it is suspended. */
export async function generationOf(db: Db, account: AccountId): Promise<number | null> {
  const row = await db
    .selectFrom("accounts")
    .select(["generation", "status"])
    .where("id", "=", account)
    .executeTakeFirst();
  return row?.status === "ACTIVE" ? Number(row.generation) : null;
}
