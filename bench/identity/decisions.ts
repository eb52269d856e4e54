// How long a decision takes: `node_modules/.bin/node bench/identity/decisions.ts` writes results.md beside it.
//
// The statement that decides stands last, behind others with two actions, two resources and a condition each: once such as
// name other actions of the service, once such as name this one, so that each of them must be tried.
//
// The last rows are what identity adds to a request, all of it: the signature parsed and verified (the body hashed), the key
// or the session token opened, the account's generation read from a real database, and six checks as a RunInstances has
// them, by the policies of the principal, which are compiled and kept as on any request but the first after a change. Not in
// it: HTTP, decoding and the audit, which a call would have without identity too.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { accountId } from "../../src/base/ids.ts";
import { openDatabase } from "../../src/database/database.ts";
import { createAccount, insertDelegatedAccount } from "../../src/identity/bootstrap.ts";
import { requestKeys } from "../../src/identity/caller-keys.ts";
import { evaluate } from "../../src/identity/evaluate.ts";
import { openIdentity } from "../../src/identity/identity.ts";
import { newMasterKey } from "../../src/identity/master-key.ts";
import { compilePolicy } from "../../src/identity/policy/compile.ts";
import { contextOf } from "../../src/identity/policy/context.ts";
import type { ResourceCheck } from "../../src/model/access.ts";
import { parseSignature, signingKeys, signRequest, verifySignature } from "../../src/protocol/sigv4.ts";
import type { WireRequest } from "../../src/protocol/wire.ts";

interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

const ACCOUNT = "111111111111";
const INSTANCE = `arn:aws:ec2:us-east-1:${ACCOUNT}:instance/i-0abc`;

const percentile = (sorted: readonly number[], share: number): string =>
  (sorted[Math.floor(sorted.length * share)] ?? Number.NaN).toFixed(2);

const rows: string[] = [];

/** Microseconds per call, in batches: the clock alone costs some hundred nanoseconds. */
async function measure(name: string, batch: number, batches: number, call: () => unknown): Promise<void> {
  for (let i = 0; i < batch * 20; i++) await call();
  const times: number[] = [];
  for (let i = 0; i < batches; i++) {
    const from = process.hrtime.bigint();
    for (let k = 0; k < batch; k++) {
      const pending = call();
      if (pending instanceof Promise) await pending;
    }
    times.push(Number(process.hrtime.bigint() - from) / batch / 1000);
  }
  times.sort((a, b) => a - b);
  rows.push(
    `| ${name} | ${percentile(times, 0.5)} | ${percentile(times, 0.9)} | ${Math.round(1e6 / Number(percentile(times, 0.5)))} |`,
  );
  console.log(`${name.padEnd(36)} p50 ${percentile(times, 0.5)} µs   p90 ${percentile(times, 0.9)} µs`);
}

/** Statements before the one that decides, which stands last. */
const passedBy = (statements: number, same: boolean) =>
  Array.from({ length: statements - 1 }, (_, n) => ({
    Effect: "Allow",
    Action: [same ? "ec2:Run*" : `ec2:Describe${n}*`, "ec2:Run*x"],
    Resource: [`arn:aws:ec2:*:*:instance/i-${n}*`, "arn:aws:ec2:us-east-1:*:*/foo"],
    Condition: { StringEquals: { "aws:RequestTag/team": ["a", "b"] } },
  }));
const everything = { Effect: "Allow", Action: "*", Resource: "*" };

function decision(statements: number, same: boolean): () => unknown {
  const passed = passedBy(statements, same);
  const last = {
    Effect: "Allow",
    Action: "ec2:RunInstances",
    Resource: "arn:aws:ec2:*:*:instance/*",
    Condition: { StringEquals: { "aws:RequestTag/team": ["a", "red"] } },
  };
  const document = JSON.stringify({ Version: "2012-10-17", Statement: [...passed, last] });
  const policies = {
    identity: [{ name: "bench", policy: compilePolicy(document, "inline") }],
    boundary: null,
    session: null,
    organization: [],
  };
  const arn = `arn:aws:iam::${ACCOUNT}:user/bench`;
  const subject = { kind: "user", accountId: ACCOUNT, arn, principalArn: arn, uniqueId: "AIDABENCH" } as const;
  const context = contextOf({ "aws:RequestTag/team": "red" });
  return () => {
    const { allowed } = evaluate({ subject, action: "ec2:RunInstances", resource: INSTANCE, context }, policies);
    if (!allowed) throw new Error("the last statement allows");
  };
}

for (const statements of [1, 50, 500]) {
  await measure(`decision, ${statements} statements`, 200, 200, decision(statements, false));
  await measure(`decision, ${statements}, all of this action`, 200, 200, decision(statements, true));
}

const directory = await mkdtemp(join(tmpdir(), "bench-identity-"));
const database = await openDatabase({ engine: "sqlite", path: join(directory, "db") });
try {
  const masterKey = newMasterKey();
  const now = new Date();
  const account = await createAccount({ database, masterKey, now }, { name: "bench", email: "bench@example.com" });
  const identity = openIdentity({ database, masterKey });
  const names = ["instance/*", "subnet/s-1", "security-group/sg-1", "network-interface/*", "volume/*"];
  let checks = [
    "arn:aws:ec2:us-east-1::image/ami-1",
    ...names.map((name) => `arn:aws:ec2:us-east-1:${account.id}:${name}`),
  ].map(
    (resource): ResourceCheck => ({ action: "ec2:RunInstances", resource, keys: { "ec2:InstanceType": "t3.micro" } }),
  );
  const facts = { now, sourceIp: "127.0.0.1", userAgent: "bench", region: "us-east-1", secure: false };
  const signedBy = (credentials: Credentials, bytes: number) => {
    const start = "Action=DescribeRegions&Version=2016-11-15&x=";
    const body = Buffer.from(start.padEnd(bytes, "x"));
    const bare = { method: "POST", path: "/", query: "", headers: { host: "localhost" }, body };
    return { ...bare, headers: signRequest(bare, credentials, { region: "us-east-1", service: "ec2" }, now) };
  };
  const keys = signingKeys(100);
  const measureRequest = (name: string, { accessKeyId, sessionToken }: Credentials, request: WireRequest) =>
    measure(`request: ${name}`, 20, 200, async () => {
      const parsed = parseSignature(request);
      if (parsed.kind !== "signature") throw new Error(parsed.detail);
      const found = await identity.credentials.find(accessKeyId, sessionToken, now);
      if (found.kind !== "found") throw new Error(found.kind);
      const fault = verifySignature(parsed, found.secretAccessKey, request, now, { keys, allowUnsignedPayload: false });
      if (fault !== undefined) throw new Error(fault.detail);
      const answer = await identity.authorizer.authorize(found.caller, checks, requestKeys(facts));
      if (!answer.granted) throw new Error("the last statement allows");
    });
  const { administrator } = account;
  await measureRequest("a user, 1 statement, 64 bytes", administrator, signedBy(administrator, 64));

  const role = accountId("222222222222");
  await database.transaction(async (tx) => {
    const made = { id: role, name: "role", email: "role@example.com", now };
    await insertDelegatedAccount(tx, made, { roleName: "bench", trusts: account.id });
  });
  const { id: roleId } = await database.read.selectFrom("roles").select("id").executeTakeFirstOrThrow();
  await database.transaction(async (tx) => {
    await tx.deleteFrom("policy_attachments").where("principal_id", "=", roleId).execute();
    const document = JSON.stringify({ Version: "2012-10-17", Statement: [...passedBy(50, true), everything] });
    await tx
      .insertInto("inline_policies")
      .values({ principal_id: roleId, name: "bench", account_id: role, document })
      .execute();
  });
  const session = identity.sessions.issue({
    accountId: role,
    principal: { kind: "role", roleId, sessionName: "bench" },
    issuedAt: now.getTime(),
    expiresAt: now.getTime() + 3_600_000,
    policies: null,
    transitiveTagKeys: [],
    tags: {},
    chained: false,
  });
  checks = checks.map((check) => ({ ...check, resource: check.resource.replace(account.id, role) }));
  await measureRequest("a role's session, 50 statements, 4 KiB", session, signedBy(session, 4096));
} finally {
  await database.close();
  await rm(directory, { recursive: true });
}

const lines = [
  "# Decisions",
  "",
  `\`node_modules/.bin/node bench/identity/decisions.ts\`, Node ${process.version}, one core of ${cpus()[0]?.model ?? "?"}.`,
  "Goals: p50 at most 10 µs at 50 statements, at most 200 µs (0.2 ms) added to a request.",
  "",
  "| what | p50 µs | p90 µs | a second |",
  "|---|---|---|---|",
  ...rows,
  "",
];
await writeFile(new URL("results.md", import.meta.url), lines.join("\n"));
