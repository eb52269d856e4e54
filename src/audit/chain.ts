// The event table is a hash chain: each row's hash covers everything in the row, its resources, and the hash of the row
// before it. An edited, removed, inserted or moved row therefore shows, unless all rows after it are hashed anew; against
// that the head (`audit_chain`) is to be kept elsewhere too: digests carry it, and `verify` takes one to hold against.
//
// The chain is locked first in every append, so that two processes (PostgreSQL) cannot fork it.
import { hash } from "node:crypto";
import { PostgresAdapter, sql } from "kysely";
import type { Db } from "../database/database.ts";
import { neededFrom } from "./delivery.ts";
import { type AuditEvent, type Resource, resourceName } from "./record.ts";

const MOST_RESOURCE_ROWS = 500;

/** Everything of an event that the hash covers, in one text. Part of the format: never changed, only added to by version. */
function canonical(sequence: number, event: AuditEvent): string {
  return JSON.stringify([
    1,
    sequence,
    event.accountId ?? "",
    event.region,
    event.category,
    event.eventId,
    event.atMs,
    event.eventName,
    event.eventSource,
    event.readOnly ? 1 : 0,
    event.userName,
    event.accessKeyId,
    event.resources.map(({ type, arn, accountId }) => [type, resourceName(arn), arn, accountId]),
    event.body,
  ]);
}

const link = (previousHash: string, sequence: number, event: AuditEvent): string =>
  hash("sha256", `${previousHash}\n${canonical(sequence, event)}`);

/**
 * Adds events at the chain's end, in the order given.
 * @param mayBeThere  leave out events that are there already (after a crash, or when a commit's answer was lost)
 */
export async function appendEvents(tx: Db, given: readonly AuditEvent[], mayBeThere: boolean): Promise<void> {
  await lockChain(tx);
  const chain = await tx
    .updateTable("audit_chain")
    .set((eb) => ({ head_sequence: eb.ref("head_sequence") }))
    .where("id", "=", 1)
    .returning(["head_sequence", "head_hash"])
    .executeTakeFirstOrThrow();
  const events = mayBeThere ? await notThere(tx, given) : given;
  if (events.length === 0) return;
  const scopes = await scopeIds(tx, events);
  let sequence = Number(chain.head_sequence);
  let head = chain.head_hash;
  const rows = [];
  const resourceRows = [];
  for (const event of events) {
    sequence++;
    head = link(head, sequence, event);
    const scopeId = scopes(event);
    rows.push({
      sequence,
      scope_id: scopeId,
      event_id: event.eventId,
      at_ms: event.atMs,
      event_name: event.eventName,
      event_source: event.eventSource,
      read_only: event.readOnly ? 1 : 0,
      user_name: event.userName,
      access_key_id: event.accessKeyId,
      body: event.body,
      hash: head,
    });
    for (const [position, { arn, type, accountId }] of event.resources.entries()) {
      resourceRows.push({
        sequence,
        position,
        scope_id: scopeId,
        at_ms: event.atMs,
        type,
        name: resourceName(arn),
        arn,
        account_id: accountId,
      });
    }
  }
  await tx.insertInto("audit_events").values(rows).execute();
  for (let at = 0; at < resourceRows.length; at += MOST_RESOURCE_ROWS) {
    await tx
      .insertInto("audit_event_resources")
      .values(resourceRows.slice(at, at + MOST_RESOURCE_ROWS))
      .execute();
  }
  await tx.updateTable("audit_chain").set({ head_sequence: sequence, head_hash: head }).where("id", "=", 1).execute();
}

/**
 * Writers of several processes take turns. On PostgreSQL the lock must be the transaction's first statement: LOCK TABLE
 * waits before the snapshot is taken, so that the chain's end is seen as the one before has left it. Waiting on the row
 * instead would end in a serialization failure each time. SQLite's writers take turns anyway.
 */
async function lockChain(tx: Db): Promise<void> {
  if (tx.getExecutor().adapter instanceof PostgresAdapter) {
    await sql`lock table audit_chain in exclusive mode`.execute(tx);
  }
}

async function notThere(tx: Db, events: readonly AuditEvent[]): Promise<AuditEvent[]> {
  const there = await tx
    .selectFrom("audit_events")
    .select("event_id")
    .where(
      "event_id",
      "in",
      events.map((event) => event.eventId),
    )
    .execute();
  const seen = new Set(there.map((row) => row.event_id));
  return events.filter((event) => {
    if (seen.has(event.eventId)) return false;
    seen.add(event.eventId);
    return true;
  });
}

/** Scopes are few (accounts × Regions × 2): all are read, and missing ones made. */
async function scopeIds(tx: Db, events: readonly AuditEvent[]): Promise<(event: AuditEvent) => number> {
  const key = (accountId: string, region: string, category: string): string => `${accountId} ${region} ${category}`;
  const rows = await tx
    .selectFrom("audit_scopes")
    .selectAll()
    .where("account_id", "in", [...new Set(events.map((event) => event.accountId ?? ""))])
    .execute();
  const ids = new Map(rows.map((row) => [key(row.account_id, row.region, row.category), row.id]));
  for (const event of events) {
    const name = key(event.accountId ?? "", event.region, event.category);
    if (ids.has(name)) continue;
    const { id } = await tx
      .insertInto("audit_scopes")
      .values((eb) => ({
        id: eb.selectFrom("audit_scopes as s").select(sql<number>`coalesce(max(s.id), 0) + 1`.as("id")),
        account_id: event.accountId ?? "",
        region: event.region,
        category: event.category,
      }))
      .returning("id")
      .executeTakeFirstOrThrow();
    ids.set(name, id);
  }
  return (event) => {
    const id = ids.get(key(event.accountId ?? "", event.region, event.category));
    if (id === undefined) throw new Error("an audit scope that was just made is not there");
    return id;
  };
}

/** A place in the chain. */
export interface ChainLink {
  readonly sequence: number;
  /** Hex SHA-256; empty before the first event. */
  readonly hash: string;
}

export interface Damage {
  readonly sequence: number;
  readonly what:
    | "changed: the row, its resources or its place are not what was written"
    | "missing: the row was removed"
    | "cut: rows at the end were removed, or the chain's record of its end was changed"
    | "not the known chain: its hash at this place is another than the one held against it";
}

export interface ChainReport {
  readonly events: number;
  readonly first: number;
  readonly head: ChainLink;
  /** Ascending; at most 100. Empty: the table is as it was written. */
  readonly damage: readonly Damage[];
}

const MOST_DAMAGE = 100;
const PAGE = 500;

/**
 * Reads the whole chain and hashes it anew: about 100,000 events a second, a page of rows in memory.
 * @param known  a link that was noted earlier (in a digest, on paper): a chain that was hashed anew does not have it
 */
export async function verifyChain(db: Db, known?: ChainLink): Promise<ChainReport> {
  const ends = await db.selectFrom("audit_chain").selectAll().executeTakeFirstOrThrow();
  const scopes = new Map((await db.selectFrom("audit_scopes").selectAll().execute()).map((row) => [row.id, row]));
  const damage: Damage[] = [];
  const note = (sequence: number, what: Damage["what"]): void => {
    if (damage.length < MOST_DAMAGE) damage.push({ sequence, what });
  };
  const first = Number(ends.pruned_sequence) + 1;
  let previous: ChainLink = { sequence: first - 1, hash: ends.pruned_hash };
  let events = 0;
  // Events that are added while we read are left to the next time.
  const last = Number(ends.head_sequence);
  for (let at = 0; ; ) {
    const rows = await db
      .selectFrom("audit_events")
      .selectAll()
      .where("sequence", ">", at)
      .where("sequence", "<=", last)
      .orderBy("sequence")
      .limit(PAGE)
      .execute();
    const from = rows[0];
    const to = rows.at(-1);
    if (from === undefined || to === undefined) break;
    const resources = await resourcesBetween(db, Number(from.sequence), Number(to.sequence));
    for (const row of rows) {
      const sequence = Number(row.sequence);
      for (let gone = previous.sequence + 1; gone < sequence && damage.length < MOST_DAMAGE; gone++) {
        note(gone, "missing: the row was removed");
      }
      const scope = scopes.get(row.scope_id);
      const event: AuditEvent = {
        eventId: row.event_id,
        accountId: scope?.account_id ?? "",
        region: scope?.region ?? "",
        category: scope?.category ?? "Management",
        atMs: Number(row.at_ms),
        eventName: row.event_name,
        eventSource: row.event_source,
        readOnly: row.read_only === 1,
        userName: row.user_name,
        accessKeyId: row.access_key_id,
        resources: resources.get(sequence) ?? [],
        body: row.body,
      };
      // After a gap the hash before is not known: only what follows can be proven.
      const provable = previous.sequence === sequence - 1;
      if (provable && link(previous.hash, sequence, event) !== row.hash) {
        note(sequence, "changed: the row, its resources or its place are not what was written");
      }
      if (known?.sequence === sequence && known.hash !== row.hash) {
        note(sequence, "not the known chain: its hash at this place is another than the one held against it");
      }
      previous = { sequence, hash: row.hash };
      events++;
    }
    at = Number(to.sequence);
  }
  if (previous.sequence !== last || previous.hash !== ends.head_hash) {
    note(last, "cut: rows at the end were removed, or the chain's record of its end was changed");
  }
  if (known !== undefined && known.sequence > last) {
    note(known.sequence, "not the known chain: its hash at this place is another than the one held against it");
  }
  return { events, first, head: { sequence: last, hash: ends.head_hash }, damage };
}

/** Resources by event, in their order. */
async function resourcesBetween(db: Db, from: number, to: number): Promise<Map<number, Resource[]>> {
  const rows = await db
    .selectFrom("audit_event_resources")
    .selectAll()
    .where("sequence", ">=", from)
    .where("sequence", "<=", to)
    .orderBy("sequence")
    .orderBy("position")
    .execute();
  const found = new Map<number, Resource[]>();
  for (const row of rows) {
    const sequence = Number(row.sequence);
    const resource: Resource = { arn: row.arn, type: row.type, accountId: row.account_id };
    const there = found.get(sequence);
    if (there === undefined) found.set(sequence, [resource]);
    else there.push(resource);
  }
  return found;
}

/**
 * Drops the oldest events, those that arrived before `before`, at most `limit` of them; the chain goes on from the newest
 * that was dropped.
 * @returns how many
 */
export async function pruneEvents(tx: Db, before: Date, limit: number): Promise<number> {
  await lockChain(tx);
  const needed = await neededFrom(tx);
  let events = tx.selectFrom("audit_events").select(["sequence", "at_ms", "hash"]).orderBy("sequence").limit(limit);
  // Trails have these yet to deliver.
  if (needed !== null) events = events.where("sequence", "<", needed);
  const oldest = await events.execute();
  // Only from the end of the chain: an event that took long may be followed by older ones, which wait for it.
  const keep = oldest.findIndex((row) => Number(row.at_ms) >= before.getTime());
  const gone = keep < 0 ? oldest : oldest.slice(0, keep);
  const newest = gone.at(-1);
  if (newest === undefined) return 0;
  await tx.deleteFrom("audit_event_resources").where("sequence", "<=", newest.sequence).execute();
  await tx.deleteFrom("audit_events").where("sequence", "<=", newest.sequence).execute();
  await tx
    .updateTable("audit_chain")
    .set({ pruned_sequence: newest.sequence, pruned_hash: newest.hash })
    .where("id", "=", 1)
    .execute();
  return gone.length;
}
