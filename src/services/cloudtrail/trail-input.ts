// What clients say about trails, checked.
import type { Tag } from "@aws-sdk/client-cloudtrail";
import { logFileKey } from "../../audit/log-file.ts";
import { MOST_TRAIL_TAGS, type Tags, type TrailSettings } from "../../audit/trails.ts";
import { ApiError } from "../../base/api-error.ts";
import type { ConditionKeys } from "../../model/access.ts";
import type { RequestContext } from "../context.ts";

/** @throws ApiError `InvalidTrailNameException` */
export function trailName(name: string | undefined): string {
  const invalid = (what: string) => new ApiError("InvalidTrailNameException", what);
  if (name === undefined || name === "") throw invalid("Trail name cannot be blank!");
  if (name.length < 3) throw invalid("Trail name too short. Minimum allowed length: 3 characters.");
  if (name.length > 128) throw invalid("Trail name too long. Maximum allowed length: 128 characters.");
  if (!/^[A-Za-z0-9]/.test(name)) throw invalid("Trail name must starts with a letter or number.");
  if (!/[A-Za-z0-9]$/.test(name)) throw invalid("Trail name must ends with a letter or number.");
  if (!/^[A-Za-z0-9._-]+$/.test(name)) {
    throw invalid(
      "Trail name or ARN can only contain uppercase letters, lowercase letters, numbers, periods (.), hyphens (-), and underscores (_).",
    );
  }
  if (/[._-]{2}/.test(name)) throw invalid("Trail name cannot have adjacent periods, hyphens or underscores.");
  if (/^\d+\.\d+\.\d+\.\d+$/.test(name)) throw invalid("Trail name must not be in IP address format.");
  return name;
}

/** What Ingot has no counterpart of. What asks for it is refused, not ignored: its sender relies on it. */
interface NotHere {
  readonly SnsTopicName?: string | undefined;
  readonly CloudWatchLogsLogGroupArn?: string | undefined;
  readonly CloudWatchLogsRoleArn?: string | undefined;
  readonly KmsKeyId?: string | undefined;
  readonly IsOrganizationTrail?: boolean | undefined;
}

/** @throws ApiError CloudTrail's own for a topic, a log group, a key or an organization that is not there */
export function refuseWhatIsNotHere(input: NotHere): void {
  if (input.SnsTopicName !== undefined && input.SnsTopicName !== "") {
    throw new ApiError("InvalidSnsTopicNameException", "SNS Topic does not exist or the topic policy is incorrect!");
  }
  if ((input.CloudWatchLogsLogGroupArn ?? "") !== "" || (input.CloudWatchLogsRoleArn ?? "") !== "") {
    throw new ApiError(
      "InvalidCloudWatchLogsLogGroupArnException",
      "Access denied. Check the log group: there are none.",
    );
  }
  if ((input.KmsKeyId ?? "") !== "") {
    throw new ApiError("InvalidKmsKeyIdException", "The KMS key does not exist: there are none.");
  }
  if (input.IsOrganizationTrail === true) {
    throw new ApiError("OrganizationsNotInUseException", "Your account is not a member of an organization.");
  }
}

/** @throws ApiError `InvalidS3BucketNameException` */
function bucketName(name: string): string {
  if (name === "") throw new ApiError("InvalidS3BucketNameException", "S3 bucket name cannot be blank!");
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name) || name.includes("..") || /^\d+\.\d+\.\d+\.\d+$/.test(name)) {
    throw new ApiError("InvalidS3BucketNameException", `Bucket name is not valid: ${name.slice(0, 100)}`);
  }
  return name;
}

/** @throws ApiError `InvalidS3PrefixException` */
function keyPrefix(prefix: string): string | null {
  if (prefix === "") return null;
  const invalid = (what: string) => new ApiError("InvalidS3PrefixException", what);
  if (prefix.length > 200) throw invalid("S3 prefix is longer than maximum length: 200");
  if (prefix.endsWith("/") || prefix.startsWith("/")) throw invalid("S3 prefix must not begin or end with a slash.");
  if (!/^[A-Za-z0-9!_.*'()/@&$=;:+ ,?-]+$/.test(prefix) || prefix.includes("//") || prefix.split("/").includes("..")) {
    throw invalid("S3 prefix has characters that are not allowed.");
  }
  return prefix;
}

interface SettingsInput extends NotHere {
  readonly S3BucketName?: string | undefined;
  readonly S3KeyPrefix?: string | undefined;
  readonly IncludeGlobalServiceEvents?: boolean | undefined;
  readonly IsMultiRegionTrail?: boolean | undefined;
  readonly EnableLogFileValidation?: boolean | undefined;
}

/**
 * What was said over what was there.
 * @throws ApiError `InvalidS3BucketNameException`, `InvalidS3PrefixException`, `InvalidParameterCombinationException`,
 *   and those of `refuseWhatIsNotHere`
 */
export function settingsOf(input: SettingsInput, before: TrailSettings): TrailSettings {
  refuseWhatIsNotHere(input);
  const settings: TrailSettings = {
    bucket: input.S3BucketName === undefined ? before.bucket : bucketName(input.S3BucketName),
    prefix: input.S3KeyPrefix === undefined ? before.prefix : keyPrefix(input.S3KeyPrefix),
    globalEvents: input.IncludeGlobalServiceEvents ?? before.globalEvents,
    multiRegion: input.IsMultiRegionTrail ?? before.multiRegion,
    validation: input.EnableLogFileValidation ?? before.validation,
  };
  if (settings.multiRegion && !settings.globalEvents) {
    throw new ApiError(
      "InvalidParameterCombinationException",
      "Multi-Region trail must include global service events.",
    );
  }
  return settings;
}

/** @throws ApiError `S3BucketDoesNotExistException`, `InsufficientS3BucketPolicyException` */
export async function requireBucket(
  ctx: RequestContext,
  { bucket, prefix }: Pick<TrailSettings, "bucket" | "prefix">,
  arn: string,
): Promise<void> {
  const { accountId } = ctx.caller;
  // A file as the trail would deliver it.
  const key = logFileKey({ prefix, accountId, region: ctx.region }, ctx.now());
  switch (await ctx.parts.trails.refusalOf({ bucket, key, trailArn: arn, accountId })) {
    case null:
      return;
    case "NoSuchBucket":
      throw new ApiError("S3BucketDoesNotExistException", `S3 bucket ${bucket} does not exist!`);
    case "AccessDenied":
      throw new ApiError(
        "InsufficientS3BucketPolicyException",
        `Incorrect S3 bucket policy is detected for bucket: ${bucket}`,
      );
  }
}

/** @throws ApiError `InvalidTagParameterException`, `TagsLimitExceededException` */
export function parseTags(given: readonly Tag[] | undefined): Tags {
  const tags = new Map<string, string>();
  for (const { Key: key = "", Value: value = "" } of given ?? []) {
    if (
      !/^(?!aws:)[\p{L}\p{Z}\p{N}_.:/=+\-@]{1,128}$/iu.test(key) ||
      !/^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,256}$/u.test(value)
    ) {
      throw new ApiError("InvalidTagParameterException", `Tag ${key.slice(0, 128)} is not valid.`);
    }
    if (tags.has(key)) throw new ApiError("InvalidTagParameterException", `Duplicate tag key: ${key}`);
    tags.set(key, value);
  }
  return withinTagLimit(Object.fromEntries(tags));
}

/** @throws ApiError `TagsLimitExceededException` */
export function withinTagLimit(tags: Tags): Tags {
  if (Object.keys(tags).length <= MOST_TRAIL_TAGS) return tags;
  throw new ApiError("TagsLimitExceededException", `A trail has at most ${MOST_TRAIL_TAGS} tags.`);
}

export function requestTagKeys(tags: Tags): ConditionKeys {
  const names = Object.keys(tags);
  if (names.length === 0) return {};
  return {
    "aws:TagKeys": names,
    ...Object.fromEntries(Object.entries(tags).map(([key, value]) => [`aws:RequestTag/${key}`, value])),
  };
}
