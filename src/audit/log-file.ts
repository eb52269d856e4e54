// A trail's log file: which events are in it, what it is called, what it says. Pure but for reading events.
//
//   [prefix/]AWSLogs/<account>/CloudTrail/<Region>/YYYY/MM/DD/<account>_CloudTrail_<Region>_YYYYMMDDTHHmmZ_<16>.json.gz
import { hash, randomBytes } from "node:crypto";
import type { Db } from "../database/database.ts";
import { type Selectors, selects } from "./event-selectors.ts";
import type { Resource } from "./record.ts";

/** Events read at once. */
const PAGE = 500;

/** IAM belongs to no Region; its events are recorded in us-east-1, and only trails that want them get them. */
const GLOBAL_SOURCES = new Set(["iam.amazonaws.com"]);

/** How a trail chose events when a file was planned: kept with the file, so that it says the same however late it is made. */
export interface Rules {
  readonly accountId: string;
  readonly globalEvents: boolean;
  readonly selectors: Selectors;
  /** Epoch milliseconds: calls that arrived later are not the trail's. */
  readonly until: number | null;
}

export interface TrailEvent {
  readonly sequence: number;
  readonly region: string;
  readonly atMs: number;
  readonly body: string;
}

/**
 * The events from `first` to `last` that `rules` choose, in the chain's order, a page in memory at a time.
 * @param region  of that Region only
 */
export async function* chosenEvents(
  db: Db,
  rules: Rules,
  first: number,
  last: number,
  region?: string,
): AsyncGenerator<TrailEvent> {
  let scopeQuery = db.selectFrom("audit_scopes").selectAll().where("account_id", "=", rules.accountId);
  if (region !== undefined) scopeQuery = scopeQuery.where("region", "=", region);
  const scopes = new Map((await scopeQuery.execute()).map((scope) => [scope.id, scope]));
  if (scopes.size === 0) return;
  for (let from = first; from <= last; ) {
    const rows = await db
      .selectFrom("audit_events")
      .selectAll()
      .where("sequence", ">=", from)
      .where("sequence", "<=", last)
      .where("scope_id", "in", [...scopes.keys()])
      .orderBy("sequence")
      .limit(PAGE)
      .execute();
    const newest = rows.at(-1);
    if (newest === undefined) return;
    const resources = await resourcesOf(
      db,
      rows.map((row) => Number(row.sequence)),
    );
    for (const row of rows) {
      const scope = scopes.get(row.scope_id);
      if (scope === undefined) continue;
      const atMs = Number(row.at_ms);
      if (rules.until !== null && atMs > rules.until) continue;
      if (!rules.globalEvents && GLOBAL_SOURCES.has(row.event_source)) continue;
      const sequence = Number(row.sequence);
      const event = {
        category: scope.category,
        eventName: row.event_name,
        eventSource: row.event_source,
        readOnly: row.read_only === 1,
        resources: resources.get(sequence) ?? [],
        body: row.body,
      };
      if (selects(rules.selectors, event)) yield { sequence, region: scope.region, atMs, body: row.body };
    }
    from = Number(newest.sequence) + 1;
  }
}

async function resourcesOf(db: Db, sequences: readonly number[]): Promise<Map<number, Resource[]>> {
  const rows = await db
    .selectFrom("audit_event_resources")
    .select(["sequence", "arn", "type", "account_id"])
    .where("sequence", "in", sequences)
    .orderBy("sequence")
    .orderBy("position")
    .execute();
  const found = new Map<number, Resource[]>();
  for (const row of rows) {
    const resource: Resource = { arn: row.arn, type: row.type, accountId: row.account_id };
    const there = found.get(Number(row.sequence));
    if (there === undefined) found.set(Number(row.sequence), [resource]);
    else there.push(resource);
  }
  return found;
}

export interface LogFile {
  /** Uncompressed. */
  readonly text: string;
  /** Hex SHA-256 of `text`. */
  readonly hash: string;
  readonly oldest: Date;
  readonly newest: Date;
}

/** @returns null when there are no events */
export function logFile(events: readonly TrailEvent[]): LogFile | null {
  if (events.length === 0) return null;
  const text = `{"Records":[${events.map((event) => event.body).join(",")}]}`;
  let [oldest, newest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { atMs } of events) {
    oldest = Math.min(oldest, atMs);
    newest = Math.max(newest, atMs);
  }
  return { text, hash: hash("sha256", text), oldest: new Date(oldest), newest: new Date(newest) };
}

export interface KeyPlace {
  readonly prefix: string | null;
  readonly accountId: string;
  readonly region: string;
}

/** `20261124T080500Z`, in digests' names; log files' have no seconds. */
const compact = (at: Date, seconds: boolean): string =>
  `${at
    .toISOString()
    .slice(0, seconds ? 19 : 16)
    .replaceAll(/[-:]/g, "")}Z`;

const folder = ({ prefix, accountId, region }: KeyPlace, kind: string, at: Date): string =>
  `${prefix === null ? "" : `${prefix}/`}AWSLogs/${accountId}/${kind}/${region}/${at.toISOString().slice(0, 10).replaceAll("-", "/")}`;

/** A new name: 16 random letters and digits tell files of one minute apart. */
export function logFileKey(place: KeyPlace, at: Date): string {
  const { accountId, region } = place;
  return `${folder(place, "CloudTrail", at)}/${accountId}_CloudTrail_${region}_${compact(at, false)}_${randomName()}.json.gz`;
}

/** Follows from the digest's end; the name of the trail and its home are in it, so that trails can share a bucket. */
export function digestKey(
  place: KeyPlace,
  trail: { readonly name: string; readonly homeRegion: string },
  end: Date,
): string {
  const { accountId, region } = place;
  return `${folder(place, "CloudTrail-Digest", end)}/${accountId}_CloudTrail-Digest_${region}_${trail.name}_${trail.homeRegion}_${compact(end, true)}.json.gz`;
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

function randomName(): string {
  let name = "";
  while (name.length < 16) {
    for (const byte of randomBytes(24)) {
      // 248 is the largest multiple of 62 below 256: every letter is as likely.
      if (byte < 248 && name.length < 16) name += LETTERS[byte % 62];
    }
  }
  return name;
}
