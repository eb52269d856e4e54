import assert from "node:assert/strict";
import { test } from "node:test";
import { CreateTags$ } from "@aws-sdk/client-ec2";
import { sql } from "kysely";
import { exampleCall, openTrail } from "./example.fixture.ts";

const image = (n: number) => ({
  arn: `arn:aws:ec2:us-east-1::image/ami-${n}`,
  type: "AWS::EC2::Ami",
  accountId: "111122223333",
});

async function tenEvents(t: Parameters<typeof openTrail>[0]) {
  const opened = await openTrail(t);
  for (let n = 1; n <= 10; n++) {
    const time = new Date(Date.UTC(2026, 10, 24, 8, n));
    await opened.trail.record(exampleCall(CreateTags$, {}, { time, resources: [image(n)] }), {
      kind: "success",
      output: undefined,
    });
  }
  await opened.trail.flush();
  return opened;
}

const TAMPERINGS: readonly [what: string, statements: readonly string[], sequences: readonly number[]][] = [
  ["a body edited", ["update audit_events set body = replace(body, 'alice', 'mallory') where sequence = 4"], [4]],
  ["a time edited", ["update audit_events set at_ms = at_ms + 1 where sequence = 4"], [4]],
  ["a user name edited", ["update audit_events set user_name = null where sequence = 10"], [10]],
  [
    "moved to another account",
    ["update audit_scopes set account_id = '222233334444'"],
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  ],
  [
    "a resource renamed",
    ["update audit_event_resources set arn = 'arn:aws:ec2:us-east-1::image/ami-x' where sequence = 3"],
    [3],
  ],
  ["a resource removed", ["delete from audit_event_resources where sequence = 3"], [3]],
  ["a row removed", ["delete from audit_events where sequence = 5"], [5]],
  ["the newest rows removed", ["delete from audit_events where sequence > 8"], [10]],
  ["the oldest rows removed", ["delete from audit_events where sequence < 3"], [1, 2]],
  [
    "two rows swapped",
    [
      "update audit_events set sequence = 99 where sequence = 6",
      "update audit_events set sequence = 6 where sequence = 7",
      "update audit_events set sequence = 7 where sequence = 99",
    ],
    [6, 7, 8],
  ],
  [
    "a row removed and the rest moved up",
    [
      "delete from audit_events where sequence = 5",
      "update audit_events set sequence = sequence - 1 where sequence > 5",
    ],
    [5, 6, 7, 8, 9, 10],
  ],
];

for (const [what, statements, sequences] of TAMPERINGS) {
  test(`verify names the place: ${what}`, async (t) => {
    const { trail, database } = await tenEvents(t);
    assert.deepEqual((await trail.verify()).damage, []);
    await database.transaction(async (tx) => {
      for (const statement of statements) await sql.raw(statement).execute(tx);
    });
    const { damage } = await trail.verify();
    assert.deepEqual([...new Set(damage.map((one) => one.sequence))], sequences);
  });
}

test("a chain hashed anew from some row on is found with a link that was noted earlier", async (t) => {
  const { trail, database } = await tenEvents(t);
  const known = (await trail.verify()).head;
  const { appendEvents } = await import("./chain.ts");
  await database.transaction(async (tx) => {
    const row = await tx.selectFrom("audit_events").select("hash").where("sequence", "=", 9).executeTakeFirstOrThrow();
    await sql`delete from audit_events where sequence = 10`.execute(tx);
    await sql`delete from audit_event_resources where sequence = 10`.execute(tx);
    await sql`update audit_chain set head_sequence = 9, head_hash = ${row.hash}`.execute(tx);
    await appendEvents(
      tx,
      [
        {
          eventId: "forged",
          accountId: "111122223333",
          region: "us-east-1",
          category: "Management",
          atMs: 1,
          eventName: "CreateTags",
          eventSource: "ec2.amazonaws.com",
          readOnly: false,
          userName: null,
          accessKeyId: null,
          resources: [],
          body: "{}",
        },
      ],
      false,
    );
  });
  assert.deepEqual((await trail.verify()).damage, []);
  assert.deepEqual(
    (await trail.verify(known)).damage.map((one) => one.sequence),
    [10],
  );
});

test("prune drops the oldest events, and the chain goes on from there", async (t) => {
  const { trail, database } = await tenEvents(t);
  assert.equal(await trail.prune(new Date(Date.UTC(2026, 10, 24, 8, 5))), 4);
  const report = await trail.verify();
  assert.deepEqual([report.first, report.events, report.damage.length], [5, 6, 0]);
  assert.equal((await trail.find({ accountId: "111122223333", limit: 50, resourceName: "ami-3" })).events.length, 0);
  await trail.record(exampleCall(CreateTags$, {}), { kind: "success", output: undefined });
  assert.deepEqual((await trail.verify()).damage, []);
  assert.equal(await trail.prune(new Date(Date.UTC(2027, 0))), 7);
  await trail.record(exampleCall(CreateTags$, {}), { kind: "success", output: undefined });
  assert.deepEqual((await trail.verify()).damage, []);
  await database.transaction((tx) => sql`delete from audit_events`.execute(tx));
  assert.deepEqual((await trail.verify()).damage.length, 1);
});
