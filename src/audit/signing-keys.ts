// The RSA key that digests are signed with: made at first use, its private half sealed under the master key, replaced each
// year. Public halves are kept for ever, since they prove what was signed.
import { createPrivateKey, generateKeyPair, hash, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import type { Database, Db } from "../database/database.ts";

const BITS = 2048;
const DAY_MS = 24 * 60 * 60 * 1000;
const VALID_MS = 365 * DAY_MS;

/** How secrets at rest are sealed: identity's, under a key of its own for this. */
export interface Sealer {
  /** @param bound  what the text belongs to: it opens only with the same */
  seal(text: Buffer, bound: string): string;
  /** @returns null when it was not sealed here, or was changed since */
  unseal(sealed: string, bound: string): Buffer | null;
}

export interface PublicKey {
  /** 32 hex digits. */
  readonly fingerprint: string;
  /** PKCS #1 DER. */
  readonly der: Buffer;
  readonly validFrom: Date;
  readonly validTo: Date;
}

export interface SigningKey {
  readonly fingerprint: string;
  readonly privateKey: KeyObject;
}

const makeKeyPair = promisify(generateKeyPair);

/** Keys whose time of validity touches this range, oldest first. */
export async function publicKeys(db: Db, from: Date, to: Date): Promise<PublicKey[]> {
  const rows = await db
    .selectFrom("audit_signing_keys")
    .select(["fingerprint", "public_key", "valid_from", "valid_to"])
    .where("valid_from", "<=", to.toISOString())
    .where("valid_to", ">=", from.toISOString())
    .orderBy("valid_from")
    .orderBy("fingerprint")
    .execute();
  return rows.map((row) => ({
    fingerprint: row.fingerprint,
    der: Buffer.from(row.public_key, "base64"),
    validFrom: new Date(row.valid_from),
    validTo: new Date(row.valid_to),
  }));
}

const bound = (fingerprint: string): string => `audit signing key ${fingerprint}`;

/** The key to sign with at `now`; made when there is none. Some 100 ms then. */
export async function signingKey(database: Database, sealer: Sealer, now: Date): Promise<SigningKey> {
  const there = await currentKey(database.read, sealer, now);
  if (there !== null) return there;
  const { publicKey, privateKey } = await makeKeyPair("rsa", { modulusLength: BITS });
  const der = publicKey.export({ type: "pkcs1", format: "der" });
  const fingerprint = hash("sha256", der).slice(0, 32);
  return database.transaction(async (tx) => {
    // Another process may have been quicker: one key serves all.
    const meanwhile = await currentKey(tx, sealer, now);
    if (meanwhile !== null) return meanwhile;
    await tx
      .insertInto("audit_signing_keys")
      .values({
        fingerprint,
        public_key: der.toString("base64"),
        sealed_private_key: sealer.seal(privateKey.export({ type: "pkcs8", format: "der" }), bound(fingerprint)),
        valid_from: now.toISOString(),
        valid_to: new Date(now.getTime() + VALID_MS).toISOString(),
      })
      .execute();
    return { fingerprint, privateKey };
  });
}

async function currentKey(db: Db, sealer: Sealer, now: Date): Promise<SigningKey | null> {
  const row = await db
    .selectFrom("audit_signing_keys")
    .select(["fingerprint", "sealed_private_key"])
    .where("valid_from", "<=", now.toISOString())
    .where("valid_to", ">", now.toISOString())
    .orderBy("valid_from", "desc")
    .orderBy("fingerprint")
    .limit(1)
    .executeTakeFirst();
  if (row === undefined) return null;
  const der = sealer.unseal(row.sealed_private_key, bound(row.fingerprint));
  // The master key was replaced: what was signed stays proven by its public half, and a new key goes on.
  if (der === null) return null;
  return { fingerprint: row.fingerprint, privateKey: createPrivateKey({ key: der, format: "der", type: "pkcs8" }) };
}
