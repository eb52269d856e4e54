// DescribeLaunchTemplates and DescribeLaunchTemplateVersions.
import {
  DescribeLaunchTemplates$,
  type DescribeLaunchTemplatesRequest,
  type DescribeLaunchTemplatesResult,
  DescribeLaunchTemplateVersions$,
  type DescribeLaunchTemplateVersionsRequest,
  type DescribeLaunchTemplateVersionsResult,
  type RequestLaunchTemplateData,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import type { ResourceCheck } from "../../../model/access.ts";
import {
  type LaunchTemplate,
  type LaunchTemplateVersion,
  parseVersion,
  templateIdNotFound,
  templateNameNotFound,
  templatesOf,
  templateVersion,
  templateVersionNotFound,
  versionNumber,
  versionsOf,
} from "../../../model/launch-template.ts";
import { type Tag, tagsOf } from "../../../model/tags.ts";
import { compileFilters, type FilterTable } from "../../../protocol/filters.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { pageOf } from "../page.ts";
import { shownTags } from "../tags/shown-tags.ts";
import { findTemplate } from "./named-template.ts";
import { aliasChecks, resolvedVersion, shownTemplate, shownVersion } from "./shown-template.ts";
import { dataOf } from "./template-data.ts";

const MOST_NAMED = 200;

interface TemplateView {
  readonly template: LaunchTemplate;
  readonly tags: readonly Tag[];
}

const TEMPLATE_FILTERS: FilterTable<TemplateView> = {
  values: {
    "create-time": ({ template }) => template.created_at,
    "launch-template-name": ({ template }) => template.name,
  },
  tags: ({ tags }) => shownTags(tags),
};

export const describeLaunchTemplates = operation({
  action: "ec2:DescribeLaunchTemplates",
  schema: DescribeLaunchTemplates$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeLaunchTemplatesRequest) =>
    onAnything("ec2:DescribeLaunchTemplates"),
  async run(ctx, input): Promise<DescribeLaunchTemplatesResult> {
    const owner = ownerOf(ctx);
    const filters = compileFilters(input.Filters, TEMPLATE_FILTERS);
    const ids = (input.LaunchTemplateIds ?? []).map((id) => parseId("launchTemplate", id));
    const names = input.LaunchTemplateNames ?? [];
    mostNamed("launchTemplateIds", ids.length + names.length);
    const all = await templatesOf(ctx.database.read, owner);
    for (const id of ids) if (!all.some((template) => template.id === id)) throw templateIdNotFound(owner, id);
    for (const name of names) {
      if (!all.some((template) => template.name === name)) throw templateNameNotFound(owner, name);
    }
    const named = all.filter(
      (template) =>
        (ids.length === 0 && names.length === 0) || ids.includes(template.id) || names.includes(template.name),
    );
    const tags = await tagsOf(
      ctx.database.read,
      owner.accountId,
      named.map((template) => template.id),
    );
    const views = named.map((template) => ({ template, tags: tags.get(template.id) ?? [] })).filter(filters.matches);
    const { page, token } = pageOf(ctx, "DescribeLaunchTemplates", input, views, ({ template }) => template.id);
    return { LaunchTemplates: page.map((view) => shownTemplate(view.template, view.tags)), ...token };
  },
});

interface VersionView {
  readonly template: LaunchTemplate;
  readonly version: LaunchTemplateVersion;
}

/** Reads the version's data only where a filter asks for it. */
const of =
  <T>(read: (data: RequestLaunchTemplateData) => T) =>
  ({ version }: VersionView): T =>
    read(dataOf(version.data));

const VERSION_FILTERS: FilterTable<VersionView> = {
  values: {
    "create-time": ({ version }) => version.created_at,
    "ebs-optimized": of((data) => data.EbsOptimized),
    "host-resource-group-arn": of((data) => data.Placement?.HostResourceGroupArn),
    "http-endpoint": of((data) => data.MetadataOptions?.HttpEndpoint),
    "http-protocol-ipv4": of((data) => data.MetadataOptions?.HttpEndpoint),
    "http-tokens": of((data) => data.MetadataOptions?.HttpTokens),
    "iam-instance-profile": of((data) => data.IamInstanceProfile?.Arn ?? data.IamInstanceProfile?.Name),
    "image-id": of((data) => data.ImageId),
    "instance-type": of((data) => data.InstanceType),
    "is-default-version": ({ template, version }) => version.version === template.default_version,
    "kernel-id": of((data) => data.KernelId),
    "license-configuration-arn": of((data) =>
      (data.LicenseSpecifications ?? []).map((one) => one.LicenseConfigurationArn),
    ),
    "network-card-index": of((data) => (data.NetworkInterfaces ?? []).map((card) => card.NetworkCardIndex)),
    "ram-disk-id": of((data) => data.RamDiskId),
  },
};

export const describeLaunchTemplateVersions = operation({
  action: "ec2:DescribeLaunchTemplateVersions",
  schema: DescribeLaunchTemplateVersions$,
  access: "read",
  async resolve(ctx: RequestContext, input: DescribeLaunchTemplateVersionsRequest) {
    const filters = compileFilters(input.Filters, VERSION_FILTERS);
    const views = (await chosen(ctx, input)).filter(filters.matches);
    const read: ResourceCheck = { action: "ec2:DescribeLaunchTemplateVersions", resource: "*", keys: {} };
    const versions = views.map(({ version }) => version);
    return { views, checks: [read, ...(input.ResolveAlias === true ? await aliasChecks(ctx, versions) : [])] };
  },
  async run(ctx, input, { views }): Promise<DescribeLaunchTemplateVersionsResult> {
    const { page, token } = pageOf(
      ctx,
      "DescribeLaunchTemplateVersions",
      input,
      views,
      ({ template, version }) => `${template.id} ${version.version}`,
    );
    const shown = page.map(({ template, version }) =>
      input.ResolveAlias === true ? resolvedVersion(ctx, template, version) : shownVersion(template, version),
    );
    return { LaunchTemplateVersions: await Promise.all(shown), ...token };
  },
});

/** The versions that the request selects: of one template, newest first; or the newest and default ones of all. */
async function chosen(ctx: RequestContext, input: DescribeLaunchTemplateVersionsRequest): Promise<VersionView[]> {
  const db = ctx.database.read;
  const names = input.Versions ?? [];
  mostNamed("versions", names.length);
  const ranged = input.MinVersion !== undefined || input.MaxVersion !== undefined;
  if (names.length > 0 && ranged) {
    throw new ApiError(
      "InvalidParameterCombination",
      "Versions may not be specified together with MinVersion or MaxVersion.",
    );
  }
  if (input.LaunchTemplateId === undefined && input.LaunchTemplateName === undefined) {
    if (ranged || names.length === 0 || names.some((name) => name !== "$Latest" && name !== "$Default")) {
      throw new ApiError(
        "MissingParameter",
        "A launch template ID or name must be specified, unless the versions are $Latest or $Default.",
      );
    }
    const views: VersionView[] = [];
    for (const template of await templatesOf(db, ownerOf(ctx))) {
      for (const number of [...new Set(names.map((name) => versionNumber(template, name)))]) {
        views.push({ template, version: await templateVersion(db, template, String(number)) });
      }
    }
    return views;
  }
  const template = await findTemplate(ctx, input);
  const numbers = new Set(names.map((name) => versionNumber(template, name)));
  const least = input.MinVersion === undefined ? 1 : parseVersion(input.MinVersion);
  const most = input.MaxVersion === undefined ? Number.POSITIVE_INFINITY : parseVersion(input.MaxVersion);
  const all = await versionsOf(db, template.id);
  for (const number of numbers) {
    if (!all.some((version) => version.version === number)) throw templateVersionNotFound(template, number);
  }
  return all
    .filter(({ version }) => version >= least && version <= most && (numbers.size === 0 || numbers.has(version)))
    .map((version) => ({ template, version }));
}

function mostNamed(parameter: string, count: number): void {
  if (count <= MOST_NAMED) return;
  throw new ApiError("InvalidParameterValue", `At most ${MOST_NAMED} values may be given for ${parameter}.`);
}
