// IMDSv2's session tokens. They carry their own end and a MAC over it and the instance, so nothing is stored: guests stay
// logged in when the server restarts, and another instance's token is as good as none.
//
//   byte 0       version, 1
//   bytes 1..5   end, epoch seconds
//   bytes 6..11  random: two tokens are never the same
//   bytes 12..39 HMAC-SHA-256 over the instance id and the bytes before, cut to 28 bytes
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

export const LEAST_TTL_SECONDS = 1;
/** Six hours. */
export const MOST_TTL_SECONDS = 21_600;

const HEAD_BYTES = 12;
const TOKEN_BYTES = 40;

/** 56 characters of URL-safe base64, as long as EC2's. */
export function issueToken(key: Uint8Array, instanceId: string, ttlSeconds: number, now: Date): string {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(1, 0);
  head.writeUIntBE(Math.floor(now.getTime() / 1000) + ttlSeconds, 1, 5);
  randomBytes(6).copy(head, 6);
  const token = Buffer.concat([head, mac(key, instanceId, head)]);
  return token.toString("base64").replaceAll("+", "-").replaceAll("/", "_");
}

/** Whole seconds that the token is still good for; null: it is not ours, another instance's, or over. */
export function secondsLeft(key: Uint8Array, instanceId: string, token: string, now: Date): number | null {
  if (!/^[A-Za-z0-9_-]{54}==$/.test(token)) return null;
  const bytes = Buffer.from(token, "base64url");
  if (bytes.length !== TOKEN_BYTES || bytes[0] !== 1) return null;
  // The last character has four bits that decode to nothing: a token is written in one way only.
  if (`${bytes.toString("base64url")}==` !== token) return null;
  const head = bytes.subarray(0, HEAD_BYTES);
  if (!timingSafeEqual(bytes.subarray(HEAD_BYTES), mac(key, instanceId, head))) return null;
  const left = head.readUIntBE(1, 5) - Math.floor(now.getTime() / 1000);
  return left > 0 ? left : null;
}

const mac = (key: Uint8Array, instanceId: string, head: Uint8Array): Buffer =>
  createHmac("sha256", key)
    .update(instanceId)
    .update("\0")
    .update(head)
    .digest()
    .subarray(0, TOKEN_BYTES - HEAD_BYTES);
