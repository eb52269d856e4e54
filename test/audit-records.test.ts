// The record of every action of the operations table, made of synthetic requests and answers that fill every member; and
// their shapes, against test/golden/audit-records.txt: detection rules and scripts go by these names. After a change that is
// meant: INGOT_WRITE_GOLDEN=1 node --test test/audit-records.test.ts, and read the difference.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { NormalizedSchema } from "@smithy/core/schema";
import { alice } from "../src/audit/example.fixture.ts";
import { callOf, eventsOf, responseOf } from "../src/audit/record.ts";
import { isSecret } from "../src/audit/secrets.ts";
import { kindOf, membersOf, operationOf } from "../src/protocol/schema.ts";
import { OPERATIONS } from "../src/server/operations.ts";

const SECRET = "THIS-IS-A-SECRET";
const PLAIN = "plain text";
/** Shapes contain themselves. */
const MOST_DEPTH = 6;

/** A value that has everything the schema has. */
function filled(schema: NormalizedSchema, depth = 0, hidden = false): unknown {
  if (schema.isUnitSchema()) return {};
  switch (kindOf(schema)) {
    case "struct": {
      if (depth > MOST_DEPTH) return {};
      const members = membersOf(schema).map((member) => [
        member.name,
        // The public half of a key pair is bytes, and none of anybody's secrets.
        member.name === "PublicKeyMaterial"
          ? Buffer.from(PLAIN)
          : filled(member.schema, depth + 1, hidden || isSecret(member.name, member.schema)),
      ]);
      return Object.fromEntries(members);
    }
    case "list":
      return depth > MOST_DEPTH ? [] : [filled(schema.getValueSchema(), depth + 1, hidden)];
    case "map":
      return depth > MOST_DEPTH ? {} : { name: filled(schema.getValueSchema(), depth + 1, hidden) };
    case "string":
      return hidden ? SECRET : PLAIN;
    case "number":
      return 1;
    case "boolean":
      return true;
    case "timestamp":
      return new Date("2026-11-24T08:00:00Z");
    case "blob":
      return Buffer.from(SECRET);
  }
}

/** Fields of every record, and their types. */
const REQUIRED: Readonly<Record<string, string>> = {
  eventVersion: "string",
  userIdentity: "object",
  eventTime: "string",
  eventSource: "string",
  eventName: "string",
  awsRegion: "string",
  sourceIPAddress: "string",
  userAgent: "string",
  requestID: "string",
  eventID: "string",
  readOnly: "boolean",
  eventType: "string",
  managementEvent: "boolean",
  recipientAccountId: "string",
  eventCategory: "string",
};

/** EC2's newer actions are recorded as XML turned into JSON, S3's with the names of its headers and query. */
const isName = (service: string, name: string): boolean =>
  /^_?[a-z][A-Za-z0-9]*$/.test(name) ||
  (service === "ec2" && /^[A-Z][A-Za-z0-9]+$/.test(name)) ||
  (service === "s3" && /^(Host|[a-z][a-zA-Z0-9-]*|[A-Z][A-Za-z0-9]+)$/.test(name));

const GOLDEN = new URL("golden/audit-records.txt", import.meta.url);
const HOW_TO_WRITE = "not as in test/golden/audit-records.txt: the head of this file says how to write it anew";
const golden = new Map(
  (process.env.INGOT_WRITE_GOLDEN === "1" ? "" : readFileSync(GOLDEN, "utf8"))
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)] as const),
);
const shapes: string[] = [];

/** `{instancesSet{items[{imageId}]}}`: names in their order, lists by what is in them; deeper than this is left out. */
const SHOWN_DEPTH = 4;
function shape(value: unknown, depth = 0): string {
  if (value === null || typeof value !== "object") return "";
  if (Array.isArray(value)) return `[${shape(value[0], depth)}]`;
  if (depth === SHOWN_DEPTH) return "{…}";
  const members = Object.entries(value).map(([name, one]) => `${name}${shape(one, depth + 1)}`);
  return `{${members.join(" ")}}`;
}

for (const [service, operations] of Object.entries(OPERATIONS)) {
  for (const [name, operation] of Object.entries(operations)) {
    test(`${service}:${name}`, () => {
      const schema = operationOf<object, object>(operation.schema);
      const input = filled(NormalizedSchema.of(schema.input)) as object;
      const output = filled(NormalizedSchema.of(schema.output)) as object;
      const call = callOf({
        eventId: "00000000-0000-4000-8000-000000000001",
        time: new Date("2026-11-24T08:00:00Z"),
        service,
        action: schema.name,
        readOnly: operation.access === "read",
        region: "us-east-1",
        sourceIp: "127.0.0.1",
        userAgent: "test",
        requestId: "00000000-0000-4000-8000-000000000002",
        caller: alice,
        operation: schema,
        input,
      });
      const events = eventsOf(call, {
        response: responseOf(call, schema, output),
        resources: [],
        recipients: ["222222222222"],
      });
      assert.equal(events.length, 2);
      for (const { body } of events) {
        const record = JSON.parse(body) as Record<string, unknown>;
        for (const [field, type] of Object.entries(REQUIRED)) assert.equal(typeof record[field], type, field);
        assert.equal(record.eventVersion, "1.11");
        assert.equal(record.eventName, name);
        assert.equal(record.eventSource, `${service}.amazonaws.com`);
        assert.equal(record.eventTime, "2026-11-24T08:00:00Z");
        for (const part of ["requestParameters", "responseElements"]) {
          const value = record[part];
          assert.ok(typeof value === "object", part);
          for (const member of Object.keys(value ?? {})) assert.ok(isName(service, member), `${part}.${member}`);
        }
        if (operation.access === "read") assert.equal(record.responseElements, null);
        assert.ok(!body.includes(SECRET), "a secret");
        assert.ok(!body.includes(Buffer.from(SECRET).toString("base64")), "a secret's bytes");
      }
      const { requestParameters, responseElements } = JSON.parse(events[0]?.body ?? "") as Record<string, unknown>;
      const kind = operation.access === "read" ? "read" : "write";
      const shown = `${kind} ${shape(requestParameters) || "null"} ${shape(responseElements) || "null"}`;
      shapes.push(`${service}:${name} ${shown}`);
      if (golden.size > 0) assert.equal(shown, golden.get(`${service}:${name}`), HOW_TO_WRITE);
      // Whoever's resource it was sees nothing of the caller's request but that resource's name.
      assert.ok(!events[1]?.body.includes(PLAIN));
    });
  }
}

test("the golden records are those of the operations table", () => {
  if (golden.size === 0) writeFileSync(GOLDEN, `${shapes.sort().join("\n")}\n`);
  else
    assert.deepEqual(
      [...golden.keys()],
      shapes.sort().map((line) => line.slice(0, line.indexOf(" "))),
    );
});
