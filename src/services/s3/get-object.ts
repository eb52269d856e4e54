// GetObject and HeadObject: the same questions and the same headers, with the bytes or without.
import type { Readable } from "node:stream";
import {
  GetObject$,
  type GetObjectOutput,
  type GetObjectRequest,
  HeadObject$,
  type HeadObjectOutput,
  type HeadObjectRequest,
} from "@aws-sdk/client-s3";
import { ApiError } from "../../base/api-error.ts";
import { checkReadConditions, noSuchKey, type ObjectRecord } from "../../objects/object.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { audited, bucketCheck, mustFindBucket, objectCheck } from "./bucket.ts";
import { type ByteRange, partRange, wantedRange } from "./byte-range.ts";
import { shownChecksum } from "./shown-object.ts";
import { checkVersion } from "./version.ts";

type Asked = GetObjectRequest | HeadObjectRequest;

/** Who may not list the bucket is not told that a key is not there, but that he may not read it. */
async function resolveRead(ctx: RequestContext, input: Asked) {
  const bucket = await mustFindBucket(ctx, input);
  const key = input.Key ?? "";
  const missing = (await ctx.parts.objects.find(bucket.name, key)) === undefined;
  return {
    checks: [objectCheck("s3:GetObject", bucket, key), ...(missing ? [bucketCheck("s3:ListBucket", bucket)] : [])],
    ...audited(bucket, key),
  };
}

export const getObject = operation({
  action: "s3:GetObject",
  schema: GetObject$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetObjectRequest) => resolveRead(ctx, input),
  async run(ctx, input): Promise<Omit<GetObjectOutput, "Body"> & { Body: Readable }> {
    checkVersion(input.VersionId);
    const { Bucket = "", Key = "" } = input;
    const opened = await ctx.parts.objects.open(Bucket, Key);
    if (opened === undefined) throw noSuchKey(Key);
    try {
      const { head, range } = answer(opened.object, input);
      return { ...head, Body: opened.read(range.first, range.last) };
    } catch (error) {
      opened.release();
      throw error;
    }
  },
});

export const headObject = operation({
  action: "s3:GetObject",
  schema: HeadObject$,
  access: "read",
  resolve: (ctx: RequestContext, input: HeadObjectRequest) => resolveRead(ctx, input),
  async run(ctx, input): Promise<HeadObjectOutput> {
    checkVersion(input.VersionId);
    const { Bucket = "", Key = "" } = input;
    const object = await ctx.parts.objects.find(Bucket, Key);
    if (object === undefined) throw noSuchKey(Key);
    return answer(object, input).head;
  },
});

/** @throws ApiError `NotModified`, `PreconditionFailed`, `InvalidRange`, `InvalidPartNumber`, `InvalidRequest` */
function answer(object: ObjectRecord, input: Asked): { readonly head: HeadObjectOutput; readonly range: ByteRange } {
  const state = checkReadConditions(object, {
    ifMatch: input.IfMatch,
    ifNoneMatch: input.IfNoneMatch,
    ifModifiedSince: input.IfModifiedSince,
    ifUnmodifiedSince: input.IfUnmodifiedSince,
  });
  if (state === "not modified") {
    throw new ApiError("NotModified", "Not Modified", {
      fields: { ETag: `"${object.etag}"`, "Last-Modified": object.createdAt.toUTCString() },
    });
  }
  if (input.Range !== undefined && input.PartNumber !== undefined) {
    throw new ApiError("InvalidRequest", "Cannot specify both Range header and partNumber query parameter");
  }
  const range =
    input.PartNumber === undefined ? wantedRange(input.Range, object.bytes) : partRange(object, input.PartNumber);
  const whole = { first: 0, last: object.bytes - 1 };
  const { first, last } = range ?? whole;
  const { headers } = object;
  const contentEncoding = input.ResponseContentEncoding ?? headers.contentEncoding;
  const contentDisposition = input.ResponseContentDisposition ?? headers.contentDisposition;
  const contentLanguage = input.ResponseContentLanguage ?? headers.contentLanguage;
  const cacheControl = input.ResponseCacheControl ?? headers.cacheControl;
  const expires = input.ResponseExpires ?? (headers.expires === undefined ? undefined : new Date(headers.expires));
  const tags = Object.keys(object.tags).length;
  return {
    range: { first, last },
    head: {
      AcceptRanges: "bytes",
      ContentLength: last - first + 1,
      ...(range === undefined ? {} : { ContentRange: `bytes ${first}-${last}/${object.bytes}` }),
      ContentType: input.ResponseContentType ?? headers.contentType ?? "binary/octet-stream",
      ETag: `"${object.etag}"`,
      LastModified: object.createdAt,
      Metadata: { ...object.metadata },
      ...(contentEncoding === undefined ? {} : { ContentEncoding: contentEncoding }),
      ...(contentDisposition === undefined ? {} : { ContentDisposition: contentDisposition }),
      ...(contentLanguage === undefined ? {} : { ContentLanguage: contentLanguage }),
      ...(cacheControl === undefined ? {} : { CacheControl: cacheControl }),
      ...(expires === undefined ? {} : { Expires: expires }),
      ...(tags === 0 ? {} : { TagCount: tags }),
      ...(input.PartNumber === undefined || object.partBytes === null ? {} : { PartsCount: object.partBytes.length }),
      // A client would hold it against the bytes that it gets: it is the whole object's.
      ...(input.ChecksumMode === "ENABLED" && range === undefined ? shownChecksum(object.checksum) : {}),
    },
  };
}
