// A trail: what of an account's events goes into which bucket.
import type { AccountId, Region } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { AuditTrailsTable } from "../database/tables/audit.ts";
import type { Grant } from "../model/access.ts";
import type { Selectors } from "./event-selectors.ts";

export type Tags = Readonly<Record<string, string>>;

/** What a client sets. */
export interface TrailSettings {
  readonly bucket: string;
  readonly prefix: string | null;
  /** Events of IAM, which belongs to no Region and is recorded in us-east-1. */
  readonly globalEvents: boolean;
  readonly multiRegion: boolean;
  /** Log file validation: signed digests are delivered, too. */
  readonly validation: boolean;
}

export interface Trail extends TrailSettings {
  readonly id: string;
  readonly accountId: AccountId;
  readonly homeRegion: Region;
  readonly name: string;
  readonly arn: string;
  readonly selectors: Selectors;
  readonly tags: Tags;
  readonly logging: boolean;
  readonly startedAt: Date | null;
  readonly stoppedAt: Date | null;
  readonly deletedAt: Date | null;
  /** Events up to this place in the chain are planned into files. */
  readonly cursor: number;
  readonly attemptedAt: Date | null;
  readonly deliveredAt: Date | null;
  readonly deliveryError: string | null;
  readonly digestDeliveredAt: Date | null;
  readonly digestError: string | null;
}

/** Of trails whose home is one Region, as in AWS. */
export const MOST_TRAILS = 5;
export const MOST_TRAIL_TAGS = 50;

export const trailArn = (region: Region, accountId: AccountId, name: string): string =>
  `arn:aws:cloudtrail:${region}:${accountId}:trail/${name}`;

const date = (text: string | null): Date | null => (text === null ? null : new Date(text));

function trailOf(row: AuditTrailsTable): Trail {
  const accountId = row.account_id as AccountId;
  const homeRegion = row.home_region as Region;
  return {
    id: row.id,
    accountId,
    homeRegion,
    name: row.name,
    arn: trailArn(homeRegion, accountId, row.name),
    bucket: row.bucket,
    prefix: row.prefix,
    globalEvents: row.global_events === 1,
    multiRegion: row.multi_region === 1,
    validation: row.validation === 1,
    selectors: JSON.parse(row.selectors),
    tags: JSON.parse(row.tags),
    logging: row.logging === 1,
    startedAt: date(row.started_at),
    stoppedAt: date(row.stopped_at),
    deletedAt: date(row.deleted_at),
    cursor: Number(row.cursor_sequence),
    attemptedAt: date(row.attempted_at),
    deliveredAt: date(row.delivered_at),
    deliveryError: row.delivery_error,
    digestDeliveredAt: date(row.digest_delivered_at),
    digestError: row.digest_error,
  };
}

const columns = (settings: TrailSettings) => ({
  bucket: settings.bucket,
  prefix: settings.prefix,
  global_events: settings.globalEvents ? 1 : 0,
  multi_region: settings.multiRegion ? 1 : 0,
  validation: settings.validation ? 1 : 0,
});

/** An account's trails that are not deleted, by name. */
export async function trailsOf(db: Db, accountId: AccountId): Promise<Trail[]> {
  const rows = await db
    .selectFrom("audit_trails")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("deleted_at", "is", null)
    .orderBy("name")
    .orderBy("home_region")
    .execute();
  return rows.map(trailOf);
}

/** Every trail that may have something to deliver, of all accounts, deleted ones included. */
export async function allTrails(db: Db): Promise<Trail[]> {
  return (await db.selectFrom("audit_trails").selectAll().orderBy("created_at").orderBy("id").execute()).map(trailOf);
}

export async function findTrail(db: Db, id: string): Promise<Trail | undefined> {
  const row = await db.selectFrom("audit_trails").selectAll().where("id", "=", id).executeTakeFirst();
  return row && trailOf(row);
}

/** Not logging yet. @throws the database's unique violation when the account has a trail of that name in that Region */
export async function insertTrail(
  _grant: Grant<"cloudtrail:CreateTrail">,
  tx: Db,
  trail: Pick<Trail, "id" | "accountId" | "homeRegion" | "name" | "tags" | "selectors"> & TrailSettings,
  now: Date,
): Promise<void> {
  await tx
    .insertInto("audit_trails")
    .values({
      id: trail.id,
      account_id: trail.accountId,
      home_region: trail.homeRegion,
      name: trail.name,
      ...columns(trail),
      selectors: JSON.stringify(trail.selectors),
      tags: JSON.stringify(trail.tags),
      logging: 0,
      started_at: null,
      stopped_at: null,
      created_at: now.toISOString(),
      deleted_at: null,
      cursor_sequence: 0,
      attempted_at: null,
      delivered_at: null,
      delivery_error: null,
      digest_delivered_at: null,
      digest_error: null,
    })
    .execute();
}

export async function changeTrail(
  _grant: Grant<"cloudtrail:UpdateTrail">,
  tx: Db,
  id: string,
  settings: TrailSettings,
): Promise<void> {
  await tx.updateTable("audit_trails").set(columns(settings)).where("id", "=", id).execute();
}

export async function changeSelectors(
  _grant: Grant<"cloudtrail:PutEventSelectors">,
  tx: Db,
  id: string,
  selectors: Selectors,
): Promise<void> {
  await tx
    .updateTable("audit_trails")
    .set({ selectors: JSON.stringify(selectors) })
    .where("id", "=", id)
    .execute();
}

export async function changeTrailTags(
  _grant: Grant<"cloudtrail:AddTags" | "cloudtrail:RemoveTags">,
  tx: Db,
  id: string,
  tags: Tags,
): Promise<void> {
  await tx
    .updateTable("audit_trails")
    .set({ tags: JSON.stringify(tags) })
    .where("id", "=", id)
    .execute();
}

/** From the chain's end on, which is where the call that starts it will be. */
export async function startTrail(
  _grant: Grant<"cloudtrail:StartLogging">,
  tx: Db,
  id: string,
  now: Date,
): Promise<void> {
  await tx
    .updateTable("audit_trails")
    .set((eb) => ({
      logging: 1,
      started_at: now.toISOString(),
      stopped_at: null,
      cursor_sequence: eb.selectFrom("audit_chain").select("head_sequence").where("id", "=", 1),
    }))
    .where("id", "=", id)
    .where("logging", "=", 0)
    .execute();
}

/** Calls that arrived before this moment still belong to it. */
export async function stopTrail(_grant: Grant<"cloudtrail:StopLogging">, tx: Db, id: string, now: Date): Promise<void> {
  await tx
    .updateTable("audit_trails")
    .set({ logging: 0, stopped_at: now.toISOString() })
    .where("id", "=", id)
    .where("logging", "=", 1)
    .execute();
}

/** Nobody sees it any more; what it still has to deliver is delivered. */
export async function deleteTrail(
  _grant: Grant<"cloudtrail:DeleteTrail">,
  tx: Db,
  { id, logging }: Trail,
  now: Date,
): Promise<void> {
  const at = now.toISOString();
  await tx
    .updateTable("audit_trails")
    .set({ logging: 0, deleted_at: at, ...(logging ? { stopped_at: at } : {}) })
    .where("id", "=", id)
    .execute();
}
