// Whether a bucket of another account lets CloudTrail deliver into it: what its policy says, as AWS asks it.
import type { DeliveryTo } from "../audit/trail-delivery.ts";
import type { Db } from "../database/database.ts";
import { compilePolicy } from "../identity/policy/compile.ts";
import { serviceMay } from "../identity/service-access.ts";
import type { ConditionKeys } from "../model/access.ts";
import { bucketArn, findBucket, objectArn } from "../objects/buckets.ts";

const SERVICE = "cloudtrail.amazonaws.com";

export async function bucketLetsTrailIn(db: Db, { bucket, key, trailArn, accountId }: DeliveryTo): Promise<boolean> {
  const found = await findBucket(db, bucket);
  if (found?.policy === undefined || found.policy === null) return false;
  const policy = compilePolicy(found.policy, "resource", found.principalIds);
  const keys: ConditionKeys = {
    "aws:SourceArn": trailArn,
    "aws:SourceAccount": accountId,
    "aws:ResourceAccount": found.accountId,
    // It never leaves this process.
    "aws:SecureTransport": "true",
  };
  return (
    serviceMay(policy, SERVICE, { action: "s3:GetBucketAcl", resource: bucketArn(bucket), keys }) &&
    serviceMay(policy, SERVICE, {
      action: "s3:PutObject",
      resource: objectArn(bucket, key),
      keys: { ...keys, "s3:x-amz-acl": "bucket-owner-full-control" },
    })
  );
}
