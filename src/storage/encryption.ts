// Ids and ciphers of a dedupe domain (FORMAT.md §2, §3). A plain domain hashes and does not encrypt.
import { createCipheriv, createDecipheriv, createHash, createHmac, hash, hkdfSync, randomBytes } from "node:crypto";
import { DamageError, GCM_TAG_BYTES } from "./format.ts";

/** What one tenant's blobs share: the secret behind their ids and their packs. Plain when there is no key. */
export interface Domain {
  /** 32 hex digits; `null`: plain. */
  readonly id: string | null;
  blobId(bytes: Buffer): Buffer;
  /** `null`: this domain's packs are plain. */
  cipher(packName: string): FrameCipher | null;
}

export interface FrameCipher {
  /** Encrypts `plain` to the start of `into` with its tag after it; gives the bytes written. */
  seal(plain: Buffer, offset: number, header: Buffer, into: Buffer): number;
  /** @throws DamageError when the tag does not match */
  open(sealed: Buffer, offset: number, header: Buffer): Buffer;
}

/** A domain's key as it travels to workers and to the block server. */
export interface DomainKey {
  readonly id: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

export const plainDomain: Domain = {
  id: null,
  blobId: (bytes) => hash("sha256", bytes, "buffer"),
  cipher: () => null,
};

export function encryptedDomain({ id, key }: DomainKey): Domain {
  const idKey = Buffer.from(hkdfSync("sha256", key, Buffer.from(id, "hex"), "ingot ids", 32));
  return {
    id,
    blobId: (bytes) =>
      createHmac("sha256", idKey)
        .update(hash("sha256", bytes, "buffer"))
        .digest(),
    cipher: (packName) => frameCipher(key, packName),
  };
}

export const domainOf = (key: DomainKey | null): Domain => (key === null ? plainDomain : encryptedDomain(key));

function frameCipher(domainKey: Uint8Array, packName: string): FrameCipher {
  const name = Buffer.from(packName, "hex");
  const key = Buffer.from(hkdfSync("sha256", domainKey, name, "ingot pack", 32));
  const nonce = (offset: number): Buffer => {
    const bytes = Buffer.alloc(12);
    bytes.writeBigUInt64LE(BigInt(offset), 4);
    return bytes;
  };
  const associated = (header: Buffer): Buffer => Buffer.concat([name, header.subarray(0, 12)]);
  return {
    seal(plain, offset, header, into) {
      const cipher = createCipheriv("aes-256-gcm", key, nonce(offset)).setAAD(associated(header));
      let at = cipher.update(plain).copy(into);
      at += cipher.final().copy(into, at);
      return at + cipher.getAuthTag().copy(into, at);
    },
    open(sealed, offset, header) {
      const split = sealed.length - GCM_TAG_BYTES;
      const decipher = createDecipheriv("aes-256-gcm", key, nonce(offset)).setAAD(associated(header));
      try {
        decipher.setAuthTag(sealed.subarray(split));
        const plain = decipher.update(sealed.subarray(0, split));
        decipher.final();
        return plain;
      } catch (cause) {
        throw new DamageError("a frame fails authentication", { cause });
      }
    },
  };
}

// --- the wrapped data key ---

/** A new domain key and how it is kept: sealed by the master key, so that only its holder reads any disk. */
export function newDomainKey(master: Uint8Array): { domain: DomainKey; wrapped: string } {
  const id = randomBytes(16).toString("hex");
  const key = randomBytes(32);
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", wrappingKey(master), nonce).setAAD(Buffer.from(id, "hex"));
  const sealed = Buffer.concat([cipher.update(key), cipher.final(), cipher.getAuthTag()]);
  const wrapped = JSON.stringify({
    version: 1,
    domain: id,
    wrap: "hkdf-sha256+aes-256-gcm",
    nonce: nonce.toString("hex"),
    sealed: sealed.toString("hex"),
  });
  return { domain: { id, key }, wrapped: `${wrapped}\n` };
}

/** @throws Error when `master` is not the key that wrapped it */
export function unwrapDomainKey(master: Uint8Array, wrapped: string): DomainKey {
  const { version, domain, nonce, sealed } = JSON.parse(wrapped) as Record<string, string | number>;
  if (version !== 1) throw new Error(`key format ${version} is newer than this program`);
  const bytes = Buffer.from(String(sealed), "hex");
  const decipher = createDecipheriv("aes-256-gcm", wrappingKey(master), Buffer.from(String(nonce), "hex")).setAAD(
    Buffer.from(String(domain), "hex"),
  );
  try {
    decipher.setAuthTag(bytes.subarray(32));
    return { id: String(domain), key: Buffer.concat([decipher.update(bytes.subarray(0, 32)), decipher.final()]) };
  } catch (cause) {
    throw new Error("this store was encrypted under another master key", { cause });
  }
}

const wrappingKey = (master: Uint8Array): Buffer =>
  Buffer.from(hkdfSync("sha256", master, Buffer.alloc(0), "ingot domain keys", 32));

/** SHA-256 in hex. */
export const sha256Hex = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");
