// CreateImageUsageReport and its kin: which accounts use an image, and how much. What EC2 gathers over a day is counted here
// at once: a report is available as soon as it is made.
import {
  CreateImageUsageReport$,
  type CreateImageUsageReportRequest,
  type CreateImageUsageReportResult,
  DeleteImageUsageReport$,
  type DeleteImageUsageReportRequest,
  type DeleteImageUsageReportResult,
  DescribeImageUsageReportEntries$,
  type DescribeImageUsageReportEntriesRequest,
  type DescribeImageUsageReportEntriesResult,
  DescribeImageUsageReports$,
  type DescribeImageUsageReportsRequest,
  type DescribeImageUsageReportsResult,
  type ImageUsageResourceTypeRequest,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { isAccountId, newId, parseId } from "../../../base/ids.ts";
import { ec2Arn } from "../../../model/arn.ts";
import { keepToken, type TokenUse, tokenResult } from "../../../model/client-token.ts";
import {
  deleteUsageReport,
  insertUsageReport,
  type ReportedType,
  type UsageEntry,
  type UsageReport,
  usageEntries,
  usageReports,
  usesOf,
} from "../../../model/image-usage.ts";
import { type Tag, tagsOf, writeTags } from "../../../model/tags.ts";
import { compileFilters, type FilterTable } from "../../../protocol/filters.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { pageOf } from "../page.ts";
import { invalidValue, required } from "../parameters.ts";
import { shownTags } from "../tags/shown-tags.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";
import { resolveOwnImage } from "./own-image.ts";

/** Image Builder's may be asked for and have no uses. */
const REPORTED = new Set([
  "ec2:Instance",
  "ec2:LaunchTemplate",
  "imagebuilder:ImageRecipe",
  "imagebuilder:ContainerRecipe",
]);
const MOST_ACCOUNTS = 200;
const TAGGED = "image-usage-report";

function parseTypes(given: readonly ImageUsageResourceTypeRequest[] | undefined): ReportedType[] {
  const types = required(given, "resourceTypes");
  if (types.length === 0)
    throw new ApiError("MissingParameter", "The request must contain the parameter resourceTypes");
  return types.map(({ ResourceType: type, ResourceTypeOptions: options = [] }) => {
    const resourceType = required(type, "resourceType");
    if (!REPORTED.has(resourceType)) throw invalidValue("resourceType", resourceType);
    return {
      resourceType,
      options: options.map(({ OptionName: name, OptionValues: values = [] }) => {
        const depth = Number(values[0]);
        if (resourceType !== "ec2:LaunchTemplate" || name !== "version-depth")
          throw invalidValue("optionName", name ?? "");
        if (!Number.isInteger(depth) || depth < 1 || depth > 10_000) throw invalidValue("optionValue", values[0] ?? "");
        return { name, values };
      }),
    };
  });
}

function parseAccounts(given: readonly string[] | undefined): string[] | null {
  if (given === undefined || given.length === 0) return null;
  if (given.length > MOST_ACCOUNTS) throw invalidValue("accountIds", given.length, `At most ${MOST_ACCOUNTS} at once.`);
  for (const account of given) if (!isAccountId(account)) throw invalidValue("accountId", account);
  return [...new Set(given)].sort();
}

export const createImageUsageReport = operation({
  action: "ec2:CreateImageUsageReport",
  schema: CreateImageUsageReport$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateImageUsageReportRequest) {
    const tags = parseTagSpecifications(input.TagSpecifications, [TAGGED]).of(TAGGED);
    const own = await resolveOwnImage(ctx, "ec2:CreateImageUsageReport", input.ImageId);
    const checks = [
      ...own.checks,
      ...createTagsCheck("CreateImageUsageReport", ec2Arn(ctx.region, ctx.caller.accountId, TAGGED, "*"), tags),
    ];
    return {
      image: own.image,
      resourceTypes: parseTypes(input.ResourceTypes),
      accountIds: parseAccounts(input.AccountIds),
      tags,
      checks,
    };
  },
  async run(ctx, input, { image, resourceTypes, accountIds, tags }, grant): Promise<CreateImageUsageReportResult> {
    const owner = ownerOf(ctx);
    const token: TokenUse | undefined =
      input.ClientToken === undefined
        ? undefined
        : {
            action: "CreateImageUsageReport",
            token: input.ClientToken,
            parameters: JSON.stringify([image.id, resourceTypes, accountIds, tags]),
          };
    const id = await ctx.database.transaction(async (tx) => {
      const before = token === undefined ? undefined : await tokenResult(tx, owner, token);
      if (before !== undefined) return before;
      const made = newId("imageUsageReport");
      if (token !== undefined) await keepToken(tx, owner, token, made, ctx.now());
      const uses = await usesOf(tx, image, resourceTypes, accountIds);
      await insertUsageReport(grant, tx, owner, {
        id: made,
        imageId: image.id,
        resourceTypes,
        accountIds,
        uses,
        at: ctx.now(),
      });
      await writeTags(tx, owner, { id: made, type: TAGGED }, tags);
      return made;
    });
    return { ReportId: id };
  },
});

interface View {
  readonly report: UsageReport;
  readonly tags: readonly Tag[];
}

const REPORT_FILTERS: FilterTable<View> = {
  values: { "creation-time": ({ report }) => report.created_at, state: ({ report }) => report.state },
  tags: ({ tags }) => shownTags(tags),
};

const ENTRY_FILTERS: FilterTable<UsageEntry> = {
  values: {
    "account-id": (entry) => entry.accountId,
    "creation-time": (entry) => entry.report.created_at,
    "resource-type": (entry) => entry.resourceType,
  },
};

/** The caller's reports, those named where any are. @throws ApiError when one that is named is not there */
async function chosenReports(
  ctx: RequestContext,
  input: { readonly ReportIds?: readonly string[] | undefined; readonly ImageIds?: readonly string[] | undefined },
): Promise<UsageReport[]> {
  const all = await usageReports(ctx.database.read, ownerOf(ctx), ctx.now());
  const ids = input.ReportIds?.map((id) => parseId("imageUsageReport", id)) ?? [];
  for (const id of ids) if (!all.some((report) => report.id === id)) throw noReport(id);
  const images = input.ImageIds?.map((id) => parseId("image", id)) ?? [];
  return all.filter(
    (report) =>
      (ids.length === 0 || ids.some((id) => id === report.id)) &&
      (images.length === 0 || images.some((id) => id === report.image_id)),
  );
}

const noReport = (id: string): ApiError =>
  new ApiError("InvalidParameterValue", `The image usage report '${id}' does not exist`);

export const describeImageUsageReports = operation({
  action: "ec2:DescribeImageUsageReports",
  schema: DescribeImageUsageReports$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeImageUsageReportsRequest) =>
    onAnything("ec2:DescribeImageUsageReports"),
  async run(ctx, input): Promise<DescribeImageUsageReportsResult> {
    const filters = compileFilters(input.Filters, REPORT_FILTERS);
    const reports = await chosenReports(ctx, input);
    const tags = await tagsOf(
      ctx.database.read,
      ctx.caller.accountId,
      reports.map((report) => report.id),
    );
    const views = reports.map((report) => ({ report, tags: tags.get(report.id) ?? [] })).filter(filters.matches);
    const { page, token } = pageOf(ctx, "DescribeImageUsageReports", input, views, ({ report }) => report.id);
    return {
      ImageUsageReports: page.map(({ report, tags: own }) => ({
        ImageId: report.image_id,
        ReportId: report.id,
        ResourceTypes: report.resourceTypes.map(({ resourceType, options }) => ({
          ResourceType: resourceType,
          ResourceTypeOptions: options.map(({ name, values }) => ({ OptionName: name, OptionValues: [...values] })),
        })),
        ...(report.accountIds === null ? {} : { AccountIds: [...report.accountIds] }),
        State: report.state,
        CreationTime: new Date(report.created_at),
        ExpirationTime: new Date(report.expires_at),
        Tags: shownTags(own),
      })),
      ...token,
    };
  },
});

export const describeImageUsageReportEntries = operation({
  action: "ec2:DescribeImageUsageReportEntries",
  schema: DescribeImageUsageReportEntries$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeImageUsageReportEntriesRequest) =>
    onAnything("ec2:DescribeImageUsageReportEntries"),
  async run(ctx, input): Promise<DescribeImageUsageReportEntriesResult> {
    const filters = compileFilters(input.Filters, ENTRY_FILTERS);
    const entries = await usageEntries(ctx.database.read, await chosenReports(ctx, input));
    const { page, token } = pageOf(
      ctx,
      "DescribeImageUsageReportEntries",
      input,
      entries.filter(filters.matches),
      (entry) => `${entry.report.id} ${entry.accountId} ${entry.resourceType}`,
    );
    return {
      ImageUsageReportEntries: page.map(({ report, accountId, resourceType, count }) => ({
        ResourceType: resourceType,
        ReportId: report.id,
        UsageCount: count,
        AccountId: accountId,
        ImageId: report.image_id,
        ReportCreationTime: new Date(report.created_at),
      })),
      ...token,
    };
  },
});

export const deleteImageUsageReport = operation({
  action: "ec2:DeleteImageUsageReport",
  schema: DeleteImageUsageReport$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeleteImageUsageReportRequest) {
    const id = parseId("imageUsageReport", required(input.ReportId, "reportId"));
    const resource = ec2Arn(ctx.region, ctx.caller.accountId, TAGGED, id);
    return { id, checks: [{ action: "ec2:DeleteImageUsageReport", resource, keys: {} }] };
  },
  async run(ctx, _input, { id }, grant): Promise<DeleteImageUsageReportResult> {
    const [report] = await chosenReports(ctx, { ReportIds: [id] });
    if (report === undefined) throw noReport(id);
    await ctx.database.transaction((tx) => deleteUsageReport(grant, tx, report.id));
    return { Return: true };
  },
});
