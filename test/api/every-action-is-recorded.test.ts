// Every action of the operations table, called once through the door with next to nothing in it: whatever comes of the
// call, its record is there afterwards, found by the id that the client was given.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import * as cloudtrail from "@aws-sdk/client-cloudtrail";
import * as ebs from "@aws-sdk/client-ebs";
import * as ec2 from "@aws-sdk/client-ec2";
import * as iam from "@aws-sdk/client-iam";
import * as organizations from "@aws-sdk/client-organizations";
import * as s3 from "@aws-sdk/client-s3";
import * as ssm from "@aws-sdk/client-ssm";
import * as sts from "@aws-sdk/client-sts";
import { NormalizedSchema } from "@smithy/core/schema";
import { findEvents } from "../../src/audit/lookup.ts";
import { ingotClient } from "../../src/cli/clients/ingot.ts";
import { openDatabase } from "../../src/database/database.ts";
import { kindOf, membersOf } from "../../src/protocol/schema.ts";
import { OPERATIONS } from "../../src/server/operations.ts";
import { FindEvents$ } from "../../src/services/ingot/schema.ts";
import { type Platform, startPlatform } from "../support/platform.ts";

const SDK: Readonly<Record<string, object>> = { cloudtrail, ebs, ec2, iam, organizations, s3, ssm, sts };

/** Only what the SDK insists on. */
function least(schema: NormalizedSchema, depth = 0): unknown {
  if (schema.isUnitSchema()) return {};
  switch (kindOf(schema)) {
    case "struct":
      return Object.fromEntries(
        membersOf(schema)
          .filter(({ required, traits }) => depth < 4 && (required || traits.httpLabel === 1))
          .map((member) => [member.name, least(member.schema, depth + 1)]),
      );
    case "list":
      return [];
    case "map":
      return {};
    case "string":
      return "example-name";
    case "number":
      return 1;
    case "boolean":
      return false;
    case "timestamp":
      return new Date("2026-11-24T08:00:00Z");
    case "blob":
      return Buffer.from("example");
  }
}

interface Sent {
  readonly requestId: string | undefined;
  readonly error: string | undefined;
}

interface Metadata {
  readonly $metadata?: { readonly requestId?: string };
}

interface Client {
  send(command: object): Promise<Metadata>;
  destroy(): void;
}

/** One call with the SDK's own client and command. */
async function callWithSdk(client: Client, service: string, name: string, input: object): Promise<Sent> {
  const Command = Reflect.get(SDK[service] ?? {}, `${name}Command`) as new (input: object) => object;
  try {
    const { $metadata } = await client.send(new Command(input));
    return { requestId: $metadata?.requestId, error: undefined };
  } catch (error) {
    const { $metadata } = error as Metadata;
    return { requestId: $metadata?.requestId, error: String(error) };
  }
}

function clientOf(platform: Platform, service: string): Client {
  const Client = Object.entries(SDK[service] ?? {}).find(
    ([name]) => name.toLowerCase() === `${service}client`,
  )?.[1] as new (
    configuration: object,
  ) => Client;
  return new Client({
    endpoint: platform.url,
    region: platform.region,
    credentials: platform.credentials,
    maxAttempts: 1,
    forcePathStyle: true,
  });
}

async function unprovenCalls(platform: Platform) {
  const database = await openDatabase({ engine: "sqlite", path: join(platform.dataDirectory, "ingot.sqlite") });
  try {
    const { events } = await findEvents(database.read, { accountId: "", limit: 100 });
    return events.map(({ body, eventName, eventSource }) => ({
      requestID: (JSON.parse(body) as { requestID: string }).requestID,
      name: `${eventSource.split(".")[0]}:${eventName}`,
    }));
  } finally {
    await database.close();
  }
}

test("every action leaves a record", async (t) => {
  const platform = await startPlatform(t);
  const own = ingotClient({ endpoint: platform.url, region: platform.region, credentials: platform.credentials });
  const started = new Date(Date.now() - 1000);
  const sent: { readonly action: string; readonly requestId: string }[] = [];
  const unheard: string[] = [];
  for (const [service, operations] of Object.entries(OPERATIONS)) {
    if (service === "ingot") continue;
    assert.ok(service in SDK, `no client for ${service}`);
    const client = clientOf(platform, service);
    t.after(() => client.destroy());
    for (const [name, operation] of Object.entries(operations)) {
      const input = least(NormalizedSchema.of(operation.schema[4])) as object;
      const { requestId, error } = await callWithSdk(client, service, name, input);
      if (requestId === undefined) unheard.push(`${service}:${name} ${error}`);
      else sent.push({ action: `${service}:${name}`, requestId });
    }
  }
  const ingotNames: string[] = [];
  for (const [name, operation] of Object.entries(OPERATIONS.ingot)) {
    const input = least(NormalizedSchema.of(operation.schema[4])) as object;
    await own.send({ schema: operation.schema }, input).catch(() => {});
    ingotNames.push(name);
  }
  assert.deepEqual(unheard, [], "calls without an answer");
  assert.ok(sent.length > 200);

  const recorded = new Map<string, string>();
  const names = new Set<string>();
  let token: string | undefined;
  do {
    const page: {
      Events: readonly { Record: string; EventName: string; EventSource: string }[];
      NextToken?: string | undefined;
    } = await own.send(FindEvents$, {
      StartTime: started,
      MaxResults: 1000,
      ...(token === undefined ? {} : { NextToken: token }),
    });
    for (const { Record, EventName, EventSource } of page.Events) {
      const { requestID } = JSON.parse(Record) as { requestID: string };
      recorded.set(requestID, `${EventSource.split(".")[0]}:${EventName}`);
      names.add(`${EventSource.split(".")[0]}:${EventName}`);
    }
    token = page.NextToken;
  } while (token !== undefined);
  // Calls that nobody signs are nobody's events: kept for the operator, in no account's look-up.
  for (const { requestID, name } of await unprovenCalls(platform)) recorded.set(requestID, name);
  assert.deepEqual(
    sent.filter(({ requestId }) => !recorded.has(requestId)).map(({ action }) => action),
    [],
    "calls without a record",
  );
  for (const name of ingotNames) assert.ok(names.has(`ingot:${name}`), `ingot:${name}`);
  // S3's ListObjectsV2 and its kin have names of their own in CloudTrail.
  const misnamed = sent.filter(
    ({ action, requestId }) => !action.startsWith("s3:") && recorded.get(requestId) !== action,
  );
  assert.deepEqual(misnamed, []);
});
