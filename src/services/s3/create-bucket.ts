import { CreateBucket$, type CreateBucketOutput, type CreateBucketRequest } from "@aws-sdk/client-s3";
import { ApiError } from "../../base/api-error.ts";
import type { Region } from "../../base/ids.ts";
import { DEFAULT_REGION, isRegion } from "../../model/regions.ts";
import { bucketArn, checkBucketName, createBucket as insertBucket } from "../../objects/buckets.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { MOST_BUCKET_TAGS, tagsOf } from "./tag-set.ts";

export const createBucket = operation({
  action: "s3:CreateBucket",
  schema: CreateBucket$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateBucketRequest) {
    const name = input.Bucket ?? "";
    checkBucketName(name);
    const arn = bucketArn(name);
    return {
      region: regionOf(input, ctx.region),
      checks: [{ action: "s3:CreateBucket" as const, resource: arn, keys: {} }],
      resources: [{ arn, type: "AWS::S3::Bucket", accountId: ctx.caller.accountId }],
    };
  },
  async run(ctx, input, { region }, grant): Promise<CreateBucketOutput> {
    const name = input.Bucket ?? "";
    refuseUnsupported(input);
    try {
      await insertBucket(grant, ctx.database, {
        ...{ name, accountId: ctx.caller.accountId, region, createdAt: ctx.now() },
        tags: tagsOf(input.CreateBucketConfiguration?.Tags, MOST_BUCKET_TAGS),
      });
    } catch (error) {
      // us-east-1 alone has kept it so, from S3's first days.
      const again = error instanceof ApiError && error.code === "BucketAlreadyOwnedByYou";
      if (!again || ctx.region !== DEFAULT_REGION) throw error;
    }
    return { Location: `/${name}`, BucketArn: bucketArn(name) };
  },
});

/** Where it was asked to be, or where it was asked from. @throws ApiError */
function regionOf(input: CreateBucketRequest, signedFor: Region): Region {
  const wanted: string | undefined = input.CreateBucketConfiguration?.LocationConstraint;
  if (wanted === undefined || wanted === "") return signedFor;
  const region = wanted === "EU" ? "eu-west-1" : wanted;
  if (!isRegion(region)) {
    throw new ApiError("InvalidLocationConstraint", "The specified location-constraint is not valid", {
      fields: { LocationConstraint: wanted.slice(0, 64) },
    });
  }
  if (signedFor !== DEFAULT_REGION && region !== signedFor) {
    throw new ApiError(
      "IllegalLocationConstraintException",
      `The ${region} location constraint is incompatible for the region specific endpoint this request was sent to.`,
    );
  }
  return region;
}

function refuseUnsupported(input: CreateBucketRequest): void {
  const grants = [input.GrantFullControl, input.GrantRead, input.GrantReadACP, input.GrantWrite, input.GrantWriteACP];
  if (grants.some((grant) => grant !== undefined) || (input.ACL ?? "private") !== "private") {
    throw new ApiError("AccessControlListNotSupported", "The bucket does not allow ACLs");
  }
  if (input.ObjectOwnership !== undefined && input.ObjectOwnership !== "BucketOwnerEnforced") {
    throw new ApiError("NotImplemented", "Objects belong to the bucket's owner: there is BucketOwnerEnforced alone.");
  }
  if (input.ObjectLockEnabledForBucket === true) throw new ApiError("NotImplemented", "Ingot has no object lock.");
}
