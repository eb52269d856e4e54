// Content on its way in, and the checksums that came with it, before it in headers or behind it in trailers.
import { ApiError } from "../../base/api-error.ts";
import { type Incoming, MAX_PUT_BYTES } from "../../objects/objects.ts";
import {
  CHECKSUM_ALGORITHMS,
  CHECKSUM_BYTES,
  type ChecksumAlgorithm,
  checksumHeader,
  checksumMember,
  isChecksumAlgorithm,
} from "../../protocol/checksums.ts";
import type { Payload } from "../../protocol/payload.ts";

/** The SDK's type, with its body as it really comes. */
export type WithPayload<T> = Omit<T, "Body"> & { readonly Body: Payload };

export type NamesChecksums = { readonly [A in ChecksumAlgorithm as `Checksum${A}`]?: string | undefined };

interface SendsContent extends NamesChecksums {
  readonly Body: Payload;
  readonly ContentMD5?: string | undefined;
  readonly ChecksumAlgorithm?: string | undefined;
}

/** The checksums that a request's members name, by algorithm. @throws ApiError `InvalidRequest` */
export function namedChecksums(input: NamesChecksums): Partial<Record<ChecksumAlgorithm, string>> {
  const named: Partial<Record<ChecksumAlgorithm, string>> = {};
  for (const algorithm of CHECKSUM_ALGORITHMS) {
    const value = input[checksumMember(algorithm)];
    if (value !== undefined) named[algorithm] = value;
  }
  return named;
}

/**
 * @param fallback computed where the client names none: an upload's own algorithm
 * @throws ApiError `InvalidDigest`, `InvalidRequest`, `EntityTooLarge`
 */
export function incomingOf(input: SendsContent, fallback?: ChecksumAlgorithm): Incoming {
  const { Body } = input;
  if (Body.bytes !== undefined && Body.bytes > MAX_PUT_BYTES) {
    throw new ApiError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", {
      fields: { ProposedSize: String(Body.bytes), MaxSizeAllowed: String(MAX_PUT_BYTES) },
    });
  }
  return { source: Body, md5: md5Of(input.ContentMD5), checksum: checksumOf(input, fallback) };
}

function md5Of(text: string | undefined): Buffer | undefined {
  if (text === undefined) return undefined;
  if (!/^[A-Za-z0-9+/]{22}==$/.test(text)) {
    throw new ApiError("InvalidDigest", "The Content-MD5 you specified was invalid.", {
      fields: { "Content-MD5": text },
    });
  }
  return Buffer.from(text, "base64");
}

function checksumOf(input: SendsContent, fallback: ChecksumAlgorithm | undefined): Incoming["checksum"] {
  const { announced, trailers } = input.Body;
  const inHeaders = Object.entries(namedChecksums(input)) as [ChecksumAlgorithm, string][];
  const inTrailers = CHECKSUM_ALGORITHMS.filter((algorithm) => announced.includes(checksumHeader(algorithm)));
  if (inHeaders.length + inTrailers.length > 1) {
    throw new ApiError(
      "InvalidRequest",
      "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    );
  }
  const [header] = inHeaders;
  if (header !== undefined) {
    const [algorithm, value] = header;
    if (!isChecksum(algorithm, value)) {
      throw new ApiError("InvalidRequest", `Value for ${checksumHeader(algorithm)} header is invalid.`);
    }
    return { algorithm, expected: () => value };
  }
  const [algorithm] = inTrailers;
  if (algorithm !== undefined) {
    return {
      algorithm,
      expected: () => {
        const value = trailers.get(checksumHeader(algorithm));
        if (value === undefined || !isChecksum(algorithm, value)) {
          throw new ApiError("InvalidRequest", `Value for ${checksumHeader(algorithm)} trailing header is invalid.`);
        }
        return value;
      },
    };
  }
  const asked = input.ChecksumAlgorithm;
  if (asked !== undefined && !isChecksumAlgorithm(asked)) {
    throw new ApiError("InvalidRequest", `Ingot has no checksum ${asked}: it has ${CHECKSUM_ALGORITHMS.join(", ")}.`);
  }
  const computed = asked ?? fallback;
  return computed === undefined ? undefined : { algorithm: computed, expected: () => undefined };
}

const isChecksum = (algorithm: ChecksumAlgorithm, value: string): boolean =>
  /^[A-Za-z0-9+/]+={0,2}$/.test(value) && Buffer.from(value, "base64").length === CHECKSUM_BYTES[algorithm];
