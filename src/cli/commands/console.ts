// ingot console INSTANCE

import { setTimeout as delay } from "node:timers/promises";
import { DescribeInstancesCommand, GetConsoleOutputCommand } from "@aws-sdk/client-ec2";
import { ec2Client } from "../clients/ec2.ts";
import { newPart } from "../console-log.ts";
import { findInstance } from "../instances.ts";
import { type CommonOptions, openSession } from "../session.ts";

const POLL_MS = 700;

export async function consoleOutput(
  word: string,
  options: CommonOptions & { readonly follow?: boolean },
): Promise<void> {
  const { connection, output } = openSession(options);
  const ec2 = ec2Client(connection);
  const id = (await findInstance(ec2, word)).InstanceId ?? "";
  const read = async (): Promise<Buffer> => {
    const { Output = "" } = await ec2.send(new GetConsoleOutputCommand({ InstanceId: id, Latest: true }));
    return Buffer.from(Output, "base64");
  };
  let shown = await read();
  if (!options.follow) {
    if (output.json) return output.result({ InstanceId: id, Output: shown.toString("utf8") }, "");
    process.stdout.write(shown);
    return;
  }
  process.stdout.write(shown);
  for (;;) {
    await delay(POLL_MS);
    // Asked before the log is read: what an instance says last is not missed.
    const { Reservations } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    const state = Reservations?.[0]?.Instances?.[0]?.State?.Name;
    const now = await read();
    process.stdout.write(newPart(shown, now));
    shown = now;
    if (state === "stopped" || state === "terminated" || state === undefined) {
      output.note(`${id} is ${state ?? "gone"}.`);
      return;
    }
  }
}
