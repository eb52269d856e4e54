// ModifyLaunchTemplate, DeleteLaunchTemplate and DeleteLaunchTemplateVersions.
import {
  DeleteLaunchTemplate$,
  type DeleteLaunchTemplateRequest,
  type DeleteLaunchTemplateResult,
  DeleteLaunchTemplateVersions$,
  type DeleteLaunchTemplateVersionsRequest,
  type DeleteLaunchTemplateVersionsResponseErrorItem,
  type DeleteLaunchTemplateVersionsResponseSuccessItem,
  type DeleteLaunchTemplateVersionsResult,
  ModifyLaunchTemplate$,
  type ModifyLaunchTemplateRequest,
  type ModifyLaunchTemplateResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import type { ConditionKeys } from "../../../model/access.ts";
import {
  deleteTemplate,
  deleteVersion,
  parseVersion,
  setDefaultVersion,
  templateById,
  templateIdNotFound,
  templateVersion,
} from "../../../model/launch-template.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { missingParameter, required } from "../parameters.ts";
import { findTemplate, templateCheck } from "./named-template.ts";
import { templateNow } from "./shown-template.ts";

const MOST_VERSIONS = 200;

/** Says which version is the default. Said again it is the same: the client token needs no memory. */
export const modifyLaunchTemplate = operation({
  action: "ec2:ModifyLaunchTemplate",
  schema: ModifyLaunchTemplate$,
  access: "write",
  async resolve(ctx: RequestContext, input: ModifyLaunchTemplateRequest) {
    const template = await findTemplate(ctx, input);
    const keys: ConditionKeys = input.DefaultVersion === undefined ? {} : { "ec2:Attribute": "DefaultVersion" };
    return { template, checks: [await templateCheck(ctx, "ec2:ModifyLaunchTemplate", template, keys)] };
  },
  async run(ctx, input, { template }, grant): Promise<ModifyLaunchTemplateResult> {
    const owner = ownerOf(ctx);
    const wanted = required(input.DefaultVersion, "SetDefaultVersion");
    const { version } = await templateVersion(ctx.database.read, template, wanted);
    await ctx.database.transaction((tx) => setDefaultVersion(grant, tx, template, version));
    const changed = await templateById(ctx.database.read, owner, template.id);
    if (changed === undefined) throw templateIdNotFound(owner, template.id);
    return { LaunchTemplate: await templateNow(ctx, changed) };
  },
});

/** With all its versions. What was launched from it goes on. */
export const deleteLaunchTemplate = operation({
  action: "ec2:DeleteLaunchTemplate",
  schema: DeleteLaunchTemplate$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeleteLaunchTemplateRequest) {
    const template = await findTemplate(ctx, input);
    return { template, checks: [await templateCheck(ctx, "ec2:DeleteLaunchTemplate", template)] };
  },
  async run(ctx, _input, { template }, grant): Promise<DeleteLaunchTemplateResult> {
    const shown = await templateNow(ctx, template);
    const gone = await ctx.database.transaction((tx) => deleteTemplate(grant, tx, template.id));
    if (!gone) throw templateIdNotFound(ownerOf(ctx), template.id);
    return { LaunchTemplate: shown };
  },
});

/** Each version by itself: the answer says of each whether it is gone. The default version stays. */
export const deleteLaunchTemplateVersions = operation({
  action: "ec2:DeleteLaunchTemplateVersions",
  schema: DeleteLaunchTemplateVersions$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeleteLaunchTemplateVersionsRequest) {
    const template = await findTemplate(ctx, input);
    const versions = [...new Set(input.Versions ?? [])];
    if (versions.length === 0) throw missingParameter("LaunchTemplateVersion");
    if (versions.length > MOST_VERSIONS) {
      throw new ApiError("InvalidParameterValue", `At most ${MOST_VERSIONS} versions can be deleted at once.`);
    }
    const numbers = versions.map(parseVersion);
    return { template, numbers, checks: [await templateCheck(ctx, "ec2:DeleteLaunchTemplateVersions", template)] };
  },
  async run(ctx, _input, { template, numbers }, grant): Promise<DeleteLaunchTemplateVersionsResult> {
    const deleted: DeleteLaunchTemplateVersionsResponseSuccessItem[] = [];
    const kept: DeleteLaunchTemplateVersionsResponseErrorItem[] = [];
    await ctx.database.transaction(async (tx) => {
      for (const number of numbers) {
        const item = {
          LaunchTemplateId: template.id,
          LaunchTemplateName: template.name,
          VersionNumber: number,
        };
        if (await deleteVersion(grant, tx, template.id, number)) deleted.push(item);
        else kept.push({ ...item, ResponseError: refusal(number, template.default_version) });
      }
    });
    return {
      SuccessfullyDeletedLaunchTemplateVersions: deleted,
      UnsuccessfullyDeletedLaunchTemplateVersions: kept,
    };
  },
});

const refusal = (number: number, defaultVersion: number) =>
  number === defaultVersion
    ? ({
        Code: "unexpectedError",
        Message: "The default version of a launch template cannot be deleted.",
      } as const)
    : ({
        Code: "launchTemplateVersionDoesNotExist",
        Message: `The specified launch template version ${number} does not exist.`,
      } as const);
