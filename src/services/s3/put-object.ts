import { PutObject$, type PutObjectOutput, type PutObjectRequest } from "@aws-sdk/client-s3";
import { ApiError } from "../../base/api-error.ts";
import type { ConditionKeys } from "../../model/access.ts";
import { checkKey } from "../../objects/object.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { audited, mustFindBucket, objectCheck } from "./bucket.ts";
import { describedBy } from "./description.ts";
import { incomingOf, type WithPayload } from "./incoming.ts";
import { shownChecksum } from "./shown-object.ts";

export const putObject = operation({
  action: "s3:PutObject",
  schema: PutObject$,
  access: "write",
  async resolve(ctx: RequestContext, input: WithPayload<PutObjectRequest>) {
    const bucket = await mustFindBucket(ctx, input);
    const key = input.Key ?? "";
    const keys: ConditionKeys = input.ACL === undefined ? {} : { "s3:x-amz-acl": input.ACL };
    return { checks: [objectCheck("s3:PutObject", bucket, key, keys)], ...audited(bucket, key) };
  },
  async run(ctx, input): Promise<PutObjectOutput> {
    const { Bucket = "", Key = "" } = input;
    checkKey(Key);
    if (input.WriteOffsetBytes !== undefined) {
      throw new ApiError("NotImplemented", "An object is written whole: x-amz-write-offset-bytes is not implemented.");
    }
    const object = await ctx.parts.objects.write(Bucket, Key, describedBy(input), incomingOf(input), {
      ifMatch: input.IfMatch,
      ifNoneMatch: input.IfNoneMatch,
    });
    return { ETag: `"${object.etag}"`, ...shownChecksum(object.checksum) };
  },
});
