// Temporary credentials. Nothing of them is kept: the token carries, sealed under the master key, whose session it is and
// until when; the secret is derived from the key id and a nonce in the token. So a session costs no row, works in every
// process that has the master key, and a stolen database holds none.
//
// A session ends when it expires, when its role or user is deleted, or (as in AWS) when a policy of the role denies what was
// issued before a moment, by `aws:TokenIssueTime`.
import { createHmac, randomBytes } from "node:crypto";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import type { AccountId } from "../base/ids.ts";
import type { InstanceSession, SessionPolicies } from "../model/identity/caller.ts";
import { newAccessKeyId } from "../model/identity/ids.ts";
import { BoundedCache } from "./bounded-cache.ts";
import type { MasterKey } from "./master-key.ts";
import { seal, unseal } from "./seal.ts";

export type SessionPrincipal =
  | { readonly kind: "root" }
  | { readonly kind: "user"; readonly userId: string }
  | {
      readonly kind: "role";
      readonly roleId: string;
      readonly sessionName: string;
      readonly instance?: InstanceSession;
    }
  /** `userId`: who called GetFederationToken; absent for root. */
  | { readonly kind: "federated"; readonly sessionName: string; readonly userId?: string };

export interface SessionClaims {
  readonly accountId: AccountId;
  readonly principal: SessionPrincipal;
  /** Milliseconds since 1970. */
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly policies: SessionPolicies | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly transitiveTagKeys: readonly string[];
  readonly chained: boolean;
  readonly sourceIdentity?: string;
}

export interface SessionCredentials {
  /** `ASIA…` */
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly expiration: Date;
}

export interface OpenedSession {
  readonly claims: SessionClaims;
  readonly secretAccessKey: string;
}

interface Carried extends SessionClaims {
  readonly nonce: string;
}

const MOST_OPENED = 4000;
/** A token's claims are a few kilobytes at most: session policies are limited, and so are tags. */
const MOST_CLAIM_BYTES = 256 * 1024;

export interface Sessions {
  issue(claims: SessionClaims): SessionCredentials;
  /** @returns null when the token is not ours, or not of this key. Expired sessions open: the caller looks at the time. */
  open(accessKeyId: string, sessionToken: string): OpenedSession | null;
}

export function createSessions(masterKey: MasterKey): Sessions {
  const tokenKey = masterKey.derive("session tokens");
  const secretKey = masterKey.derive("session secrets");
  const opened = new BoundedCache<OpenedSession>(MOST_OPENED);
  const secretOf = (accessKeyId: string, nonce: string): string =>
    createHmac("sha256", secretKey).update(`${accessKeyId} ${nonce}`).digest().subarray(0, 30).toString("base64");
  return {
    issue(claims) {
      const accessKeyId = newAccessKeyId("ASIA", claims.accountId);
      const carried: Carried = { ...claims, nonce: randomBytes(16).toString("base64url") };
      return {
        accessKeyId,
        secretAccessKey: secretOf(accessKeyId, carried.nonce),
        sessionToken: seal(tokenKey, deflateRawSync(JSON.stringify(carried)), accessKeyId),
        expiration: new Date(claims.expiresAt),
      };
    },
    open(accessKeyId, sessionToken) {
      const cacheKey = `${accessKeyId} ${sessionToken}`;
      const kept = opened.get(cacheKey);
      if (kept !== undefined) return kept;
      const packed = unseal(tokenKey, sessionToken, accessKeyId);
      if (packed === null) return null;
      const text = inflateRawSync(packed, { maxOutputLength: MOST_CLAIM_BYTES }).toString();
      const { nonce, ...claims } = JSON.parse(text) as Carried;
      const session = { claims, secretAccessKey: secretOf(accessKeyId, nonce) };
      opened.set(cacheKey, session);
      return session;
    },
  };
}
