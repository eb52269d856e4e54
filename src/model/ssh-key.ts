// SSH key pairs in the forms that EC2 hands out and takes: OpenSSH public lines, PEM private keys, and the three kinds of
// fingerprint that EC2 shows.
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";

export type SshKeyType = "rsa" | "ed25519";

export interface PublicKey {
  readonly type: SshKeyType;
  /** `ssh-ed25519 AAAA…`, without a comment. */
  readonly line: string;
  /** As EC2 shows it for an imported key. */
  readonly fingerprint: string;
}

export interface NewKey extends PublicKey {
  /** PEM: PKCS#1 for RSA, OpenSSH's own form for Ed25519, as EC2 gives them. Shown once, kept nowhere. */
  readonly privateKey: string;
}

const RSA_BITS = 2048;
const RSA_LINE = "ssh-rsa";
const ED25519_LINE = "ssh-ed25519";
const MIN_RSA_BITS = 1024;
const MAX_RSA_BITS = 4096;

/** A new key. RSA takes some 50 ms to some 500 ms of the calling thread's time, Ed25519 none. */
export function generateKey(type: SshKeyType): NewKey {
  if (type === "ed25519") {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const point = rawEd25519(publicKey);
    const blob = sshBlob(Buffer.from(ED25519_LINE), point);
    const seed = Buffer.from(String(privateKey.export({ format: "jwk" }).d), "base64url");
    return {
      type,
      line: `${ED25519_LINE} ${blob.toString("base64")}`,
      fingerprint: sha256Fingerprint(blob),
      privateKey: opensshPrivateKey(point, seed),
    };
  }
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: RSA_BITS });
  const pkcs8 = privateKey.export({ type: "pkcs8", format: "der" });
  return {
    type,
    line: `${RSA_LINE} ${rsaBlob(publicKey).toString("base64")}`,
    // EC2: keys made by EC2 show the SHA-1 of the private key's DER.
    fingerprint: colons(createHash("sha1").update(pkcs8).digest("hex")),
    privateKey: String(privateKey.export({ type: "pkcs1", format: "pem" })).trimEnd(),
  };
}

/** Reads an OpenSSH public line, an RFC 4716 block, or a PEM/DER public key; null when it is none of RSA or Ed25519. */
export function parsePublicKey(material: Buffer): PublicKey | null {
  const text = material.toString("utf8").trim();
  const blob = opensshBlob(text) ?? rfc4716Blob(text);
  try {
    return blob === null ? fromKeyObject(createPublicKey(pemOrDer(text, material))) : fromBlob(blob);
  } catch {
    // Whatever is wrong with the bytes: they are not a key.
    return null;
  }
}

function opensshBlob(text: string): Buffer | null {
  const match = /^(ssh-rsa|ssh-ed25519)\s+([A-Za-z0-9+/]+={0,2})(\s.*)?$/.exec(text);
  return match?.[2] === undefined ? null : Buffer.from(match[2], "base64");
}

function rfc4716Blob(text: string): Buffer | null {
  if (!text.startsWith("---- BEGIN SSH2 PUBLIC KEY ----")) return null;
  const body = text
    .split(/\r?\n/)
    .filter((line) => !line.startsWith("----") && !line.includes(":"))
    .join("");
  return Buffer.from(body, "base64");
}

const pemOrDer = (text: string, material: Buffer) =>
  text.startsWith("-----BEGIN") ? text : { key: material, format: "der" as const, type: "spki" as const };

function fromBlob(blob: Buffer): PublicKey | null {
  const [name, first, second, ...rest] = readBlob(blob);
  if (name === undefined || first === undefined) return null;
  if (name.toString() === ED25519_LINE && first.length === 32 && second === undefined) {
    return {
      type: "ed25519",
      line: `${ED25519_LINE} ${blob.toString("base64")}`,
      fingerprint: sha256Fingerprint(blob),
    };
  }
  if (name.toString() !== RSA_LINE || second === undefined || rest.length > 0) return null;
  const key = createPublicKey({
    key: { kty: "RSA", e: unsigned(first).toString("base64url"), n: unsigned(second).toString("base64url") },
    format: "jwk",
  });
  return fromKeyObject(key);
}

function fromKeyObject(key: KeyObject): PublicKey | null {
  if (key.asymmetricKeyType === "ed25519") return fromBlob(sshBlob(Buffer.from(ED25519_LINE), rawEd25519(key)));
  if (key.asymmetricKeyType !== "rsa") return null;
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) return null;
  return {
    type: "rsa",
    line: `${RSA_LINE} ${rsaBlob(key).toString("base64")}`,
    // EC2: imported keys show the MD5 of the public key's DER.
    fingerprint: colons(
      createHash("md5")
        .update(key.export({ type: "spki", format: "der" }))
        .digest("hex"),
    ),
  };
}

const rawEd25519 = (key: KeyObject): Buffer => Buffer.from(String(key.export({ format: "jwk" }).x), "base64url");

function rsaBlob(key: KeyObject): Buffer {
  const { e, n } = key.export({ format: "jwk" });
  return sshBlob(
    Buffer.from(RSA_LINE),
    mpint(Buffer.from(String(e), "base64url")),
    mpint(Buffer.from(String(n), "base64url")),
  );
}

const sha256Fingerprint = (blob: Buffer): string => createHash("sha256").update(blob).digest("base64");
const colons = (hex: string): string => hex.match(/../g)?.join(":") ?? hex;

/** SSH's multiple-precision integer is signed: a leading zero byte keeps it positive. */
const mpint = (bytes: Buffer): Buffer => ((bytes[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes);
const unsigned = (bytes: Buffer): Buffer => (bytes[0] === 0 ? bytes.subarray(1) : bytes);

const sshString = (bytes: Buffer): Buffer => Buffer.concat([uint32(bytes.length), bytes]);
const sshBlob = (...parts: readonly Buffer[]): Buffer => Buffer.concat(parts.map(sshString));

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function readBlob(blob: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  let at = 0;
  while (at < blob.length) {
    const length = blob.readUInt32BE(at);
    if (at + 4 + length > blob.length) throw new RangeError("a part of the key reaches past its end");
    parts.push(blob.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return parts;
}

/** OpenSSH's PROTOCOL.key, unencrypted: the only form in which ssh reads an Ed25519 key. */
function opensshPrivateKey(point: Buffer, seed: Buffer): string {
  const check = randomBytes(4);
  const secret = Buffer.concat([
    check,
    check,
    sshBlob(Buffer.from(ED25519_LINE), point, Buffer.concat([seed, point]), Buffer.alloc(0)),
  ]);
  const BLOCK = 8;
  const padding = Buffer.from(Array.from({ length: (BLOCK - (secret.length % BLOCK)) % BLOCK }, (_, n) => n + 1));
  const none = Buffer.from("none");
  const body = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    sshBlob(none, none, Buffer.alloc(0)),
    uint32(1),
    sshString(sshBlob(Buffer.from(ED25519_LINE), point)),
    sshString(Buffer.concat([secret, padding])),
  ]);
  const lines = body.toString("base64").match(/.{1,70}/g) ?? [];
  return ["-----BEGIN OPENSSH PRIVATE KEY-----", ...lines, "-----END OPENSSH PRIVATE KEY-----"].join("\n");
}
