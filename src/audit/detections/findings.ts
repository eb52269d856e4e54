// Findings: what a rule found, kept as rows. The same again, soon after, goes into the finding that is there.
import { randomUUID } from "node:crypto";
import type { Db } from "../../database/database.ts";
import type { FindingEventsTable, FindingSuppressionsTable, FindingsTable } from "../../database/tables/detections.ts";
import type { Grant } from "../../model/access.ts";
import { LEVELS, type Level, type Rule } from "./sigma.ts";

/** Events that a finding names; more are only counted. */
const MOST_EVENTS = 100;

/** Field → value, of what tells a finding from others of its rule. */
export type Subject = Readonly<Record<string, string>>;

export interface FoundIn {
  readonly sequence: number;
  readonly eventId: string;
  readonly atMs: number;
  readonly eventName: string;
  readonly who: string;
  readonly sourceIp: string;
}

export interface NewFinding {
  readonly rule: Rule;
  readonly accountId: string;
  readonly region: string;
  readonly groupKey: string;
  readonly subject: Subject;
  /** At least one; the last is the one that made the rule match. */
  readonly events: readonly FoundIn[];
  /** Whether somebody is to be told by webhook. */
  readonly notice: boolean;
  readonly now: Date;
}

/** Raises a finding, or adds to the one of the same group whose last event is not long ago. @returns the new one's row */
export async function raise(tx: Db, found: NewFinding): Promise<FindingsTable | null> {
  const last = found.events.at(-1);
  const first = found.events[0];
  if (last === undefined || first === undefined) throw new Error("a finding without an event");
  const before = await tx
    .selectFrom("findings")
    .selectAll()
    .where("rule_id", "=", found.rule.id)
    .where("group_key", "=", found.groupKey)
    .where("last_at_ms", ">=", last.atMs - found.rule.quietMs)
    // Somebody has dealt with it, and it happens again.
    .where("state", "<>", "closed")
    .orderBy("last_at_ms", "desc")
    .limit(1)
    .executeTakeFirst();
  if (before !== undefined) {
    // What led to it is in there already.
    await addEvents(tx, before, [last]);
    return null;
  }
  const suppression = await suppressionFor(tx, found);
  const at = found.now.toISOString();
  const row: FindingsTable = {
    id: randomUUID(),
    account_id: found.accountId,
    region: found.region,
    rule_id: found.rule.id,
    title: found.rule.title,
    level: LEVELS.indexOf(found.rule.level),
    group_key: found.groupKey,
    subject: JSON.stringify(found.subject),
    next_steps: JSON.stringify(found.rule.next),
    state: suppression === undefined ? "open" : "suppressed",
    note: null,
    suppression_id: suppression?.id ?? null,
    first_at_ms: first.atMs,
    last_at_ms: last.atMs,
    events: 0,
    position: last.sequence,
    created_at: at,
    changed_at: at,
    changed_by: null,
    notice: suppression === undefined && found.notice ? "due" : "none",
    notice_after_ms: 0,
    notice_attempts: 0,
  };
  await tx.insertInto("findings").values(row).execute();
  await addEvents(tx, row, found.events);
  return row;
}

async function addEvents(tx: Db, finding: FindingsTable, events: readonly FoundIn[]): Promise<void> {
  const room = MOST_EVENTS - Number(finding.events);
  const there = new Set(
    (
      await tx
        .selectFrom("finding_events")
        .select("sequence")
        .where("finding_id", "=", finding.id)
        .where(
          "sequence",
          "in",
          events.map((event) => event.sequence),
        )
        .execute()
    ).map((row) => Number(row.sequence)),
  );
  const added = events.filter((event) => !there.has(event.sequence));
  if (added.length === 0) return;
  const kept = added.slice(0, Math.max(room, 0));
  if (kept.length > 0) {
    await tx
      .insertInto("finding_events")
      .values(
        kept.map((event) => ({
          finding_id: finding.id,
          sequence: event.sequence,
          event_id: event.eventId,
          at_ms: event.atMs,
          event_name: event.eventName,
          who: event.who,
          source_ip: event.sourceIp,
        })),
      )
      .execute();
  }
  const times = added.map((event) => event.atMs);
  await tx
    .updateTable("findings")
    .set({
      events: Number(finding.events) + added.length,
      first_at_ms: Math.min(Number(finding.first_at_ms), ...times),
      last_at_ms: Math.max(Number(finding.last_at_ms), ...times),
    })
    .where("id", "=", finding.id)
    .execute();
}

async function suppressionFor(tx: Db, found: NewFinding): Promise<FindingSuppressionsTable | undefined> {
  const rows = await tx
    .selectFrom("finding_suppressions")
    .selectAll()
    .where("account_id", "=", found.accountId)
    .where("rule_id", "=", found.rule.id)
    .execute();
  return rows.find(
    (row) =>
      (row.expires_at === null || row.expires_at > found.now.toISOString()) &&
      Object.entries(JSON.parse(row.subject) as Subject).every(([field, value]) => found.subject[field] === value),
  );
}

export interface Finding {
  readonly id: string;
  readonly accountId: string;
  readonly region: string;
  readonly ruleId: string;
  readonly title: string;
  readonly level: Level;
  readonly subject: Subject;
  readonly next: readonly string[];
  readonly state: FindingsTable["state"];
  readonly note: string | null;
  readonly suppressionId: string | null;
  readonly firstAt: Date;
  readonly lastAt: Date;
  readonly events: number;
  readonly changedBy: string | null;
  readonly position: number;
}

export const findingOf = (row: FindingsTable): Finding => ({
  id: row.id,
  accountId: row.account_id,
  region: row.region,
  ruleId: row.rule_id,
  title: row.title,
  level: LEVELS[row.level] ?? "medium",
  subject: JSON.parse(row.subject) as Subject,
  next: JSON.parse(row.next_steps) as string[],
  state: row.state,
  note: row.note,
  suppressionId: row.suppression_id,
  firstAt: new Date(Number(row.first_at_ms)),
  lastAt: new Date(Number(row.last_at_ms)),
  events: Number(row.events),
  changedBy: row.changed_by,
  position: Number(row.position),
});

export interface FindingQuery {
  /** Empty: nobody's; null: all. */
  readonly accountId: string | null;
  readonly states?: readonly FindingsTable["state"][];
  readonly leastLevel?: Level;
  readonly ruleId?: string;
  readonly limit: number;
  /** Where the page before ended. */
  readonly after?: { readonly position: number; readonly id: string };
}

/** Newest first. */
export async function listFindings(db: Db, query: FindingQuery): Promise<Finding[]> {
  let rows = db.selectFrom("findings").selectAll();
  if (query.accountId !== null) rows = rows.where("account_id", "=", query.accountId);
  if (query.states !== undefined) rows = rows.where("state", "in", [...query.states]);
  if (query.leastLevel !== undefined) rows = rows.where("level", ">=", LEVELS.indexOf(query.leastLevel));
  if (query.ruleId !== undefined) rows = rows.where("rule_id", "=", query.ruleId);
  const { after } = query;
  if (after !== undefined) {
    rows = rows.where((eb) =>
      eb.or([
        eb("position", "<", after.position),
        eb.and([eb("position", "=", after.position), eb("id", "<", after.id)]),
      ]),
    );
  }
  const found = await rows.orderBy("position", "desc").orderBy("id", "desc").limit(query.limit).execute();
  return found.map(findingOf);
}

export async function findFinding(db: Db, id: string): Promise<Finding | undefined> {
  const row = await db.selectFrom("findings").selectAll().where("id", "=", id).executeTakeFirst();
  return row === undefined ? undefined : findingOf(row);
}

/** What is absent stays. */
export async function updateFinding(
  _grant: Grant<"ingot:UpdateFinding">,
  tx: Db,
  id: string,
  change: { readonly state?: "open" | "acknowledged" | "closed"; readonly note?: string },
  by: { readonly arn: string; readonly at: Date },
): Promise<void> {
  await tx
    .updateTable("findings")
    .set({
      ...(change.state === undefined ? {} : { state: change.state }),
      ...(change.note === undefined ? {} : { note: change.note }),
      changed_at: by.at.toISOString(),
      changed_by: by.arn,
    })
    .where("id", "=", id)
    .execute();
}

export interface Suppression {
  readonly accountId: string;
  readonly ruleId: string;
  /** Findings that have all of these; empty: all of the rule's. */
  readonly subject: Subject;
  readonly reason: string;
  readonly expiresAt: Date | null;
}

/** No more findings like this; those that are open become suppressed. @returns its id */
export async function suppress(
  _grant: Grant<"ingot:SuppressFinding">,
  tx: Db,
  suppression: Suppression,
  by: { readonly arn: string; readonly at: Date },
): Promise<string> {
  const id = randomUUID();
  const at = by.at.toISOString();
  await tx
    .insertInto("finding_suppressions")
    .values({
      id,
      account_id: suppression.accountId,
      rule_id: suppression.ruleId,
      subject: JSON.stringify(suppression.subject),
      reason: suppression.reason,
      created_by: by.arn,
      created_at: at,
      expires_at: suppression.expiresAt?.toISOString() ?? null,
    })
    .execute();
  const open = await tx
    .selectFrom("findings")
    .select(["id", "subject"])
    .where("account_id", "=", suppression.accountId)
    .where("rule_id", "=", suppression.ruleId)
    .where("state", "in", ["open", "acknowledged"])
    .execute();
  for (const row of open) {
    const subject = JSON.parse(row.subject) as Subject;
    if (!Object.entries(suppression.subject).every(([field, value]) => subject[field] === value)) continue;
    await tx
      .updateTable("findings")
      .set({ state: "suppressed", suppression_id: id, changed_at: at, changed_by: by.arn, notice: "none" })
      .where("id", "=", row.id)
      .execute();
  }
  return id;
}

export const suppressionsOf = (db: Db, accountId: string): Promise<FindingSuppressionsTable[]> =>
  db
    .selectFrom("finding_suppressions")
    .selectAll()
    .where("account_id", "=", accountId)
    .orderBy("created_at")
    .orderBy("id")
    .execute();

/** What it has suppressed stays so. @returns whether it was there */
export async function deleteSuppression(
  _grant: Grant<"ingot:DeleteFindingSuppression">,
  tx: Db,
  accountId: string,
  id: string,
): Promise<boolean> {
  const deleted = await tx
    .deleteFrom("finding_suppressions")
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .executeTakeFirst();
  return Number(deleted.numDeletedRows) > 0;
}

export interface FindingEvent extends FoundIn {
  /** The record, JSON; null once retention has dropped it. */
  readonly record: string | null;
}

/** Oldest first, at most the first hundred. */
export async function eventsOfFinding(db: Db, findingId: string): Promise<FindingEvent[]> {
  const rows: (FindingEventsTable & { body: string | null })[] = await db
    .selectFrom("finding_events as f")
    .leftJoin("audit_events as e", (join) =>
      join.onRef("e.sequence", "=", "f.sequence").onRef("e.event_id", "=", "f.event_id"),
    )
    .selectAll("f")
    .select("e.body")
    .where("f.finding_id", "=", findingId)
    .orderBy("f.sequence")
    .execute();
  return rows.map((row) => ({
    sequence: Number(row.sequence),
    eventId: row.event_id,
    atMs: Number(row.at_ms),
    eventName: row.event_name,
    who: row.who,
    sourceIp: row.source_ip,
    record: row.body,
  }));
}
