// The sealed account of a refusal, which the refused may carry to somebody who is allowed to read it
// (sts:DecodeAuthorizationMessage): it tells of policies and values that the refused need not know.
import type { AccountId } from "../base/ids.ts";
import type { Caller } from "../model/identity/caller.ts";
import type { Refusal } from "./authorize.ts";
import type { MasterKey } from "./master-key.ts";
import { seal, unseal } from "./seal.ts";

export interface AuthorizationMessages {
  /** Base64. */
  encode(caller: Caller, refusal: Refusal): string;
  /** The JSON that AWS shows; `null` when the message is not ours, or of another account. */
  decode(account: AccountId, message: string): string | null;
}

export function createAuthorizationMessages(masterKey: MasterKey): AuthorizationMessages {
  const key = masterKey.derive("authorization messages");
  return {
    encode: (caller, refusal) => seal(key, JSON.stringify(story(caller, refusal)), caller.accountId),
    decode: (account, message) => unseal(key, message, account)?.toString() ?? null,
  };
}

function story(caller: Caller, { check, decision, keys }: Refusal): object {
  const { statement } = decision;
  return {
    allowed: false,
    explicitDeny: decision.reason === "explicitDeny",
    matchedStatements: {
      items:
        statement === null
          ? []
          : [
              {
                statementId: statement.sid ?? "",
                effect: "DENY",
                sourcePolicyId: statement.policy,
                ...(statement.via === undefined ? {} : { attachedTo: statement.via }),
                statementIndex: statement.index,
              },
            ],
    },
    failures: { items: [] },
    // Beyond AWS: which layer had to allow and did not, or which one denied.
    decidedBy: decision.layer,
    context: {
      principal: { id: caller.principalId, name: nameOf(caller), arn: caller.arn },
      action: check.action,
      resource: check.resource,
      conditions: {
        items: Object.entries(keys).map(([name, value]) => ({
          key: name,
          values: { items: (typeof value === "string" ? [value] : (value ?? [])).map((each) => ({ value: each })) },
        })),
      },
    },
  };
}

function nameOf(caller: Caller): string {
  switch (caller.kind) {
    case "root":
      return "root";
    case "user":
      return caller.userName;
    case "assumed-role":
    case "federated-user":
      return caller.sessionName;
  }
}
