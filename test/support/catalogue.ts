// Snapshots and images that a test needs to be there, made as a client makes them; no guest is booted for them.
import { createHash } from "node:crypto";
import { CompleteSnapshotCommand, PutSnapshotBlockCommand, StartSnapshotCommand } from "@aws-sdk/client-ebs";
import { type EC2Client, RegisterImageCommand, waitUntilSnapshotCompleted } from "@aws-sdk/client-ec2";
import { CreateAccessKeyCommand, CreateUserCommand, PutUserPolicyCommand } from "@aws-sdk/client-iam";
import type { Keys, Platform } from "./platform.ts";

const BLOCK_BYTES = 512 * 1024;

/** A snapshot of 1 GiB whose first block is filled with `byte`. */
export async function uploadSnapshot({ ebs, ec2 }: Platform, byte = 1): Promise<string> {
  const { SnapshotId: id = "" } = await ebs.send(new StartSnapshotCommand({ VolumeSize: 1 }));
  const block = Buffer.alloc(BLOCK_BYTES, byte);
  await ebs.send(
    new PutSnapshotBlockCommand({
      SnapshotId: id,
      BlockIndex: 0,
      BlockData: block,
      DataLength: BLOCK_BYTES,
      Checksum: createHash("sha256").update(block).digest("base64"),
      ChecksumAlgorithm: "SHA256",
    }),
  );
  await ebs.send(new CompleteSnapshotCommand({ SnapshotId: id, ChangedBlocksCount: 1 }));
  await snapshotCompleted(ec2, id);
  return id;
}

export const snapshotCompleted = (ec2: EC2Client, id: string) =>
  waitUntilSnapshotCompleted({ client: ec2, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { SnapshotIds: [id] });

/** An image of a new snapshot. It holds nothing that boots. */
export async function registerImage(platform: Platform, name: string, more: object = {}): Promise<string> {
  const snapshotId = await uploadSnapshot(platform);
  const { ImageId = "" } = await platform.ec2.send(
    new RegisterImageCommand({
      Name: name,
      RootDeviceName: "/dev/xvda",
      VirtualizationType: "hvm",
      Architecture: "x86_64",
      BlockDeviceMappings: [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: snapshotId } }],
      ...more,
    }),
  );
  return ImageId;
}

/** The keys of a user who may do just what the statements say. */
export async function userWith({ iam }: Platform, name: string, statements: readonly object[]): Promise<Keys> {
  await iam.send(new CreateUserCommand({ UserName: name }));
  await iam.send(
    new PutUserPolicyCommand({
      UserName: name,
      PolicyName: "all-that-it-may",
      PolicyDocument: JSON.stringify({ Version: "2012-10-17", Statement: statements }),
    }),
  );
  const { AccessKey: key } = await iam.send(new CreateAccessKeyCommand({ UserName: name }));
  return { accessKeyId: key?.AccessKeyId ?? "", secretAccessKey: key?.SecretAccessKey ?? "" };
}
