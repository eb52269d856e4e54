// A bucket's policy: who besides its account, or less than its account, may do what with it. Never everybody.
import {
  DeleteBucketPolicy$,
  type DeleteBucketPolicyRequest,
  GetBucketPolicy$,
  type GetBucketPolicyOutput,
  type GetBucketPolicyRequest,
  PutBucketPolicy$,
  type PutBucketPolicyRequest,
} from "@aws-sdk/client-s3";
import { ApiError } from "../../base/api-error.ts";
import { KIB } from "../../base/units.ts";
import { type PolicyDocument, parsePolicy, type StatementDocument } from "../../identity/policy/document.ts";
import { bucketArn, setBucketPolicy } from "../../objects/buckets.ts";
import type { RequestContext } from "../context.ts";
import { principalIds } from "../iam/trust-policy.ts";
import { operation } from "../operation.ts";
import { audited, bucketCheck, mustFindBucket } from "./bucket.ts";

const MAX_POLICY_BYTES = 20 * KIB;

export const putBucketPolicy = operation({
  action: "s3:PutBucketPolicy",
  schema: PutBucketPolicy$,
  access: "write",
  async resolve(ctx: RequestContext, input: PutBucketPolicyRequest) {
    const bucket = await mustFindBucket(ctx, input);
    return { bucket, checks: [bucketCheck("s3:PutBucketPolicy", bucket)], ...audited(bucket) };
  },
  async run(ctx, input, { bucket }, grant): Promise<void> {
    const document = input.Policy ?? "";
    const policy = bucketPolicyOf(document, bucket.name);
    await setBucketPolicy(grant, ctx.database, bucket.name, {
      document,
      principalIds: await asS3Says(() => principalIds(ctx.database.read, policy)),
    });
  },
});

export const getBucketPolicy = operation({
  action: "s3:GetBucketPolicy",
  schema: GetBucketPolicy$,
  access: "read",
  async resolve(ctx: RequestContext, input: GetBucketPolicyRequest) {
    const bucket = await mustFindBucket(ctx, input);
    return { bucket, checks: [bucketCheck("s3:GetBucketPolicy", bucket)], ...audited(bucket) };
  },
  async run(_ctx, _input, { bucket }): Promise<GetBucketPolicyOutput> {
    if (bucket.policy === null) {
      throw new ApiError("NoSuchBucketPolicy", "The bucket policy does not exist", {
        fields: { BucketName: bucket.name },
      });
    }
    return { Policy: bucket.policy };
  },
});

export const deleteBucketPolicy = operation({
  action: "s3:DeleteBucketPolicy",
  schema: DeleteBucketPolicy$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeleteBucketPolicyRequest) {
    const bucket = await mustFindBucket(ctx, input);
    return { bucket, checks: [bucketCheck("s3:DeleteBucketPolicy", bucket)], ...audited(bucket) };
  },
  async run(ctx, _input, { bucket }, grant): Promise<void> {
    await setBucketPolicy(grant, ctx.database, bucket.name, null);
  },
});

/** @throws ApiError `MalformedPolicy`, `AccessDenied` (it would let everybody in) */
function bucketPolicyOf(document: string, bucket: string): PolicyDocument {
  if (Buffer.byteLength(document) > MAX_POLICY_BYTES) {
    throw new ApiError(
      "MalformedPolicy",
      `Normalized policy document exceeds the maximum allowed size of ${MAX_POLICY_BYTES} bytes.`,
    );
  }
  const policy = asS3Says(() => parsePolicy(document, "resource"));
  const arn = bucketArn(bucket);
  for (const { actions, resources } of policy.statements) {
    if (!actions.patterns.every((pattern) => pattern === "*" || /^s3:/i.test(pattern))) {
      throw new ApiError("MalformedPolicy", "Policy has invalid action");
    }
    if (
      !resources?.patterns.every((pattern) => pattern === arn || pattern.startsWith(`${arn}/`) || pattern === `${arn}*`)
    ) {
      throw new ApiError("MalformedPolicy", "Policy has invalid resource");
    }
  }
  if (policy.statements.some(isPublic)) {
    throw new ApiError(
      "AccessDenied",
      "The policy would make the bucket public, which the BlockPublicPolicy block public access setting does not allow: name accounts, users or roles.",
    );
  }
  return policy;
}

/** Keys that, held to a value, let in only whom the value names. */
const NARROWING: ReadonlySet<string> = new Set([
  "aws:principalaccount",
  "aws:principalarn",
  "aws:principalorgid",
  "aws:principalorgpaths",
  "aws:sourceaccount",
  "aws:sourcearn",
  "aws:sourceowner",
  "aws:userid",
]);

function isPublic({ effect, principals, conditions }: StatementDocument): boolean {
  if (effect !== "Allow" || principals === null) return false;
  if (!principals.negated && !principals.entries.some(({ value }) => value === "*")) return false;
  return !conditions.some(
    ({ operator, key, values }) =>
      NARROWING.has(key.toLowerCase()) &&
      /^(ForAnyValue:)?(String|Arn)(Equals|Like)$/i.test(operator) &&
      values.every((value) => !/^[*?:]*$/.test(value)),
  );
}

/** IAM's refusal of a document, under S3's name for it. */
function asS3Says<T>(check: () => T): T {
  const translated = (error: unknown): never => {
    if (error instanceof ApiError && error.code === "MalformedPolicyDocument") {
      throw new ApiError("MalformedPolicy", error.message, { cause: error });
    }
    throw error;
  };
  try {
    const result = check();
    return result instanceof Promise ? (result.catch(translated) as T) : result;
  } catch (error) {
    return translated(error);
  }
}
