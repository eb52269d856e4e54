// From an access key id to its secret and to whom it speaks for. The signature itself is `protocol/sigv4.ts`'s affair.
import type { AccountId } from "../base/ids.ts";
import type { Database } from "../database/database.ts";
import { rootArn } from "../model/identity/account.ts";
import type { Caller, CallerSession } from "../model/identity/caller.ts";
import { accountOfAccessKey } from "../model/identity/ids.ts";
import type { CredentialReason } from "../protocol/auth-errors.ts";
import { BoundedCache } from "./bounded-cache.ts";
import type { MasterKey } from "./master-key.ts";
import type { Organizations } from "./organizations.ts";
import type { PrincipalRecord, Principals } from "./principals.ts";
import { unseal } from "./seal.ts";
import type { SessionClaims, Sessions } from "./sessions.ts";

/**
 * What is not found is told in the words of `protocol/auth-errors.ts`:
 *   `unknown-key`     no such key, or whoever it spoke for is gone
 *   `invalid-token`   a temporary key without its token, or a token that is not ours or not this key's
 */
export type CredentialLookup =
  | { readonly kind: "found"; readonly secretAccessKey: string; readonly caller: Caller }
  | { readonly kind: CredentialReason };

export interface CredentialSource {
  /** Cost: one small query, and a handful more the first time after a change to the account. */
  find(accessKeyId: string, sessionToken: string | undefined, now: Date): Promise<CredentialLookup>;
}

const MOST_KEYS = 4000;
const UNKNOWN: CredentialLookup = { kind: "unknown-key" };

interface KeptKey {
  readonly generation: number;
  readonly secretAccessKey: string;
  readonly userId: string | null;
  readonly active: boolean;
}

/** Secrets are bound to their key's id: a row's sealed secret is no use under another id. */
export const sealedFor = (accessKeyId: string): string => `access key ${accessKeyId}`;

export function createCredentialSource(parts: {
  readonly database: Database;
  readonly masterKey: MasterKey;
  readonly principals: Principals;
  readonly organizations: Organizations;
  readonly sessions: Sessions;
}): CredentialSource {
  const { database, principals, organizations, sessions } = parts;
  const secretsKey = parts.masterKey.derive("access key secrets");
  const keys = new BoundedCache<KeptKey>(MOST_KEYS);

  const findKey = async (account: AccountId, id: string, generation: number): Promise<KeptKey | null> => {
    const kept = keys.get(id);
    if (kept?.generation === generation) return kept;
    const row = await database.read
      .selectFrom("access_keys")
      .select(["user_id", "sealed_secret", "status"])
      .where("id", "=", id)
      .where("account_id", "=", account)
      .executeTakeFirst();
    if (row === undefined) return null;
    const secret = unseal(secretsKey, row.sealed_secret, sealedFor(id));
    if (secret === null) throw new Error(`open the secret of access key ${id}: not sealed under this master key`);
    const key = {
      generation,
      secretAccessKey: secret.toString(),
      userId: row.user_id,
      active: row.status === "Active",
    };
    keys.set(id, key);
    return key;
  };

  const longTerm = async (account: AccountId, id: string, generation: number): Promise<CredentialLookup> => {
    const key = await findKey(account, id, generation);
    if (key === null) return UNKNOWN;
    if (!key.active) return { kind: "inactive-key" };
    if (key.userId === null) {
      return { kind: "found", secretAccessKey: key.secretAccessKey, caller: rootCaller(account, id) };
    }
    const user = await principals.find("user", account, key.userId, generation);
    if (user === null) return UNKNOWN;
    return { kind: "found", secretAccessKey: key.secretAccessKey, caller: userCaller(account, user, id) };
  };

  const temporary = async (
    id: string,
    token: string | undefined,
    generation: number,
    now: Date,
  ): Promise<CredentialLookup> => {
    const opened = token === undefined ? null : sessions.open(id, token);
    if (opened === null) return { kind: "invalid-token" };
    const { claims, secretAccessKey } = opened;
    if (now.getTime() >= claims.expiresAt) return { kind: "expired-token" };
    const caller = await sessionCaller(principals, claims, id, generation);
    return caller === null ? UNKNOWN : { kind: "found", secretAccessKey, caller };
  };

  return {
    async find(accessKeyId, sessionToken, now) {
      const account = accountOfAccessKey(accessKeyId);
      if (account === null) return UNKNOWN;
      const generation = await principals.generation(account);
      if (generation === null) return UNKNOWN;
      // A long-term key with a token is a client that mixes two sets of credentials.
      const found = accessKeyId.startsWith("ASIA")
        ? await temporary(accessKeyId, sessionToken, generation, now)
        : sessionToken === undefined
          ? await longTerm(account, accessKeyId, generation)
          : ({ kind: "invalid-token" } as const);
      if (found.kind !== "found") return found;
      const standing = await organizations.of(account, generation);
      if (standing === null) return found;
      return { ...found, caller: { ...found.caller, organization: standing.organization } };
    },
  };
}

const rootCaller = (account: AccountId, accessKeyId: string, session?: CallerSession): Caller => ({
  kind: "root",
  accountId: account,
  arn: rootArn(account),
  principalId: account,
  accessKeyId,
  tags: {},
  ...(session === undefined ? {} : { session }),
});

const userCaller = (
  account: AccountId,
  user: PrincipalRecord,
  accessKeyId: string,
  session?: CallerSession,
): Caller => ({
  kind: "user",
  accountId: account,
  arn: user.arn,
  principalId: user.id,
  userId: user.id,
  userName: user.name,
  accessKeyId,
  tags: user.tags,
  ...(session === undefined ? {} : { session }),
});

async function sessionCaller(
  principals: Principals,
  claims: SessionClaims,
  accessKeyId: string,
  generation: number,
): Promise<Caller | null> {
  const { accountId, principal } = claims;
  const session: CallerSession = {
    issuedAt: new Date(claims.issuedAt),
    expiresAt: new Date(claims.expiresAt),
    mfa: false,
    policies: claims.policies,
    transitiveTagKeys: claims.transitiveTagKeys,
    tags: claims.tags,
    chained: claims.chained,
    ...(claims.sourceIdentity === undefined ? {} : { sourceIdentity: claims.sourceIdentity }),
  };
  switch (principal.kind) {
    case "root":
      return rootCaller(accountId, accessKeyId, session);
    case "user": {
      const user = await principals.find("user", accountId, principal.userId, generation);
      return user === null ? null : userCaller(accountId, user, accessKeyId, session);
    }
    case "role": {
      const role = await principals.find("role", accountId, principal.roleId, generation);
      if (role === null) return null;
      return {
        kind: "assumed-role",
        accountId,
        arn: assumedRoleArn(accountId, role.name, principal.sessionName),
        principalId: `${role.id}:${principal.sessionName}`,
        accessKeyId,
        tags: { ...role.tags, ...claims.tags },
        session,
        roleId: role.id,
        roleName: role.name,
        roleArn: role.arn,
        sessionName: principal.sessionName,
        ...(principal.instance === undefined ? {} : { instance: principal.instance }),
      };
    }
    case "federated": {
      const user =
        principal.userId === undefined
          ? undefined
          : await principals.find("user", accountId, principal.userId, generation);
      if (user === null) return null;
      return {
        kind: "federated-user",
        accountId,
        arn: federatedUserArn(accountId, principal.sessionName),
        principalId: `${accountId}:${principal.sessionName}`,
        accessKeyId,
        tags: { ...user?.tags, ...claims.tags },
        session,
        sessionName: principal.sessionName,
        issuer:
          user === undefined ? { kind: "root" } : { kind: "user", userId: user.id, userName: user.name, arn: user.arn },
      };
    }
  }
}

export const assumedRoleArn = (account: string, roleName: string, sessionName: string): string =>
  `arn:aws:sts::${account}:assumed-role/${roleName}/${sessionName}`;

export const federatedUserArn = (account: string, sessionName: string): string =>
  `arn:aws:sts::${account}:federated-user/${sessionName}`;
