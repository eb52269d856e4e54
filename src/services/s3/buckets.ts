// DeleteBucket, HeadBucket, ListBuckets, GetBucketLocation.
import {
  type BucketLocationConstraint,
  DeleteBucket$,
  type DeleteBucketRequest,
  GetBucketLocation$,
  type GetBucketLocationOutput,
  type GetBucketLocationRequest,
  HeadBucket$,
  type HeadBucketOutput,
  type HeadBucketRequest,
  ListBuckets$,
  type ListBucketsOutput,
  type ListBucketsRequest,
} from "@aws-sdk/client-s3";
import { ApiError } from "../../base/api-error.ts";
import { DEFAULT_REGION } from "../../model/regions.ts";
import { bucketArn, bucketsOf } from "../../objects/buckets.ts";
import type { RequestContext } from "../context.ts";
import { onAnything, operation } from "../operation.ts";
import { audited, bucketCheck, canonicalUser, mustFindBucket } from "./bucket.ts";
import { cursorOf, tokenOf } from "./continuation.ts";

const MOST_BUCKETS = 10_000;

export const deleteBucket = operation({
  action: "s3:DeleteBucket",
  schema: DeleteBucket$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeleteBucketRequest) {
    const bucket = await mustFindBucket(ctx, input);
    return { checks: [bucketCheck("s3:DeleteBucket", bucket)], ...audited(bucket) };
  },
  async run(ctx, input, _, grant): Promise<void> {
    await ctx.parts.objects.deleteBucket(grant, input.Bucket ?? "");
  },
});

export const headBucket = operation({
  action: "s3:ListBucket",
  schema: HeadBucket$,
  access: "read",
  async resolve(ctx: RequestContext, input: HeadBucketRequest) {
    const bucket = await mustFindBucket(ctx, input);
    return { bucket, checks: [bucketCheck("s3:ListBucket", bucket)], ...audited(bucket) };
  },
  async run(_ctx, _input, { bucket }): Promise<HeadBucketOutput> {
    return { BucketRegion: bucket.region, BucketArn: bucketArn(bucket.name) };
  },
});

export const getBucketLocation = operation({
  action: "s3:GetBucketLocation",
  schema: GetBucketLocation$,
  access: "read",
  async resolve(ctx: RequestContext, input: GetBucketLocationRequest) {
    const bucket = await mustFindBucket(ctx, input);
    return { bucket, checks: [bucketCheck("s3:GetBucketLocation", bucket)], ...audited(bucket) };
  },
  async run(_ctx, _input, { bucket }): Promise<GetBucketLocationOutput> {
    // us-east-1 is said by saying nothing.
    if (bucket.region === DEFAULT_REGION) return {};
    return { LocationConstraint: bucket.region as string as BucketLocationConstraint };
  },
});

export const listBuckets = operation({
  action: "s3:ListAllMyBuckets",
  schema: ListBuckets$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: ListBucketsRequest) => onAnything("s3:ListAllMyBuckets"),
  async run(ctx, input): Promise<ListBucketsOutput> {
    const limit = input.MaxBuckets ?? MOST_BUCKETS;
    if (limit < 1 || limit > MOST_BUCKETS) {
      throw new ApiError("InvalidArgument", `Argument max-buckets must be an integer between 1 and ${MOST_BUCKETS}`);
    }
    const found = await bucketsOf(ctx.database.read, ctx.caller.accountId, {
      prefix: input.Prefix ?? "",
      after: input.ContinuationToken === undefined ? "" : cursorOf(input.ContinuationToken),
      limit: limit + 1,
      region: input.BucketRegion,
    });
    const page = found.slice(0, limit);
    const last = page.at(-1);
    return {
      Buckets: page.map(({ name, region, createdAt }) => ({
        ...{ Name: name, CreationDate: createdAt, BucketRegion: region, BucketArn: bucketArn(name) },
      })),
      Owner: canonicalUser(ctx.caller.accountId),
      ...(input.Prefix === undefined ? {} : { Prefix: input.Prefix }),
      ...(found.length > limit && last !== undefined ? { ContinuationToken: tokenOf(last.name) } : {}),
    };
  },
});
