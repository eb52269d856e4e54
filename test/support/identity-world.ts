// Identity over a real database, and a caller that walks the pipeline's steps that matter to it: authenticate, resolve,
// authorise, run.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { ApiError, type ErrorCode } from "../../src/base/api-error.ts";
import { type AccountId, accountId, type Region } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { type Database, openDatabase } from "../../src/database/database.ts";
import { createAccount, type NewAccount } from "../../src/identity/bootstrap.ts";
import { requestKeys } from "../../src/identity/caller-keys.ts";
import { type Identity, openIdentity } from "../../src/identity/identity.ts";
import { newMasterKey } from "../../src/identity/master-key.ts";
import type { Action, ConditionKeys } from "../../src/model/access.ts";
import type { Caller } from "../../src/model/identity/caller.ts";
import type { Parts, RequestContext } from "../../src/services/context.ts";
import { iamOperations } from "../../src/services/iam/operations.ts";
import type { Operation } from "../../src/services/operation.ts";
import { stsOperations } from "../../src/services/sts/operations.ts";
import { testDatabase } from "./test-database.ts";

type Operations = typeof iamOperations & typeof stsOperations;
const OPERATIONS: Operations = { ...iamOperations, ...stsOperations };

type InputOf<O> = O extends { resolve(ctx: never, input: infer I): unknown } ? I : never;
type OutputOf<O> = O extends { run(...args: never[]): Promise<infer T> } ? T : never;

export interface Credentials {
  readonly accessKeyId: string;
  readonly sessionToken?: string | undefined;
}

export interface IdentityWorld {
  readonly database: Database;
  readonly identity: Identity;
  readonly first: NewAccount;
  readonly second: NewAccount;
  /** The clock of all calls. */
  now: Date;
  callerOf(credentials: Credentials): Promise<Caller>;
  /** One call with these credentials, without the wire. */
  call<N extends keyof Operations>(
    credentials: Credentials,
    name: N,
    input: Partial<InputOf<Operations[N]>>,
  ): Promise<OutputOf<Operations[N]>>;
  /** May these credentials do this? */
  may(credentials: Credentials, action: Action, resource: string, keys?: ConditionKeys): Promise<boolean>;
}

export const FIRST = accountId("111111111111");
export const SECOND = accountId("222222222222");

export async function identityWorld(t: TestContext): Promise<IdentityWorld> {
  const directory = await mkdtemp(join(tmpdir(), "identity-"));
  const closing: (() => Promise<void>)[] = [];
  t.after(async () => {
    for (const close of closing.reverse()) await close();
    await rm(directory, { recursive: true });
  });
  const database = await openDatabase(await testDatabase(t, directory));
  closing.push(() => database.close());
  const masterKey = newMasterKey();
  const identity = openIdentity({ database, masterKey });
  closing.push(() => identity.lastUsed.settled());
  const now = new Date("2026-11-24T08:00:00.000Z");
  const account = (id: AccountId) =>
    createAccount({ database, masterKey, now }, { id, name: `account ${id}`, email: `${id}@example.com` });
  const world: IdentityWorld = {
    database,
    identity,
    first: await account(FIRST),
    second: await account(SECOND),
    now,
    async callerOf({ accessKeyId, sessionToken }) {
      const found = await identity.credentials.find(accessKeyId, sessionToken, world.now);
      if (found.kind !== "found") throw new Error(found.kind);
      return found.caller;
    },
    async call(credentials, name, input) {
      const caller = await world.callerOf(credentials);
      const ctx = contextFor(world, caller);
      // The types of input and output are tied by name in the signature; inside, one action is like another.
      const operation = OPERATIONS[name] as unknown as Operation<Action, object, unknown>;
      const resolved = await operation.resolve(ctx, input);
      const service = operation.action.slice(0, operation.action.indexOf(":"));
      const answer = await identity.authorizer.authorize(caller, resolved.checks, factsOf(world));
      if (!answer.granted) throw identity.authorizer.denial(service, caller, answer);
      return (await operation.run(ctx, input, resolved, answer.grant)) as never;
    },
    async may(credentials, action, resource, keys = {}) {
      const caller = await world.callerOf(credentials);
      return (await identity.authorizer.authorize(caller, [{ action, resource, keys }], factsOf(world))).granted;
    },
  };
  return world;
}

const factsOf = (world: IdentityWorld) =>
  requestKeys({ now: world.now, sourceIp: "127.0.0.1", userAgent: "test", region: "us-east-1", secure: false });

function contextFor(world: IdentityWorld, caller: Caller): RequestContext {
  return {
    caller,
    region: "us-east-1" as Region,
    requestId: "request",
    sourceIp: "127.0.0.1",
    userAgent: "test",
    database: world.database,
    log: silentLog,
    now: () => world.now,
    // IAM and STS reach no other part.
    parts: { identity: world.identity } as Parts,
  };
}

export const documentOf = (...statements: object[]): string =>
  JSON.stringify({ Version: "2012-10-17", Statement: statements });

export const allow = (action: string | string[], resource: string | string[] = "*", condition?: object): string =>
  documentOf({
    Effect: "Allow",
    Action: action,
    Resource: resource,
    ...(condition === undefined ? {} : { Condition: condition }),
  });

/** A user of the first account with one key, and perhaps a policy. */
export async function userWith(world: IdentityWorld, name: string, policy?: string): Promise<Credentials> {
  const admin = world.first.administrator;
  await world.call(admin, "CreateUser", { UserName: name });
  const { AccessKey } = await world.call(admin, "CreateAccessKey", { UserName: name });
  if (policy !== undefined) {
    await world.call(admin, "PutUserPolicy", { UserName: name, PolicyName: "policy", PolicyDocument: policy });
  }
  return { accessKeyId: AccessKey.AccessKeyId };
}

/** Asserts a refusal by its code and, where given, its message. */
export async function refused(promise: Promise<unknown>, code: ErrorCode, message?: string | RegExp): Promise<void> {
  const error = await promise.then(
    () => assert.fail(`expected ${code}`),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof ApiError, String(error));
  assert.equal(error.code, code, error.message);
  if (typeof message === "string") assert.equal(error.message, message);
  else if (message !== undefined) assert.match(error.message, message);
}
