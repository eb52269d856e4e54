// Who uses an image: what instances and launch templates there are of it now, and reports of that, kept for a month.
import type { Region } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { ImageUsageReportsTable } from "../database/tables/detections.ts";
import type { Grant } from "./access.ts";
import { templatesUsing } from "./launch-template.ts";
import { dropTags } from "./tags.ts";
import type { Owner } from "./vpc.ts";

const KEPT_MS = 30 * 24 * 3_600_000;

export interface ImageUse {
  readonly accountId: string;
  readonly instances: number;
}

/** What a report counts of one account. */
interface CountedUse {
  readonly accountId: string;
  readonly resourceType: string;
  readonly count: number;
}

/** Versions of a launch template that count, from the newest, unless the report says otherwise. */
const DEFAULT_DEPTH = 20;

/** What there is of each type that a report asks for, by account. */
export async function usesOf(
  db: Db,
  image: { readonly id: string; readonly region: Region },
  types: readonly ReportedType[],
  accounts: readonly string[] | null,
): Promise<CountedUse[]> {
  const uses: CountedUse[] = [];
  if (types.some(({ resourceType }) => resourceType === "ec2:Instance")) {
    for (const { accountId, instances } of await instancesUsing(db, image, accounts)) {
      uses.push({ accountId, resourceType: "ec2:Instance", count: instances });
    }
  }
  const templates = types.find(({ resourceType }) => resourceType === "ec2:LaunchTemplate");
  if (templates !== undefined) {
    const depth = Number(templates.options.find(({ name }) => name === "version-depth")?.values[0] ?? DEFAULT_DEPTH);
    const byAccount = new Map<string, number>();
    for (const { accountId } of await templatesUsing(db, image.region, [image.id], accounts, depth)) {
      byAccount.set(accountId, (byAccount.get(accountId) ?? 0) + 1);
    }
    for (const [accountId, count] of byAccount) uses.push({ accountId, resourceType: "ec2:LaunchTemplate", count });
  }
  return uses;
}

/** Instances that are not terminated, by account, in the order of accounts. */
export async function instancesUsing(
  db: Db,
  image: { readonly id: string; readonly region: Region },
  accounts: readonly string[] | null,
): Promise<ImageUse[]> {
  let rows = db
    .selectFrom("instances")
    .select(["account_id", (eb) => eb.fn.countAll().as("count")])
    .where("image_id", "=", image.id)
    .where("region", "=", image.region)
    .where("state", "<>", "terminated");
  if (accounts !== null) rows = rows.where("account_id", "in", [...accounts]);
  const found = await rows.groupBy("account_id").orderBy("account_id").execute();
  return found.map((row) => ({ accountId: row.account_id, instances: Number(row.count) }));
}

/** What was asked for, as it is shown again. */
export interface ReportedType {
  readonly resourceType: string;
  readonly options: readonly { readonly name: string; readonly values: readonly string[] }[];
}

export type UsageReport = Omit<ImageUsageReportsTable, "resource_types" | "account_ids"> & {
  readonly resourceTypes: readonly ReportedType[];
  readonly accountIds: readonly string[] | null;
};

export interface UsageEntry {
  readonly report: UsageReport;
  readonly accountId: string;
  readonly resourceType: string;
  readonly count: number;
}

export async function insertUsageReport(
  _grant: Grant<"ec2:CreateImageUsageReport">,
  tx: Db,
  owner: Owner,
  report: {
    readonly id: string;
    readonly imageId: string;
    readonly resourceTypes: readonly ReportedType[];
    readonly accountIds: readonly string[] | null;
    readonly uses: readonly CountedUse[];
    readonly at: Date;
  },
): Promise<void> {
  await tx
    .insertInto("image_usage_reports")
    .values({
      id: report.id,
      account_id: owner.accountId,
      region: owner.region,
      image_id: report.imageId,
      resource_types: JSON.stringify(report.resourceTypes),
      account_ids: report.accountIds === null ? null : JSON.stringify(report.accountIds),
      state: "available",
      created_at: report.at.toISOString(),
      expires_at: new Date(report.at.getTime() + KEPT_MS).toISOString(),
    })
    .execute();
  if (report.uses.length === 0) return;
  await tx
    .insertInto("image_usage_report_entries")
    .values(
      report.uses.map(({ accountId, resourceType, count }) => ({
        report_id: report.id,
        account_id: accountId,
        resource_type: resourceType,
        usage_count: count,
      })),
    )
    .execute();
}

/** Oldest first; those that have expired are not there. */
export async function usageReports(db: Db, owner: Owner, now: Date): Promise<UsageReport[]> {
  const rows = await db
    .selectFrom("image_usage_reports")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("expires_at", ">", now.toISOString())
    .orderBy("created_at")
    .orderBy("id")
    .execute();
  return rows.map(({ resource_types, account_ids, ...row }) => ({
    ...row,
    resourceTypes: JSON.parse(resource_types) as ReportedType[],
    accountIds: account_ids === null ? null : (JSON.parse(account_ids) as string[]),
  }));
}

export async function usageEntries(db: Db, reports: readonly UsageReport[]): Promise<UsageEntry[]> {
  const entries: UsageEntry[] = [];
  for (const report of reports) {
    const rows = await db
      .selectFrom("image_usage_report_entries")
      .selectAll()
      .where("report_id", "=", report.id)
      .orderBy("account_id")
      .orderBy("resource_type")
      .execute();
    for (const row of rows) {
      entries.push({
        report,
        accountId: row.account_id,
        resourceType: row.resource_type,
        count: Number(row.usage_count),
      });
    }
  }
  return entries;
}

export async function deleteUsageReport(
  _grant: Grant<"ec2:DeleteImageUsageReport">,
  tx: Db,
  id: string,
): Promise<void> {
  await dropTags(tx, [id]);
  await tx.deleteFrom("image_usage_report_entries").where("report_id", "=", id).execute();
  await tx.deleteFrom("image_usage_reports").where("id", "=", id).execute();
}
