import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { LookupEventsRequest } from "@aws-sdk/client-cloudtrail";
import { GetSnapshotBlock$ } from "@aws-sdk/client-ebs";
import { DescribeImages$, RunInstances$ } from "@aws-sdk/client-ec2";
import { alice, builder, exampleCall, openTrail } from "../../audit/example.fixture.ts";
import type { Region } from "../../base/ids.ts";
import { silentLog } from "../../base/log.ts";
import type { Grant } from "../../model/access.ts";
import { pageTokens } from "../../protocol/pages.ts";
import type { Parts, RequestContext } from "../context.ts";
import { lookupEvents } from "./lookup-events.ts";

const image = { arn: "arn:aws:ec2:us-east-1::image/ami-1", type: "AWS::EC2::Ami", accountId: "111122223333" };

/** Ten calls, a second apart, and one of each kind that must not be seen. */
async function world(t: TestContext) {
  const { trail, database } = await openTrail(t);
  const at = (second: number) => new Date(Date.UTC(2026, 10, 24, 8, 0, second, 900));
  for (let n = 0; n < 10; n++) {
    const schema = n % 2 === 0 ? RunInstances$ : DescribeImages$;
    const call = exampleCall(
      schema,
      {},
      { time: at(n), caller: n < 3 ? builder : alice, resources: n < 4 ? [image] : [] },
    );
    await trail.record(call, { kind: "success", output: {} });
  }
  const success = { kind: "success", output: {} } as const;
  await trail.record(exampleCall(DescribeImages$, {}, { time: at(11), region: "eu-west-1" }), success);
  await trail.record(exampleCall(GetSnapshotBlock$, {}, { time: at(12), service: "ebs" }), success);
  await trail.record(exampleCall(DescribeImages$, {}, { time: new Date(Date.UTC(2026, 7, 1)) }), success);
  const pages = pageTokens(Buffer.alloc(32, 1));
  const ctx: RequestContext = {
    caller: alice,
    region: "us-east-1" as Region,
    requestId: "r",
    sourceIp: "127.0.0.1",
    userAgent: "",
    database,
    log: silentLog,
    now: () => new Date(Date.UTC(2026, 10, 24, 9)),
    // The parts that this action does not reach are not there.
    parts: { audit: trail, pages } as unknown as Parts,
  };
  const look = async (input: LookupEventsRequest) =>
    lookupEvents.run(ctx, input, await lookupEvents.resolve(ctx, input), {} as Grant<"cloudtrail:LookupEvents">);
  return { ctx, look };
}

const attribute = (AttributeKey: string, AttributeValue: string) =>
  ({ LookupAttributes: [{ AttributeKey, AttributeValue }] }) as LookupEventsRequest;

test("management events of the account and Region, newest first, 90 days back", async (t) => {
  const { look } = await world(t);
  const { Events: events = [], NextToken: next } = await look({});
  assert.equal(next, undefined);
  assert.deepEqual(
    events.map((event) => event.EventTime?.getUTCSeconds()),
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
  );
  const [newest] = events;
  assert.deepEqual(
    [newest?.EventName, newest?.ReadOnly, newest?.Username, newest?.AccessKeyId, newest?.EventSource],
    ["DescribeImages", "true", "alice", "AKIAALICE", "ec2.amazonaws.com"],
  );
  assert.deepEqual(events.at(-1)?.Resources, [{ ResourceType: "AWS::EC2::Ami", ResourceName: "ami-1" }]);
  assert.equal(JSON.parse(newest?.CloudTrailEvent ?? "").eventID, newest?.EventId);
});

test("each attribute", async (t) => {
  const { look } = await world(t);
  const count = async (key: string, value: string) => (await look(attribute(key, value))).Events?.length;
  assert.equal(await count("EventName", "RunInstances"), 5);
  assert.equal(await count("ReadOnly", "true"), 5);
  assert.equal(await count("Username", "i-0123456789abcdef0"), 3);
  assert.equal(await count("AccessKeyId", "AKIAALICE"), 7);
  assert.equal(await count("EventSource", "ec2.amazonaws.com"), 10);
  assert.equal(await count("ResourceType", "AWS::EC2::Ami"), 4);
  assert.equal(await count("ResourceName", "ami-1"), 4);
  assert.equal(await count("ResourceName", image.arn), 4);
  assert.equal(await count("EventName", "runinstances"), 0);
  const { Events: [one] = [] } = await look({});
  assert.equal(await count("EventId", one?.EventId ?? ""), 1);
});

test("a time range has both its ends, in the whole seconds that events show", async (t) => {
  const { look } = await world(t);
  const at = (second: number) => new Date(Date.UTC(2026, 10, 24, 8, 0, second));
  const { Events: events } = await look({ StartTime: at(3), EndTime: at(5) });
  assert.deepEqual(
    events?.map((event) => event.EventTime?.getUTCSeconds()),
    [5, 4, 3],
  );
  await assert.rejects(look({ StartTime: at(5), EndTime: at(3) }), { code: "InvalidTimeRangeException" });
});

test("pages: a token goes on where the page ended, for the same request only", async (t) => {
  const { ctx, look } = await world(t);
  const query = attribute("EventSource", "ec2.amazonaws.com");
  const seen: (string | undefined)[] = [];
  let token: string | undefined;
  do {
    const reply = await look({ ...query, MaxResults: 3, ...(token === undefined ? {} : { NextToken: token }) });
    seen.push(...(reply.Events ?? []).map((event) => event.EventId));
    if (reply.NextToken !== undefined) token = reply.NextToken;
    else break;
  } while (seen.length < 100);
  assert.equal(new Set(seen).size, 10);
  assert.equal(seen.length, 10);
  const given = token ?? "";
  const invalid = { code: "InvalidNextTokenException" };
  await assert.rejects(look({ ...attribute("EventName", "RunInstances"), NextToken: given }), invalid);
  await assert.rejects(look({ ...query, NextToken: `${given.slice(0, -2)}AA` }), invalid);
  const other = { ...ctx, caller: { ...alice, accountId: "222233334444" as typeof alice.accountId } };
  await assert.rejects(
    lookupEvents.run(other, { ...query, NextToken: given }, await lookupEvents.resolve(other, {}), {} as never),
    invalid,
  );
});

test("what CloudTrail refuses", async (t) => {
  const { look } = await world(t);
  const attributes = { code: "InvalidLookupAttributesException" };
  await assert.rejects(look(attribute("Colour", "red")), attributes);
  await assert.rejects(look(attribute("EventName", "")), attributes);
  await assert.rejects(look(attribute("ReadOnly", "maybe")), attributes);
  const two = [
    { AttributeKey: "EventName", AttributeValue: "a" },
    { AttributeKey: "Username", AttributeValue: "b" },
  ] as const;
  await assert.rejects(look({ LookupAttributes: [...two] }), attributes);
  await assert.rejects(look({ MaxResults: 0 }), { code: "InvalidMaxResultsException" });
  await assert.rejects(look({ MaxResults: 51 }), { code: "InvalidMaxResultsException" });
  await assert.rejects(look({ EventCategory: "data" as "insight" }), { code: "InvalidEventCategoryException" });
  assert.deepEqual(await look({ EventCategory: "insight" }), { Events: [] });
});
