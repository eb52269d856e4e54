// Credentials and permission over a real database.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type AccountId, accountId } from "../base/ids.ts";
import { type Database, openDatabase } from "../database/database.ts";
import type { Action, ResourceCheck } from "../model/access.ts";
import { raiseGeneration } from "../model/identity/account.ts";
import type { Caller } from "../model/identity/caller.ts";
import { createAccount } from "./bootstrap.ts";
import { requestKeys } from "./caller-keys.ts";
import { type Identity, openIdentity } from "./identity.ts";
import { newMasterKey } from "./master-key.ts";

const NOW = new Date("2026-11-24T08:00:00.000Z");
const FACTS = requestKeys({ now: NOW, sourceIp: "10.0.0.1", userAgent: "test", region: "us-east-1", secure: false });
const ACCOUNT = accountId("111122223333");

interface World {
  readonly database: Database;
  readonly identity: Identity;
  readonly administratorKey: string;
  readonly administratorSecret: string;
  readonly rootKey: string;
}

async function world(t: TestContext): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), "identity-"));
  const database = await openDatabase({ engine: "sqlite", path: join(directory, "db") });
  t.after(async () => {
    await database.close();
    await rm(directory, { recursive: true });
  });
  const masterKey = newMasterKey();
  const made = await createAccount(
    { database, masterKey, now: NOW },
    { id: ACCOUNT, name: "first", email: "first@example.com" },
  );
  return {
    database,
    identity: openIdentity({ database, masterKey }),
    administratorKey: made.administrator.accessKeyId,
    administratorSecret: made.administrator.secretAccessKey,
    rootKey: made.root.accessKeyId,
  };
}

async function callerOf(identity: Identity, key: string, token?: string): Promise<Caller> {
  const found = await identity.credentials.find(key, token, NOW);
  assert.equal(found.kind, "found");
  assert.ok(found.kind === "found");
  return found.caller;
}

async function changing(database: Database, account: AccountId, change: (db: Database["read"]) => Promise<unknown>) {
  await database.transaction(async (tx) => {
    await change(tx);
    await raiseGeneration(tx, account);
  });
}

const stop: ResourceCheck = {
  action: "ec2:StopInstances",
  resource: `arn:aws:ec2:us-east-1:${ACCOUNT}:instance/i-1`,
  keys: {},
};

test("the first administrator's key opens to its secret, and may do anything", async (t) => {
  const { identity, administratorKey, administratorSecret } = await world(t);
  const found = await identity.credentials.find(administratorKey, undefined, NOW);
  assert.ok(found.kind === "found");
  assert.equal(found.secretAccessKey, administratorSecret);
  assert.equal(found.caller.arn, `arn:aws:iam::${ACCOUNT}:user/admin`);
  const answer = await identity.authorizer.authorize(found.caller, [stop], FACTS);
  assert.equal(answer.granted, true);
});

test("the database holds no secret in the clear", async (t) => {
  const { database, administratorSecret } = await world(t);
  const rows = await database.read.selectFrom("access_keys").selectAll().execute();
  assert.equal(rows.length, 2);
  assert.ok(!JSON.stringify(rows).includes(administratorSecret));
});

test("a sealed secret is no use under another key's id", async (t) => {
  const { database, identity, administratorKey, rootKey } = await world(t);
  const { sealed_secret } = await database.read
    .selectFrom("access_keys")
    .select("sealed_secret")
    .where("id", "=", administratorKey)
    .executeTakeFirstOrThrow();
  await changing(database, ACCOUNT, (tx) =>
    tx.updateTable("access_keys").set({ sealed_secret }).where("id", "=", rootKey).execute(),
  );
  await assert.rejects(identity.credentials.find(rootKey, undefined, NOW), /not sealed under this master key/);
});

test("keys that nobody has, and keys switched off, are told apart for our log", async (t) => {
  const { database, identity, administratorKey } = await world(t);
  const find = (id: string, token?: string) => identity.credentials.find(id, token, NOW);
  assert.equal((await find("AKIAQNZGKIQY5MCRZTOE")).kind, "unknown-key");
  assert.equal((await find("nonsense")).kind, "unknown-key");
  assert.equal((await find(administratorKey, "token")).kind, "invalid-token");
  await changing(database, ACCOUNT, (tx) =>
    tx.updateTable("access_keys").set({ status: "Inactive" }).where("id", "=", administratorKey).execute(),
  );
  assert.equal((await find(administratorKey)).kind, "inactive-key");
});

test("a changed policy counts from the next request on", async (t) => {
  const { database, identity, administratorKey } = await world(t);
  const caller = await callerOf(identity, administratorKey);
  assert.equal((await identity.authorizer.authorize(caller, [stop], FACTS)).granted, true);
  await changing(database, ACCOUNT, (tx) => tx.deleteFrom("policy_attachments").execute());
  const answer = await identity.authorizer.authorize(caller, [stop], FACTS);
  assert.ok(!answer.granted);
  assert.deepEqual(answer.decision, { allowed: false, reason: "implicitDeny", layer: "identity", statement: null });
});

test("EC2's refusal names user, action, resource and reason, and its message opens in that account only", async (t) => {
  const { database, identity, administratorKey } = await world(t);
  const caller = await callerOf(identity, administratorKey);
  const deny = { Version: "2012-10-17", Statement: { Sid: "No", Effect: "Deny", Action: "ec2:Stop*", Resource: "*" } };
  await changing(database, ACCOUNT, (tx) =>
    tx
      .insertInto("inline_policies")
      .values({ principal_id: caller.principalId, name: "no", account_id: ACCOUNT, document: JSON.stringify(deny) })
      .execute(),
  );
  const answer = await identity.authorizer.authorize(caller, [stop], FACTS);
  assert.ok(!answer.granted);
  const error = identity.authorizer.denial("ec2", caller, answer);
  assert.equal(error.code, "UnauthorizedOperation");
  const [sentence, message = ""] = error.message.split(" Encoded authorization failure message: ");
  assert.equal(
    sentence,
    `You are not authorized to perform this operation. User: arn:aws:iam::${ACCOUNT}:user/admin is not authorized to perform: ec2:StopInstances on resource: ${stop.resource} with an explicit deny in an identity-based policy.`,
  );
  const story = JSON.parse(identity.messages.decode(ACCOUNT, message) ?? "null");
  assert.equal(story.explicitDeny, true);
  assert.equal(story.matchedStatements.items[0].statementId, "No");
  assert.equal(story.context.resource, stop.resource);
  assert.equal(identity.messages.decode(accountId("999999999999"), message), null);
  assert.equal(identity.messages.decode(ACCOUNT, `${message.slice(0, -8)}AAAAAAAA`), null);
});

test("root needs no policy", async (t) => {
  const { identity, rootKey } = await world(t);
  const caller = await callerOf(identity, rootKey);
  assert.equal(caller.kind, "root");
  assert.equal((await identity.authorizer.authorize(caller, [stop], FACTS)).granted, true);
});

test("a session token is bound to its key, its time and its limits", async (t) => {
  const { identity } = await world(t);
  const issued = identity.sessions.issue({
    accountId: ACCOUNT,
    principal: { kind: "root" },
    issuedAt: NOW.getTime(),
    expiresAt: NOW.getTime() + 3_600_000,
    policies: { document: null, arns: ["arn:aws:iam::aws:policy/AmazonEC2ReadOnlyAccess"] },
    tags: { team: "a" },
    transitiveTagKeys: [],
    chained: false,
  });
  const { accessKeyId, sessionToken, secretAccessKey } = issued;
  const at = (ms: number) => identity.credentials.find(accessKeyId, sessionToken, new Date(NOW.getTime() + ms));
  const found = await at(0);
  assert.ok(found.kind === "found");
  assert.equal(found.secretAccessKey, secretAccessKey);
  assert.equal((await at(3_600_000)).kind, "expired-token");
  assert.equal((await identity.credentials.find(accessKeyId, undefined, NOW)).kind, "invalid-token");
  const other = `${accessKeyId.slice(0, -1)}${accessKeyId.endsWith("2") ? "3" : "2"}`;
  assert.equal((await identity.credentials.find(other, sessionToken, NOW)).kind, "invalid-token");
  const verdict = (action: Action) => identity.authorizer.authorize(found.caller, [{ ...stop, action }], FACTS);
  assert.equal((await verdict("ec2:DescribeImages")).granted, true);
  const refused = await verdict("ec2:StopInstances");
  assert.ok(!refused.granted);
  assert.equal(refused.decision.layer, "session");
});
