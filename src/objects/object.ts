// What an object is, and what is asked of one before it is read or replaced.
import { createHash } from "node:crypto";
import { ApiError } from "../base/api-error.ts";
import { type ChecksumAlgorithm, combineCrcs, isCrc } from "../protocol/checksums.ts";

/** Headers that are kept as they came and given back. Absent ones were not sent. */
export interface ObjectHeaders {
  readonly contentType?: string;
  readonly contentEncoding?: string;
  readonly contentDisposition?: string;
  readonly contentLanguage?: string;
  readonly cacheControl?: string;
  readonly expires?: string;
}

/** What comes with content and stays with it. */
export interface ObjectDescription {
  readonly headers: ObjectHeaders;
  /** `x-amz-meta-…`, without that prefix. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly tags: Readonly<Record<string, string>>;
}

export type ChecksumType = "FULL_OBJECT" | "COMPOSITE";

export interface ObjectChecksum {
  readonly algorithm: ChecksumAlgorithm;
  readonly type: ChecksumType;
  /** Base64; of a composite one `-N` follows, N its parts. */
  readonly value: string;
}

export interface ObjectRecord extends ObjectDescription {
  readonly id: string;
  readonly bucket: string;
  readonly key: string;
  readonly bytes: number;
  /** Without quotes. */
  readonly etag: string;
  readonly checksum: ObjectChecksum | null;
  /** Sizes of its parts, if it was uploaded in parts. */
  readonly partBytes: readonly number[] | null;
  readonly createdAt: Date;
}

/** Of UTF-8; S3's limit. */
export const MAX_KEY_BYTES = 1024;

/** @throws ApiError `KeyTooLongError`, `InvalidArgument` */
export function checkKey(key: string): void {
  const bytes = Buffer.byteLength(key);
  if (bytes > MAX_KEY_BYTES) {
    throw new ApiError("KeyTooLongError", "Your key is too long", {
      fields: { Size: String(bytes), MaxSizeAllowed: String(MAX_KEY_BYTES) },
    });
  }
  // PostgreSQL holds none, and no XML could list it.
  if (key.includes("\0")) throw new ApiError("InvalidArgument", "An object's key cannot hold the character NUL.");
}

/** Under which an object may be replaced or deleted. */
export interface WriteConditions {
  /** ETags as a client gives them, or `*`. */
  readonly ifMatch?: string | undefined;
  /** `*` only. */
  readonly ifNoneMatch?: string | undefined;
}

const preconditionFailed = (condition: string) =>
  new ApiError("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", {
    fields: { Condition: condition },
  });

export const noSuchKey = (key: string): ApiError =>
  new ApiError("NoSuchKey", "The specified key does not exist.", { fields: { Key: key } });

export const noSuchBucket = (bucket: string): ApiError =>
  new ApiError("NoSuchBucket", "The specified bucket does not exist", { fields: { BucketName: bucket } });

/**
 * @param etag of what has the key now; undefined if nothing
 * @throws ApiError `PreconditionFailed`, `NoSuchKey`, `NotImplemented`
 */
export function checkWriteConditions(key: string, etag: string | undefined, conditions: WriteConditions): void {
  const { ifMatch, ifNoneMatch } = conditions;
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch.trim() !== "*") {
      throw new ApiError("NotImplemented", "If-None-Match of a write is * or nothing: no ETag.");
    }
    if (etag !== undefined) throw preconditionFailed("If-None-Match");
  }
  if (ifMatch === undefined) return;
  if (etag === undefined) throw noSuchKey(key);
  if (!matchesEtag(ifMatch, etag)) throw preconditionFailed("If-Match");
}

/** Under which an object is read. */
export interface ReadConditions {
  readonly ifMatch?: string | undefined;
  readonly ifNoneMatch?: string | undefined;
  readonly ifModifiedSince?: Date | undefined;
  readonly ifUnmodifiedSince?: Date | undefined;
}

/**
 * In the order of RFC 9110 §13.2.2: an ETag, where given, decides before a date.
 * @returns `NotModified` where a client has it already
 * @throws ApiError `PreconditionFailed`
 */
export function checkReadConditions(
  object: Pick<ObjectRecord, "etag" | "createdAt">,
  conditions: ReadConditions,
): "wanted" | "not modified" {
  // Headers count whole seconds.
  const modified = Math.floor(object.createdAt.getTime() / 1000) * 1000;
  const { ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince } = conditions;
  if (ifMatch !== undefined) {
    if (!matchesEtag(ifMatch, object.etag)) throw preconditionFailed("If-Match");
  } else if (ifUnmodifiedSince !== undefined && modified > ifUnmodifiedSince.getTime()) {
    throw preconditionFailed("If-Unmodified-Since");
  }
  if (ifNoneMatch !== undefined) return matchesEtag(ifNoneMatch, object.etag) ? "not modified" : "wanted";
  return ifModifiedSince !== undefined && modified <= ifModifiedSince.getTime() ? "not modified" : "wanted";
}

/** @param condition `*`, or ETags with or without quotes, with commas between */
export function matchesEtag(condition: string, etag: string): boolean {
  return condition.split(",").some((one) => {
    const text = one.trim().replace(/^W\//, "");
    return text === "*" || text === etag || text === `"${etag}"`;
  });
}

/** The ETag of parts put together: the MD5 of their MD5s, and their number. */
export function multipartEtag(parts: readonly { readonly etag: string }[]): string {
  const md5 = createHash("md5");
  for (const { etag } of parts) md5.update(Buffer.from(etag, "hex"));
  return `${md5.digest("hex")}-${parts.length}`;
}

/** The checksum of parts put together, from theirs. */
export function multipartChecksum(
  algorithm: ChecksumAlgorithm,
  type: ChecksumType,
  parts: readonly { readonly value: string; readonly bytes: number }[],
  hashOf: (bytes: Buffer) => Buffer,
): ObjectChecksum {
  if (type === "FULL_OBJECT" && isCrc(algorithm)) {
    const crcs = parts.map(({ value, bytes }) => ({ crc: Buffer.from(value, "base64"), bytes }));
    return { algorithm, type, value: combineCrcs(algorithm, crcs).toString("base64") };
  }
  const all = Buffer.concat(parts.map(({ value }) => Buffer.from(value, "base64")));
  return { algorithm, type: "COMPOSITE", value: `${hashOf(all).toString("base64")}-${parts.length}` };
}
