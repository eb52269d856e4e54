// AWS Signature Version 4: who sent this request, and is it what they sent?
//
//   const parsed = parseSignature(request);              // no secret needed: says which key to look up
//   if (parsed.kind === "fault") throw signatureError(service, parsed);
//   const fault = verifySignature(parsed, secretKey, request, now, { keys });
//
// Checks run in the order clients observe, since they see only the first failure:
//   present → well formed → scope → (the caller: key known and active) → time → headers signed → payload → signature
//
// What we act on must be signed: `host`, and every `x-amz-*` header that came (the JSON services' operation is one).
// S3 has ways of its own: a path is encoded once and never tidied, clocks may be off by a quarter of an hour, and the
// body is not hashed here but proven while it is read (payload.ts), by what `payloadOf` says.
//
// Gaps, on purpose: SigV4A is refused, and signature version 2 but for S3's presigned URLs (sigv2.ts).

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { readQuery } from "./scalars.ts";
import { type LegacySignature, parseLegacySignature, verifyLegacySignature } from "./sigv2.ts";
import type { WireRequest } from "./wire.ts";

const ALGORITHM = "AWS4-HMAC-SHA256";
const TERMINATOR = "aws4_request";
const UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD";

/** How far a client's clock may be off, either way. */
const MAX_SKEW_MS = 5 * 60_000;
const S3_MAX_SKEW_MS = 15 * 60_000;
const MAX_EXPIRES_SECONDS = 7 * 24 * 3600;

export type SignatureReason =
  | "missing"
  | "malformed"
  | "scope"
  | "expired"
  | "skew"
  | "unsigned-header"
  | "payload-mismatch"
  | "signature-mismatch";

export interface SignatureFault {
  readonly kind: "fault";
  readonly reason: SignatureReason;
  /** One sentence for the client, as AWS says it. */
  readonly detail: string;
}

export interface ParsedSignature {
  readonly kind: "signature";
  readonly accessKeyId: string;
  /** `YYYYMMDD`. */
  readonly date: string;
  readonly region: string;
  /** The scope's word for it; whether it is one of ours is for the caller to say. */
  readonly service: string;
  /** `YYYYMMDDThhmmssZ`, as signed. */
  readonly timestamp: string;
  readonly signedAt: Date;
  /** In lower case, in the client's order. */
  readonly signedHeaders: readonly string[];
  /** 64 hex digits. */
  readonly signature: string;
  /** Of temporary credentials; part of what is signed. */
  readonly sessionToken: string | undefined;
  /** Only in presigned URLs. */
  readonly expiresSeconds: number | undefined;
  /** What the client says of the payload: a SHA-256, `UNSIGNED-PAYLOAD`, or nothing. */
  readonly contentHash: string | undefined;
  /** S3's URL of version 2: then nothing above says anything but the key, the service and the token. */
  readonly legacy?: LegacySignature;
}

const fault = (reason: SignatureReason, detail: string): SignatureFault => ({ kind: "fault", reason, detail });

/** `2026-01-31T10:20:30Z` written as `20260131T102030Z`; undefined if it is no moment. */
function readTimestamp(text: string): Date | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second] = match;
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
  const date = new Date(iso);
  return !Number.isNaN(date.getTime()) && date.toISOString() === iso ? date : undefined;
}

/** @returns `YYYYMMDDThhmmssZ` */
const writeTimestamp = (date: Date): string => `${date.toISOString().slice(0, 19).replace(/[-:]/g, "")}Z`;

interface Fields {
  readonly credential: string;
  readonly signedHeaders: string;
  readonly signature: string;
  readonly timestamp: string;
  readonly sessionToken: string | undefined;
  readonly expires: string | undefined;
  readonly contentHash: string | undefined;
}

function headerFields(authorization: string, headers: WireRequest["headers"]): Fields | SignatureFault {
  const space = authorization.indexOf(" ");
  const algorithm = space === -1 ? authorization : authorization.slice(0, space);
  if (algorithm !== ALGORITHM) {
    return fault("malformed", `Unsupported AWS 'algorithm': '${algorithm.slice(0, 64)}'. Supported is ${ALGORITHM}.`);
  }
  const found = new Map<string, string>();
  for (const part of authorization.slice(algorithm.length).split(",")) {
    const equals = part.indexOf("=");
    const name = part.slice(0, Math.max(equals, 0)).trim();
    if (name === "" || found.has(name)) return fault("malformed", "The Authorization header is malformed.");
    found.set(name, part.slice(equals + 1).trim());
  }
  const [credential, signedHeaders, signature] = ["Credential", "SignedHeaders", "Signature"].map((n) => found.get(n));
  const timestamp = headers["x-amz-date"];
  if (!credential || !signedHeaders || !signature || !timestamp) {
    const needs = Object.entries({ Credential: credential, Signature: signature, SignedHeaders: signedHeaders })
      .filter(([, value]) => !value)
      .map(([name]) => `Authorization header requires '${name}' parameter.`);
    if (!timestamp) needs.push("Authorization header requires existence of an 'X-Amz-Date' header.");
    return fault("malformed", needs.join(" "));
  }
  return {
    credential,
    signedHeaders,
    signature,
    timestamp,
    sessionToken: headers["x-amz-security-token"],
    expires: undefined,
    contentHash: headers["x-amz-content-sha256"],
  };
}

function queryFields(pairs: readonly [string, string][]): Fields | SignatureFault {
  const found = new Map<string, string>();
  for (const [name, value] of pairs) {
    if (!/^x-amz-/i.test(name)) continue;
    if (found.has(name.toLowerCase())) return fault("malformed", `The query parameter '${name}' occurs twice.`);
    found.set(name.toLowerCase(), value);
  }
  const algorithm = found.get("x-amz-algorithm");
  if (algorithm !== ALGORITHM) {
    return fault("malformed", `Unsupported AWS 'algorithm': '${algorithm?.slice(0, 64)}'. Supported is ${ALGORITHM}.`);
  }
  const need = ["X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"];
  const lacking = need.filter((name) => !found.get(name.toLowerCase()));
  if (lacking.length > 0) return fault("malformed", `AWS query-string parameters must include '${lacking[0]}'.`);
  const get = (name: string) => found.get(name) ?? "";
  return {
    credential: get("x-amz-credential"),
    signedHeaders: get("x-amz-signedheaders"),
    signature: get("x-amz-signature"),
    timestamp: get("x-amz-date"),
    sessionToken: found.get("x-amz-security-token"),
    expires: get("x-amz-expires"),
    contentHash: found.get("x-amz-content-sha256"),
  };
}

/** Reads the `Authorization` header, or a presigned URL's query parameters. Trusts nothing yet. */
export function parseSignature(request: WireRequest): ParsedSignature | SignatureFault {
  const { authorization } = request.headers;
  const presigned = /(^|&)(X-Amz-(Algorithm|Signature)|AWSAccessKeyId)=/i.test(request.query);
  if (authorization === undefined && !presigned) return fault("missing", "Request is missing Authentication Token");
  if (authorization !== undefined && presigned) {
    return fault("malformed", "A request is signed in its header or in its query string, not in both.");
  }
  const legacy = parseLegacySignature(request);
  if (typeof legacy === "string") return fault("malformed", legacy);
  if (legacy !== undefined) return fromLegacy(legacy);
  const pairs = presigned ? readQuery(request.query) : [];
  if (pairs === undefined) return fault("malformed", "The query string is not percent-encoded UTF-8.");
  const fields = authorization === undefined ? queryFields(pairs) : headerFields(authorization, request.headers);
  if ("kind" in fields) return fields;

  const credential = /^([A-Za-z0-9_]{1,128})\/([^/]*)\/([^/]*)\/([^/]*)\/([^/]*)$/.exec(fields.credential);
  if (credential === null) {
    return fault("malformed", "The Credential must be 'key/YYYYMMDD/region/service/aws4_request'.");
  }
  const [, accessKeyId = "", date = "", region = "", service = "", terminator] = credential;
  if (!/^[0-9a-f]{64}$/.test(fields.signature)) return fault("malformed", "The Signature must be 64 hex digits.");
  const signedHeaders = fields.signedHeaders.split(";");
  if (
    new Set(signedHeaders).size !== signedHeaders.length ||
    signedHeaders.some((h) => !/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(h))
  ) {
    return fault("malformed", "SignedHeaders must be different header names in lower case.");
  }
  const signedAt = readTimestamp(fields.timestamp);
  if (signedAt === undefined) {
    return fault("malformed", "Date must be in ISO-8601 'basic format'.");
  }
  let expiresSeconds: number | undefined;
  if (fields.expires !== undefined) {
    expiresSeconds = /^\d{1,7}$/.test(fields.expires) ? Number(fields.expires) : 0;
    if (expiresSeconds < 1 || expiresSeconds > MAX_EXPIRES_SECONDS) {
      return fault("malformed", `X-Amz-Expires must be 1 to ${MAX_EXPIRES_SECONDS} seconds.`);
    }
  }

  if (terminator !== TERMINATOR) {
    return fault("scope", `Credential should be scoped with a valid terminator: '${TERMINATOR}'.`);
  }
  if (date !== fields.timestamp.slice(0, 8)) {
    return fault(
      "scope",
      `Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '${date.slice(0, 32)}' != '${fields.timestamp.slice(0, 8)}', from '${fields.timestamp}'.`,
    );
  }
  if (!/^[a-z0-9-]{1,64}$/.test(region)) return fault("scope", "Credential should be scoped to a valid region.");
  if (!/^[a-z0-9-]{1,64}$/.test(service)) return fault("scope", "Credential should be scoped to a valid service.");

  return {
    kind: "signature",
    accessKeyId,
    date,
    region,
    service,
    timestamp: fields.timestamp,
    signedAt,
    signedHeaders,
    signature: fields.signature,
    sessionToken: fields.sessionToken,
    expiresSeconds,
    contentHash: fields.contentHash,
  };
}

const fromLegacy = (legacy: LegacySignature): ParsedSignature => ({
  ...{ kind: "signature", accessKeyId: legacy.accessKeyId, sessionToken: legacy.sessionToken, legacy },
  // Version 2 names neither; it was never used beyond S3 and Amazon's first Region.
  ...{ service: "s3", region: "us-east-1", date: "", timestamp: "", signedAt: legacy.expiresAt },
  ...{ signedHeaders: [], signature: legacy.signature, expiresSeconds: 1, contentHash: UNSIGNED_PAYLOAD },
});

/** The key that signs one day's requests to one service in one Region: four HMACs, worth keeping. */
export interface SigningKeys {
  of(secretKey: string, date: string, region: string, service: string): Buffer;
}

/** @param limit  keys kept, least recently derived dropped first; each is some 200 bytes */
export function signingKeys(limit: number): SigningKeys {
  const kept = new Map<string, Buffer>();
  return {
    of(secretKey, date, region, service) {
      const name = `${date}/${region}/${service}/${secretKey}`;
      let key = kept.get(name);
      if (key === undefined) {
        key = deriveSigningKey(secretKey, date, region, service);
        if (kept.size >= limit)
          for (const oldest of kept.keys()) {
            kept.delete(oldest);
            break;
          }
        kept.set(name, key);
      }
      return key;
    },
  };
}

const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();
const sha256Hex = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

function deriveSigningKey(secretKey: string, date: string, region: string, service: string): Buffer {
  return hmac(hmac(hmac(hmac(`AWS4${secretKey}`, date), region), service), TERMINATOR);
}

export interface VerifyOptions {
  readonly keys: SigningKeys;
  /** May the client leave the payload unsigned? Only where its checksum is checked otherwise (PutSnapshotBlock). */
  readonly allowUnsignedPayload?: boolean;
}

/**
 * Costs one SHA-256 over the body and some 30 µs.
 * @param now  the server's clock
 * @returns undefined if the request is what the key's owner signed
 */
export function verifySignature(
  parsed: ParsedSignature,
  secretKey: string,
  request: WireRequest,
  now: Date,
  options: VerifyOptions,
): SignatureFault | undefined {
  if (parsed.legacy !== undefined) return verifyLegacy(parsed.legacy, secretKey, request, now);
  const s3 = parsed.service === "s3";
  const timeFault = checkTime(parsed, now, s3 ? S3_MAX_SKEW_MS : MAX_SKEW_MS);
  if (timeFault !== undefined) return timeFault;

  const signed = new Set(parsed.signedHeaders);
  if (!signed.has("host")) return fault("unsigned-header", "'host' must be a 'SignedHeader' in the AWS Authorization.");
  for (const name in request.headers) {
    if (name.startsWith("x-amz-") && !signed.has(name)) {
      return fault(
        "unsigned-header",
        `There were headers present in the request which were not signed: ${name.slice(0, 64)}`,
      );
    }
  }
  for (const name of parsed.signedHeaders) {
    // Not `=== undefined`: a client may sign a header called `constructor`.
    if (!Object.hasOwn(request.headers, name)) {
      return fault("unsigned-header", `The signed header '${name}' is not in the request.`);
    }
  }

  const bodyHash = s3
    ? s3ContentHash(parsed, request)
    : parsed.contentHash === UNSIGNED_PAYLOAD
      ? UNSIGNED_PAYLOAD
      : sha256Hex(request.body);
  if (bodyHash === undefined) {
    return fault("malformed", "Missing required header for this request: x-amz-content-sha256");
  }
  if (!s3 && bodyHash === UNSIGNED_PAYLOAD && options.allowUnsignedPayload !== true) {
    return fault("payload-mismatch", "The payload of this operation must be signed.");
  }
  if (!s3 && parsed.contentHash !== undefined && parsed.contentHash !== bodyHash) {
    return fault("payload-mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.");
  }

  const presigned = parsed.expiresSeconds !== undefined;
  const canonical = canonicalRequest(request, parsed.signedHeaders, bodyHash, presigned, s3);
  if (canonical === undefined) return fault("malformed", "The path or the query string is not percent-encoded UTF-8.");
  const key = options.keys.of(secretKey, parsed.date, parsed.region, parsed.service);
  const expected = signatureOf(key, parsed.timestamp, `${parsed.date}/${parsed.region}/${parsed.service}`, canonical);
  return timingSafeEqual(expected, Buffer.from(parsed.signature, "hex")) ? undefined : mismatch();
}

const mismatch = (): SignatureFault =>
  fault(
    "signature-mismatch",
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
  );

function verifyLegacy(
  legacy: LegacySignature,
  secretKey: string,
  request: WireRequest,
  now: Date,
): SignatureFault | undefined {
  if (now.getTime() > legacy.expiresAt.getTime())
    return fault("expired", `Request has expired at ${legacy.expiresAt.toISOString()}`);
  return verifyLegacySignature(legacy, secretKey, request) ? undefined : mismatch();
}

/** What S3's clients have put under the signature for the body; undefined if nothing. */
const s3ContentHash = (parsed: ParsedSignature, request: WireRequest): string | undefined =>
  request.headers["x-amz-content-sha256"] ??
  parsed.contentHash ??
  (parsed.expiresSeconds === undefined ? undefined : UNSIGNED_PAYLOAD);

/** Signs the pieces of a body, each over the one before. */
export interface ChunkSigner {
  /** @param hash of the chunk's bytes: SHA-256 in hex */
  chunk(hash: string): Buffer;
  /** After the last chunk. @param hash of the lines of the trailers */
  trailers(hash: string): Buffer;
}

/** How a body is written and what proves it. */
export type SignedPayload =
  | { readonly kind: "hashed"; readonly sha256: string }
  | { readonly kind: "unsigned" }
  /** `signer` is absent where chunks are not signed. */
  | { readonly kind: "chunked"; readonly signer: ChunkSigner | undefined };

/**
 * What a request to S3, whose signature is verified, says of its body.
 * @returns undefined if it is nothing that S3 knows
 */
export function payloadOf(
  parsed: ParsedSignature,
  secretKey: string,
  request: WireRequest,
  keys: SigningKeys,
): SignedPayload | undefined {
  const hash = s3ContentHash(parsed, request);
  switch (hash) {
    case undefined:
      return undefined;
    case UNSIGNED_PAYLOAD:
      return { kind: "unsigned" };
    case "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
      return { kind: "chunked", signer: undefined };
    case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD":
    case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER":
      return {
        kind: "chunked",
        signer: chunkSigner(parsed, keys.of(secretKey, parsed.date, parsed.region, parsed.service)),
      };
    default:
      return /^[0-9a-f]{64}$/.test(hash) ? { kind: "hashed", sha256: hash } : undefined;
  }
}

const EMPTY_HASH = sha256Hex(Buffer.alloc(0));

function chunkSigner(parsed: ParsedSignature, key: Buffer): ChunkSigner {
  const scope = `${parsed.date}/${parsed.region}/${parsed.service}/${TERMINATOR}`;
  let previous = parsed.signature;
  const sign = (what: string, text: string): Buffer => {
    const signature = hmac(key, `${ALGORITHM}-${what}\n${parsed.timestamp}\n${scope}\n${previous}\n${text}`);
    previous = signature.toString("hex");
    return signature;
  };
  return {
    chunk: (hash) => sign("PAYLOAD", `${EMPTY_HASH}\n${hash}`),
    trailers: (hash) => sign("TRAILER", hash),
  };
}

function checkTime(parsed: ParsedSignature, now: Date, maxSkewMs: number): SignatureFault | undefined {
  const at = parsed.signedAt.getTime();
  const nowText = writeTimestamp(now);
  const limit = (ms: number) => writeTimestamp(new Date(ms));
  if (at > now.getTime() + maxSkewMs) {
    const latest = limit(now.getTime() + maxSkewMs);
    return fault(
      "skew",
      `Signature not yet current: ${parsed.timestamp} is still later than ${latest} (${nowText} + ${maxSkewMs / 60_000} min.)`,
    );
  }
  if (parsed.expiresSeconds !== undefined) {
    const end = at + parsed.expiresSeconds * 1000;
    return now.getTime() > end
      ? fault("expired", `Signature expired: ${limit(end)} is now earlier than ${nowText}`)
      : undefined;
  }
  if (at < now.getTime() - maxSkewMs) {
    const earliest = limit(now.getTime() - maxSkewMs);
    return fault(
      "skew",
      `Signature expired: ${parsed.timestamp} is now earlier than ${earliest} (${nowText} - ${maxSkewMs / 60_000} min.)`,
    );
  }
  return undefined;
}

/** RFC 3986: all but unreserved characters, which `encodeURIComponent` nearly does. */
const encodeRfc3986 = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

function canonicalPath(path: string): string {
  if (path === "/" || path === "") return "/";
  const segments: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "" || segment === ".") continue;
    if (segment === "..") segments.pop();
    else segments.push(encodeRfc3986(segment));
  }
  return `/${segments.join("/")}${segments.length > 0 && path.endsWith("/") ? "/" : ""}`;
}

/** Of S3: as it is, in one way of encoding; undefined if it is not percent-encoded UTF-8. */
function canonicalKeyPath(path: string): string | undefined {
  try {
    return path
      .split("/")
      .map((segment) => encodeRfc3986(decodeURIComponent(segment)))
      .join("/");
  } catch {
    return undefined;
  }
}

function canonicalQuery(query: string, presigned: boolean): string | undefined {
  if (query === "") return "";
  const encoded: [string, string][] = [];
  const pairs = readQuery(query);
  if (pairs === undefined) return undefined;
  for (const [name, value] of pairs) {
    if (presigned && name.toLowerCase() === "x-amz-signature") continue;
    encoded.push([encodeRfc3986(name), encodeRfc3986(value)]);
  }
  encoded.sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0));
  return encoded.map(([name, value]) => `${name}=${value}`).join("&");
}

function canonicalRequest(
  request: Omit<WireRequest, "body">,
  signedHeaders: readonly string[],
  bodyHash: string,
  presigned: boolean,
  s3: boolean,
): string | undefined {
  const query = canonicalQuery(request.query, presigned);
  if (query === undefined || !request.path.isWellFormed()) return undefined;
  const path = s3 ? canonicalKeyPath(request.path) : canonicalPath(request.path);
  if (path === undefined) return undefined;
  let headers = "";
  for (const name of signedHeaders) headers += `${name}:${(request.headers[name] ?? "").trim().replace(/\s+/g, " ")}\n`;
  return `${request.method}\n${path}\n${query}\n${headers}\n${signedHeaders.join(";")}\n${bodyHash}`;
}

function signatureOf(key: Buffer, timestamp: string, scope: string, canonical: string): Buffer {
  // Latin-1, because that is how node:http decodes header values: so they are hashed as the bytes they came as.
  const hash = createHash("sha256").update(canonical, "latin1").digest("hex");
  return createHmac("sha256", key).update(`${ALGORITHM}\n${timestamp}\n${scope}/${TERMINATOR}\n${hash}`).digest();
}

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/**
 * Signs a request of our own, all its headers.
 * @param request  its headers must have `host`; names in lower case
 * @returns the headers to send
 */
export function signRequest(
  request: WireRequest,
  credentials: Credentials,
  scope: { readonly region: string; readonly service: string },
  now: Date,
): Record<string, string> {
  const timestamp = writeTimestamp(now);
  const date = timestamp.slice(0, 8);
  const headers: Record<string, string> = {
    ...request.headers,
    "x-amz-date": timestamp,
    "x-amz-content-sha256": request.headers["x-amz-content-sha256"] ?? sha256Hex(request.body),
  };
  if (credentials.sessionToken !== undefined) headers["x-amz-security-token"] = credentials.sessionToken;
  const names = Object.keys(headers).sort();
  const canonical = canonicalRequest(
    { ...request, headers },
    names,
    headers["x-amz-content-sha256"] ?? "",
    false,
    scope.service === "s3",
  );
  if (canonical === undefined) throw new Error("sign a request whose query is not percent-encoded");
  const where = `${date}/${scope.region}/${scope.service}`;
  const key = deriveSigningKey(credentials.secretAccessKey, date, scope.region, scope.service);
  const signature = signatureOf(key, timestamp, where, canonical).toString("hex");
  headers.authorization = `${ALGORITHM} Credential=${credentials.accessKeyId}/${where}/${TERMINATOR}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
  return headers;
}
