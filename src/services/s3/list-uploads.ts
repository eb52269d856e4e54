// ListParts and ListMultipartUploads.
import {
  ListMultipartUploads$,
  type ListMultipartUploadsOutput,
  type ListMultipartUploadsRequest,
  ListParts$,
  type ListPartsOutput,
  type ListPartsRequest,
} from "@aws-sdk/client-s3";
import { ApiError } from "../../base/api-error.ts";
import { commonPrefix } from "../../objects/listing.ts";
import type { Upload } from "../../objects/uploads.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { audited, bucketCheck, canonicalUser, mustFindBucket, objectCheck } from "./bucket.ts";
import { keyWriter } from "./key-encoding.ts";
import { shownPartChecksum } from "./shown-object.ts";

const MOST = 1000;

/** @throws ApiError `InvalidArgument` */
function pageSize(name: string, value: number | undefined): number {
  if (value === undefined) return MOST;
  if (value < 0) throw new ApiError("InvalidArgument", `Argument ${name} must be an integer between 0 and 2147483647`);
  return Math.min(value, MOST);
}

export const listParts = operation({
  action: "s3:ListMultipartUploadParts",
  schema: ListParts$,
  access: "read",
  async resolve(ctx: RequestContext, input: ListPartsRequest) {
    const bucket = await mustFindBucket(ctx, input);
    const key = input.Key ?? "";
    return { bucket, checks: [objectCheck("s3:ListMultipartUploadParts", bucket, key)], ...audited(bucket, key) };
  },
  async run(ctx, input, { bucket }): Promise<ListPartsOutput> {
    const { Bucket = "", Key = "", UploadId = "" } = input;
    const upload = await ctx.parts.objects.upload(Bucket, Key, UploadId);
    const limit = pageSize("max-parts", input.MaxParts);
    const marker = Number(input.PartNumberMarker ?? 0);
    if (!Number.isSafeInteger(marker) || marker < 0) {
      throw new ApiError("InvalidArgument", "Argument part-number-marker must be an integer");
    }
    const found = await ctx.parts.objects.parts(upload.id, marker, limit + 1);
    const page = found.slice(0, limit);
    const last = page.at(-1)?.number ?? marker;
    return {
      ...{ Bucket, Key, UploadId, MaxParts: limit, StorageClass: "STANDARD" },
      ...{ PartNumberMarker: String(marker), NextPartNumberMarker: String(last) },
      IsTruncated: found.length > limit && limit > 0,
      Owner: canonicalUser(bucket.accountId),
      Initiator: { ID: upload.initiator, DisplayName: upload.initiator },
      ...(upload.checksum === null
        ? {}
        : { ChecksumAlgorithm: upload.checksum.algorithm, ChecksumType: upload.checksum.type }),
      Parts: page.map(({ number, bytes, etag, checksum, createdAt }) => ({
        ...{ PartNumber: number, Size: bytes, ETag: `"${etag}"`, LastModified: createdAt },
        ...shownPartChecksum(checksum),
      })),
    };
  },
});

export const listMultipartUploads = operation({
  action: "s3:ListBucketMultipartUploads",
  schema: ListMultipartUploads$,
  access: "read",
  async resolve(ctx: RequestContext, input: ListMultipartUploadsRequest) {
    const bucket = await mustFindBucket(ctx, input);
    return { bucket, checks: [bucketCheck("s3:ListBucketMultipartUploads", bucket)], ...audited(bucket) };
  },
  async run(ctx, input, { bucket }): Promise<ListMultipartUploadsOutput> {
    const limit = pageSize("max-uploads", input.MaxUploads);
    const { Prefix = "", Delimiter = "", KeyMarker = "", UploadIdMarker = "" } = input;
    const write = keyWriter(input.EncodingType);
    const uploads = await ctx.parts.objects.uploads(bucket.name);
    const { page, prefixes, next } = pageOf(uploads, { Prefix, Delimiter, KeyMarker, UploadIdMarker, limit });
    return {
      Bucket: bucket.name,
      ...{ KeyMarker: write(KeyMarker), UploadIdMarker, Prefix: write(Prefix), MaxUploads: limit },
      ...(input.Delimiter === undefined ? {} : { Delimiter: write(Delimiter) }),
      ...(input.EncodingType === undefined ? {} : { EncodingType: input.EncodingType }),
      IsTruncated: next !== undefined,
      ...(next === undefined ? {} : { NextKeyMarker: write(next.key), NextUploadIdMarker: next.uploadId }),
      Uploads: page.map((upload) => ({
        ...{
          Key: write(upload.key),
          UploadId: upload.id,
          Initiated: upload.createdAt,
          StorageClass: "STANDARD" as const,
        },
        ...{
          Owner: canonicalUser(bucket.accountId),
          Initiator: { ID: upload.initiator, DisplayName: upload.initiator },
        },
        ...(upload.checksum === null
          ? {}
          : { ChecksumAlgorithm: upload.checksum.algorithm, ChecksumType: upload.checksum.type }),
      })),
      CommonPrefixes: prefixes.map((prefix) => ({ Prefix: write(prefix) })),
    };
  },
});

interface Paging {
  readonly Prefix: string;
  readonly Delimiter: string;
  readonly KeyMarker: string;
  readonly UploadIdMarker: string;
  readonly limit: number;
}

/** @param uploads in order: by key, then by id. The markers name the last of the page before; there are never many. */
function pageOf(uploads: readonly Upload[], paging: Paging) {
  const { Prefix, Delimiter, KeyMarker, UploadIdMarker, limit } = paging;
  const page: Upload[] = [];
  const prefixes: string[] = [];
  let next: { readonly key: string; readonly uploadId: string } | undefined;
  let last = { key: KeyMarker, uploadId: UploadIdMarker };
  let passed = KeyMarker === "";
  for (const upload of uploads) {
    if (!passed) {
      // Uploads come in the database's order: what follows the marker's key, whatever order that is, is behind it.
      passed =
        compareBytes(upload.key, KeyMarker) > 0 ||
        (upload.key === KeyMarker && upload.id > UploadIdMarker && UploadIdMarker !== "");
      if (!passed) continue;
    }
    if (!upload.key.startsWith(Prefix)) continue;
    const rolled = commonPrefix(upload.key, Prefix, Delimiter);
    if (rolled !== undefined && (rolled === prefixes.at(-1) || rolled === KeyMarker)) continue;
    if (page.length + prefixes.length === limit) {
      if (limit > 0) next = last;
      break;
    }
    if (rolled === undefined) page.push(upload);
    else prefixes.push(rolled);
    last = { key: rolled ?? upload.key, uploadId: rolled === undefined ? upload.id : "" };
  }
  return { page, prefixes, next };
}

const compareBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
