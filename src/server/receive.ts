// Bodies of S3's requests: an object's is left to flow, a document is read here, and its checksum is checked.
import { createHash } from "node:crypto";
import { ApiError } from "../base/api-error.ts";
import { MIB } from "../base/units.ts";
import { CHECKSUM_ALGORITHMS, checksumHeader, checksumOf } from "../protocol/checksums.ts";
import { type Payload, readWhole } from "../protocol/payload.ts";
import { takesStream } from "../protocol/rest-xml.ts";
import type { Operation } from "../protocol/schema.ts";
import type { WireRequest } from "../protocol/wire.ts";

/** 10,000 parts with their checksums, or 1000 keys of 1 KiB with every character escaped, are below this. */
const MAX_DOCUMENT_BYTES = 8 * MIB;

/** @throws ApiError `EntityTooLarge`, `BadDigest`, and what reading `payload` throws */
export async function receive(
  operation: Operation<object, object>,
  request: WireRequest,
  payload: Payload,
): Promise<WireRequest> {
  if (takesStream(operation)) return { ...request, stream: payload };
  const { stream: _, ...head } = request;
  const body = await readWhole(payload, MAX_DOCUMENT_BYTES);
  // Here the checksum in the headers is the finished object's.
  if (operation.name !== "CompleteMultipartUpload")
    checkDocument(body, { ...Object.fromEntries(payload.trailers), ...request.headers });
  return { ...head, body };
}

function checkDocument(body: Buffer, headers: Readonly<Record<string, string>>): void {
  const given = CHECKSUM_ALGORITHMS.flatMap((algorithm) => {
    const value = headers[checksumHeader(algorithm)];
    return value === undefined ? [] : [[value, checksumOf(algorithm, body)] as const];
  });
  const md5 = headers["content-md5"];
  if (md5 !== undefined) given.push([md5, createHash("md5").update(body).digest()]);
  for (const [value, computed] of given) {
    if (value !== computed.toString("base64")) {
      throw new ApiError("BadDigest", "The checksum you specified did not match what we received.");
    }
  }
}
