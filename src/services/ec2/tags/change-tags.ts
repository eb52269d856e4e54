// CreateTags and DeleteTags: one call, many resources; each must be there and each must be allowed.
import {
  CreateTags$,
  type CreateTagsRequest,
  DeleteTags$,
  type DeleteTagsRequest,
  type Tag as GivenTag,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import type { ConditionKeys, OpenConditionKeys } from "../../../model/access.ts";
import { deleteTagRows, parseTags, requestTagKeys, type TagToDelete, tagsOf, writeTags } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { missingParameter } from "../parameters.ts";
import { findTaggable, type Taggable } from "./taggable.ts";

const MOST_RESOURCES = 1000;

export const createTags = operation({
  action: "ec2:CreateTags",
  schema: CreateTags$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateTagsRequest) {
    if ((input.Tags ?? []).length === 0) throw missingParameter("Tag");
    const tags = parseTags(input.Tags ?? []);
    return { tags, ...(await named(ctx, "ec2:CreateTags", input.Resources, requestTagKeys(tags))) };
  },
  async run(ctx, _input, { found, tags }): Promise<Record<string, never>> {
    await ctx.database.transaction(async (tx) => {
      for (const resource of found) await writeTags(tx, ownerOf(ctx), resource, tags);
    });
    // Guests may read their instance's tags through the metadata service.
    ctx.parts.host.poke();
    return {};
  },
});

export const deleteTags = operation({
  action: "ec2:DeleteTags",
  schema: DeleteTags$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeleteTagsRequest) {
    const tags = input.Tags === undefined || input.Tags.length === 0 ? undefined : parseToDelete(input.Tags);
    return { tags, ...(await named(ctx, "ec2:DeleteTags", input.Resources, deleteKeys(tags ?? []))) };
  },
  async run(ctx, _input, { found, tags }, grant): Promise<Record<string, never>> {
    await ctx.database.transaction(async (tx) => {
      for (const resource of found) await deleteTagRows(grant, tx, ctx.caller.accountId, resource.id, tags);
    });
    ctx.parts.host.poke();
    return {};
  },
});

async function named(
  ctx: RequestContext,
  action: "ec2:CreateTags" | "ec2:DeleteTags",
  ids: readonly string[] | undefined,
  keys: ConditionKeys,
) {
  const wanted = [...new Set(ids ?? [])];
  if (wanted.length === 0) throw missingParameter("ResourceId");
  if (wanted.length > MOST_RESOURCES) {
    throw new ApiError("InvalidParameterValue", `At most ${MOST_RESOURCES} resources can be named in one request.`);
  }
  const present = await tagsOf(ctx.database.read, ctx.caller.accountId, wanted);
  const found: Taggable[] = [];
  for (const id of wanted) found.push(await findTaggable(ctx, id, present.get(id) ?? []));
  const checks = found.map((resource) => ({
    action,
    resource: resource.arn,
    keys: { ...resource.keys, ...keys },
  }));
  return { found, checks };
}

/** A tag without a value goes whatever its value is; with one, only if it has that value. */
function parseToDelete(tags: readonly GivenTag[]): TagToDelete[] {
  return tags.map(({ Key: key, Value: value }) => {
    if (key === undefined || key === "") throw new ApiError("InvalidParameterValue", "Tag key cannot be empty.");
    if (/^aws:/i.test(key)) {
      throw new ApiError(
        "InvalidParameterValue",
        `Tag keys starting with 'aws:' are reserved for internal use (${key}).`,
      );
    }
    return { key, value };
  });
}

function deleteKeys(tags: readonly TagToDelete[]): ConditionKeys {
  const keys: OpenConditionKeys = {};
  for (const { key, value } of tags) if (value !== undefined) keys[`aws:RequestTag/${key}`] = value;
  if (tags.length > 0) keys["aws:TagKeys"] = tags.map((tag) => tag.key);
  return keys;
}
