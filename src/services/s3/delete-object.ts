import {
  DeleteObject$,
  type DeleteObjectOutput,
  type DeleteObjectRequest,
  DeleteObjects$,
  type DeleteObjectsOutput,
  type DeleteObjectsRequest,
} from "@aws-sdk/client-s3";
import { ApiError } from "../../base/api-error.ts";
import { requestKeys } from "../../identity/caller-keys.ts";
import { checkKey } from "../../objects/object.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { audited, mustFindBucket, objectCheck } from "./bucket.ts";
import { checkVersion } from "./version.ts";

const MOST_KEYS = 1000;

export const deleteObject = operation({
  action: "s3:DeleteObject",
  schema: DeleteObject$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeleteObjectRequest) {
    const bucket = await mustFindBucket(ctx, input);
    const key = input.Key ?? "";
    return { checks: [objectCheck("s3:DeleteObject", bucket, key)], ...audited(bucket, key) };
  },
  async run(ctx, input): Promise<DeleteObjectOutput> {
    checkVersion(input.VersionId);
    const { Bucket = "", Key = "" } = input;
    checkKey(Key);
    await ctx.parts.objects.remove(Bucket, Key, { ifMatch: input.IfMatch });
    return {};
  },
});

/** Each key is authorised by itself, and its refusal told by itself: the call succeeds even where none may be deleted. */
export const deleteObjects = operation({
  action: "s3:DeleteObject",
  schema: DeleteObjects$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeleteObjectsRequest) {
    const bucket = await mustFindBucket(ctx, input);
    const named = input.Delete?.Objects ?? [];
    if (named.length === 0 || named.length > MOST_KEYS) {
      throw new ApiError("MalformedXML", `A request deletes 1 to ${MOST_KEYS} objects.`);
    }
    for (const { Key = "", VersionId } of named) {
      checkKey(Key);
      checkVersion(VersionId);
    }
    const checks = named.map(({ Key = "" }) => objectCheck("s3:DeleteObject", bucket, Key));
    const { sourceIp, userAgent, region } = ctx;
    const { authorizer } = ctx.parts.identity;
    const { grant, refusals } = await authorizer.authorizeEach(
      ctx.caller,
      checks,
      requestKeys({ now: ctx.now(), sourceIp, userAgent, region, secure: false }),
    );
    return {
      grant,
      checks,
      denials: refusals.map((refusal) => refusal && authorizer.denial("s3", ctx.caller, refusal)),
      ...audited(bucket),
    };
  },
  async run(ctx, input, { denials }): Promise<DeleteObjectsOutput> {
    const named = input.Delete?.Objects ?? [];
    const granted = named.flatMap(({ Key = "", ETag }, index) =>
      denials[index] === null ? [{ key: Key, ifMatch: ETag }] : [],
    );
    const done = (await ctx.parts.objects.removeAll(input.Bucket ?? "", granted)).values();
    const refusals = denials.map((denial) => denial ?? done.next().value);
    const results = named.map(({ Key = "" }, index) => ({ Key, refusal: refusals[index] }));
    return {
      Deleted:
        input.Delete?.Quiet === true
          ? []
          : results.flatMap(({ Key, refusal }) => (refusal === undefined ? [{ Key }] : [])),
      Errors: results.flatMap(({ Key, refusal }) =>
        refusal === undefined ? [] : [{ Key, Code: refusal.code, Message: refusal.message }],
      ),
    };
  },
});
