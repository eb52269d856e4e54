// ingot capture INSTANCE NAME: an image of what an instance is now.

import { setTimeout as delay } from "node:timers/promises";
import {
  CreateImageCommand,
  DescribeImagesCommand,
  DescribeSnapshotsCommand,
  type EC2Client,
} from "@aws-sdk/client-ec2";
import { ec2Client } from "../clients/ec2.ts";
import { CliError } from "../failure.ts";
import { findInstance } from "../instances.ts";
import type { Output } from "../output.ts";
import { type CommonOptions, openSession } from "../session.ts";

const POLL_MS = 300;

export interface CaptureOptions extends CommonOptions {
  readonly reboot?: boolean;
  readonly wait?: boolean;
  readonly description?: string;
}

export async function capture(word: string, name: string, options: CaptureOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const ec2 = ec2Client(connection);
  const instance = await findInstance(ec2, word);
  const { ImageId: id = "" } = await ec2.send(
    new CreateImageCommand({
      InstanceId: instance.InstanceId,
      Name: name,
      NoReboot: options.reboot !== true,
      ...(options.description === undefined ? {} : { Description: options.description }),
    }),
  );
  if (options.wait) await waitForImage(ec2, id, output);
  output.result({ ImageId: id, Name: name, State: options.wait ? "available" : "pending" }, id);
}

/** Waits with a bar. @throws CliError with the server's reason when the image fails */
async function waitForImage(ec2: EC2Client, id: string, output: Output): Promise<void> {
  const progress = output.progress(`Capturing ${id}`);
  try {
    for (;;) {
      const { Images = [] } = await ec2.send(new DescribeImagesCommand({ ImageIds: [id] }));
      const [image] = Images;
      if (image?.State === "available") break;
      if (image?.State !== "pending") {
        throw new CliError(`${id} is ${image?.State}: ${image?.StateReason?.Message ?? "no reason given"}`);
      }
      const ids = (image.BlockDeviceMappings ?? []).flatMap(({ Ebs }) => Ebs?.SnapshotId ?? []);
      if (ids.length > 0) {
        const { Snapshots = [] } = await ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: ids }));
        const sum = Snapshots.reduce((total, { Progress }) => total + Number.parseInt(Progress ?? "0", 10), 0);
        progress.update(sum / Math.max(1, Snapshots.length), 100);
      }
      await delay(POLL_MS);
    }
    progress.done();
  } catch (error) {
    progress.failed();
    throw error;
  }
}
