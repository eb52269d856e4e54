import { CopyObject$, type CopyObjectOutput, type CopyObjectRequest } from "@aws-sdk/client-s3";
import { ApiError } from "../../base/api-error.ts";
import type { ObjectDescription, ObjectRecord } from "../../objects/object.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { audited, mustFindBucket, objectCheck } from "./bucket.ts";
import { copySourceOf, sourceConditions } from "./copy-source.ts";
import { describedBy } from "./description.ts";
import { shownChecksum } from "./shown-object.ts";

export const copyObject = operation({
  action: "s3:PutObject",
  schema: CopyObject$,
  access: "write",
  async resolve(ctx: RequestContext, input: CopyObjectRequest) {
    const source = copySourceOf(input.CopySource);
    const bucket = await mustFindBucket(ctx, input);
    const from = await mustFindBucket(ctx, {
      Bucket: source.bucket,
      ExpectedBucketOwner: input.ExpectedSourceBucketOwner,
    });
    const key = input.Key ?? "";
    const { resources, recipients } = audited(bucket, key);
    const read = audited(from, source.key);
    return {
      source,
      checks: [objectCheck("s3:GetObject", from, source.key), objectCheck("s3:PutObject", bucket, key)],
      resources: [...resources, ...read.resources],
      recipients: [...recipients, ...read.recipients],
    };
  },
  async run(ctx, input, { source }): Promise<CopyObjectOutput> {
    const { Bucket = "", Key = "" } = input;
    const replaces = input.MetadataDirective === "REPLACE";
    const described = describedBy(input);
    if (source.bucket === Bucket && source.key === Key && !replaces && input.TaggingDirective !== "REPLACE") {
      throw new ApiError(
        "InvalidRequest",
        "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
      );
    }
    const describe = (from: ObjectRecord): ObjectDescription => ({
      headers: replaces ? described.headers : from.headers,
      metadata: replaces ? described.metadata : from.metadata,
      tags: input.TaggingDirective === "REPLACE" ? described.tags : from.tags,
    });
    const object = await ctx.parts.objects.copy({ ...source, check: sourceConditions(input) }, Bucket, Key, describe, {
      ifMatch: input.IfMatch,
      ifNoneMatch: input.IfNoneMatch,
    });
    return {
      CopyObjectResult: {
        ETag: `"${object.etag}"`,
        LastModified: object.createdAt,
        ...shownChecksum(object.checksum),
      },
    };
  },
});
