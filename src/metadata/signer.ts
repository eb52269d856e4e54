// The key that signs instance identity documents, and its certificate, which a verifier is to be given beforehand.
//
//   <directory>/identity-key.pem           RSA 2048, PKCS #8; never leaves the server
//   <directory>/identity-certificate.pem   self-signed; hand it to whoever verifies documents
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from "node:crypto";
import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { systemCode } from "../base/errors.ts";
import { bits, context, integer, nothing, octets, oid, sequence, set, time, utf8 } from "./der.ts";

const RSA_BITS = 2048;
const YEARS = 100;

const SHA256 = "2.16.840.1.101.3.4.2.1";
const RSA = "1.2.840.113549.1.1.1";
const RSA_WITH_SHA256 = "1.2.840.113549.1.1.11";
const PKCS7_DATA = "1.2.840.113549.1.7.1";
const PKCS7_SIGNED_DATA = "1.2.840.113549.1.7.2";
const ORGANIZATION = "2.5.4.10";
const COMMON_NAME = "2.5.4.3";
const BASIC_CONSTRAINTS = "2.5.29.19";

export interface Signer {
  /** PEM. */
  readonly certificate: string;
  /** RSA PKCS #1 v1.5 with SHA-256 over the bytes. The same bytes give the same signature. */
  signature(content: Uint8Array): Buffer;
  /** PKCS #7 SignedData, DER, with the content and the certificate inside. Verify with `openssl smime -verify`. */
  pkcs7(content: Uint8Array): Buffer;
}

/** Opens the signer, making its key and certificate at first use. */
export async function openSigner(directory: string, now: Date): Promise<Signer> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const keyPath = join(directory, "identity-key.pem");
  const certificatePath = join(directory, "identity-certificate.pem");
  let keyPem = await readIfThere(keyPath);
  if (keyPem === null) {
    keyPem = await newKey();
    await writeWhole(keyPath, keyPem, 0o600);
  }
  const key = createPrivateKey(keyPem);
  let pem = await readIfThere(certificatePath);
  if (pem === null || !new X509Certificate(pem).checkPrivateKey(key)) {
    pem = pemOf("CERTIFICATE", selfSigned(key, now));
    await writeWhole(certificatePath, pem, 0o644);
  }
  const certificate = new X509Certificate(pem);
  return {
    certificate: pem,
    signature: (content) => sign("sha256", content, key),
    pkcs7: (content) => signedData(content, key, certificate),
  };
}

async function newKey(): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)("rsa", { modulusLength: RSA_BITS });
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw error;
  }
}

async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString("hex")}`;
  await writeFile(temporary, text, { mode, flag: "wx", flush: true });
  await chmod(temporary, mode);
  await rename(temporary, path);
}

const pemOf = (label: string, der: Uint8Array): string =>
  `-----BEGIN ${label}-----\n${base64Lines(der)}\n-----END ${label}-----\n`;

/** Base64 in lines of 64, without a newline at the end. */
export const base64Lines = (bytes: Uint8Array): string =>
  (
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? []
  ).join("\n");

const algorithm = (id: string): Buffer => sequence(oid(id), nothing());

/** Issuer and subject. */
const name = (): Buffer =>
  sequence(
    set(sequence(oid(ORGANIZATION), utf8("Ingot"))),
    set(sequence(oid(COMMON_NAME), utf8("Instance identity documents"))),
  );

/** X.509 version 3, no CA. */
function selfSigned(key: KeyObject, now: Date): Buffer {
  const end = new Date(now);
  end.setUTCFullYear(end.getUTCFullYear() + YEARS);
  const toBeSigned = sequence(
    context(0, integer(Buffer.from([2]))),
    integer(Buffer.from([1, ...randomBytes(15)])),
    algorithm(RSA_WITH_SHA256),
    name(),
    sequence(time(now), time(end)),
    name(),
    createPublicKey(key).export({ type: "spki", format: "der" }),
    context(3, sequence(sequence(oid(BASIC_CONSTRAINTS), octets(sequence())))),
  );
  return sequence(toBeSigned, algorithm(RSA_WITH_SHA256), bits(sign("sha256", toBeSigned, key)));
}

/** RFC 2315, one signer, no signed attributes: the signature is over the content itself. */
function signedData(content: Uint8Array, key: KeyObject, certificate: X509Certificate): Buffer {
  const serial = integer(Buffer.from(certificate.serialNumber.padStart(32, "0"), "hex"));
  const version = integer(Buffer.from([1]));
  const signer = sequence(
    version,
    sequence(name(), serial),
    algorithm(SHA256),
    algorithm(RSA),
    octets(sign("sha256", content, key)),
  );
  return sequence(
    oid(PKCS7_SIGNED_DATA),
    context(
      0,
      sequence(
        version,
        set(algorithm(SHA256)),
        sequence(oid(PKCS7_DATA), context(0, octets(content))),
        context(0, certificate.raw),
        set(signer),
      ),
    ),
  );
}
