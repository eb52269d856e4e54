import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { CreateTags$ } from "@aws-sdk/client-ec2";
import { silentLog } from "../base/log.ts";
import { openDatabase } from "../database/database.ts";
import { exampleCall } from "./example.fixture.ts";
import { startPostgres } from "./postgres.fixture.ts";
import { createAuditTrail } from "./trail.ts";

test("two servers on one PostgreSQL write one chain", async (t) => {
  const location = await startPostgres(t);
  if (location === undefined) return;
  const directory = mkdtempSync(join(tmpdir(), "ingot-audit-pg-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const failures: string[] = [];
  const open = async (name: string) => {
    const database = await openDatabase(location);
    const log = { ...silentLog, error: (fields: object) => failures.push(JSON.stringify(fields)) };
    const clock = { now: () => new Date() };
    const trail = createAuditTrail(database, { directory: join(directory, name), clock, log });
    const close = async () => {
      await trail.stop();
      await database.close();
    };
    return { database, trail, close };
  };
  const first = await open("first");
  const second = await open("second");
  const write = async ({ trail }: typeof first, region: string) => {
    for (let n = 0; n < 200; n++) {
      const image = { arn: `arn:aws:ec2:${region}::image/ami-${n}`, type: "AWS::EC2::Ami", accountId: "111122223333" };
      const call = exampleCall(CreateTags$, {}, { eventId: crypto.randomUUID(), region, resources: [image] });
      await trail.record(call, { kind: "success", output: undefined });
      if (n % 10 === 0) await trail.flush();
    }
    await trail.flush();
  };
  await Promise.all([write(first, "us-east-1"), write(second, "eu-west-1")]);
  assert.deepEqual(failures, []);
  const report = await first.trail.verify();
  assert.deepEqual([report.events, report.head.sequence, report.damage], [400, 400, []]);
  const query = { accountId: "111122223333", limit: 50 };
  assert.equal((await first.trail.find({ ...query, region: "eu-west-1" })).events.length, 50);
  assert.equal((await second.trail.find({ ...query, resourceName: "ami-7" })).events.length, 2);
  assert.equal((await second.trail.find({ ...query, resourceType: "AWS::EC2::Ami" })).events.length, 50);
  assert.equal(await second.trail.prune(new Date("2100-01-01T00:00:00Z")), 400);
  assert.deepEqual((await first.trail.verify()).damage, []);
  await first.close();
  await second.close();
});
