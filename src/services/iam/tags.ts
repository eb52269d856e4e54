// IAM's tags. Unlike EC2's, their keys are told apart without regard to case.
import { ApiError } from "../../base/api-error.ts";
import type { ConditionKeys, OpenConditionKeys } from "../../model/access.ts";
import type { IamTags } from "../../model/identity/entities.ts";

const MOST_TAGS = 50;

export interface TagInput {
  Key: string | undefined;
  Value: string | undefined;
}

/** @throws ApiError `InvalidInput`, `ValidationError`, `LimitExceeded` */
export function parseTags(tags: readonly TagInput[] | undefined): IamTags {
  const parsed: Record<string, string> = {};
  const seen = new Set<string>();
  for (const { Key: key = "", Value: value = "" } of tags ?? []) {
    if (key === "" || key.length > 128 || !/^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$/u.test(key)) {
      throw new ApiError(
        "ValidationError",
        `1 validation error detected: Value '${key}' at 'tags.member.key' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+`,
      );
    }
    if (value.length > 256 || !/^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u.test(value)) {
      throw new ApiError(
        "ValidationError",
        `1 validation error detected: Value '${value.slice(0, 64)}' at 'tags.member.value' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*`,
      );
    }
    if (/^aws:/i.test(key)) {
      throw new ApiError("InvalidInput", "System tags cannot be added/updated/deleted by the requester.");
    }
    if (seen.has(key.toLowerCase())) {
      throw new ApiError("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.");
    }
    seen.add(key.toLowerCase());
    parsed[key] = value;
  }
  return withinLimit(parsed);
}

function withinLimit(tags: IamTags): IamTags {
  if (Object.keys(tags).length > MOST_TAGS) {
    throw new ApiError("LimitExceeded", "The number of tags has reached the maximum limit.");
  }
  return tags;
}

/** @throws ApiError `LimitExceeded` when there would be more than 50 */
export function tagged(before: IamTags, added: IamTags): IamTags {
  const kept = untagged(before, Object.keys(added));
  return withinLimit({ ...kept, ...added });
}

export function untagged(before: IamTags, keys: readonly string[]): IamTags {
  const gone = new Set(keys.map((key) => key.toLowerCase()));
  return Object.fromEntries(Object.entries(before).filter(([key]) => !gone.has(key.toLowerCase())));
}

export const tagList = (tags: IamTags): { Key: string; Value: string }[] =>
  Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));

/** Condition keys of tags in a request. */
export function requestTagKeys(tags: IamTags): ConditionKeys {
  const keys: OpenConditionKeys = {};
  for (const [key, value] of Object.entries(tags)) keys[`aws:RequestTag/${key}`] = value;
  if (Object.keys(tags).length > 0) keys["aws:TagKeys"] = Object.keys(tags);
  return keys;
}

/** Condition keys of a tagged resource. */
export function resourceTagKeys(tags: IamTags): ConditionKeys {
  const keys: OpenConditionKeys = {};
  for (const [key, value] of Object.entries(tags)) {
    keys[`aws:ResourceTag/${key}`] = value;
    keys[`iam:ResourceTag/${key}`] = value;
  }
  return keys;
}
