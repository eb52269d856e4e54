import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { GetSnapshotBlock$, ListSnapshotBlocks$ } from "@aws-sdk/client-ebs";
import {
  CreateImage$,
  CreateTags$,
  DeregisterImage$,
  DescribeImages$,
  RunInstances$,
  TerminateInstances$,
} from "@aws-sdk/client-ec2";
import { silentLog } from "../base/log.ts";
import { openDatabase } from "../database/database.ts";
import { alice, builder, exampleCall, openTrail } from "./example.fixture.ts";
import { type AuditTrail, createAuditTrail } from "./trail.ts";

const all = { accountId: "111122223333", limit: 50 };
const records = async (trail: AuditTrail, query: object = {}) =>
  (await trail.find({ ...all, ...query })).events.map((event) => JSON.parse(event.body));

test("a write that succeeds: CloudTrail's record, found by its event id", async (t) => {
  const { trail } = await openTrail(t);
  const call = exampleCall(DeregisterImage$, { ImageId: "ami-1" }, { caller: builder });
  const image = { arn: "arn:aws:ec2:us-east-1::image/ami-1", type: "AWS::EC2::Ami", accountId: "111122223333" };
  const entry = await trail.open({ ...call, resources: [image] });
  await trail.close(entry, { kind: "success", output: { Return: true } });
  assert.deepEqual(await records(trail, { eventId: call.eventId }), [
    {
      eventVersion: "1.11",
      userIdentity: {
        type: "AssumedRole",
        principalId: "AROABUILDER:i-0123456789abcdef0",
        arn: "arn:aws:sts::111122223333:assumed-role/builder/i-0123456789abcdef0",
        accountId: "111122223333",
        accessKeyId: "ASIABUILDER",
        sessionContext: {
          sessionIssuer: {
            type: "Role",
            principalId: "AROABUILDER",
            arn: "arn:aws:iam::111122223333:role/builder",
            accountId: "111122223333",
            userName: "builder",
          },
          attributes: { creationDate: "2026-11-24T07:00:00Z", mfaAuthenticated: "false" },
          ec2RoleDelivery: "2.0",
        },
      },
      eventTime: "2026-11-24T08:00:00Z",
      eventSource: "ec2.amazonaws.com",
      eventName: "DeregisterImage",
      awsRegion: "us-east-1",
      sourceIPAddress: "127.0.0.1",
      userAgent: "aws-cli/2.9.0",
      requestParameters: { imageId: "ami-1", deleteAssociatedSnapshots: false },
      responseElements: { requestId: call.requestId, _return: true },
      requestID: call.requestId,
      eventID: call.eventId,
      readOnly: false,
      resources: [{ accountId: "111122223333", type: "AWS::EC2::Ami", ARN: image.arn }],
      eventType: "AwsApiCall",
      managementEvent: true,
      recipientAccountId: "111122223333",
      eventCategory: "Management",
    },
  ]);
});

test("a call is found by what it made, and by what it was aimed at", async (t) => {
  const { trail } = await openTrail(t);
  // A name may look like anything.
  const made = exampleCall(CreateImage$, { InstanceId: "i-0123456789abcdef0", Name: "ami-0fffffffffffffff0" });
  await trail.close(await trail.open(made), { kind: "success", output: { ImageId: "ami-0123456789abcdef0" } });
  const [record] = await records(trail, { resourceName: "ami-0123456789abcdef0" });
  const own = { accountId: "111122223333" };
  assert.deepEqual(record.resources, [
    { ...own, type: "AWS::EC2::Ami", ARN: "arn:aws:ec2:us-east-1::image/ami-0123456789abcdef0" },
    { ...own, type: "AWS::EC2::Instance", ARN: "arn:aws:ec2:us-east-1:111122223333:instance/i-0123456789abcdef0" },
  ]);
  const missed = exampleCall(DeregisterImage$, { ImageId: "ami-00000000000000000" });
  const notFound = { kind: "error", code: "InvalidAMIID.NotFound", httpStatus: 400, message: "no" } as const;
  await trail.record(missed, notFound);
  const [refused] = await records(trail, { resourceType: "AWS::EC2::Ami", resourceName: "ami-00000000000000000" });
  // Whose the image is, nobody has looked up.
  assert.deepEqual(refused.resources, [
    { type: "AWS::EC2::Ami", ARN: "arn:aws:ec2:us-east-1::image/ami-00000000000000000" },
  ]);
});

test("errors: EC2's codes say whose fault it was; reads have no responseElements", async (t) => {
  const { trail } = await openTrail(t);
  const denied = exampleCall(RunInstances$, { ImageId: "ami-1", MinCount: 1, MaxCount: 1 });
  const outcome = { kind: "error", code: "UnauthorizedOperation", httpStatus: 403, message: "no" } as const;
  await trail.record(denied, outcome);
  const read = exampleCall(DescribeImages$, {});
  await trail.close(await trail.open(read), { kind: "success", output: { Images: [] } });
  const sts = exampleCall(CreateTags$, {}, { service: "sts" });
  await trail.record(sts, { ...outcome, code: "AccessDenied" });
  const broken = exampleCall(CreateTags$, {});
  await trail.record(broken, { ...outcome, code: "InternalError", httpStatus: 500 });
  const codes = await records(trail);
  assert.deepEqual(codes.map((record) => [record.eventName, record.errorCode, record.responseElements]).reverse(), [
    ["RunInstances", "Client.UnauthorizedOperation", null],
    ["DescribeImages", undefined, null],
    ["CreateTags", "AccessDenied", null],
    ["CreateTags", "Server.InternalError", null],
  ]);
});

test("use of another account's image: its owner sees who used it and which image, and nothing else of the call", async (t) => {
  const { trail } = await openTrail(t);
  const image = { arn: "arn:aws:ec2:us-east-1::image/ami-0aa", type: "AWS::EC2::Ami", accountId: "999988887777" };
  const instance = {
    arn: "arn:aws:ec2:us-east-1:111122223333:instance/i-1",
    type: "AWS::EC2::Instance",
    accountId: "111122223333",
  };
  const call = exampleCall(
    RunInstances$,
    { ImageId: "ami-0aa", MinCount: 1, MaxCount: 1, KeyName: "private", SubnetId: "subnet-1" },
    { resources: [image], recipients: ["999988887777", "111122223333"] },
  );
  await trail.close(await trail.open(call), {
    kind: "success",
    output: { ReservationId: "r-1" },
    resources: [instance],
  });
  const [own] = await records(trail);
  const [owners, ...more] = await records(trail, { accountId: "999988887777" });
  assert.equal(more.length, 0);
  assert.ok(own.sharedEventID);
  assert.equal(owners.sharedEventID, own.sharedEventID);
  assert.notEqual(owners.eventID, own.eventID);
  assert.equal(owners.recipientAccountId, "999988887777");
  assert.deepEqual(owners.userIdentity, {
    type: "AWSAccount",
    principalId: "AIDAALICE",
    accountId: "111122223333",
    arn: "arn:aws:iam::111122223333:user/alice",
  });
  assert.deepEqual(owners.requestParameters, { instancesSet: { items: [{ imageId: "ami-0aa" }] } });
  assert.equal(owners.responseElements, null);
  assert.deepEqual(owners.resources, [{ accountId: "999988887777", type: "AWS::EC2::Ami", ARN: image.arn }]);
  assert.equal((await trail.find({ ...all, accountId: "999988887777", resourceName: "ami-0aa" })).events.length, 1);
});

test("who reads another account's snapshot is in its owner's history by the listing, and by each block as data", async (t) => {
  const { trail } = await openTrail(t);
  const snapshot = {
    arn: "arn:aws:ec2:us-east-1::snapshot/snap-0aa",
    type: "AWS::EC2::Snapshot",
    accountId: "999988887777",
  };
  const over = { service: "ebs", resources: [snapshot], recipients: ["999988887777"] };
  for (const schema of [ListSnapshotBlocks$, GetSnapshotBlock$]) {
    const call = exampleCall(schema, { SnapshotId: "snap-0aa", BlockToken: "secret" }, over);
    await trail.close(await trail.open(call), { kind: "success", output: {} });
  }
  const names = async (accountId: string, category: "Management" | "Data") =>
    (await records(trail, { accountId, category })).map((record) => record.eventName);
  assert.deepEqual(await names("999988887777", "Management"), ["ListSnapshotBlocks"]);
  assert.deepEqual(await names("999988887777", "Data"), ["GetSnapshotBlock"]);
  assert.deepEqual(await names("111122223333", "Management"), []);
  assert.deepEqual(await names("111122223333", "Data"), ["GetSnapshotBlock", "ListSnapshotBlocks"]);
});

test("refusals before anybody is proven are kept for the key's account, and a flood of them is counted", async (t) => {
  const { trail } = await openTrail(t);
  const refusal = {
    ...exampleCall(DescribeImages$, {}),
    caller: null,
    accessKeyId: "AKIAALICE",
    accountId: "111122223333",
    code: "AuthFailure",
    httpStatus: 401,
    message: "no",
  };
  for (let i = 0; i < 130; i++) await trail.recordRefusal({ ...refusal, eventId: crypto.randomUUID() });
  await trail.recordRefusal({ ...refusal, eventId: crypto.randomUUID(), accountId: undefined, accessKeyId: undefined });
  const { events } = await trail.find({ ...all, limit: 200, accessKeyId: "AKIAALICE" });
  assert.equal(events.length, 120);
  assert.deepEqual(JSON.parse(events[0]?.body ?? "").userIdentity, { type: "Unknown", accessKeyId: "AKIAALICE" });
});

test("a call is refused when its intent cannot be kept, and a read when its record cannot", async (t) => {
  const { trail, directory } = await openTrail(t);
  await trail.flush();
  const full = createAuditTrail((await openTrail(t)).database, {
    directory: join(directory, "elsewhere"),
    clock: { now: () => new Date() },
    log: silentLog,
  });
  // A closed descriptor stands for a file system that refuses.
  await full.stop();
  await assert.rejects(full.open(exampleCall(CreateTags$, {})), /audit journal/);
  const read = await full.open(exampleCall(DescribeImages$, {}));
  await assert.rejects(full.close(read, { kind: "success", output: {} }), /audit journal/);
});

test("what the database did not take is taken later, once", async (t) => {
  const { trail, database, directory } = await openTrail(t);
  let broken = true;
  const flaky = createAuditTrail(
    {
      ...database,
      transaction: async (work) => {
        const result = await database.transaction(work);
        // The commit went through; its answer was lost.
        if (broken) throw new Error("connection lost");
        return result;
      },
    },
    { directory: join(directory, "flaky"), clock: { now: () => new Date() }, log: silentLog },
  );
  await flaky.record(exampleCall(CreateTags$, {}), { kind: "success", output: undefined });
  await assert.rejects(flaky.flush());
  broken = false;
  await flaky.flush();
  await flaky.stop();
  assert.equal((await records(trail)).length, 1);
  assert.deepEqual((await trail.verify()).damage, []);
});

test("events older than they are to be kept are dropped, hour by hour", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const { database, directory, trail } = await openTrail(t);
  const hourly = createAuditTrail(database, {
    directory: join(directory, "hourly"),
    clock: { now: () => new Date("2026-11-27T08:00:00Z") },
    log: silentLog,
    keepDays: 2,
  });
  t.after(() => hourly.stop());
  const success = { kind: "success", output: undefined } as const;
  await trail.record(exampleCall(CreateTags$, {}, { time: new Date("2026-11-25T07:59:59Z") }), success);
  await trail.record(exampleCall(CreateTags$, {}, { time: new Date("2026-11-25T08:00:01Z") }), success);
  assert.equal((await records(trail)).length, 2);
  t.mock.timers.tick(60 * 60 * 1000);
  // Writers take turns: ours is after the pruning.
  await database.transaction(async () => {});
  assert.equal((await records(trail)).length, 1);
  assert.deepEqual((await trail.verify()).damage, []);
});

const journals = (directory: string): string[] =>
  readdirSync(join(directory, "audit")).filter((name) => name.startsWith("journal-"));

test("a power cut may keep a later page of the journal and not an earlier one: what is whole is read", async (t) => {
  const { trail, directory, database } = await openTrail(t);
  const begin = (image: string) => trail.begin(exampleCall(CreateTags$, { Resources: [image] }));
  for (const image of ["ami-1", "ami-2", "ami-3"]) begin(image);
  const path = join(directory, "audit", journals(directory)[0] ?? "");
  const bytes = readFileSync(path);
  // The second line's page never came to the disk.
  const start = bytes.indexOf("\n") + 1;
  bytes.fill(0, start, bytes.indexOf("\n", start) + 1);
  writeFileSync(path, bytes);
  const next = createAuditTrail(database, {
    directory: join(directory, "audit"),
    clock: { now: () => new Date() },
    log: silentLog,
  });
  t.after(() => next.stop());
  assert.equal(await next.recover(), 2);
  assert.deepEqual(
    (await records(next)).map((record) => record.requestParameters.resourcesSet.items[0].resourceId).sort(),
    ["ami-1", "ami-3"],
  );
});

test("the journal is cut when it is full, and calls under way stay in it", async (t) => {
  const { trail, directory, database } = await openTrail(t);
  const slow = await trail.open(exampleCall(CreateTags$, { Resources: ["ami-slow"] }));
  const tags = Array.from({ length: 1000 }, (_, i) => ({ Key: `key-${i}`, Value: "value" }));
  for (let i = 0; i < 150; i++) {
    const entry = await trail.open(exampleCall(CreateTags$, { Resources: ["ami-1"], Tags: tags }));
    await trail.close(entry, { kind: "success", output: undefined });
  }
  await trail.flush();
  const [journal, ...more] = journals(directory);
  assert.deepEqual(more, []);
  assert.notEqual(journal, "journal-1");
  // What a start after a kill would find.
  const next = createAuditTrail(database, {
    directory: join(directory, "audit"),
    clock: { now: () => new Date() },
    log: silentLog,
  });
  assert.equal(await next.recover(), 1);
  await next.stop();
  const [unknown] = await records(trail, { eventId: slow.call.eventId });
  assert.equal(unknown.errorCode, "Server.InternalError");
  assert.deepEqual(unknown.additionalEventData, { outcome: "unknown" });
  assert.deepEqual(unknown.requestParameters, { resourcesSet: { items: [{ resourceId: "ami-slow" }] } });
});

test("kill -9 at any moment: each call that may have run has one record, each that ended has its own", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "ingot-audit-kill-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const ran = new Set<string>();
  const done = new Set<string>();
  for (const calls of [5, 150]) {
    const child = spawn(process.execPath, [join(import.meta.dirname, "crash-writer.fixture.ts"), directory], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    t.after(() => child.kill("SIGKILL"));
    const target = done.size + calls;
    for await (const line of createInterface({ input: child.stdout })) {
      const [what, id = ""] = line.split(" ");
      (what === "run" ? ran : done).add(id);
      if (done.size >= target) child.kill("SIGKILL");
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
  // A power cut may tear the last line.
  const last = journals(directory).at(-1) ?? "";
  appendFileSync(join(directory, "audit", last), '0badf00d {"o":{"eventId":"torn');

  const database = await openDatabase({ engine: "sqlite", path: join(directory, "ingot.db") });
  const clock = { now: () => new Date() };
  const trail = createAuditTrail(database, { directory: join(directory, "audit"), clock, log: silentLog });
  await trail.recover();
  const counts = new Map<string, number>();
  for (const row of await database.read.selectFrom("audit_events").select(["event_id", "body"]).execute()) {
    counts.set(row.event_id, (counts.get(row.event_id) ?? 0) + 1);
    const outcomeKnown = !("errorCode" in JSON.parse(row.body));
    if (done.has(row.event_id)) assert.ok(outcomeKnown, `${row.event_id} ended, and its record says it did not`);
  }
  for (const id of [...ran, ...done]) assert.equal(counts.get(id), 1, id);
  assert.deepEqual((await trail.verify()).damage, []);
  assert.equal(journals(directory).length, 1);
  await trail.stop();
  await database.close();
});

test("a write that is refused after its intent was kept has one record, and needs no sync to have it", async (t) => {
  const { trail } = await openTrail(t);
  const call = exampleCall(TerminateInstances$, { InstanceIds: ["i-0123456789abcdef0"] });
  const begun = trail.begin(call);
  await trail.close(begun, { kind: "error", code: "UnauthorizedOperation", httpStatus: 403, message: "no" });
  const { events } = await trail.find({ accountId: alice.accountId, limit: 10 });
  assert.deepEqual(
    events.map(({ body }) => JSON.parse(body).errorCode),
    ["Client.UnauthorizedOperation"],
  );
});

test("what a committed call names is there after a kill, its recipients too", async (t) => {
  const { trail, database, directory } = await openTrail(t);
  const call = exampleCall(TerminateInstances$, { InstanceIds: ["i-0123456789abcdef0"] });
  const image = {
    arn: "arn:aws:ec2:us-east-1::image/ami-0123456789abcdef0",
    type: "AWS::EC2::Ami",
    accountId: "222222222222",
  };
  await trail.commit(trail.begin(call), { resources: [image], recipients: ["222222222222"] });
  const later = createAuditTrail(database, {
    directory: join(directory, "audit"),
    clock: { now: () => new Date() },
    log: silentLog,
  });
  t.after(() => later.stop());
  assert.equal(await later.recover(), 1);
  const { events } = await later.find({ accountId: "222222222222", limit: 10 });
  assert.deepEqual(
    events.map(({ resources }) => resources.map(({ arn }) => arn)),
    [[image.arn]],
  );
});
