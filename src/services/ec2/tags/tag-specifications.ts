// Tags given while a resource is made: `TagSpecification.N`, on RunInstances, CreateImage and all their kin.
import type { TagSpecification } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import type { ResourceCheck } from "../../../model/access.ts";
import { parseTags, requestTagKeys, type Tag, type TaggedType } from "../../../model/tags.ts";

/** Tags by resource type; types that the call cannot make are refused. */
export interface TagsOnCreate {
  of(type: TaggedType): readonly Tag[];
  /** The tags of all types together, for `aws:RequestTag/*` of the creating action itself. */
  readonly all: readonly Tag[];
  /** Whether anything is to be tagged at all. */
  readonly any: boolean;
}

/**
 * @param allowed  types that the action makes
 * @throws ApiError `InvalidParameterValue` for another type, or bad tags
 */
export function parseTagSpecifications(
  specifications: readonly TagSpecification[] | undefined,
  allowed: readonly TaggedType[],
): TagsOnCreate {
  const byType = new Map<string, Tag[]>();
  for (const { ResourceType: type, Tags: tags = [] } of specifications ?? []) {
    if (type === undefined) {
      throw new ApiError("MissingParameter", "Tag specification resource type must have a value");
    }
    if (!allowed.includes(type)) {
      throw new ApiError(
        "InvalidParameterValue",
        `'${type}' is not a valid taggable resource type for this operation.`,
      );
    }
    if (byType.has(type)) {
      throw new ApiError("InvalidParameterValue", `Duplicate resource type '${type}' in tag specifications.`);
    }
    if (tags.length === 0) throw new ApiError("InvalidParameterValue", "Tag specification must have at least one tag");
    byType.set(type, parseTags(tags));
  }
  const all = new Map<string, Tag>();
  for (const tags of byType.values()) for (const tag of tags) all.set(tag.key, tag);
  return { of: (type) => byType.get(type) ?? [], all: [...all.values()], any: byType.size > 0 };
}

/** Tagging while creating needs `ec2:CreateTags` on the new resource, with the creating action as a condition. */
export function createTagsCheck(createAction: string, resource: string, tags: readonly Tag[]): ResourceCheck[] {
  if (tags.length === 0) return [];
  return [{ action: "ec2:CreateTags", resource, keys: { "ec2:CreateAction": createAction, ...requestTagKeys(tags) } }];
}
