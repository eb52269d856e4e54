import { ApiError } from "../../base/api-error.ts";
import { type AccountId, isAccountId } from "../../base/ids.ts";
import type { Db } from "../../database/database.ts";
import { type PolicyDocument, parsePolicy } from "../../identity/policy/document.ts";
import { findEntity } from "../../model/identity/entities.ts";
import { required } from "./input.ts";
import { countedChars, LIMITS, quotaReached } from "./limits.ts";

/** @throws ApiError `MalformedPolicyDocument`, `LimitExceeded`, `ValidationError` */
export function trustPolicyOf(value: string | undefined, member: string): string {
  const document = required(value, member);
  if (countedChars(document) > LIMITS.trustPolicyChars) {
    throw quotaReached("ACLSizePerRole", LIMITS.trustPolicyChars);
  }
  parsePolicy(document, "trust");
  return document;
}

/** `principalIds` of a trust policy. */
export const trustIds = (db: Db, document: string): Promise<Record<string, string>> =>
  principalIds(db, parsePolicy(document, "trust"));

/**
 * The users and roles that a resource's policy names, by ARN, with their unique ids. Trust is given to them, not to the
 * name: who is made later under the same name gets none.
 * @throws ApiError `MalformedPolicyDocument` when a user, role or account that it names does not exist
 */
export async function principalIds(db: Db, policy: PolicyDocument): Promise<Record<string, string>> {
  const ids: Record<string, string> = {};
  for (const { principals } of policy.statements) {
    for (const { type, value } of principals?.entries ?? []) {
      if (type !== "AWS" || value === "*") continue;
      const account = isAccountId(value) ? value : value.split(":")[4];
      if (account === undefined || !isAccountId(account)) continue;
      const [, kind, name] = /:(user|role)\/(?:.*\/)?([^/]+)$/.exec(value) ?? [];
      if ((kind === "user" || kind === "role") && name !== undefined) {
        const entity = await findEntity(db, kind, account, name);
        if (entity?.arn !== value) throw invalidPrincipal(value);
        ids[value] = entity.id;
      } else if (!(await accountExists(db, account))) throw invalidPrincipal(value);
    }
  }
  return ids;
}

const invalidPrincipal = (value: string): ApiError =>
  new ApiError("MalformedPolicyDocument", `Invalid principal in policy: "AWS":"${value}"`);

const accountExists = async (db: Db, id: AccountId): Promise<boolean> =>
  (await db.selectFrom("accounts").select("id").where("id", "=", id).executeTakeFirst()) !== undefined;
