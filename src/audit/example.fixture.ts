// Calls and callers for this folder's tests.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { StaticOperationSchema } from "@smithy/types";
import { accountId } from "../base/ids.ts";
import { silentLog } from "../base/log.ts";
import { type Database, openDatabase } from "../database/database.ts";
import type { AssumedRoleCaller, UserCaller } from "../model/identity/caller.ts";
import { operationOf } from "../protocol/schema.ts";
import type { AuditedOperation } from "./json.ts";
import { type AuditTrail, createAuditTrail, type OpenCall } from "./trail.ts";

export const alice: UserCaller = {
  kind: "user",
  accountId: accountId("111122223333"),
  arn: "arn:aws:iam::111122223333:user/alice",
  principalId: "AIDAALICE",
  accessKeyId: "AKIAALICE",
  userId: "AIDAALICE",
  userName: "alice",
  tags: {},
};

export const builder: AssumedRoleCaller = {
  kind: "assumed-role",
  accountId: accountId("111122223333"),
  arn: "arn:aws:sts::111122223333:assumed-role/builder/i-0123456789abcdef0",
  principalId: "AROABUILDER:i-0123456789abcdef0",
  accessKeyId: "ASIABUILDER",
  tags: {},
  roleId: "AROABUILDER",
  roleName: "builder",
  roleArn: "arn:aws:iam::111122223333:role/builder",
  sessionName: "i-0123456789abcdef0",
  session: {
    issuedAt: new Date("2026-11-24T07:00:00.500Z"),
    expiresAt: new Date("2026-11-24T13:00:00Z"),
    mfa: false,
    policies: null,
    transitiveTagKeys: [],
    tags: {},
    chained: false,
  },
  instance: {
    instanceId: "i-0123456789abcdef0",
    instanceArn: "arn:aws:ec2:us-east-1:111122223333:instance/i-0123456789abcdef0",
    roleDelivery: "2.0",
  },
};

let counter = 0;
/** A GUID that counts. */
export const nextEventId = (): string => `00000000-0000-4000-8000-${String(++counter).padStart(12, "0")}`;

export function exampleCall(schema: StaticOperationSchema, input: object, over: Partial<OpenCall> = {}): OpenCall {
  const operation: AuditedOperation = operationOf(schema);
  const readOnly = /^(Describe|Get|List|Lookup)/.test(operation.name);
  return {
    eventId: nextEventId(),
    time: new Date("2026-11-24T08:00:00.250Z"),
    service: "ec2",
    action: operation.name,
    readOnly,
    region: "us-east-1",
    sourceIp: "127.0.0.1",
    userAgent: "aws-cli/2.9.0",
    requestId: "7d6f5e4c-0000-4000-8000-000000000001",
    caller: alice,
    operation,
    input,
    ...over,
  };
}

export interface Opened {
  readonly directory: string;
  readonly database: Database;
  readonly trail: AuditTrail;
}

/** A trail over a database of its own, gone after the test. */
export async function openTrail(t: TestContext, now = new Date("2026-11-24T09:00:00Z")): Promise<Opened> {
  const directory = mkdtempSync(join(tmpdir(), "ingot-audit-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const database = await openDatabase({ engine: "sqlite", path: join(directory, "ingot.db") });
  const trail = createAuditTrail(database, {
    directory: join(directory, "audit"),
    clock: { now: () => now },
    log: silentLog,
  });
  t.after(async () => {
    await trail.stop();
    await database.close();
  });
  return { directory, database, trail };
}
