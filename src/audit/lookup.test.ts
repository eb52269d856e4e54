import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { sql } from "kysely";
import { openDatabase } from "../database/database.ts";
import { appendEvents } from "./chain.ts";
import { openTrail } from "./example.fixture.ts";
import { type EventFilter, type EventPosition, findEvents } from "./lookup.ts";
import { type AuditEvent, resourceName } from "./record.ts";

const ACCOUNTS = ["111122223333", "222233334444"];
const REGIONS = ["us-east-1", "eu-west-1"];

const events = fc.array(
  fc.record({
    accountId: fc.constantFrom(...ACCOUNTS),
    region: fc.constantFrom(...REGIONS),
    category: fc.constantFrom("Management" as const, "Data" as const),
    // Few distinct times: ties are the hard part of paging.
    atMs: fc.integer({ min: 0, max: 6 }).map((n) => n * 1000),
    eventName: fc.constantFrom("RunInstances", "DescribeImages"),
    eventSource: fc.constantFrom("ec2.amazonaws.com", "iam.amazonaws.com"),
    readOnly: fc.boolean(),
    userName: fc.constantFrom("alice", "bob", null),
    accessKeyId: fc.constantFrom("AKIA1", "AKIA2", null),
    resources: fc.array(
      fc.record({
        arn: fc.constantFrom("arn:aws:ec2:us-east-1::image/ami-1", "arn:aws:ec2:us-east-1:111122223333:instance/i-1"),
        type: fc.constantFrom("AWS::EC2::Ami", "AWS::EC2::Instance"),
        accountId: fc.constant("111122223333"),
      }),
      { maxLength: 3 },
    ),
  }),
  { maxLength: 60 },
);

const filters: fc.Arbitrary<EventFilter & { region?: string; category?: "Management" | "Data" }> = fc.record(
  {
    eventName: fc.constantFrom("RunInstances", "DescribeImages"),
    eventSource: fc.constant("ec2.amazonaws.com"),
    readOnly: fc.boolean(),
    userName: fc.constant("alice"),
    accessKeyId: fc.constant("AKIA1"),
    resourceType: fc.constant("AWS::EC2::Ami"),
    resourceName: fc.constantFrom("ami-1", "arn:aws:ec2:us-east-1::image/ami-1", "i-1"),
    region: fc.constantFrom(...REGIONS),
    category: fc.constantFrom("Management" as const, "Data" as const),
    from: fc.integer({ min: 0, max: 6 }).map((n) => new Date(n * 1000)),
    to: fc.integer({ min: 0, max: 6 }).map((n) => new Date(n * 1000)),
  },
  { requiredKeys: [] },
);

/** What the look-up should find, by looking at everything. */
function matches(event: AuditEvent, f: EventFilter & { region?: string; category?: string; from?: Date; to?: Date }) {
  const named = (name: string) =>
    event.resources.some((r) => (name.startsWith("arn:") ? r.arn === name : resourceName(r.arn) === name));
  const both = event.resources.some(
    (r) =>
      r.type === f.resourceType &&
      (f.resourceName?.startsWith("arn:") ? r.arn === f.resourceName : resourceName(r.arn) === f.resourceName),
  );
  return (
    (f.region === undefined || event.region === f.region) &&
    (f.category === undefined || event.category === f.category) &&
    (f.eventName === undefined || event.eventName === f.eventName) &&
    (f.eventSource === undefined || event.eventSource === f.eventSource) &&
    (f.readOnly === undefined || event.readOnly === f.readOnly) &&
    (f.userName === undefined || event.userName === f.userName) &&
    (f.accessKeyId === undefined || event.accessKeyId === f.accessKeyId) &&
    (f.resourceType === undefined || event.resources.some((r) => r.type === f.resourceType)) &&
    (f.resourceName === undefined || named(f.resourceName)) &&
    (f.resourceType === undefined || f.resourceName === undefined || both) &&
    (f.from === undefined || event.atMs >= f.from.getTime()) &&
    (f.to === undefined || event.atMs <= f.to.getTime())
  );
}

test("paging through any look-up gives exactly the matching events of the account, newest first", async () => {
  await fc.assert(
    fc.asyncProperty(events, filters, fc.integer({ min: 1, max: 7 }), async (given, filter, limit) => {
      const database = await openDatabase({ engine: "sqlite", path: ":memory:" });
      try {
        const all: AuditEvent[] = given.map((event, i) => ({ ...event, eventId: `e${i}`, body: "{}" }));
        await database.transaction(async (tx) => {
          await appendEvents(tx, all, false);
          const expected = all
            .map((event, i) => ({ event, sequence: i + 1 }))
            .filter(({ event }) => event.accountId === ACCOUNTS[0] && matches(event, filter))
            .sort((a, b) => b.event.atMs - a.event.atMs || b.sequence - a.sequence)
            .map(({ sequence }) => sequence);
          const found: number[] = [];
          let after: EventPosition | undefined;
          do {
            const page = await findEvents(tx, {
              ...filter,
              accountId: ACCOUNTS[0] ?? "",
              limit,
              ...(after ? { after } : {}),
            });
            found.push(...page.events.map((event) => event.sequence));
            after = page.next;
          } while (after !== undefined);
          assert.deepEqual(found, expected);
        });
      } finally {
        await database.close();
      }
    }),
    { numRuns: 60 },
  );
});

test("no look-up by one attribute sorts or scans: its cost does not depend on how many events there are", async (t) => {
  const { database } = await openTrail(t);
  const page = "order by at_ms desc, sequence desc limit 51";
  const grouped = `group by at_ms, sequence ${page}`;
  for (const query of [
    `select sequence from audit_events where scope_id = 1 and at_ms <= 9 ${page}`,
    `select sequence from audit_events where scope_id = 1 and event_name = 'a' and at_ms <= 9 ${page}`,
    `select sequence from audit_events where scope_id = 1 and event_source = 'a' and at_ms <= 9 ${page}`,
    `select sequence from audit_events where scope_id = 1 and read_only = 1 and at_ms <= 9 ${page}`,
    `select sequence from audit_events where scope_id = 1 and user_name = 'a' and at_ms <= 9 ${page}`,
    `select sequence from audit_events where scope_id = 1 and access_key_id = 'a' and at_ms <= 9 ${page}`,
    `select sequence from audit_event_resources where scope_id = 1 and name = 'a' and at_ms <= 9 ${grouped}`,
    `select sequence from audit_event_resources where scope_id = 1 and type = 'a' and at_ms <= 9 ${grouped}`,
  ]) {
    const { rows } = await sql<{ detail: string }>`explain query plan ${sql.raw(query)}`.execute(database.read);
    const plan = rows.map((row) => row.detail).join("; ");
    assert.match(plan, /SEARCH .* USING COVERING INDEX/, query);
    assert.doesNotMatch(plan, /TEMP B-TREE/, query);
  }
});
