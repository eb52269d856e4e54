// SSM's tags, and the actions on them. Only parameters have any here.
import {
  AddTagsToResource$,
  type AddTagsToResourceRequest,
  type AddTagsToResourceResult,
  ListTagsForResource$,
  type ListTagsForResourceRequest,
  type ListTagsForResourceResult,
  RemoveTagsFromResource$,
  type RemoveTagsFromResourceRequest,
  type RemoveTagsFromResourceResult,
} from "@aws-sdk/client-ssm";
import { ApiError } from "../../base/api-error.ts";
import type { Action, ConditionKeys } from "../../model/access.ts";
import { invalid, MOST_TAGS } from "../../model/ssm/parameter.ts";
import { findParameter, writeTags } from "../../model/ssm/parameter-rows.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { mustFindOwn } from "./named-parameter.ts";

type Tags = Readonly<Record<string, string>>;

/** @throws ApiError `ValidationException`, `TooManyTagsError` */
export function parseTags(
  tags: readonly { readonly Key?: string | undefined; readonly Value?: string | undefined }[] | undefined,
): Tags {
  const parsed = new Map<string, string>();
  for (const { Key: key = "", Value: value = "" } of tags ?? []) {
    if (!/^(?!aws:)[\p{L}\p{Z}\p{N}_.:/=+\-@]{1,128}$/iu.test(key)) {
      throw invalid(
        `Tag key '${key.slice(0, 128)}' is not valid: it has 1 to 128 characters and does not start with aws:.`,
      );
    }
    if (!/^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,256}$/u.test(value)) throw invalid(`The value of tag '${key}' is not valid.`);
    parsed.set(key, value);
  }
  return withinLimit(Object.fromEntries(parsed));
}

function withinLimit(tags: Tags): Tags {
  if (Object.keys(tags).length <= MOST_TAGS) return tags;
  throw new ApiError("TooManyTagsError", `The maximum number of tags per resource is ${MOST_TAGS}.`);
}

export function requestTagKeys(tags: Tags): ConditionKeys {
  const names = Object.keys(tags);
  if (names.length === 0) return {};
  const values = Object.entries(tags).map(([key, value]) => [`aws:RequestTag/${key}`, value]);
  return { "aws:TagKeys": names, ...Object.fromEntries(values) };
}

/** @throws ApiError `InvalidResourceType`, `InvalidResourceId` */
async function tagged<A extends Action>(
  ctx: RequestContext,
  action: A,
  input: { readonly ResourceType: string | undefined; readonly ResourceId: string | undefined },
  keys: ConditionKeys = {},
) {
  if (input.ResourceType !== "Parameter") {
    throw new ApiError(
      "InvalidResourceType",
      "The resource type is not valid: of Systems Manager's resources, there are parameters here.",
    );
  }
  try {
    const { parameter, checks } = await mustFindOwn(ctx, action, input.ResourceId ?? "");
    return { parameter, checks: checks.map((check) => ({ ...check, keys: { ...check.keys, ...keys } })) };
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== "ParameterNotFound") throw error;
    const { resourceArn } = error;
    throw new ApiError(
      "InvalidResourceId",
      "The resource ID is not valid. Verify that you entered the correct ID and try again.",
      resourceArn === undefined ? {} : { resourceArn },
    );
  }
}

export const addTagsToResource = operation({
  action: "ssm:AddTagsToResource",
  schema: AddTagsToResource$,
  access: "write",
  async resolve(ctx: RequestContext, input: AddTagsToResourceRequest) {
    const tags = parseTags(input.Tags);
    return { tags, ...(await tagged(ctx, "ssm:AddTagsToResource", input, requestTagKeys(tags))) };
  },
  async run(ctx, _input, { tags, parameter }, grant): Promise<AddTagsToResourceResult> {
    await ctx.database.transaction(async (tx) => {
      const now = await findParameter(tx, parameter.owner, parameter.name);
      if (now !== undefined) await writeTags(grant, tx, now, withinLimit({ ...now.tags, ...tags }));
    });
    return {};
  },
});

export const removeTagsFromResource = operation({
  action: "ssm:RemoveTagsFromResource",
  schema: RemoveTagsFromResource$,
  access: "write",
  resolve: (ctx: RequestContext, input: RemoveTagsFromResourceRequest) =>
    tagged(ctx, "ssm:RemoveTagsFromResource", input, { "aws:TagKeys": input.TagKeys ?? [] }),
  async run(ctx, input, { parameter }, grant): Promise<RemoveTagsFromResourceResult> {
    await ctx.database.transaction(async (tx) => {
      const now = await findParameter(tx, parameter.owner, parameter.name);
      if (now === undefined) return;
      const gone = new Set(input.TagKeys);
      const kept = Object.entries(now.tags).filter(([key]) => !gone.has(key));
      await writeTags(grant, tx, now, Object.fromEntries(kept));
    });
    return {};
  },
});

export const listTagsForResource = operation({
  action: "ssm:ListTagsForResource",
  schema: ListTagsForResource$,
  access: "read",
  resolve: (ctx: RequestContext, input: ListTagsForResourceRequest) => tagged(ctx, "ssm:ListTagsForResource", input),
  async run(_ctx, _input, { parameter }): Promise<ListTagsForResourceResult> {
    const tags = Object.entries(parameter.tags).sort(([a], [b]) => (a < b ? -1 : 1));
    return { TagList: tags.map(([Key, Value]) => ({ Key, Value })) };
  },
});
