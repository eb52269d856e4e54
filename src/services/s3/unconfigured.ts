// Configurations that S3 has and Ingot's buckets never have. Clients that describe a bucket ask for each, and go on when
// S3 says that there is none; so that is said, in S3's words. Setting one is not implemented.
import {
  GetBucketAccelerateConfiguration$,
  GetBucketCors$,
  GetBucketEncryption$,
  GetBucketLifecycleConfiguration$,
  GetBucketLogging$,
  GetBucketNotificationConfiguration$,
  GetBucketReplication$,
  GetBucketRequestPayment$,
  GetBucketWebsite$,
  GetObjectLockConfiguration$,
} from "@aws-sdk/client-s3";
import type { StaticOperationSchema } from "@smithy/types";
import { ApiError, type ErrorCode } from "../../base/api-error.ts";
import type { Action } from "../../model/access.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { audited, bucketCheck, mustFindBucket } from "./bucket.ts";

interface NamesBucket {
  readonly Bucket?: string | undefined;
  readonly ExpectedBucketOwner?: string | undefined;
}

/** An operation that answers the same for every bucket: `output`, or that there is nothing. */
const always = (action: Action, schema: StaticOperationSchema, answer: object | readonly [ErrorCode, string]) =>
  operation({
    action,
    schema,
    access: "read",
    async resolve(ctx: RequestContext, input: NamesBucket) {
      const bucket = await mustFindBucket(ctx, input);
      return { bucket, checks: [bucketCheck(action, bucket)], ...audited(bucket) };
    },
    async run(_ctx, _input, { bucket }): Promise<object> {
      if (!isRefusal(answer)) return answer;
      throw new ApiError(answer[0], answer[1], { fields: { BucketName: bucket.name } });
    },
  });

const isRefusal = (answer: object | readonly [ErrorCode, string]): answer is readonly [ErrorCode, string] =>
  Array.isArray(answer);

export const unconfigured = {
  GetBucketAccelerateConfiguration: always("s3:GetAccelerateConfiguration", GetBucketAccelerateConfiguration$, {}),
  GetBucketCors: always("s3:GetBucketCORS", GetBucketCors$, [
    "NoSuchCORSConfiguration",
    "The CORS configuration does not exist",
  ]),
  GetBucketEncryption: always("s3:GetEncryptionConfiguration", GetBucketEncryption$, [
    "ServerSideEncryptionConfigurationNotFoundError",
    "The server side encryption configuration was not found",
  ]),
  GetBucketLifecycleConfiguration: always("s3:GetLifecycleConfiguration", GetBucketLifecycleConfiguration$, [
    "NoSuchLifecycleConfiguration",
    "The lifecycle configuration does not exist",
  ]),
  GetBucketLogging: always("s3:GetBucketLogging", GetBucketLogging$, {}),
  GetBucketNotificationConfiguration: always("s3:GetBucketNotification", GetBucketNotificationConfiguration$, {}),
  GetBucketReplication: always("s3:GetReplicationConfiguration", GetBucketReplication$, [
    "ReplicationConfigurationNotFoundError",
    "The replication configuration was not found",
  ]),
  GetBucketRequestPayment: always("s3:GetBucketRequestPayment", GetBucketRequestPayment$, { Payer: "BucketOwner" }),
  GetBucketWebsite: always("s3:GetBucketWebsite", GetBucketWebsite$, [
    "NoSuchWebsiteConfiguration",
    "The specified bucket does not have a website configuration",
  ]),
  GetObjectLockConfiguration: always("s3:GetBucketObjectLockConfiguration", GetObjectLockConfiguration$, [
    "ObjectLockConfigurationNotFoundError",
    "Object Lock configuration does not exist for this bucket",
  ]),
};
