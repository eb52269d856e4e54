import { ApiError } from "../../base/api-error.ts";
import type { Region } from "../../base/ids.ts";
import { allowance, allowedImagesOf } from "../../model/allowed-images.ts";
import { PLATFORM_ACCOUNT } from "../../model/identity/account.ts";
import { type Image, isDeprecated } from "../../model/image.ts";
import { imageOf, selectImages } from "../../model/image-rows.ts";
import { isRegion } from "../../model/regions.ts";
import type { RequestContext } from "../context.ts";
import { onAnything, operation } from "../operation.ts";
import {
  GetComplianceReport$,
  type GetComplianceReportRequest$,
  type GetComplianceReportResponse$,
  type InstanceCompliance$,
  type Of,
  type UnusedImage$,
} from "./compliance-schema.ts";
import { operatorCheck } from "./operator.ts";

const DEFAULT_DAYS = 90;
const MOST_DAYS = 36_500;
const DAY_MS = 24 * 3_600_000;

interface Scope {
  /** Null: all. */
  readonly accountId: string | null;
  readonly region: Region | null;
  readonly unusedDays: number;
  readonly maxAgeDays: number;
}

const invalid = (sentence: string): ApiError => new ApiError("ValidationException", sentence);

function daysOf(name: string, given: number | undefined): number {
  const days = given ?? DEFAULT_DAYS;
  if (days < 0 || days > MOST_DAYS) throw invalid(`${name} takes 0 to ${MOST_DAYS}.`);
  return days;
}

export const getComplianceReport = operation({
  action: "ingot:GetComplianceReport",
  schema: GetComplianceReport$.schema,
  access: "read",
  async resolve(ctx: RequestContext, input: Of<typeof GetComplianceReportRequest$>) {
    const region = input.Region ?? null;
    if (region !== null && !isRegion(region)) throw invalid(`${region} is not a Region.`);
    const scope: Scope = {
      accountId: input.AllAccounts === true ? null : ctx.caller.accountId,
      region,
      unusedDays: daysOf("UnusedDays", input.UnusedDays),
      maxAgeDays: daysOf("MaxImageAgeDays", input.MaxImageAgeDays),
    };
    const { checks } =
      scope.accountId === null
        ? { checks: [await operatorCheck(ctx, "ingot:GetComplianceReport")] }
        : onAnything("ingot:GetComplianceReport");
    return { scope, checks };
  },
  async run(ctx, _input, { scope }): Promise<Of<typeof GetComplianceReportResponse$>> {
    return { Instances: await instances(ctx, scope), UnusedImages: await unusedImages(ctx, scope) };
  },
});

const daysSince = (at: string, now: Date): number => Math.floor((now.getTime() - Date.parse(at)) / DAY_MS);

async function instances(ctx: RequestContext, scope: Scope): Promise<Of<typeof InstanceCompliance$>[]> {
  const db = ctx.database.read;
  const now = ctx.now();
  let query = db
    .selectFrom("instances")
    .select(["id", "account_id", "region", "state", "launched_at", "image_id"])
    .where("state", "<>", "terminated");
  if (scope.accountId !== null) query = query.where("account_id", "=", scope.accountId);
  if (scope.region !== null) query = query.where("region", "=", scope.region);
  const rows = await query.orderBy("id").execute();
  const images = new Map<string, Image>();
  if (rows.length > 0) {
    // Instances' images may be anybody's; who runs one knows its name and age.
    const used = await selectImages(db)
      .where("images.id", "in", (eb) => {
        let ids = eb.selectFrom("instances").select("image_id").where("state", "<>", "terminated");
        if (scope.accountId !== null) ids = ids.where("account_id", "=", scope.accountId);
        return ids;
      })
      .execute();
    for (const row of used) images.set(row.id, imageOf(row));
  }
  const allowed = new Map<string, (image: Image) => boolean>();
  const isAllowed = async (accountId: string, region: string, image: Image): Promise<boolean> => {
    const key = `${accountId} ${region}`;
    let judge = allowed.get(key);
    if (judge === undefined) {
      const settings = await allowedImagesOf(db, { accountId: accountId as never, region: region as Region });
      judge = settings.state === "disabled" ? () => true : allowance(settings, accountId, now);
      allowed.set(key, judge);
    }
    return judge(image);
  };
  const found: Of<typeof InstanceCompliance$>[] = [];
  for (const row of rows) {
    const image = images.get(row.image_id);
    const problems: string[] = [];
    if (image === undefined) problems.push("gone");
    else {
      if (daysSince(image.created_at, now) > scope.maxAgeDays) problems.push("old");
      if (isDeprecated(image, now)) problems.push("deprecated");
      if (!(await isAllowed(row.account_id, row.region, image))) problems.push("not-allowed");
      if (image.state === "disabled" || image.state === "deregistered") problems.push(image.state);
    }
    found.push({
      InstanceId: row.id,
      AccountId: row.account_id,
      Region: row.region,
      State: row.state,
      LaunchTime: new Date(row.launched_at),
      ImageId: row.image_id,
      Problems: problems,
      ...(image === undefined
        ? {}
        : { ImageName: image.name, ImageOwnerId: image.account_id, ImageAgeDays: daysSince(image.created_at, now) }),
    });
  }
  return found.sort((a, b) => (b.ImageAgeDays ?? MOST_DAYS) - (a.ImageAgeDays ?? MOST_DAYS));
}

async function unusedImages(ctx: RequestContext, scope: Scope): Promise<Of<typeof UnusedImage$>[]> {
  const now = ctx.now();
  const before = new Date(now.getTime() - scope.unusedDays * DAY_MS).toISOString();
  let query = ctx.database.read
    .selectFrom("images")
    .select(["id", "account_id", "region", "name", "created_at", "last_launched_at"])
    .select((eb) =>
      eb
        .selectFrom("image_permissions")
        .select((inner) => inner.fn.countAll().as("count"))
        .whereRef("image_permissions.image_id", "=", "images.id")
        .as("shared_with"),
    )
    .where("state", "in", ["available", "disabled"])
    .where("account_id", "<>", PLATFORM_ACCOUNT)
    .where((eb) =>
      eb.or([
        eb("last_launched_at", "<=", before),
        eb.and([eb("last_launched_at", "is", null), eb("created_at", "<=", before)]),
      ]),
    )
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom("instances")
            .select("instances.id")
            .whereRef("instances.image_id", "=", "images.id")
            .where("instances.state", "<>", "terminated"),
        ),
      ),
    );
  if (scope.accountId !== null) query = query.where("account_id", "=", scope.accountId);
  if (scope.region !== null) query = query.where("region", "=", scope.region);
  const rows = await query.orderBy("id").execute();
  return rows
    .map((row) => ({
      ImageId: row.id,
      AccountId: row.account_id,
      Region: row.region,
      Name: row.name,
      CreatedAt: new Date(row.created_at),
      IdleDays: daysSince(row.last_launched_at ?? row.created_at, now),
      SharedWith: Number(row.shared_with ?? 0),
      ...(row.last_launched_at === null ? {} : { LastLaunchedTime: new Date(row.last_launched_at) }),
    }))
    .sort((a, b) => b.IdleDays - a.IdleDays);
}
