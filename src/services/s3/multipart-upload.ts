// Uploads in parts: begun, filled, completed or given up.
import {
  AbortMultipartUpload$,
  type AbortMultipartUploadOutput,
  type AbortMultipartUploadRequest,
  CompleteMultipartUpload$,
  type CompleteMultipartUploadOutput,
  type CompleteMultipartUploadRequest,
  CreateMultipartUpload$,
  type CreateMultipartUploadOutput,
  type CreateMultipartUploadRequest,
  UploadPart$,
  UploadPartCopy$,
  type UploadPartCopyOutput,
  type UploadPartCopyRequest,
  type UploadPartOutput,
  type UploadPartRequest,
} from "@aws-sdk/client-s3";
import { ApiError } from "../../base/api-error.ts";
import { MAX_PARTS, type Upload } from "../../objects/uploads.ts";
import { CHECKSUM_ALGORITHMS, isChecksumAlgorithm, isCrc } from "../../protocol/checksums.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { audited, mustFindBucket, objectCheck } from "./bucket.ts";
import { copiedRange } from "./byte-range.ts";
import { copySourceOf, sourceConditions } from "./copy-source.ts";
import { describedBy } from "./description.ts";
import { incomingOf, namedChecksums, type WithPayload } from "./incoming.ts";
import { shownChecksum, shownPartChecksum } from "./shown-object.ts";

interface NamesUpload {
  readonly Bucket?: string | undefined;
  readonly Key?: string | undefined;
  readonly UploadId?: string | undefined;
  readonly ExpectedBucketOwner?: string | undefined;
}

async function resolveWrite(ctx: RequestContext, input: NamesUpload) {
  const bucket = await mustFindBucket(ctx, input);
  const key = input.Key ?? "";
  return { checks: [objectCheck("s3:PutObject", bucket, key)], ...audited(bucket, key) };
}

const uploadOf = (ctx: RequestContext, { Bucket = "", Key = "", UploadId = "" }: NamesUpload): Promise<Upload> =>
  ctx.parts.objects.upload(Bucket, Key, UploadId);

/** @throws ApiError `InvalidArgument` */
function partNumber(number: number | undefined): number {
  if (number !== undefined && number >= 1 && number <= MAX_PARTS) return number;
  throw new ApiError("InvalidArgument", `Part number must be an integer between 1 and ${MAX_PARTS}, inclusive`, {
    fields: { ArgumentName: "partNumber", ArgumentValue: String(number) },
  });
}

export const createMultipartUpload = operation({
  action: "s3:PutObject",
  schema: CreateMultipartUpload$,
  access: "write",
  resolve: (ctx: RequestContext, input: CreateMultipartUploadRequest) => resolveWrite(ctx, input),
  async run(ctx, input): Promise<CreateMultipartUploadOutput> {
    const { Bucket = "", Key = "" } = input;
    const checksum = checksumOf(input);
    const upload = await ctx.parts.objects.createUpload({
      ...{ bucket: Bucket, key: Key, ...describedBy(input), checksum },
      initiator: ctx.caller.arn,
    });
    return {
      ...{ Bucket, Key, UploadId: upload.id },
      ...(checksum === null ? {} : { ChecksumAlgorithm: checksum.algorithm, ChecksumType: checksum.type }),
    };
  },
});

/** @throws ApiError `InvalidRequest` */
function checksumOf(input: CreateMultipartUploadRequest): Upload["checksum"] {
  const { ChecksumAlgorithm: algorithm, ChecksumType: type } = input;
  if (algorithm === undefined) {
    if (type === undefined) return null;
    throw new ApiError(
      "InvalidRequest",
      "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
    );
  }
  if (!isChecksumAlgorithm(algorithm)) {
    throw new ApiError(
      "InvalidRequest",
      `Ingot has no checksum ${algorithm}: it has ${CHECKSUM_ALGORITHMS.join(", ")}.`,
    );
  }
  const kind = type ?? (algorithm === "CRC64NVME" ? "FULL_OBJECT" : "COMPOSITE");
  const possible = kind === "FULL_OBJECT" ? isCrc(algorithm) : kind === "COMPOSITE" && algorithm !== "CRC64NVME";
  if (!possible || (kind !== "FULL_OBJECT" && kind !== "COMPOSITE")) {
    throw new ApiError(
      "InvalidRequest",
      `The ${kind} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`,
    );
  }
  return { algorithm, type: kind };
}

export const uploadPart = operation({
  action: "s3:PutObject",
  schema: UploadPart$,
  access: "write",
  resolve: (ctx: RequestContext, input: WithPayload<UploadPartRequest>) => resolveWrite(ctx, input),
  async run(ctx, input): Promise<UploadPartOutput> {
    const number = partNumber(input.PartNumber);
    const upload = await uploadOf(ctx, input);
    const incoming = incomingOf(input, upload.checksum?.algorithm);
    const [expected, actual] = [upload.checksum?.algorithm, incoming.checksum?.algorithm];
    if (expected !== undefined && actual !== expected) {
      throw new ApiError(
        "InvalidRequest",
        `Checksum Type mismatch occurred, expected checksum Type: ${expected.toLowerCase()}, actual checksum Type: ${actual?.toLowerCase()}`,
      );
    }
    const part = await ctx.parts.objects.writePart(upload, number, incoming);
    return { ETag: `"${part.etag}"`, ...shownPartChecksum(part.checksum) };
  },
});

export const uploadPartCopy = operation({
  action: "s3:PutObject",
  schema: UploadPartCopy$,
  access: "write",
  async resolve(ctx: RequestContext, input: UploadPartCopyRequest) {
    const source = copySourceOf(input.CopySource);
    const written = await resolveWrite(ctx, input);
    const from = await mustFindBucket(ctx, {
      Bucket: source.bucket,
      ExpectedBucketOwner: input.ExpectedSourceBucketOwner,
    });
    const read = audited(from, source.key);
    return {
      source,
      checks: [objectCheck("s3:GetObject", from, source.key), ...written.checks],
      resources: [...written.resources, ...read.resources],
      recipients: [...written.recipients, ...read.recipients],
    };
  },
  async run(ctx, input, { source }): Promise<UploadPartCopyOutput> {
    const number = partNumber(input.PartNumber);
    const part = await ctx.parts.objects.copyPart(await uploadOf(ctx, input), number, {
      ...source,
      check: sourceConditions(input),
      range: (object) => copiedRange(input.CopySourceRange, object.bytes),
    });
    return {
      CopyPartResult: { ETag: `"${part.etag}"`, LastModified: part.createdAt, ...shownPartChecksum(part.checksum) },
    };
  },
});

export const completeMultipartUpload = operation({
  action: "s3:PutObject",
  schema: CompleteMultipartUpload$,
  access: "write",
  resolve: (ctx: RequestContext, input: CompleteMultipartUploadRequest) => resolveWrite(ctx, input),
  async run(ctx, input): Promise<CompleteMultipartUploadOutput> {
    const { Bucket = "", Key = "", UploadId = "" } = input;
    const object = await ctx.parts.objects.complete({
      ...{ bucket: Bucket, key: Key, uploadId: UploadId },
      parts: (input.MultipartUpload?.Parts ?? []).map((part) => ({
        number: partNumber(part.PartNumber),
        etag: (part.ETag ?? "").replace(/^"(.*)"$/, "$1"),
        checksums: namedChecksums(part),
      })),
      conditions: { ifMatch: input.IfMatch, ifNoneMatch: input.IfNoneMatch },
      bytes: input.MpuObjectSize,
      checksums: namedChecksums(input),
    });
    return {
      ...{ Location: `/${Bucket}/${Key}`, Bucket, Key, ETag: `"${object.etag}"` },
      ...shownChecksum(object.checksum),
    };
  },
});

export const abortMultipartUpload = operation({
  action: "s3:AbortMultipartUpload",
  schema: AbortMultipartUpload$,
  access: "write",
  async resolve(ctx: RequestContext, input: AbortMultipartUploadRequest) {
    const bucket = await mustFindBucket(ctx, input);
    const key = input.Key ?? "";
    return { checks: [objectCheck("s3:AbortMultipartUpload", bucket, key)], ...audited(bucket, key) };
  },
  async run(ctx, input): Promise<AbortMultipartUploadOutput> {
    const { Bucket = "", Key = "", UploadId = "" } = input;
    await ctx.parts.objects.abort(Bucket, Key, UploadId);
    return {};
  },
});
