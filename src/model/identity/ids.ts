// IAM's unique ids and access key ids.
import { randomBytes, randomInt } from "node:crypto";
import { type AccountId, accountId } from "../../base/ids.ts";

/** Prefixes as AWS has them. Append only. */
const PREFIX = {
  user: "AIDA",
  group: "AGPA",
  role: "AROA",
  instanceProfile: "AIPA",
  policy: "ANPA",
} as const;

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** 21 characters, from 85 random bits. Never given twice: a user made again under an old name is someone else. */
export function newUniqueId(kind: keyof typeof PREFIX): string {
  const bytes = randomBytes(17);
  let id: string = PREFIX[kind];
  for (const byte of bytes) id += ALPHABET[byte & 31];
  return id;
}

/**
 * `AKIA…` (long-term) or `ASIA…` (temporary). As in AWS's, the account is written into it, so that the account of a key can
 * be told without looking it up: 16 base32 characters are 80 bits, one set bit, 40 of account, 39 random.
 */
export function newAccessKeyId(prefix: "AKIA" | "ASIA", account: AccountId): string {
  const random = BigInt(`0x${randomBytes(5).toString("hex")}`) & ((1n << 39n) - 1n);
  let bits = (1n << 79n) | (BigInt(account) << 39n) | random;
  let text = "";
  for (let i = 0; i < 16; i++) {
    text = ALPHABET[Number(bits & 31n)] + text;
    bits >>= 5n;
  }
  return prefix + text;
}

/** The account that a key id names, whether or not there is such a key. Null when `id` is not shaped like one. */
export function accountOfAccessKey(id: string): AccountId | null {
  if (!/^A[KS]IA[A-Z2-7]{16}$/.test(id)) return null;
  let bits = 0n;
  for (const char of id.slice(4)) bits = (bits << 5n) | BigInt(ALPHABET.indexOf(char));
  const account = (bits >> 39n) & ((1n << 40n) - 1n);
  return account < 10n ** 12n ? accountId(account.toString().padStart(12, "0")) : null;
}

/** 40 characters of AWS's alphabet for secrets, from 240 random bits. */
export const newSecretAccessKey = (): string => randomBytes(30).toString("base64");

/** 12 digits that do not begin with a zero: spreadsheets and YAML eat those. */
export const newAccountId = (): AccountId =>
  accountId(
    `${randomInt(1, 10)}${randomInt(0, 10 ** 11)
      .toString()
      .padStart(11, "0")}`,
  );
