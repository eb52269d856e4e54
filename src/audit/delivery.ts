// Log files of trails: planned in the database, then put into buckets.
//
//   plan     one transaction: a row per Region that has events, and the trail's cursor moved past them. This is the commit:
//            from here on an event is in exactly one file, whose name and content follow from the row.
//   deliver  the file is made from the row, put under the row's key, and the row says so.
//
// A kill between two steps repeats at most a `put` of the same bytes under the same key: nothing is delivered twice, and
// nothing is lost, since the cursor and the rows move together. A trail's changes act from when they are made: what
// happened before is planned first, by the old rules, and a planned file needs nothing of its trail any more, not even that
// it exists. Names have 16 random characters, so nobody else's object is in the way.
import { randomUUID } from "node:crypto";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { MIB } from "../base/units.ts";
import type { Database, Db } from "../database/database.ts";
import type { AuditLogFilesTable } from "../database/tables/audit.ts";
import type { ObjectStore } from "../model/object-store.ts";
import { chosenEvents, logFile, logFileKey, type Rules, type TrailEvent } from "./log-file.ts";
import { findTrail, type Trail } from "./trails.ts";

const compress = promisify(gzip);

/** A file has the events of at most this many places in the chain, and about this many bytes. */
const MOST_EVENTS = 5_000;
const MOST_BYTES = 32 * MIB;

/**
 * A stopped or deleted trail is looked after for this long: the record of the call that stopped it, and of calls that
 * arrived before, come a moment later.
 */
export const GRACE_MS = 15 * 60 * 1000;

/** Whether events may still be found for it. */
const isRead = (trail: Trail, now: Date): boolean =>
  trail.logging || (trail.stoppedAt !== null && now.getTime() - trail.stoppedAt.getTime() < GRACE_MS);

/** Plans files for everything that is in the chain now. Puts nothing anywhere. */
export async function planFiles(database: Database, trailId: string, now: Date): Promise<void> {
  for (;;) {
    const trail = await findTrail(database.read, trailId);
    if (trail === undefined || !isRead(trail, now)) return;
    const head = await chainEnd(database.read);
    if (trail.cursor >= head) return;
    const rules: Rules = {
      accountId: trail.accountId,
      globalEvents: trail.globalEvents,
      selectors: trail.selectors,
      until: trail.logging || trail.stoppedAt === null ? null : trail.stoppedAt.getTime(),
    };
    const first = trail.cursor + 1;
    const { regions, last } = await survey(
      database.read,
      trail,
      rules,
      first,
      Math.min(head, trail.cursor + MOST_EVENTS),
    );
    await database.transaction(async (tx) => {
      const moved = await tx
        .updateTable("audit_trails")
        .set({ cursor_sequence: last })
        .where("id", "=", trailId)
        .where("cursor_sequence", "=", trail.cursor)
        .executeTakeFirst();
      // Another process has planned them.
      if (Number(moved.numUpdatedRows) === 0) return;
      for (const region of regions) {
        await insertFile(tx, trail, { region, first, last, rules: JSON.stringify(rules) }, now);
      }
    });
  }
}

async function chainEnd(db: Db): Promise<number> {
  const chain = await db
    .selectFrom("audit_chain")
    .select("head_sequence")
    .where("id", "=", 1)
    .executeTakeFirstOrThrow();
  return Number(chain.head_sequence);
}

/** Regions that have events, and where to end so that no file grows too large. */
async function survey(db: Db, trail: Trail, rules: Rules, first: number, last: number) {
  const regions = new Set<string>();
  let bytes = 0;
  for await (const event of chosenEvents(db, rules, first, last, trail.multiRegion ? undefined : trail.homeRegion)) {
    regions.add(event.region);
    bytes += event.body.length;
    if (bytes > MOST_BYTES) return { regions, last: event.sequence };
  }
  return { regions, last };
}

async function insertFile(
  tx: Db,
  trail: Trail,
  file: { readonly region: string; readonly first: number; readonly last: number; readonly rules: string },
  now: Date,
): Promise<void> {
  await tx
    .insertInto("audit_log_files")
    .values({
      id: randomUUID(),
      trail_id: trail.id,
      region: file.region,
      first_sequence: file.first,
      last_sequence: file.last,
      rules: file.rules,
      bucket: trail.bucket,
      key: logFileKey({ prefix: trail.prefix, accountId: trail.accountId, region: file.region }, now),
      planned_at: now.toISOString(),
      wants_digest: trail.validation ? 1 : 0,
      state: "planned",
      hash: null,
      oldest_event_at: null,
      newest_event_at: null,
      digest_id: null,
    })
    .execute();
  if (trail.validation) await beginDigestChain(tx, trail.id, file.region, now);
}

/** Digests of a Region begin with its first log file; those of the home Region when the trail begins to log. */
export async function beginDigestChain(tx: Db, trailId: string, region: string, from: Date): Promise<void> {
  await tx
    .insertInto("audit_digest_chains")
    .values({
      trail_id: trailId,
      region,
      from_at: new Date(Math.floor(from.getTime() / 1000) * 1000).toISOString(),
      previous_bucket: null,
      previous_key: null,
      previous_hash: null,
      previous_signature: null,
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Files of a trail that are due, oldest first. */
export const plannedFiles = (db: Db, trailId: string): Promise<AuditLogFilesTable[]> =>
  db
    .selectFrom("audit_log_files")
    .selectAll()
    .where("trail_id", "=", trailId)
    .where("state", "=", "planned")
    .orderBy("first_sequence")
    .orderBy("region")
    .execute();

/** Puts one file where its row says. @throws ApiError the bucket's */
export async function deliverFile(
  database: Database,
  objects: ObjectStore,
  row: AuditLogFilesTable,
  now: () => Date,
): Promise<void> {
  const rules = JSON.parse(row.rules) as Rules;
  const events: TrailEvent[] = [];
  const [first, last] = [Number(row.first_sequence), Number(row.last_sequence)];
  for await (const event of chosenEvents(database.read, rules, first, last, row.region)) events.push(event);
  const file = logFile(events);
  if (file === null) throw new Error(`the events of the log file ${row.key} are gone`);
  await objects.put(row.bucket, row.key, await compress(file.text), {
    contentType: "application/json",
    contentEncoding: "gzip",
  });
  await database.transaction(async (tx) => {
    // Who names it in a digest needs the row; nobody else does.
    if (row.wants_digest === 0) await tx.deleteFrom("audit_log_files").where("id", "=", row.id).execute();
    else {
      await tx
        .updateTable("audit_log_files")
        .set({
          state: "delivered",
          hash: file.hash,
          oldest_event_at: file.oldest.toISOString(),
          newest_event_at: file.newest.toISOString(),
        })
        .where("id", "=", row.id)
        .where("state", "=", "planned")
        .execute();
    }
    await tx
      .updateTable("audit_trails")
      .set({ delivered_at: now().toISOString(), attempted_at: now().toISOString(), delivery_error: null })
      .where("id", "=", row.trail_id)
      .execute();
  });
}

/**
 * Events from here on are still to be read for a trail: retention stops before them.
 * @returns null when no trail needs any
 */
export async function neededFrom(db: Db): Promise<number | null> {
  const files = await db
    .selectFrom("audit_log_files")
    .select((eb) => eb.fn.min("first_sequence").as("first"))
    .where("state", "=", "planned")
    .executeTakeFirst();
  const trails = await db
    .selectFrom("audit_trails")
    .select((eb) => eb.fn.min("cursor_sequence").as("cursor"))
    .where("logging", "=", 1)
    .executeTakeFirst();
  const needs = [
    ...(files?.first === null || files?.first === undefined ? [] : [Number(files.first)]),
    ...(trails?.cursor === null || trails?.cursor === undefined ? [] : [Number(trails.cursor) + 1]),
  ];
  return needs.length === 0 ? null : Math.min(...needs);
}
