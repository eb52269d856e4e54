// What the audit trail costs, at a million events: look-ups by each attribute, writing an event, bytes on disk, memory.
//
//   node bench/audit/run.ts                 a million events, some minutes; writes bench/audit/results.md
//   node bench/audit/run.ts --events 20000  a small run; prints, and writes nothing
//
// Events go through the trail itself (journal, chain, indexes), in the mix of an account that builds and launches images.
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { arch, cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { CreateTags$, DescribeImages$, DescribeInstances$, RunInstances$ } from "@aws-sdk/client-ec2";
import { AssumeRole$ } from "@aws-sdk/client-sts";
import type { StaticOperationSchema } from "@smithy/types";
import { appendEvents } from "../../src/audit/chain.ts";
import { createDetections } from "../../src/audit/detections/detections.ts";
import { loadRules, shippedRules } from "../../src/audit/detections/rule-files.ts";
import type { EventFilter } from "../../src/audit/lookup.ts";
import { callOf, eventsOf, responseOf } from "../../src/audit/record.ts";
import { createAuditTrail, type OpenCall, type Outcome } from "../../src/audit/trail.ts";
import { accountId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { openDatabase } from "../../src/database/database.ts";
import type { UserCaller } from "../../src/model/identity/caller.ts";
import { operationOf } from "../../src/protocol/schema.ts";

const { values } = parseArgs({ options: { events: { type: "string", default: "1000000" } } });
const EVENTS = Number(values.events);
const ACCOUNTS = 10;
const USERS = 200;
const IMAGES = 5_000;
const LOOKUPS = 500;
const SAMPLES = 300;
/** Events per transaction when filling. */
const FILL = 500;

const START = Date.UTC(2026, 8, 1);
const STEP_MS = 7_000;

const hex = (n: number): string => n.toString(16).padStart(17, "0");
/** A generator that every run repeats. */
let seed = 42;
const random = (below: number): number => {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
};

const callerOf = (user: number): UserCaller => {
  const id = accountId(String(100_000_000_000 + (user % ACCOUNTS)));
  return {
    kind: "user",
    accountId: id,
    arn: `arn:aws:iam::${id}:user/user-${user}`,
    principalId: `AIDA${hex(user).toUpperCase()}`,
    accessKeyId: `AKIA${hex(user).slice(1).toUpperCase()}`,
    userId: `AIDA${hex(user).toUpperCase()}`,
    userName: `user-${user}`,
    tags: {},
  };
};

interface Made {
  readonly schema: StaticOperationSchema;
  readonly service: string;
  readonly readOnly: boolean;
  readonly input: object;
  readonly output: object;
  readonly image?: string;
}

function makeCall(n: number): Made {
  const image = `ami-${hex(random(IMAGES))}`;
  switch (n % 10) {
    case 0:
      return {
        ...{ schema: RunInstances$, service: "ec2", readOnly: false, image },
        input: { ImageId: image, MinCount: 1, MaxCount: 1, InstanceType: "t3.micro", ClientToken: hex(n) },
        output: {
          ReservationId: `r-${hex(n)}`,
          Instances: [
            {
              InstanceId: `i-${hex(n)}`,
              ImageId: image,
              InstanceType: "t3.micro",
              State: { Code: 0, Name: "pending" },
            },
          ],
        },
      };
    case 1:
      return {
        ...{ schema: CreateTags$, service: "ec2", readOnly: false },
        input: { Resources: [`i-${hex(n - 1)}`], Tags: [{ Key: "Name", Value: `web-${n}` }] },
        output: {},
      };
    case 2:
      return {
        ...{ schema: AssumeRole$, service: "sts", readOnly: true },
        input: { RoleArn: "arn:aws:iam::100000000000:role/builder", RoleSessionName: "build" },
        output: {},
      };
    case 3:
    case 4:
      return {
        schema: DescribeImages$,
        service: "ec2",
        readOnly: true,
        input: { ImageIds: [image] },
        output: {},
        image,
      };
    default:
      return {
        schema: DescribeInstances$,
        service: "ec2",
        readOnly: true,
        input: { InstanceIds: [`i-${hex(n)}`] },
        output: {},
      };
  }
}

const guid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

function openCall(n: number): { readonly call: OpenCall; readonly outcome: Outcome } {
  const made = makeCall(n);
  const operation = operationOf(made.schema);
  return {
    call: {
      eventId: guid(n),
      time: new Date(START + n * STEP_MS),
      service: made.service,
      action: operation.name,
      readOnly: made.readOnly,
      region: "us-east-1",
      sourceIp: "192.0.2.7",
      userAgent:
        "aws-cli/2.9.19 Python/3.11.2 Linux/6.1.0 source/x86_64.debian.12 prompt/off command/ec2.run-instances",
      requestId: guid(n + 500_000_000),
      caller: callerOf(random(USERS)),
      operation,
      input: made.input,
      ...(made.image === undefined
        ? {}
        : {
            resources: [
              { arn: `arn:aws:ec2:us-east-1::image/${made.image}`, type: "AWS::EC2::Ami", accountId: "100000000000" },
            ],
          }),
    },
    outcome: { kind: "success", output: made.output },
  };
}

const percentile = (sorted: readonly number[], p: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))] ?? Number.NaN;

const lines: string[] = [];
const say = (line: string): void => {
  lines.push(line);
  console.log(line);
};

function report(name: string, times: number[]): void {
  times.sort((a, b) => a - b);
  say(`| ${name} | ${percentile(times, 50).toFixed(2)} | ${percentile(times, 99).toFixed(2)} | ${times.length} |`);
}

const directory = mkdtempSync(join(tmpdir(), "ingot-audit-bench-"));
try {
  const path = join(directory, "ingot.sqlite");
  const database = await openDatabase({ engine: "sqlite", path });
  const clock = { now: () => new Date(START + EVENTS * STEP_MS) };
  const trail = createAuditTrail(database, { directory: join(directory, "audit"), clock, log: silentLog });

  // Most events are put into the table in large transactions, since the look-ups are what needs them; the last ones go
  // through the trail, and are what is measured. Nothing waits for the journal's sync there: that is measured apart below.
  const through = Math.min(20_000, EVENTS / 2);
  for (let n = 0; n < EVENTS - through; n += FILL) {
    const events = Array.from({ length: Math.min(FILL, EVENTS - through - n) }, (_, k) => {
      const { call, outcome } = openCall(n + k);
      const response = outcome.kind === "success" ? outcome.output : undefined;
      const known = callOf(call);
      return eventsOf(known, {
        response: responseOf(known, call.operation, response),
        resources: call.resources ?? [],
        recipients: [],
      });
    }).flat();
    await database.transaction((tx) => appendEvents(tx, events, false));
  }
  const begun = performance.now();
  const cpuBefore = process.cpuUsage();
  let peak = 0;
  for (let n = EVENTS - through; n < EVENTS; n++) {
    const { call, outcome } = openCall(n);
    await trail.record(call, outcome);
    if (n % 1000 === 999) {
      await trail.flush();
      peak = Math.max(peak, process.memoryUsage.rss());
    }
  }
  await trail.flush();
  const seconds = (performance.now() - begun) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  await database.transaction(async (tx) => void (await tx.selectFrom("audit_chain").selectAll().execute()));
  const bytes = statSync(path).size + statSync(`${path}-wal`).size;

  say(`# The audit trail at ${EVENTS.toLocaleString("en")} events`);
  say("");
  say(
    `Made by \`node bench/audit/run.ts\`, Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model}, Linux ${release()} ${arch()}.`,
  );
  say("Times in milliseconds. Ten accounts, 200 users, 5,000 images; three events in ten change something.");
  say("");
  say("| | |");
  say("|---|---|");
  say(`| written, one after the other | ${Math.round(through / seconds)} events/s |`);
  say(
    `| CPU per event (record, journal, chain, all indexes) | ${((cpu.user + cpu.system) / 1000 / through).toFixed(3)} ms |`,
  );
  say(`| on disk, with all indexes | ${Math.round(bytes / EVENTS)} bytes/event |`);
  say(`| memory while writing, highest | ${Math.round(peak / 2 ** 20)} MiB |`);
  say("");
  say("| look-up, a page of 50, newest first | p50 | p99 | look-ups |");
  say("|---|---|---|---|");
  const account = () => String(100_000_000_000 + random(ACCOUNTS));
  const wanted: Readonly<Record<string, () => EventFilter>> = {
    "no attribute": () => ({}),
    EventId: () => ({ eventId: guid(random(EVENTS)) }),
    EventName: () => ({ eventName: ["RunInstances", "CreateTags", "AssumeRole"][random(3)] ?? "" }),
    "EventName nobody has": () => ({ eventName: "DeregisterImage" }),
    EventSource: () => ({ eventSource: ["ec2.amazonaws.com", "sts.amazonaws.com"][random(2)] ?? "" }),
    ReadOnly: () => ({ readOnly: random(2) === 1 }),
    Username: () => ({ userName: `user-${random(USERS)}` }),
    AccessKeyId: () => ({ accessKeyId: callerOf(random(USERS)).accessKeyId }),
    ResourceType: () => ({ resourceType: ["AWS::EC2::Ami", "AWS::EC2::Instance"][random(2)] ?? "" }),
    ResourceName: () => ({ resourceName: `ami-${hex(random(IMAGES))}` }),
    "Username and EventName": () => ({ userName: `user-${random(USERS)}`, eventName: "RunInstances" }),
    "ResourceName and EventName": () => ({ resourceName: `ami-${hex(random(IMAGES))}`, eventName: "RunInstances" }),
    "Username and EventName nobody has": () => ({ userName: `user-${random(USERS)}`, eventName: "DeregisterImage" }),
  };
  for (const [name, filter] of Object.entries(wanted)) {
    const times: number[] = [];
    for (let n = 0; n < LOOKUPS; n++) {
      const query = {
        accountId: account(),
        region: "us-east-1",
        category: "Management" as const,
        limit: 50,
        ...filter(),
      };
      const at = performance.now();
      await trail.find(query);
      times.push(performance.now() - at);
    }
    report(name, times);
  }
  say("");
  say("| what a call pays | p50 | p99 | calls |");
  say("|---|---|---|---|");
  const read: number[] = [];
  const sync: number[] = [];
  const write: number[] = [];
  const hidden: number[] = [];
  const { openJournal } = await import("../../src/audit/journal.ts");
  const journal = openJournal(join(directory, "bare"), silentLog);
  for (let n = 0; n < SAMPLES; n++) {
    const make = (k: number) => {
      const { call, outcome } = openCall(EVENTS + n * 10 + k);
      return { call: { ...call, eventId: guid(800_000_000 + n * 10 + k) }, outcome };
    };
    const reading = make(5);
    let at = performance.now();
    await trail.close(await trail.open(reading.call), reading.outcome);
    read.push(performance.now() - at);
    journal.append({ line: "x".repeat(900) });
    at = performance.now();
    await journal.sync();
    sync.push(performance.now() - at);
    const writing = make(0);
    at = performance.now();
    const entry = await trail.open(writing.call);
    await trail.close(entry, writing.outcome);
    write.push(performance.now() - at);
    // As in the pipeline: what the call is looked up and authorised for takes a while, here two milliseconds.
    const overlapped = make(0);
    const call = { ...overlapped.call, eventId: guid(900_000_000 + n) };
    at = performance.now();
    const begunEntry = trail.begin(call);
    const spent = performance.now() - at;
    await new Promise((resolve) => setTimeout(resolve, 2));
    at = performance.now();
    await trail.close(await trail.commit(begunEntry, call), overlapped.outcome);
    hidden.push(spent + performance.now() - at);
    await trail.flush();
  }
  await journal.close();
  report("a read: close", read);
  report("the disk alone: one fdatasync", sync);
  report("a write: begin, commit, close, nothing in between", write);
  report("a write whose look-up and authorisation take 2 ms: what the audit adds", hidden);
  const together: number[] = [];
  for (let n = 0; n < SAMPLES / 10; n++) {
    const at = performance.now();
    await Promise.all(
      Array.from({ length: 16 }, async (_, k) => {
        const { call, outcome } = openCall(EVENTS * 2 + n * 160 + k * 10);
        const entry = await trail.open({ ...call, eventId: guid(700_000_000 + n * 16 + k) });
        await trail.close(entry, outcome);
      }),
    );
    together.push((performance.now() - at) / 16);
    await trail.flush();
  }
  report("a write of 16 at once, each one's share", together);
  say("");
  const judged = Math.min(5_000, EVENTS / 2);
  const { sequence: head } = await database.read
    .selectFrom("audit_chain")
    .select("head_sequence as sequence")
    .executeTakeFirstOrThrow();
  await database.transaction((tx) =>
    tx
      .updateTable("detection_cursor")
      .set({ cursor_sequence: Number(head) - judged })
      .execute(),
  );
  const rules = loadRules([shippedRules()]);
  const detections = createDetections({
    database,
    rules,
    surroundings: { organization: async () => null },
    flush: () => trail.flush(),
    clock,
    log: silentLog,
  });
  const judgeAt = performance.now();
  const judgeCpu = process.cpuUsage();
  await detections.run();
  const { user, system } = process.cpuUsage(judgeCpu);
  say(
    `Judged by the ${rules.length} rules that are shipped, beside the calls: ${(((performance.now() - judgeAt) * 1000) / judged).toFixed(0)} µs/event, of them ${((user + system) / judged).toFixed(0)} µs CPU (read, parse, look up surroundings, match, move the cursor).`,
  );
  say("");
  const verifyAt = performance.now();
  const proof = await trail.verify();
  say(
    `Hashing the chain anew: ${Math.round(proof.events / ((performance.now() - verifyAt) / 1000))} events/s, damage: ${proof.damage.length}.`,
  );
  if (proof.damage.length > 0) process.exitCode = 1;
  await trail.stop();
  await database.close();
  if (EVENTS >= 1_000_000) writeFileSync(new URL("results.md", import.meta.url), `${lines.join("\n")}\n`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
