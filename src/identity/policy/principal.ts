// Whom a resource's policy names.
import type { PrincipalEntry, PrincipalsDocument } from "./document.ts";

/** Who asks, as far as `Principal` can tell. */
export type Subject =
  | {
      readonly kind: "root" | "user" | "assumed-role" | "federated-user";
      readonly accountId: string;
      /** Of the session, for roles and federated users; else as `principalArn`. */
      readonly arn: string;
      /** Of the user or the role behind the session. */
      readonly principalArn: string;
      /** `AIDA…` or `AROA…`; the account id for root. */
      readonly uniqueId: string;
    }
  | { readonly kind: "service"; readonly service: string };

/**
 * How closely a policy names the subject. What it grants by itself depends on it: naming the account only passes the
 * decision on to the account's own policies.
 */
export type Naming = "session" | "principal" | "anyone" | "account" | null;

export type PrincipalTest = (subject: Subject) => Naming;

/**
 * @param ids  unique ids of the users and roles named, by ARN: an ARN in it matches the holder of that id only
 */
export function compilePrincipals(
  document: PrincipalsDocument,
  ids: Readonly<Record<string, string>> | undefined,
): PrincipalTest {
  const entries = document.entries;
  if (!document.negated) return (subject) => closest(entries, subject, ids);
  // Everybody but those named. Naming an account does not exempt its users: each is named by itself.
  return (subject) => {
    const naming = closest(entries, subject, ids);
    const exempt = naming !== null && (naming !== "account" || (subject.kind === "root" && naming === "account"));
    return exempt ? null : "anyone";
  };
}

const ORDER: readonly Naming[] = ["session", "principal", "anyone", "account"];

function closest(
  entries: readonly PrincipalEntry[],
  subject: Subject,
  ids: Readonly<Record<string, string>> | undefined,
): Naming {
  let best: Naming = null;
  for (const entry of entries) {
    const naming = named(entry, subject, ids);
    if (naming !== null && (best === null || ORDER.indexOf(naming) < ORDER.indexOf(best))) best = naming;
  }
  return best;
}

function named(entry: PrincipalEntry, subject: Subject, ids: Readonly<Record<string, string>> | undefined): Naming {
  if (subject.kind === "service") {
    return entry.type === "Service" && entry.value === subject.service
      ? "principal"
      : entry.type === "AWS" && entry.value === "*"
        ? "anyone"
        : null;
  }
  if (entry.type !== "AWS") return null;
  const { value } = entry;
  if (value === "*") return "anyone";
  if (value === subject.accountId || value === `arn:aws:iam::${subject.accountId}:root`) return "account";
  if (value === subject.arn && subject.arn !== subject.principalArn) return "session";
  if (value === subject.uniqueId) return "principal";
  if (value !== subject.principalArn) return null;
  const id = ids !== undefined && Object.hasOwn(ids, value) ? ids[value] : undefined;
  return id === undefined || id === subject.uniqueId ? "principal" : null;
}
