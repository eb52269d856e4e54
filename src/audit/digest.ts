// A digest: which log files a trail has delivered in a Region since the digest before, with their hashes, signed and tied
// to that one. `aws cloudtrail validate-logs` proves the whole chain; the rules here are those of its source (see also
// CloudTrail's user guide, "digest file structure").
import { hash, sign } from "node:crypto";
import type { ChainLink } from "./chain.ts";
import type { SigningKey } from "./signing-keys.ts";
import { awsTime } from "./times.ts";

export const SIGNATURE_ALGORITHM = "SHA256withRSA";
const HASH_ALGORITHM = "SHA-256";

export interface DigestedFile {
  readonly bucket: string;
  readonly key: string;
  /** Hex SHA-256 of the uncompressed file. */
  readonly hash: string;
  readonly oldest: Date;
  readonly newest: Date;
}

/** A digest as the next one names it. */
export interface PreviousDigest {
  readonly bucket: string;
  readonly key: string;
  readonly hash: string;
  readonly signature: string;
}

export interface DigestContent {
  readonly accountId: string;
  readonly bucket: string;
  readonly key: string;
  readonly start: Date;
  readonly end: Date;
  readonly files: readonly DigestedFile[];
  /** Null: this one begins a chain. */
  readonly previous: PreviousDigest | null;
  /** The event table's end when the digest was made: whoever hashes that table anew later does not have this link. */
  readonly chainHead: ChainLink;
}

export interface SignedDigest {
  /** Uncompressed. */
  readonly body: string;
  /** Hex SHA-256 of `body`. */
  readonly hash: string;
  /** Hex. */
  readonly signature: string;
}

export function signedDigest(content: DigestContent, key: SigningKey): SignedDigest {
  const { previous, files } = content;
  const body = JSON.stringify({
    awsAccountId: content.accountId,
    digestStartTime: awsTime(content.start),
    digestEndTime: awsTime(content.end),
    digestS3Bucket: content.bucket,
    digestS3Object: content.key,
    digestPublicKeyFingerprint: key.fingerprint,
    digestSignatureAlgorithm: SIGNATURE_ALGORITHM,
    newestEventTime: edge(files, (file) => file.newest.getTime(), Math.max),
    oldestEventTime: edge(files, (file) => file.oldest.getTime(), Math.min),
    previousDigestS3Bucket: previous?.bucket ?? null,
    previousDigestS3Object: previous?.key ?? null,
    previousDigestHashValue: previous?.hash ?? null,
    previousDigestHashAlgorithm: previous === null ? null : HASH_ALGORITHM,
    previousDigestSignature: previous?.signature ?? null,
    logFiles: files.map((file) => ({
      s3Bucket: file.bucket,
      s3Object: file.key,
      hashValue: file.hash,
      hashAlgorithm: HASH_ALGORITHM,
      newestEventTime: awsTime(file.newest),
      oldestEventTime: awsTime(file.oldest),
    })),
    // Ours; validators leave it alone.
    ingotAuditChain: { sequence: content.chainHead.sequence, hash: content.chainHead.hash },
  });
  const bodyHash = hash("sha256", body);
  const toSign = [
    awsTime(content.end),
    `${content.bucket}/${content.key}`,
    bodyHash,
    previous === null ? "null" : previous.signature,
  ].join("\n");
  return { body, hash: bodyHash, signature: sign("RSA-SHA256", Buffer.from(toSign), key.privateKey).toString("hex") };
}

function edge(
  files: readonly DigestedFile[],
  time: (file: DigestedFile) => number,
  choose: (a: number, b: number) => number,
): string | null {
  return files.length === 0 ? null : awsTime(new Date(files.map(time).reduce((a, b) => choose(a, b))));
}
