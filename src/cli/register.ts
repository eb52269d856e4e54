// A disk file as a new image: uploaded, then registered.
import { setTimeout as delay } from "node:timers/promises";
import {
  type BootModeValues,
  DeleteSnapshotCommand,
  DescribeSnapshotsCommand,
  RegisterImageCommand,
} from "@aws-sdk/client-ec2";
import { ebsClient } from "./clients/ebs.ts";
import { ec2Client } from "./clients/ec2.ts";
import { CliError } from "./failure.ts";
import { interruption } from "./interruption.ts";
import type { Session } from "./session.ts";
import { uploadSnapshot } from "./upload.ts";

export interface DiskForImage {
  readonly path: string;
  readonly bytes: number;
  readonly name: string;
  readonly description: string;
  readonly rootDeviceName: string;
  /** Absent: the image boots as the instance type would have it. */
  readonly bootMode?: BootModeValues;
}

/** Gives the image's id. What was uploaded is deleted again when it can't be registered. */
export async function registerDisk({ connection, output }: Session, disk: DiskForImage): Promise<string> {
  const ebs = ebsClient(connection);
  const ec2 = ec2Client(connection);
  const progress = output.progress("Uploading", "bytes");
  let snapshotId: string;
  try {
    snapshotId = await uploadSnapshot(ebs, disk, {
      onProgress: (done, total) => progress.update(done, total),
      signal: interruption(),
    });
    progress.done();
  } catch (error) {
    progress.failed();
    throw error;
  }
  try {
    for (;;) {
      const { Snapshots } = await ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [snapshotId] }));
      const state = Snapshots?.[0]?.State;
      if (state === "completed") break;
      if (state !== "pending") throw new CliError(`the snapshot ${snapshotId} is ${state}: try again`);
      await delay(200);
    }
    const { ImageId = "" } = await ec2.send(
      new RegisterImageCommand({
        Name: disk.name,
        Description: disk.description,
        Architecture: "x86_64",
        VirtualizationType: "hvm",
        EnaSupport: true,
        RootDeviceName: disk.rootDeviceName,
        BlockDeviceMappings: [
          {
            DeviceName: disk.rootDeviceName,
            Ebs: { SnapshotId: snapshotId, DeleteOnTermination: true, VolumeType: "gp3" },
          },
        ],
        ...(disk.bootMode === undefined ? {} : { BootMode: disk.bootMode }),
      }),
    );
    return ImageId;
  } catch (error) {
    await ec2.send(new DeleteSnapshotCommand({ SnapshotId: snapshotId })).catch(() => {});
    throw error;
  }
}
