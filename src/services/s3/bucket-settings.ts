// What clients ask of every bucket, and what is so of every bucket here: no versions, no ACLs, no public access.
import {
  GetBucketAcl$,
  type GetBucketAclOutput,
  type GetBucketAclRequest,
  GetBucketOwnershipControls$,
  type GetBucketOwnershipControlsOutput,
  type GetBucketOwnershipControlsRequest,
  GetBucketPolicyStatus$,
  type GetBucketPolicyStatusOutput,
  type GetBucketPolicyStatusRequest,
  GetBucketVersioning$,
  type GetBucketVersioningOutput,
  type GetBucketVersioningRequest,
  GetPublicAccessBlock$,
  type GetPublicAccessBlockOutput,
  type GetPublicAccessBlockRequest,
  PutPublicAccessBlock$,
  type PutPublicAccessBlockRequest,
} from "@aws-sdk/client-s3";
import { ApiError } from "../../base/api-error.ts";
import type { Action } from "../../model/access.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { audited, bucketCheck, canonicalUser, mustFindBucket } from "./bucket.ts";

interface NamesBucket {
  readonly Bucket?: string | undefined;
  readonly ExpectedBucketOwner?: string | undefined;
}

async function resolve<A extends Action>(ctx: RequestContext, action: A, input: NamesBucket) {
  const bucket = await mustFindBucket(ctx, input);
  return { bucket, checks: [bucketCheck(action, bucket)], ...audited(bucket) };
}

export const getBucketVersioning = operation({
  action: "s3:GetBucketVersioning",
  schema: GetBucketVersioning$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetBucketVersioningRequest) => resolve(ctx, "s3:GetBucketVersioning", input),
  // No status: versions were never kept.
  run: async (): Promise<GetBucketVersioningOutput> => ({}),
});

export const getBucketAcl = operation({
  action: "s3:GetBucketAcl",
  schema: GetBucketAcl$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetBucketAclRequest) => resolve(ctx, "s3:GetBucketAcl", input),
  async run(_ctx, _input, { bucket }): Promise<GetBucketAclOutput> {
    const owner = canonicalUser(bucket.accountId);
    return { Owner: owner, Grants: [{ Grantee: { Type: "CanonicalUser", ...owner }, Permission: "FULL_CONTROL" }] };
  },
});

export const getBucketOwnershipControls = operation({
  action: "s3:GetBucketOwnershipControls",
  schema: GetBucketOwnershipControls$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetBucketOwnershipControlsRequest) =>
    resolve(ctx, "s3:GetBucketOwnershipControls", input),
  run: async (): Promise<GetBucketOwnershipControlsOutput> => ({
    OwnershipControls: { Rules: [{ ObjectOwnership: "BucketOwnerEnforced" }] },
  }),
});

export const getBucketPolicyStatus = operation({
  action: "s3:GetBucketPolicyStatus",
  schema: GetBucketPolicyStatus$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetBucketPolicyStatusRequest) =>
    resolve(ctx, "s3:GetBucketPolicyStatus", input),
  async run(_ctx, _input, { bucket }): Promise<GetBucketPolicyStatusOutput> {
    if (bucket.policy === null) throw new ApiError("NoSuchBucketPolicy", "The bucket policy does not exist");
    return { PolicyStatus: { IsPublic: false } };
  },
});

export const getPublicAccessBlock = operation({
  action: "s3:GetBucketPublicAccessBlock",
  schema: GetPublicAccessBlock$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetPublicAccessBlockRequest) =>
    resolve(ctx, "s3:GetBucketPublicAccessBlock", input),
  run: async (): Promise<GetPublicAccessBlockOutput> => ({
    PublicAccessBlockConfiguration: {
      ...{ BlockPublicAcls: true, IgnorePublicAcls: true, BlockPublicPolicy: true, RestrictPublicBuckets: true },
    },
  }),
});

/** Asked for what is so anyway, it agrees. */
export const putPublicAccessBlock = operation({
  action: "s3:PutBucketPublicAccessBlock",
  schema: PutPublicAccessBlock$,
  access: "write",
  resolve: (ctx: RequestContext, input: PutPublicAccessBlockRequest) =>
    resolve(ctx, "s3:PutBucketPublicAccessBlock", input),
  async run(_ctx, input): Promise<void> {
    const asked = input.PublicAccessBlockConfiguration ?? {};
    if (Object.values(asked).some((blocked) => blocked !== true)) {
      throw new ApiError("NotImplemented", "Public access to buckets is always blocked, and cannot be allowed.");
    }
  },
});
