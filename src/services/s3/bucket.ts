// The bucket that a call names, and the questions to the policies about it and what is in it.
import { hash } from "node:crypto";
import { ApiError } from "../../base/api-error.ts";
import type { Action, ConditionKeys, ResourceCheck } from "../../model/access.ts";
import { type Bucket, bucketArn, findBucket, objectArn } from "../../objects/buckets.ts";
import { noSuchBucket } from "../../objects/object.ts";
import type { RequestContext } from "../context.ts";
import type { AuditedResource } from "../operation.ts";

interface NamesBucket {
  readonly Bucket?: string | undefined;
  readonly ExpectedBucketOwner?: string | undefined;
}

/** @throws ApiError `NoSuchBucket`, `AccessDenied` (it is not whose the caller thinks) */
export async function mustFindBucket(ctx: RequestContext, input: NamesBucket): Promise<Bucket> {
  const name = input.Bucket ?? "";
  const bucket = await findBucket(ctx.database.read, name);
  if (bucket === undefined) throw noSuchBucket(name);
  if (input.ExpectedBucketOwner !== undefined && input.ExpectedBucketOwner !== bucket.accountId) {
    throw new ApiError("AccessDenied", "Access Denied", { resourceArn: bucketArn(name) });
  }
  return bucket;
}

/** Says nothing of anybody. A bucket without a policy has this one: with it the bucket is its account's alone. */
const NO_POLICY = JSON.stringify({
  Version: "2012-10-17",
  Statement: [{ Effect: "Deny", Principal: "*", Action: "s3:NoSuchAction", Resource: "arn:aws:s3:::" }],
});

/** ARNs of S3 name no account: who owns the bucket is said by the policy that comes along. */
const owned = <A extends Action>(
  action: A,
  bucket: Bucket,
  resource: string,
  keys: ConditionKeys,
): ResourceCheck<A> => ({
  action,
  resource,
  keys: { "aws:ResourceAccount": bucket.accountId, ...keys },
  resourcePolicy: {
    accountId: bucket.accountId,
    document: bucket.policy ?? NO_POLICY,
    principalIds: bucket.principalIds,
  },
});

export const bucketCheck = <A extends Action>(action: A, bucket: Bucket, keys: ConditionKeys = {}): ResourceCheck<A> =>
  owned(action, bucket, bucketArn(bucket.name), keys);

export const objectCheck = <A extends Action>(
  action: A,
  bucket: Bucket,
  key: string,
  keys: ConditionKeys = {},
): ResourceCheck<A> => owned(action, bucket, objectArn(bucket.name, key), keys);

/** For the audit record, which the bucket's owner gets too. */
export function audited(
  bucket: Bucket,
  key?: string,
): { readonly resources: readonly AuditedResource[]; readonly recipients: readonly string[] } {
  const { name, accountId } = bucket;
  const ofBucket = { arn: bucketArn(name), type: "AWS::S3::Bucket", accountId };
  const ofObject = key === undefined ? [] : [{ arn: objectArn(name, key), type: "AWS::S3::Object", accountId }];
  return { resources: [...ofObject, ofBucket], recipients: [accountId] };
}

/** S3 names owners by 64 hex digits that say nothing. */
export const canonicalUser = (accountId: string): { readonly ID: string; readonly DisplayName: string } => ({
  ID: hash("sha256", `canonical user ${accountId}`),
  DisplayName: accountId,
});
