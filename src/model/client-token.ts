// Idempotency: a client token stands for one call; said again with the same parameters it gets the same answer.
import { ApiError } from "../base/api-error.ts";
import type { Db } from "../database/database.ts";
import type { Owner } from "./vpc.ts";

export interface TokenUse {
  readonly action: string;
  readonly token: string;
  /** Hash over everything that makes the call what it is. */
  readonly parameters: string;
}

/**
 * What the first call with this token was answered; undefined when there was none.
 * @throws ApiError `IdempotentParameterMismatch` when the parameters differ
 */
export async function tokenResult(db: Db, owner: Owner, use: TokenUse): Promise<string | undefined> {
  const row = await db
    .selectFrom("client_tokens")
    .select(["parameters", "result"])
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("action", "=", use.action)
    .where("token", "=", use.token)
    .executeTakeFirst();
  if (row !== undefined && row.parameters !== use.parameters) {
    throw new ApiError(
      "IdempotentParameterMismatch",
      "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
    );
  }
  return row?.result;
}

/** Remembers the answer; in the transaction that makes it true. */
export async function keepToken(tx: Db, owner: Owner, use: TokenUse, result: string, at: Date): Promise<void> {
  await tx
    .insertInto("client_tokens")
    .values({
      account_id: owner.accountId,
      region: owner.region,
      action: use.action,
      token: use.token,
      parameters: use.parameters,
      result,
      created_at: at.toISOString(),
    })
    .execute();
}
