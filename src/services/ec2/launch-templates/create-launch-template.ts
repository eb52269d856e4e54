// CreateLaunchTemplate and CreateLaunchTemplateVersion.
import {
  CreateLaunchTemplate$,
  type CreateLaunchTemplateRequest,
  type CreateLaunchTemplateResult,
  CreateLaunchTemplateVersion$,
  type CreateLaunchTemplateVersionRequest,
  type CreateLaunchTemplateVersionResult,
  type RequestLaunchTemplateData,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { type LaunchTemplateId, newId } from "../../../base/ids.ts";
import type { ConditionKeys, ResourceCheck } from "../../../model/access.ts";
import { keepToken, tokenResult } from "../../../model/client-token.ts";
import {
  insertTemplate,
  insertVersion,
  type NewVersion,
  parseTemplateName,
  templateArn,
  templateById,
  templateIdNotFound,
  templateVersion,
} from "../../../model/launch-template.ts";
import { requestTagKeys, writeTags } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { notSupported, required } from "../parameters.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";
import { tokenUse } from "../token.ts";
import { findTemplate, templateCheck } from "./named-template.ts";
import { aliasChecks, resolvedVersion, shownVersion, templateNow } from "./shown-template.ts";
import { dataOf, imageIdOf, keptData, overSource, parseTemplateData } from "./template-data.ts";
import { templateWarnings } from "./template-warnings.ts";

const TAGGED = "launch-template";
const MOST_DESCRIPTION_CHARS = 255;

/** A template with its first version, which is its default. */
export const createLaunchTemplate = operation({
  action: "ec2:CreateLaunchTemplate",
  schema: CreateLaunchTemplate$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateLaunchTemplateRequest) {
    const name = parseTemplateName(required(input.LaunchTemplateName, "LaunchTemplateName"));
    if (input.Operator !== undefined) throw notSupported("Templates that a service manages are");
    const data = parseTemplateData(input.LaunchTemplateData);
    const description = parseDescription(input.VersionDescription);
    const tags = parseTagSpecifications(input.TagSpecifications, [TAGGED]).of(TAGGED);
    const arn = templateArn(ownerOf(ctx), "*");
    const keys: ConditionKeys = { "ec2:Region": ctx.region, ...requestTagKeys(tags) };
    const checks: ResourceCheck[] = [
      { action: "ec2:CreateLaunchTemplate", resource: arn, keys },
      ...createTagsCheck("CreateLaunchTemplate", arn, tags),
    ];
    return { name, data, description, tags, token: tokenUse("CreateLaunchTemplate", input), checks };
  },
  async run(ctx, _input, { name, data, description, tags, token }, grant): Promise<CreateLaunchTemplateResult> {
    const owner = ownerOf(ctx);
    const id = await ctx.database.transaction(async (tx) => {
      const before = token === undefined ? undefined : await tokenResult(tx, owner, token);
      if (before !== undefined) return before as LaunchTemplateId;
      const made = newId("launchTemplate");
      if (token !== undefined) await keepToken(tx, owner, token, made, ctx.now());
      await insertTemplate(grant, tx, owner, { id: made, name }, newVersion(ctx, data, description));
      await writeTags(tx, owner, { id: made, type: TAGGED }, tags);
      return made;
    });
    const template = await templateById(ctx.database.read, owner, id);
    if (template === undefined) throw templateIdNotFound(owner, id);
    return { LaunchTemplate: await templateNow(ctx, template), ...(await templateWarnings(ctx, data)) };
  },
});

/** One more version, new throughout or made of another: what is given replaces what that one says. */
export const createLaunchTemplateVersion = operation({
  action: "ec2:CreateLaunchTemplateVersion",
  schema: CreateLaunchTemplateVersion$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateLaunchTemplateVersionRequest) {
    const template = await findTemplate(ctx, input);
    const given = parseTemplateData(input.LaunchTemplateData);
    const description = parseDescription(input.VersionDescription);
    const source =
      input.SourceVersion === undefined
        ? undefined
        : await templateVersion(ctx.database.read, template, input.SourceVersion);
    const data = source === undefined ? given : overSource(dataOf(source.data), given);
    const version = { ...newVersion(ctx, data, description), template_id: template.id, version: 0 };
    const checks = [
      await templateCheck(ctx, "ec2:CreateLaunchTemplateVersion", template),
      ...(input.ResolveAlias === true ? await aliasChecks(ctx, [version]) : []),
    ];
    return { template, data, description, token: tokenUse("CreateLaunchTemplateVersion", input), checks };
  },
  async run(ctx, input, resolved, grant): Promise<CreateLaunchTemplateVersionResult> {
    const { template, data, description, token } = resolved;
    const owner = ownerOf(ctx);
    const number = await ctx.database.transaction(async (tx) => {
      const before = token === undefined ? undefined : await tokenResult(tx, owner, token);
      if (before !== undefined) return before;
      const version = newVersion(ctx, data, description);
      const made = String(await insertVersion(grant, tx, owner, template.id, version));
      if (token !== undefined) await keepToken(tx, owner, token, made, ctx.now());
      return made;
    });
    const version = await templateVersion(ctx.database.read, template, number);
    return {
      LaunchTemplateVersion:
        input.ResolveAlias === true ? await resolvedVersion(ctx, template, version) : shownVersion(template, version),
      ...(await templateWarnings(ctx, data)),
    };
  },
});

const newVersion = (ctx: RequestContext, data: RequestLaunchTemplateData, description: string | null): NewVersion => ({
  description,
  data: keptData(data),
  image_id: imageIdOf(data),
  created_at: ctx.now().toISOString(),
  created_by: ctx.caller.arn,
});

function parseDescription(text: string | undefined): string | null {
  if (text === undefined) return null;
  if (text.length > MOST_DESCRIPTION_CHARS) {
    throw new ApiError(
      "InvalidParameterValue",
      `The version description may have at most ${MOST_DESCRIPTION_CHARS} characters.`,
    );
  }
  return text;
}
