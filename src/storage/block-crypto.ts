// AES-256-GCM and SHA-256 into buffers that are used again.
//
// Node's own OpenSSL, called through koffi, does what node:crypto does without an object and a new Buffer per call:
// 4.6 µs instead of 12 to seal 30 KB, 0.3 instead of 1 for a short hash, and no garbage outside of the heap. Where koffi is
// missing node:crypto serves, with the same results.
import { createCipheriv, createDecipheriv, createSecretKey, hash } from "node:crypto";
import { DamageError, GCM_TAG_BYTES, ID_BYTES } from "./format.ts";
import { loadKoffi } from "./zstd.ts";

export interface Gcm {
  /** Encrypts the first `bytes` of `body` where they are, and writes the tag after them. */
  seal(body: Buffer, bytes: number, nonce: Buffer, associated: Buffer): void;
  /**
   * What was sealed, without its tag: a view that is right until the next `open` in this thread, of whatever key.
   * @throws DamageError when the tag does not match
   */
  open(sealed: Buffer, nonce: Buffer, associated: Buffer): Buffer;
}

export interface BlockCrypto {
  readonly name: "openssl" | "node";
  /** @param key  32 bytes */
  gcm(key: Uint8Array): Gcm;
  /** Writes 32 bytes to `into` at `at`. */
  sha256(bytes: Buffer, into: Buffer, at: number): void;
}

const NONCE_BYTES = 12;
const GET_TAG = 0x10;
const SET_TAG = 0x11;

function damaged(cause?: unknown): DamageError {
  return new DamageError("a frame fails authentication", cause === undefined ? {} : { cause });
}

export function opensslCrypto(): BlockCrypto | null {
  const lib = loadKoffi();
  if (lib === null) return null;
  try {
    // The program itself: Node exports the OpenSSL that it carries.
    const node = lib.load(null);
    const fetchDigest = node.func("void *EVP_MD_fetch(void *library, const char *name, const char *properties)");
    const digest = node.func(
      "int EVP_Digest(const void *data, size_t bytes, void *into, void *size, void *type, void *engine)",
    );
    const initialise = node.func(
      "int EVP_CipherInit_ex(void *ctx, const void *cipher, void *engine, const void *key, const void *iv, int encrypt)",
    );
    const update = node.func("int EVP_CipherUpdate(void *ctx, void *out, void *written, const void *in, int bytes)");
    const final = node.func("int EVP_CipherFinal_ex(void *ctx, void *out, void *written)");
    const control = node.func("int EVP_CIPHER_CTX_ctrl(void *ctx, int type, int argument, void *pointer)");
    const sha256 = fetchDigest(null, "SHA256", null);
    const cipher = node.func("void *EVP_aes_256_gcm()")();
    // One for the thread, as long as it lives: whoever comes brings its key.
    const context = node.func("void *EVP_CIPHER_CTX_new()")();
    if (sha256 === null || cipher === null || context === null) return null;
    const written = Buffer.alloc(4);
    const nothing = Buffer.alloc(16);
    let plain = Buffer.alloc(0);
    const must = (ok: unknown): void => {
      if (ok !== 1) throw new Error("OpenSSL refuses AES-256-GCM");
    };
    const begin = (key: Buffer, nonce: Buffer, associated: Buffer, encrypt: 0 | 1): void => {
      if (key.length !== 32 || nonce.length !== NONCE_BYTES) throw new RangeError("a key of 32 bytes, a nonce of 12");
      must(initialise(context, cipher, null, key, nonce, encrypt));
      must(update(context, null, written, associated, associated.length));
    };
    return {
      name: "openssl",
      sha256(bytes, into, at) {
        if (at + ID_BYTES > into.length) throw new RangeError("no room for a hash");
        if (digest(bytes, bytes.length, at === 0 ? into : into.subarray(at), null, sha256, null) !== 1) {
          throw new Error("OpenSSL refuses SHA-256");
        }
      },
      gcm(bytes) {
        const key = Buffer.from(bytes);
        return {
          seal(body, length, nonce, associated) {
            if (length + GCM_TAG_BYTES > body.length) throw new RangeError("no room for the tag");
            begin(key, nonce, associated, 1);
            must(update(context, body, written, body, length));
            must(final(context, nothing, written));
            must(control(context, GET_TAG, GCM_TAG_BYTES, body.subarray(length)));
          },
          open(sealed, nonce, associated) {
            const length = sealed.length - GCM_TAG_BYTES;
            if (length < 0) throw damaged();
            if (plain.length < length) plain = Buffer.allocUnsafeSlow(Math.max(length, 64 * 1024));
            begin(key, nonce, associated, 0);
            must(update(context, plain, written, sealed, length));
            must(control(context, SET_TAG, GCM_TAG_BYTES, sealed.subarray(length)));
            if (final(context, nothing, written) !== 1) throw damaged();
            return plain.subarray(0, length);
          },
        };
      },
    };
  } catch {
    return null;
  }
}

export function nodeCrypto(): BlockCrypto {
  return {
    name: "node",
    sha256(bytes, into, at) {
      if (at + ID_BYTES > into.length) throw new RangeError("no room for a hash");
      hash("sha256", bytes, "buffer").copy(into, at);
    },
    gcm(bytes) {
      // As an object: half the cost of a frame, which raw bytes would be made into each time.
      const key = createSecretKey(bytes);
      return {
        seal(body, length, nonce, associated) {
          if (length + GCM_TAG_BYTES > body.length) throw new RangeError("no room for the tag");
          const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(associated);
          // A stream cipher: all of it comes out of the one `update`.
          cipher.update(body.subarray(0, length)).copy(body);
          cipher.final();
          cipher.getAuthTag().copy(body, length);
        },
        open(sealed, nonce, associated) {
          const length = sealed.length - GCM_TAG_BYTES;
          if (length < 0) throw damaged();
          const decipher = createDecipheriv("aes-256-gcm", key, nonce).setAAD(associated);
          try {
            decipher.setAuthTag(sealed.subarray(length));
            const plain = decipher.update(sealed.subarray(0, length));
            decipher.final();
            return plain;
          } catch (cause) {
            throw damaged(cause);
          }
        },
      };
    },
  };
}

/** The fastest that works here. `INGOT_CRYPTO=node` forces the portable one. */
export const openBlockCrypto = (): BlockCrypto =>
  (process.env.INGOT_CRYPTO === "node" ? null : opensslCrypto()) ?? nodeCrypto();
