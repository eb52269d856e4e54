import type {
  LaunchTemplate as ApiLaunchTemplate,
  LaunchTemplateVersion as ApiLaunchTemplateVersion,
} from "@aws-sdk/client-ec2";
import type { ResourceCheck } from "../../../model/access.ts";
import type { LaunchTemplate, LaunchTemplateVersion } from "../../../model/launch-template.ts";
import { type Tag, tagsOf } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { isSsmImage, resolveSsmImage, ssmImageCheck } from "../../ssm/resolve-image.ts";
import { shownTags } from "../tags/shown-tags.ts";
import { dataOf, shownData } from "./template-data.ts";

export const shownTemplate = (template: LaunchTemplate, tags: readonly Tag[]): ApiLaunchTemplate => ({
  LaunchTemplateId: template.id,
  LaunchTemplateName: template.name,
  CreateTime: toSecond(template.created_at),
  CreatedBy: template.created_by,
  DefaultVersionNumber: template.default_version,
  LatestVersionNumber: template.latest_version,
  ...(tags.length === 0 ? {} : { Tags: shownTags(tags) }),
});

/** With its tags, read now. */
export async function templateNow(ctx: RequestContext, template: LaunchTemplate): Promise<ApiLaunchTemplate> {
  const tags = await tagsOf(ctx.database.read, template.account_id, [template.id]);
  return shownTemplate(template, tags.get(template.id) ?? []);
}

/** @param image  in place of the data's: the one that its parameter names now */
export const shownVersion = (
  template: LaunchTemplate,
  version: LaunchTemplateVersion,
  image?: string,
): ApiLaunchTemplateVersion => ({
  LaunchTemplateId: template.id,
  LaunchTemplateName: template.name,
  VersionNumber: version.version,
  ...(version.description === null ? {} : { VersionDescription: version.description }),
  CreateTime: toSecond(version.created_at),
  CreatedBy: version.created_by,
  DefaultVersion: version.version === template.default_version,
  LaunchTemplateData: shownData(dataOf(version.data), image),
});

/** `resolve:ssm:…` where a version has such an image; the parameter is read as the caller. */
const aliasOf = (version: LaunchTemplateVersion): string | undefined => {
  const { ImageId: image } = dataOf(version.data);
  return image !== undefined && isSsmImage(image) ? image : undefined;
};

/** What reading the parameters of these versions takes, each once. */
export async function aliasChecks(
  ctx: RequestContext,
  versions: readonly LaunchTemplateVersion[],
): Promise<ResourceCheck[]> {
  const aliases = new Set(versions.flatMap((version) => aliasOf(version) ?? []));
  return Promise.all([...aliases].map((alias) => ssmImageCheck(ctx, alias)));
}

/** The version with the image in place of its parameter. */
export async function resolvedVersion(
  ctx: RequestContext,
  template: LaunchTemplate,
  version: LaunchTemplateVersion,
): Promise<ApiLaunchTemplateVersion> {
  const alias = aliasOf(version);
  return shownVersion(template, version, alias === undefined ? undefined : await resolveSsmImage(ctx, alias));
}

/** EC2 shows whole seconds here. */
const toSecond = (at: string): Date => new Date(`${at.slice(0, 19)}Z`);
