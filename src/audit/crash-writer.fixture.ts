// For trail.test.ts: a process that makes calls as fast as it can until it is killed. It says `run N` when the intent of
// call N is kept (the action would run now) and `done N` when its outcome is.
import { writeSync } from "node:fs";
import { join } from "node:path";
import { CreateTags$, DescribeImages$ } from "@aws-sdk/client-ec2";
import { systemClock } from "../base/clock.ts";
import { silentLog } from "../base/log.ts";
import { openDatabase } from "../database/database.ts";
import { exampleCall } from "./example.fixture.ts";
import { createAuditTrail } from "./trail.ts";

const directory = process.argv[2];
if (directory === undefined) throw new Error("crash-writer.fixture.ts DIRECTORY");
const database = await openDatabase({ engine: "sqlite", path: join(directory, "ingot.db") });
const trail = createAuditTrail(database, { directory: join(directory, "audit"), clock: systemClock, log: silentLog });
await trail.recover();

const say = (text: string): number => writeSync(1, `${text}\n`);
const worker = async (): Promise<never> => {
  for (;;) {
    const write = exampleCall(CreateTags$, { Resources: ["ami-1"] }, { eventId: crypto.randomUUID() });
    const entry = await trail.open(write);
    say(`run ${write.eventId}`);
    await trail.close(entry, { kind: "success", output: undefined });
    say(`done ${write.eventId}`);
    const read = exampleCall(DescribeImages$, {}, { eventId: crypto.randomUUID() });
    await trail.close(await trail.open(read), { kind: "success", output: {} });
    say(`done ${read.eventId}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
};
await Promise.all([worker(), worker(), worker(), worker()]);
