// Nearly every call about launch templates names one, by its id or by its name.
import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import type { Action, ConditionKeys, ResourceCheck } from "../../../model/access.ts";
import {
  type LaunchTemplate,
  templateArn,
  templateById,
  templateByName,
  templateIdNotFound,
  templateKeys,
  templateNameNotFound,
} from "../../../model/launch-template.ts";
import { tagsOf } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { ownerOf } from "../owner.ts";

export interface TemplateName {
  readonly LaunchTemplateId?: string | undefined;
  readonly LaunchTemplateName?: string | undefined;
}

/**
 * The one template of the caller's that is named.
 * @throws ApiError `InvalidLaunchTemplateId.Malformed`, `.NotFound`, `InvalidLaunchTemplateName.NotFoundException`,
 *   `MissingParameter` for neither name nor id, `InvalidParameterCombination` for both
 */
export async function findTemplate(
  ctx: RequestContext,
  { LaunchTemplateId: id, LaunchTemplateName: name }: TemplateName,
): Promise<LaunchTemplate> {
  const owner = ownerOf(ctx);
  const db = ctx.database.read;
  if (id !== undefined && name !== undefined) {
    throw new ApiError(
      "InvalidParameterCombination",
      "Either a launch template ID or a launch template name must be specified, but not both.",
    );
  }
  if (id !== undefined) {
    const template = await templateById(db, owner, parseId("launchTemplate", id));
    if (template === undefined) throw templateIdNotFound(owner, id);
    return template;
  }
  if (name === undefined) {
    throw new ApiError(
      "MissingParameter",
      "The request must contain either a launch template ID or a launch template name",
    );
  }
  const template = await templateByName(db, owner, name);
  if (template === undefined) throw templateNameNotFound(owner, name);
  return template;
}

/** May the caller do `action` to the template? */
export async function templateCheck(
  ctx: RequestContext,
  action: Action,
  template: LaunchTemplate,
  keys: ConditionKeys = {},
): Promise<ResourceCheck> {
  const tags = await tagsOf(ctx.database.read, template.account_id, [template.id]);
  return {
    action,
    resource: templateArn(ownerOf(ctx), template.id),
    keys: { ...templateKeys(ownerOf(ctx), tags.get(template.id) ?? []), ...keys },
  };
}
