// Finding events. Every look-up walks one index, newest first, and reads only the events of its page: its cost does not
// grow with the number of events. With several attributes, the one that narrows most chooses the index.
import type { Db } from "../database/database.ts";
import { type Category, type Resource, resourceName } from "./record.ts";

export interface EventFilter {
  readonly eventId?: string;
  readonly eventName?: string;
  readonly eventSource?: string;
  readonly readOnly?: boolean;
  readonly userName?: string;
  readonly accessKeyId?: string;
  /** `AWS::EC2::Ami`. */
  readonly resourceType?: string;
  /** `ami-…`, or an ARN. */
  readonly resourceName?: string;
}

/** Where a page ended. */
export interface EventPosition {
  readonly atMs: number;
  readonly sequence: number;
}

export interface EventQuery extends EventFilter {
  /** Empty: calls that nobody was proven to make. */
  readonly accountId: string;
  /** Default: every Region. */
  readonly region?: string;
  /** Default: both. */
  readonly category?: Category;
  /** Inclusive. */
  readonly from?: Date;
  /** Inclusive. */
  readonly to?: Date;
  readonly limit: number;
  readonly after?: EventPosition;
}

export interface FoundEvent extends EventPosition {
  readonly eventId: string;
  readonly region: string;
  readonly eventName: string;
  readonly eventSource: string;
  readonly readOnly: boolean;
  readonly userName: string | null;
  readonly accessKeyId: string | null;
  readonly resources: readonly (Resource & { readonly name: string })[];
  /** The record: JSON text. */
  readonly body: string;
}

export interface EventPage {
  /** Newest first. */
  readonly events: readonly FoundEvent[];
  /** Absent on the last page. */
  readonly next?: EventPosition;
}

export async function findEvents(db: Db, query: EventQuery): Promise<EventPage> {
  let scopeQuery = db.selectFrom("audit_scopes").selectAll().where("account_id", "=", query.accountId);
  if (query.region !== undefined) scopeQuery = scopeQuery.where("region", "=", query.region);
  if (query.category !== undefined) scopeQuery = scopeQuery.where("category", "=", query.category);
  const scopes = await scopeQuery.execute();
  const byResource = query.resourceName !== undefined || query.resourceType !== undefined;
  // One more than asked tells whether there is a next page. Per scope, so that each walk stays inside one index range.
  const places: (EventPosition & { readonly region: string })[] = [];
  for (const scope of scopes) {
    const rows = await (byResource ? resourcePositions : eventPositions)(db, scope.id, query).execute();
    for (const row of rows)
      places.push({ atMs: Number(row.at_ms), sequence: Number(row.sequence), region: scope.region });
  }
  places.sort((a, b) => b.atMs - a.atMs || b.sequence - a.sequence);
  const page = places.slice(0, query.limit);
  const events = await load(db, page);
  const last = page.at(-1);
  if (places.length <= query.limit || last === undefined) return { events };
  return { events, next: { atMs: last.atMs, sequence: last.sequence } };
}

function eventPositions(db: Db, scopeId: number, query: EventQuery) {
  let rows = db.selectFrom("audit_events as e").select(["e.at_ms", "e.sequence"]).where("e.scope_id", "=", scopeId);
  if (query.eventId !== undefined) rows = rows.where("e.event_id", "=", query.eventId);
  if (query.eventName !== undefined) rows = rows.where("e.event_name", "=", query.eventName);
  if (query.eventSource !== undefined) rows = rows.where("e.event_source", "=", query.eventSource);
  if (query.readOnly !== undefined) rows = rows.where("e.read_only", "=", query.readOnly ? 1 : 0);
  if (query.userName !== undefined) rows = rows.where("e.user_name", "=", query.userName);
  if (query.accessKeyId !== undefined) rows = rows.where("e.access_key_id", "=", query.accessKeyId);
  if (query.from !== undefined) rows = rows.where("e.at_ms", ">=", query.from.getTime());
  if (query.to !== undefined) rows = rows.where("e.at_ms", "<=", query.to.getTime());
  const { after } = query;
  if (after !== undefined) {
    // The first condition bounds the index range; the second steps over ties.
    rows = rows
      .where("e.at_ms", "<=", after.atMs)
      .where((eb) => eb.or([eb("e.at_ms", "<", after.atMs), eb("e.sequence", "<", after.sequence)]));
  }
  return rows
    .orderBy("e.at_ms", "desc")
    .orderBy("e.sequence", "desc")
    .limit(query.limit + 1);
}

function resourcePositions(db: Db, scopeId: number, query: EventQuery) {
  let rows = db
    .selectFrom("audit_event_resources as r")
    .select(["r.at_ms", "r.sequence"])
    .where("r.scope_id", "=", scopeId);
  const name = query.resourceName;
  if (name !== undefined) {
    rows = rows.where("r.name", "=", resourceName(name));
    if (name.startsWith("arn:")) rows = rows.where("r.arn", "=", name);
  }
  if (query.resourceType !== undefined) rows = rows.where("r.type", "=", query.resourceType);
  if (query.from !== undefined) rows = rows.where("r.at_ms", ">=", query.from.getTime());
  if (query.to !== undefined) rows = rows.where("r.at_ms", "<=", query.to.getTime());
  const { after } = query;
  if (after !== undefined) {
    rows = rows
      .where("r.at_ms", "<=", after.atMs)
      .where((eb) => eb.or([eb("r.at_ms", "<", after.atMs), eb("r.sequence", "<", after.sequence)]));
  }
  const rest = [query.eventId, query.eventName, query.eventSource, query.readOnly, query.userName, query.accessKeyId];
  if (rest.some((value) => value !== undefined)) {
    rows = rows.where((eb) => {
      let event = eb.selectFrom("audit_events as e").select("e.sequence").whereRef("e.sequence", "=", "r.sequence");
      if (query.eventId !== undefined) event = event.where("e.event_id", "=", query.eventId);
      if (query.eventName !== undefined) event = event.where("e.event_name", "=", query.eventName);
      if (query.eventSource !== undefined) event = event.where("e.event_source", "=", query.eventSource);
      if (query.readOnly !== undefined) event = event.where("e.read_only", "=", query.readOnly ? 1 : 0);
      if (query.userName !== undefined) event = event.where("e.user_name", "=", query.userName);
      if (query.accessKeyId !== undefined) event = event.where("e.access_key_id", "=", query.accessKeyId);
      return eb.exists(event);
    });
  }
  // An event may touch several resources of one type: grouped in the index's order, it is met once.
  return rows
    .groupBy(["r.at_ms", "r.sequence"])
    .orderBy("r.at_ms", "desc")
    .orderBy("r.sequence", "desc")
    .limit(query.limit + 1);
}

/** The events at these places, in their order. */
async function load(db: Db, places: readonly (EventPosition & { readonly region: string })[]): Promise<FoundEvent[]> {
  if (places.length === 0) return [];
  const sequences = places.map((place) => place.sequence);
  const rows = await db.selectFrom("audit_events").selectAll().where("sequence", "in", sequences).execute();
  const resources = await db
    .selectFrom("audit_event_resources")
    .selectAll()
    .where("sequence", "in", sequences)
    .orderBy("sequence")
    .orderBy("position")
    .execute();
  const bySequence = new Map(rows.map((row) => [Number(row.sequence), row]));
  const events: FoundEvent[] = [];
  for (const { atMs, sequence, region } of places) {
    const row = bySequence.get(sequence);
    // Pruned between the two queries.
    if (row === undefined) continue;
    events.push({
      atMs,
      sequence,
      region,
      eventId: row.event_id,
      eventName: row.event_name,
      eventSource: row.event_source,
      readOnly: row.read_only === 1,
      userName: row.user_name,
      accessKeyId: row.access_key_id,
      resources: resources
        .filter((resource) => Number(resource.sequence) === sequence)
        .map(({ arn, type, name, account_id: accountId }) => ({ arn, type, name, accountId })),
      body: row.body,
    });
  }
  return events;
}
