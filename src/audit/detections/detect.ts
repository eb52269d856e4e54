// Judges events by the rules, in the chain's order. The cursor moves in the transaction that writes what was found: a kill
// at any point neither loses a finding nor makes one twice, and of two processes one judges an event.
import type { Database, Db } from "../../database/database.ts";
import type { FindingsTable } from "../../database/tables/detections.ts";
import type { JsonObject } from "../json.ts";
import { type FoundIn, raise, type Subject } from "./findings.ts";
import type { CorrelationRule, EventRule, Rule } from "./sigma.ts";
import { valuesAt } from "./sigma-match.ts";
import { type Surroundings, withSurroundings } from "./surroundings.ts";

/** Events per transaction: it holds the writer for a few milliseconds. */
const BATCH = 100;
/** A correlation's finding names the latest of the events that it counted. */
const MOST_COUNTED = 100;

export interface Judging {
  readonly database: Database;
  readonly rules: RuleSet;
  readonly surroundings: Surroundings;
  /** Whether new findings are due for the webhook. */
  readonly notice: boolean;
  readonly now: () => Date;
}

export interface RuleSet {
  readonly all: readonly Rule[];
  /** Those that can match a call of that name, in the order of `all`. */
  about(eventName: string): readonly EventRule[];
  /** Correlations by the event rules that they count. */
  readonly counting: ReadonlyMap<string, readonly CorrelationRule[]>;
  readonly longestMs: number;
}

export function ruleSet(rules: readonly Rule[]): RuleSet {
  const counting = new Map<string, CorrelationRule[]>();
  let longestMs = 0;
  for (const rule of rules) {
    if (rule.kind !== "correlation") continue;
    longestMs = Math.max(longestMs, rule.timespanMs);
    for (const id of rule.rules) counting.set(id, [...(counting.get(id) ?? []), rule]);
  }
  const events = rules.filter((rule) => rule.kind === "event");
  const ofAny = events.filter((rule) => rule.eventNames === null);
  const byName = new Map(
    [...new Set(events.flatMap((rule) => [...(rule.eventNames ?? [])]))].map((name) => [
      name,
      events.filter((rule) => rule.eventNames === null || rule.eventNames.has(name)),
    ]),
  );
  return { all: rules, about: (name) => byName.get(name.toLowerCase()) ?? ofAny, counting, longestMs };
}

interface StoredEvent extends FoundIn {
  readonly accountId: string;
  readonly region: string;
  readonly record: JsonObject;
}

/** Judges the next events. @returns findings that are new, and whether there may be more events; null: nothing to do */
export async function judgeNext(
  parts: Judging,
): Promise<{ readonly raised: readonly FindingsTable[]; readonly more: boolean } | null> {
  const cursor = await cursorOf(parts.database.read);
  const events = await eventsAfter(parts.database.read, cursor);
  const last = events.at(-1);
  if (last === undefined) return null;
  const raised = await parts.database.transaction(async (tx) => {
    const moved = await tx
      .updateTable("detection_cursor")
      .set({ cursor_sequence: last.sequence })
      .where("id", "=", 1)
      .where("cursor_sequence", "=", cursor)
      .executeTakeFirst();
    // Another process has judged them.
    if (Number(moved.numUpdatedRows) === 0) return [];
    const found: FindingsTable[] = [];
    for (const event of events) found.push(...(await judge(tx, parts, event)));
    await tx
      .deleteFrom("detection_matches")
      .where("at_ms", "<", last.atMs - 2 * parts.rules.longestMs)
      .execute();
    return found;
  });
  return { raised, more: events.length === BATCH };
}

async function cursorOf(db: Db): Promise<number> {
  const row = await db
    .selectFrom("detection_cursor")
    .select("cursor_sequence")
    .where("id", "=", 1)
    .executeTakeFirstOrThrow();
  return Number(row.cursor_sequence);
}

async function eventsAfter(db: Db, cursor: number): Promise<StoredEvent[]> {
  const rows = await db
    .selectFrom("audit_events as e")
    .innerJoin("audit_scopes as s", "s.id", "e.scope_id")
    .select(["e.sequence", "e.event_id", "e.at_ms", "e.event_name", "e.body", "s.account_id", "s.region"])
    .where("e.sequence", ">", cursor)
    .orderBy("e.sequence")
    .limit(BATCH)
    .execute();
  return rows.map((row) => {
    const record = JSON.parse(row.body) as JsonObject;
    return {
      sequence: Number(row.sequence),
      eventId: row.event_id,
      atMs: Number(row.at_ms),
      eventName: row.event_name,
      accountId: row.account_id,
      region: row.region,
      who: firstText(record, "userIdentity.arn") ?? firstText(record, "userIdentity.accountId") ?? "unknown",
      sourceIp: firstText(record, "sourceIPAddress") ?? "",
      record,
    };
  });
}

function firstText(record: JsonObject, path: string): string | undefined {
  const [value] = valuesAt(record, path.split("."));
  return typeof value === "string" ? value : undefined;
}

async function judge(tx: Db, parts: Judging, event: StoredEvent): Promise<FindingsTable[]> {
  const at = new Date(event.atMs);
  const record = await withSurroundings(
    tx,
    { accountId: event.accountId, region: event.region, at, record: event.record },
    parts.surroundings,
  );
  const found: FindingsTable[] = [];
  for (const rule of parts.rules.about(event.eventName)) {
    if (!rule.matches(record)) continue;
    if (rule.generates) {
      const subject = subjectOf(rule, record);
      const row = await raise(tx, { ...placed(parts, event, rule, subject), events: [event] });
      if (row !== null) found.push(row);
    }
    for (const correlation of parts.rules.counting.get(rule.id) ?? []) {
      const row = await count(tx, parts, { event, record, rule, correlation });
      if (row !== null) found.push(row);
    }
  }
  return found;
}

const placed = (parts: Judging, event: StoredEvent, rule: Rule, subject: Subject) => ({
  rule,
  accountId: event.accountId,
  region: event.region,
  groupKey: JSON.stringify([event.accountId, event.region, ...Object.values(subject)]),
  subject,
  notice: parts.notice,
  now: parts.now(),
});

/** Fields that the event does not have are left empty: they are part of what tells findings apart. */
const subjectOf = (rule: Rule, record: JsonObject): Subject =>
  Object.fromEntries(
    rule.groupBy.map((field) => [
      field,
      [...new Set(valuesAt(record, field.split(".")).filter((value) => value !== null && typeof value !== "object"))]
        .map(String)
        .sort()
        .join(","),
    ]),
  );

async function count(
  tx: Db,
  parts: Judging,
  matched: {
    readonly event: StoredEvent;
    readonly record: JsonObject;
    readonly rule: EventRule;
    readonly correlation: CorrelationRule;
  },
): Promise<FindingsTable | null> {
  const { event, record, rule, correlation } = matched;
  const subject = subjectOf(correlation, record);
  const finding = placed(parts, event, correlation, subject);
  const value = correlation.valueField === null ? "" : valuesAt(record, correlation.valueField.split(".")).join(",");
  await tx
    .insertInto("detection_matches")
    .values({
      correlation_id: correlation.id,
      group_key: finding.groupKey,
      sequence: event.sequence,
      rule_id: rule.id,
      at_ms: event.atMs,
      value,
    })
    .execute();
  const window = await tx
    .selectFrom("detection_matches")
    .select(["sequence", "rule_id", "value"])
    .where("correlation_id", "=", correlation.id)
    .where("group_key", "=", finding.groupKey)
    .where("at_ms", ">", event.atMs - correlation.timespanMs)
    .where("at_ms", "<=", event.atMs)
    .orderBy("sequence")
    .execute();
  const counted = new Set(
    window.map((row) => {
      switch (correlation.type) {
        case "event_count":
          return String(row.sequence);
        case "value_count":
          return row.value;
        case "temporal":
          return row.rule_id;
        default:
          return correlation.type satisfies never;
      }
    }),
  );
  if (counted.size < correlation.least) return null;
  const sequences = [...new Set(window.map((row) => Number(row.sequence)))]
    .filter((sequence) => sequence !== event.sequence)
    .slice(-(MOST_COUNTED - 1));
  return raise(tx, { ...finding, events: [...(await foundIn(tx, sequences)), event] });
}

async function foundIn(tx: Db, sequences: readonly number[]): Promise<FoundIn[]> {
  if (sequences.length === 0) return [];
  const rows = await tx
    .selectFrom("audit_events")
    .select(["sequence", "event_id", "at_ms", "event_name", "body"])
    .where("sequence", "in", [...sequences])
    .orderBy("sequence")
    .execute();
  return rows.map((row) => {
    const record = JSON.parse(row.body) as JsonObject;
    return {
      sequence: Number(row.sequence),
      eventId: row.event_id,
      atMs: Number(row.at_ms),
      eventName: row.event_name,
      who: firstText(record, "userIdentity.arn") ?? "unknown",
      sourceIp: firstText(record, "sourceIPAddress") ?? "",
    };
  });
}
