// Every operation of every service, both ways, against the SDK's own clients over HTTP: what a client was given must
// reach us unchanged, and what we answer must reach the client unchanged. Values are random, from the schemas, with a
// fixed seed; `SEED=n` tries another.

import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { NormalizedSchema } from "@smithy/core/schema";
import { codecFor } from "./codec.ts";
import { plain, randomFrom, structOf } from "./random-values.fixture.ts";
import { type AnyOperation, SDK, sdkOperations } from "./sdk.fixture.ts";
import { parseSignature, signingKeys, verifySignature } from "./sigv4.ts";
import type { AwsServiceName, WireRequest, WireResponse } from "./wire.ts";

const SEED = Number(process.env.SEED ?? 1);

/** The SDK's command for an operation. */
function commandOf(service: AwsServiceName, operation: AnyOperation): new (input: object) => never {
  const command = SDK[service][`${operation.name}Command`];
  assert.equal(typeof command, "function", `${operation.name} has a command`);
  return command as new (
    input: object,
  ) => never;
}

let answer: (request: WireRequest) => WireResponse;
const server = createServer((message: IncomingMessage, reply: ServerResponse) => {
  void (async () => {
    const [path = "/", query = ""] = (message.url ?? "/").split(/\?(.*)/s);
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(message.headers)) headers[name] = String(value);
    const {
      status,
      headers: out,
      body,
    } = answer({ method: message.method ?? "", path, query, headers, body: await buffer(message) });
    reply.writeHead(status, out).end(body);
  })().catch((error: unknown) => {
    reply.writeHead(500).end(String(error));
  });
});

const SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const keys = signingKeys(10);

/** These are how one gets credentials: nobody signs them. */
const UNSIGNED: ReadonlySet<string> = new Set(["AssumeRoleWithSAML", "AssumeRoleWithWebIdentity"]);

/** PutSnapshotBlock's body goes unsigned. */
function assertSignedBy(request: WireRequest, service: AwsServiceName, action: string): void {
  const parsed = parseSignature(request);
  if (UNSIGNED.has(action)) {
    assert.ok(parsed.kind === "fault" && parsed.reason === "missing");
    return;
  }
  assert.ok(parsed.kind === "signature");
  assert.equal(parsed.service, service);
  const allowUnsignedPayload = service === "ebs";
  assert.equal(verifySignature(parsed, SECRET, request, new Date(), { keys, allowUnsignedPayload }), undefined);
}

let config: object;
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  config = {
    region: "eu-test-1",
    endpoint: `http://127.0.0.1:${port}`,
    credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: SECRET },
    maxAttempts: 1,
  };
});
after(() => {
  server.close();
  server.closeAllConnections();
});

interface AnyClient {
  send(command: never): Promise<unknown>;
  destroy(): void;
}
const CLIENTS: readonly [AwsServiceName, string, number][] = [
  ["ec2", "EC2Client", 823],
  ["iam", "IAMClient", 180],
  ["sts", "STSClient", 12],
  ["cloudtrail", "CloudTrailClient", 60],
  ["ssm", "SSMClient", 154],
  ["ebs", "EBSClient", 6],
  ["organizations", "OrganizationsClient", 60],
];

/** Members that the SDK's client adds by itself, or that have another form on its side. */
const ADDED: Readonly<Record<string, readonly string[]>> = { CopySnapshot: ["PresignedUrl", "DestinationRegion"] };

for (const [service, clientName, count] of CLIENTS) {
  describe(service, () => {
    const operations = sdkOperations(service);
    test(`the SDK knows ${count} operations or more`, () => assert.ok(operations.length >= count));

    test("inputs and outputs of every operation arrive unchanged", async (t) => {
      const Client = SDK[service][clientName] as new (config: object) => AnyClient;
      const client = new Client(config);
      t.after(() => client.destroy());
      const codec = codecFor(service);
      const failures: string[] = [];
      const random = randomFrom(SEED);
      for (const operation of operations) {
        const Command = commandOf(service, operation);
        const inputSchema = NormalizedSchema.of(operation.input);
        const outputSchema = NormalizedSchema.of(operation.output);
        const full = service === "ec2" || service === "iam" || service === "sts";
        const input = inputSchema.isUnitSchema() ? {} : structOf(inputSchema, random, full, 0);
        const output = outputSchema.isUnitSchema() ? {} : structOf(outputSchema, random, false, 0);
        let received: unknown;
        answer = (request) => {
          assertSignedBy(request, service, operation.name);
          assert.equal(codec.route(request).action, operation.name);
          received = codec.decode(operation, request);
          return codec.encode(operation, output, "req-1");
        };
        try {
          const reply = (await client.send(new Command(input))) as Record<string, unknown>;
          const ignore = new Set(ADDED[operation.name]);
          const strip = (value: unknown) =>
            Object.fromEntries(Object.entries(plain(value) as object).filter(([key]) => !ignore.has(key)));
          assert.deepEqual(strip(received), strip(input), "input");
          for (const [name, member] of Object.entries(reply)) {
            if (member instanceof Object && "transformToByteArray" in member) {
              reply[name] = await (member.transformToByteArray as () => Promise<Uint8Array>)();
            }
          }
          assert.deepEqual(plain(reply), plain(output), "output");
        } catch (error) {
          failures.push(`${operation.name}: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
      assert.equal(failures.length, 0, `${failures.length} failed:\n${failures.slice(0, 5).join("\n")}`);
    });
  });
}
