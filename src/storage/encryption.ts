// Ids and ciphers of a dedupe domain (FORMAT.md §2, §3, §8). A plain domain hashes and does not encrypt.
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { systemCode } from "../base/errors.ts";
import type { AccountId } from "../base/ids.ts";
import { openBlockCrypto } from "./block-crypto.ts";
import { DamageError } from "./format.ts";

/** Whose content it is: an account's, or everybody's (what Ingot itself brings along). Each has a domain of its own. */
export type ContentOwner = AccountId | "public";

/** What one owner's blobs share: the secret behind their ids and their packs. Plain when there is no key. */
export interface Domain {
  /** 32 hex digits; `null`: plain. */
  readonly id: string | null;
  /** @param sum  SHA-256 of a blob's bytes; not kept */
  idOf(sum: Buffer): Buffer;
  blobId(bytes: Buffer): Buffer;
  /** `null`: this domain's packs are plain. */
  cipher(packName: string): FrameCipher | null;
  /** For what the owner's guests write to disk files outside of the store: 64 hex digits; `null` in a plain domain. */
  readonly diskSecret: string | null;
  /** Keys for a draft's data and for the checksums in its log; `null` in a plain domain. */
  draftKeys(salt: Uint8Array): DraftKeys | null;
}

export interface DraftKeys {
  readonly data: Uint8Array;
  readonly sums: Uint8Array;
}

export interface FrameCipher {
  /** Encrypts the first `bytes` of `body` where they are, and writes the tag after them. */
  seal(body: Buffer, bytes: number, offset: number, header: Buffer): void;
  /** A view that is right until the next frame is opened in this thread. @throws DamageError when the tag does not match */
  open(sealed: Buffer, offset: number, header: Buffer): Buffer;
}

const plainDomain: Domain = {
  id: null,
  idOf: (sum) => Buffer.from(sum),
  blobId: (bytes) => Buffer.from(blobSum(bytes)),
  cipher: () => null,
  diskSecret: null,
  draftKeys: () => null,
};

const HMAC_BLOCK = 64;

const crypto = openBlockCrypto();
const sums = Buffer.alloc(32);

/** SHA-256 of a blob's bytes, a view that is right until the next one in this thread: there is one per chunk. */
export function blobSum(bytes: Buffer): Buffer {
  crypto.sha256(bytes, sums, 0);
  return sums;
}

/** HMAC-SHA-256 of 32 bytes by two one-shot hashes: a third of what a Hmac object costs, and there is one per chunk. */
function hmacOfSum(key: Buffer): (sum: Buffer) => Buffer {
  const inner = Buffer.alloc(HMAC_BLOCK + 32, 0x36);
  const outer = Buffer.alloc(HMAC_BLOCK + 32, 0x5c);
  key.forEach((byte, i) => {
    inner[i] = byte ^ 0x36;
    outer[i] = byte ^ 0x5c;
  });
  return (sum) => {
    sum.copy(inner, HMAC_BLOCK);
    crypto.sha256(inner, outer, HMAC_BLOCK);
    const id = Buffer.allocUnsafe(32);
    crypto.sha256(outer, id, 0);
    return id;
  };
}

function encryptedDomain(id: string, key: Uint8Array): Domain {
  const idOf = hmacOfSum(Buffer.from(hkdfSync("sha256", key, Buffer.from(id, "hex"), "ingot ids", 32)));
  const derive = (salt: Uint8Array, info: string): Uint8Array =>
    new Uint8Array(hkdfSync("sha256", key, salt, info, 32));
  return {
    id,
    idOf,
    blobId: (bytes) => idOf(blobSum(bytes)),
    cipher: (packName) => frameCipher(key, packName),
    diskSecret: Buffer.from(derive(Buffer.from(id, "hex"), "ingot disks")).toString("hex"),
    draftKeys: (salt) => ({ data: derive(salt, "ingot draft"), sums: derive(salt, "ingot draft sums") }),
  };
}

function frameCipher(domainKey: Uint8Array, packName: string): FrameCipher {
  const name = Buffer.from(packName, "hex");
  const gcm = crypto.gcm(new Uint8Array(hkdfSync("sha256", domainKey, name, "ingot pack", 32)));
  // Written anew for each frame.
  const nonce = Buffer.alloc(12);
  const associated = Buffer.alloc(name.length + 12);
  name.copy(associated);
  const prepare = (offset: number, header: Buffer): void => {
    nonce.writeBigUInt64LE(BigInt(offset), 4);
    header.copy(associated, name.length, 0, 12);
  };
  return {
    seal(body, bytes, offset, header) {
      prepare(offset, header);
      gcm.seal(body, bytes, nonce, associated);
    },
    open(sealed, offset, header) {
      prepare(offset, header);
      return gcm.open(sealed, nonce, associated);
    },
  };
}

// --- wrapped data keys ---

/**
 * A store's domains. A store is encrypted as a whole or not at all: content of the other kind in it is damage.
 * Keys are unwrapped at first use and stay in this process's memory.
 */
export class Domains {
  readonly #directory: string;
  readonly #storeKey: Uint8Array | null;
  readonly #open = new Map<string, Domain>();

  /** @param directory  the store's, with its `keys/`. @param storeKey  32 bytes, `null`: a plain store */
  constructor(directory: string, storeKey: Uint8Array | null) {
    this.#directory = directory;
    this.#storeKey = storeKey;
  }

  /** @param id  as a pack's header has it. @throws Error when its key is missing or of another master key */
  get(id: string | null): Domain {
    if (id === null) {
      if (this.#storeKey !== null) throw new DamageError("plain content in an encrypted store");
      return plainDomain;
    }
    const open = this.#open.get(id);
    if (open !== undefined) return open;
    if (this.#storeKey === null) throw new Error(`domain ${id} is encrypted and this store was opened without its key`);
    const domain = encryptedDomain(id, unwrapKey(this.#storeKey, id, this.#wrapped(id)));
    this.#open.set(id, domain);
    return domain;
  }

  #wrapped(id: string): string {
    try {
      return readFileSync(join(this.#directory, keyName(id)), "utf8");
    } catch (cause) {
      if (systemCode(cause) !== "ENOENT") throw cause;
      throw new Error(`the wrapped key of domain ${id} is missing: what it encrypted can't be read`, { cause });
    }
  }
}

export const keyName = (domain: string): string => `keys/${domain}`;

/** The domain of an owner in one store: the same for ever, and another in every other store. */
export const domainIdOf = (storeId: string, owner: ContentOwner): string =>
  createHmac("sha256", Buffer.from(storeId, "hex")).update(`ingot domain ${owner}`).digest("hex").slice(0, 32);

/** What store.json keeps, so that a wrong key is known at once and not at the first read. */
export const keyCheck = (storeKey: Uint8Array, storeId: string): string =>
  Buffer.from(hkdfSync("sha256", storeKey, Buffer.from(storeId, "hex"), "ingot store check", 16)).toString("hex");

/** A new data key as it is kept: sealed by the store's key, so that only its holder reads any disk. */
export function newWrappedKey(storeKey: Uint8Array, id: string, owner: ContentOwner): string {
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", wrappingKey(storeKey), nonce).setAAD(Buffer.from(id, "hex"));
  const sealed = Buffer.concat([cipher.update(randomBytes(32)), cipher.final(), cipher.getAuthTag()]);
  const wrapped = JSON.stringify({
    version: 1,
    domain: id,
    owner,
    wrap: "hkdf-sha256+aes-256-gcm",
    nonce: nonce.toString("hex"),
    sealed: sealed.toString("hex"),
  });
  return `${wrapped}\n`;
}

function unwrapKey(storeKey: Uint8Array, id: string, wrapped: string): Uint8Array {
  const { version, domain, wrap, nonce, sealed } = JSON.parse(wrapped) as Record<string, string | number>;
  if (version !== 1) throw new Error(`key format ${version} is newer than this program`);
  if (wrap !== "hkdf-sha256+aes-256-gcm") throw new Error(`the key of domain ${id} is wrapped by "${wrap}"`);
  if (domain !== id) throw new DamageError(`the wrapped key of domain ${id} is another's`);
  const bytes = Buffer.from(String(sealed), "hex");
  const nonceBytes = Buffer.from(String(nonce), "hex");
  const decipher = createDecipheriv("aes-256-gcm", wrappingKey(storeKey), nonceBytes).setAAD(Buffer.from(id, "hex"));
  try {
    decipher.setAuthTag(bytes.subarray(32));
    return Buffer.concat([decipher.update(bytes.subarray(0, 32)), decipher.final()]);
  } catch (cause) {
    throw new DamageError(`the wrapped key of domain ${id} is damaged, or of another master key`, { cause });
  }
}

const wrappingKey = (storeKey: Uint8Array): Buffer =>
  Buffer.from(hkdfSync("sha256", storeKey, Buffer.alloc(0), "ingot domain keys", 32));

/** SHA-256 in hex. */
export const sha256Hex = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");
