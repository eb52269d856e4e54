// Presigned URLs of signature version 2, for S3 alone: botocore, and with it the AWS CLI 1 and boto3, still makes these in
// us-east-1 unless told otherwise. Nothing else of version 2 is taken.
//
//   ?AWSAccessKeyId=…&Signature=…&Expires=SECONDS-SINCE-1970    HMAC-SHA1, base64
//
// Of the query this signs only what it lists; a URL with anything else in its query is refused, for nobody has signed that.
import { createHmac, timingSafeEqual } from "node:crypto";
import { bucketOfHost } from "./s3-address.ts";
import { readQuery } from "./scalars.ts";
import type { WireRequest } from "./wire.ts";

const OWN = new Set(["AWSAccessKeyId", "Signature", "Expires"]);
const SIGNED = new Set([
  "acl",
  "cors",
  "delete",
  "lifecycle",
  "location",
  "logging",
  "notification",
  "partNumber",
  "policy",
  "response-cache-control",
  "response-content-disposition",
  "response-content-encoding",
  "response-content-language",
  "response-content-type",
  "response-expires",
  "tagging",
  "uploadId",
  "uploads",
  "versionId",
  "versioning",
]);

export interface LegacySignature {
  readonly accessKeyId: string;
  /** Base64. */
  readonly signature: string;
  readonly expiresAt: Date;
  readonly sessionToken: string | undefined;
}

/** @returns undefined if it is no such URL; a sentence if it is a bad one */
export function parseLegacySignature(request: WireRequest): LegacySignature | string | undefined {
  if (!/(^|&)AWSAccessKeyId=/i.test(request.query)) return undefined;
  const pairs = readQuery(request.query) ?? [];
  const query = new Map(pairs);
  if (query.size !== pairs.length) return "A query parameter occurs twice.";
  const unsigned = pairs.find(([name]) => !OWN.has(name) && !SIGNED.has(name) && !travels(name));
  if (unsigned !== undefined) return `The query parameter '${unsigned[0].slice(0, 64)}' is not under the signature.`;
  const accessKeyId = query.get("AWSAccessKeyId") ?? "";
  const signature = query.get("Signature") ?? "";
  const expires = query.get("Expires") ?? "";
  if (!/^[A-Za-z0-9_]{1,128}$/.test(accessKeyId) || !/^[A-Za-z0-9+/]{27}=$/.test(signature)) {
    return "The AWSAccessKeyId or the Signature is malformed.";
  }
  if (!/^\d{1,11}$/.test(expires)) return "Expires must be seconds since 1970.";
  return {
    accessKeyId,
    signature,
    expiresAt: new Date(Number(expires) * 1000),
    sessionToken: query.get("x-amz-security-token"),
  };
}

/** Headers that the URL carries for its user. */
const travels = (name: string): boolean => /^(x-amz-[a-z0-9-]+|content-type|content-md5)$/.test(name);

/** Did the key's owner sign it? */
export function verifyLegacySignature(parsed: LegacySignature, secretKey: string, request: WireRequest): boolean {
  const pairs = readQuery(request.query) ?? [];
  // As the codec reads them: what comes as a header counts before what the URL carries, and must be what was signed.
  const headers: Record<string, string | undefined> = {
    ...Object.fromEntries(pairs.filter(([name]) => travels(name))),
    ...request.headers,
  };
  const amz = Object.entries(headers)
    .filter(([name]) => name.startsWith("x-amz-"))
    .map(([name, value = ""]) => `${name}:${value.trim()}\n`)
    .sort();
  const bucket = bucketOfHost(request.headers.host ?? "");
  const signed = pairs
    .filter(([name]) => SIGNED.has(name))
    .map(([name, value]) => (value === "" ? name : `${name}=${value}`))
    .sort();
  const resource = `${bucket === undefined ? "" : `/${bucket}`}${request.path}${signed.length === 0 ? "" : `?${signed.join("&")}`}`;
  const text = [
    request.method,
    headers["content-md5"] ?? "",
    headers["content-type"] ?? "",
    String(parsed.expiresAt.getTime() / 1000),
    amz.join("") + resource,
  ].join("\n");
  const expected = createHmac("sha1", secretKey).update(text, "latin1").digest();
  return timingSafeEqual(expected, Buffer.from(parsed.signature, "base64"));
}
