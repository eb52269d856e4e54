// Tags of buckets and of objects.
import {
  DeleteBucketTagging$,
  type DeleteBucketTaggingRequest,
  DeleteObjectTagging$,
  type DeleteObjectTaggingOutput,
  type DeleteObjectTaggingRequest,
  GetBucketTagging$,
  type GetBucketTaggingOutput,
  type GetBucketTaggingRequest,
  GetObjectTagging$,
  type GetObjectTaggingOutput,
  type GetObjectTaggingRequest,
  PutBucketTagging$,
  type PutBucketTaggingRequest,
  PutObjectTagging$,
  type PutObjectTaggingOutput,
  type PutObjectTaggingRequest,
} from "@aws-sdk/client-s3";
import { ApiError } from "../../base/api-error.ts";
import type { Action } from "../../model/access.ts";
import { setBucketTags } from "../../objects/buckets.ts";
import { noSuchKey } from "../../objects/object.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { audited, bucketCheck, mustFindBucket, objectCheck } from "./bucket.ts";
import { MOST_BUCKET_TAGS, MOST_OBJECT_TAGS, tagSetOf, tagsOf } from "./tag-set.ts";
import { checkVersion } from "./version.ts";

export const getBucketTagging = operation({
  action: "s3:GetBucketTagging",
  schema: GetBucketTagging$,
  access: "read",
  async resolve(ctx: RequestContext, input: GetBucketTaggingRequest) {
    const bucket = await mustFindBucket(ctx, input);
    return { bucket, checks: [bucketCheck("s3:GetBucketTagging", bucket)], ...audited(bucket) };
  },
  async run(_ctx, _input, { bucket }): Promise<GetBucketTaggingOutput> {
    const TagSet = tagSetOf(bucket.tags);
    if (TagSet.length === 0) throw new ApiError("NoSuchTagSet", "The TagSet does not exist");
    return { TagSet };
  },
});

export const putBucketTagging = operation({
  action: "s3:PutBucketTagging",
  schema: PutBucketTagging$,
  access: "write",
  async resolve(ctx: RequestContext, input: PutBucketTaggingRequest) {
    const bucket = await mustFindBucket(ctx, input);
    return { bucket, checks: [bucketCheck("s3:PutBucketTagging", bucket)], ...audited(bucket) };
  },
  async run(ctx, input, { bucket }, grant): Promise<void> {
    await setBucketTags(grant, ctx.database, bucket.name, tagsOf(input.Tagging?.TagSet, MOST_BUCKET_TAGS));
  },
});

export const deleteBucketTagging = operation({
  action: "s3:PutBucketTagging",
  schema: DeleteBucketTagging$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeleteBucketTaggingRequest) {
    const bucket = await mustFindBucket(ctx, input);
    return { bucket, checks: [bucketCheck("s3:PutBucketTagging", bucket)], ...audited(bucket) };
  },
  async run(ctx, _input, { bucket }, grant): Promise<void> {
    await setBucketTags(grant, ctx.database, bucket.name, {});
  },
});

interface NamesObject {
  readonly Bucket?: string | undefined;
  readonly Key?: string | undefined;
  readonly VersionId?: string | undefined;
  readonly ExpectedBucketOwner?: string | undefined;
}

async function resolveObject<A extends Action>(ctx: RequestContext, action: A, input: NamesObject) {
  checkVersion(input.VersionId);
  const bucket = await mustFindBucket(ctx, input);
  const key = input.Key ?? "";
  return { bucket, key, checks: [objectCheck(action, bucket, key)], ...audited(bucket, key) };
}

export const getObjectTagging = operation({
  action: "s3:GetObjectTagging",
  schema: GetObjectTagging$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetObjectTaggingRequest) => resolveObject(ctx, "s3:GetObjectTagging", input),
  async run(ctx, _input, { bucket, key }): Promise<GetObjectTaggingOutput> {
    const object = await ctx.parts.objects.find(bucket.name, key);
    if (object === undefined) throw noSuchKey(key);
    return { TagSet: tagSetOf(object.tags) };
  },
});

export const putObjectTagging = operation({
  action: "s3:PutObjectTagging",
  schema: PutObjectTagging$,
  access: "write",
  resolve: (ctx: RequestContext, input: PutObjectTaggingRequest) => resolveObject(ctx, "s3:PutObjectTagging", input),
  async run(ctx, input, { bucket, key }): Promise<PutObjectTaggingOutput> {
    await ctx.parts.objects.setTags(bucket.name, key, tagsOf(input.Tagging?.TagSet, MOST_OBJECT_TAGS));
    return {};
  },
});

export const deleteObjectTagging = operation({
  action: "s3:DeleteObjectTagging",
  schema: DeleteObjectTagging$,
  access: "write",
  resolve: (ctx: RequestContext, input: DeleteObjectTaggingRequest) =>
    resolveObject(ctx, "s3:DeleteObjectTagging", input),
  async run(ctx, _input, { bucket, key }): Promise<DeleteObjectTaggingOutput> {
    await ctx.parts.objects.setTags(bucket.name, key, {});
    return {};
  },
});
