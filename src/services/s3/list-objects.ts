// ListObjects and ListObjectsV2: one listing with two ways of paging.
import {
  ListObjects$,
  type ListObjectsOutput,
  type ListObjectsRequest,
  ListObjectsV2$,
  type ListObjectsV2Output,
  type ListObjectsV2Request,
} from "@aws-sdk/client-s3";
import { ApiError } from "../../base/api-error.ts";
import type { ConditionKeys } from "../../model/access.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { audited, bucketCheck, canonicalUser, mustFindBucket } from "./bucket.ts";
import { cursorOf, tokenOf } from "./continuation.ts";
import { keyWriter } from "./key-encoding.ts";
import { listedObject } from "./shown-object.ts";

const MOST_KEYS = 1000;

async function resolveListing(ctx: RequestContext, input: ListObjectsRequest | ListObjectsV2Request) {
  const bucket = await mustFindBucket(ctx, input);
  const keys: ConditionKeys = {
    "s3:prefix": input.Prefix ?? "",
    ...(input.Delimiter === undefined ? {} : { "s3:delimiter": input.Delimiter }),
    ...(input.MaxKeys === undefined ? {} : { "s3:max-keys": String(input.MaxKeys) }),
  };
  return { bucket, checks: [bucketCheck("s3:ListBucket", bucket, keys)], ...audited(bucket) };
}

/** @throws ApiError `InvalidArgument` */
function pageSize(maxKeys: number | undefined): number {
  if (maxKeys === undefined) return MOST_KEYS;
  if (maxKeys < 0) {
    throw new ApiError("InvalidArgument", "Argument maxKeys must be an integer between 0 and 2147483647", {
      fields: { ArgumentName: "maxKeys", ArgumentValue: String(maxKeys) },
    });
  }
  return Math.min(maxKeys, MOST_KEYS);
}

function list(ctx: RequestContext, input: ListObjectsRequest | ListObjectsV2Request, after: string, limit: number) {
  const { Bucket = "", Prefix = "", Delimiter = "" } = input;
  const nul = [Prefix, Delimiter, after].some((text) => text.includes("\0"));
  if (limit === 0 || nul) return { objects: [], prefixes: [], next: undefined };
  return ctx.parts.objects.listing({ bucket: Bucket, prefix: Prefix, delimiter: Delimiter, after, limit });
}

export const listObjects = operation({
  action: "s3:ListBucket",
  schema: ListObjects$,
  access: "read",
  resolve: (ctx: RequestContext, input: ListObjectsRequest) => resolveListing(ctx, input),
  async run(ctx, input, { bucket }): Promise<ListObjectsOutput> {
    const limit = pageSize(input.MaxKeys);
    const write = keyWriter(input.EncodingType);
    const { objects, prefixes, next } = await list(ctx, input, input.Marker ?? "", limit);
    return {
      Name: bucket.name,
      Prefix: write(input.Prefix ?? ""),
      Marker: write(input.Marker ?? ""),
      MaxKeys: limit,
      IsTruncated: next !== undefined,
      Contents: objects.map((object) => ({
        ...{ Key: write(object.key), ...listedObject(object), Owner: canonicalUser(bucket.accountId) },
      })),
      CommonPrefixes: prefixes.map((prefix) => ({ Prefix: write(prefix) })),
      ...(input.Delimiter === undefined ? {} : { Delimiter: write(input.Delimiter) }),
      // Without a delimiter the last key says it.
      ...(next === undefined || input.Delimiter === undefined ? {} : { NextMarker: write(next) }),
      ...(input.EncodingType === undefined ? {} : { EncodingType: input.EncodingType }),
    };
  },
});

export const listObjectsV2 = operation({
  action: "s3:ListBucket",
  schema: ListObjectsV2$,
  access: "read",
  resolve: (ctx: RequestContext, input: ListObjectsV2Request) => resolveListing(ctx, input),
  async run(ctx, input, { bucket }): Promise<ListObjectsV2Output> {
    const limit = pageSize(input.MaxKeys);
    const write = keyWriter(input.EncodingType);
    const token = input.ContinuationToken;
    const after = token === undefined ? (input.StartAfter ?? "") : cursorOf(token);
    const { objects, prefixes, next } = await list(ctx, input, after, limit);
    const owner = input.FetchOwner === true ? { Owner: canonicalUser(bucket.accountId) } : {};
    return {
      Name: bucket.name,
      Prefix: write(input.Prefix ?? ""),
      MaxKeys: limit,
      KeyCount: objects.length + prefixes.length,
      IsTruncated: next !== undefined,
      Contents: objects.map((object) => ({ Key: write(object.key), ...listedObject(object), ...owner })),
      CommonPrefixes: prefixes.map((prefix) => ({ Prefix: write(prefix) })),
      ...(input.Delimiter === undefined ? {} : { Delimiter: write(input.Delimiter) }),
      ...(input.StartAfter === undefined ? {} : { StartAfter: write(input.StartAfter) }),
      ...(token === undefined ? {} : { ContinuationToken: token }),
      ...(next === undefined ? {} : { NextContinuationToken: tokenOf(next) }),
      ...(input.EncodingType === undefined ? {} : { EncodingType: input.EncodingType }),
    };
  },
});
