import { createHash } from "node:crypto";
import { CompleteSnapshotCommand, PutSnapshotBlockCommand, StartSnapshotCommand } from "@aws-sdk/client-ebs";
import { waitUntilSnapshotCompleted } from "@aws-sdk/client-ec2";
import type { Platform } from "./platform.ts";

const BLOCK_BYTES = 512 * 1024;

/** A completed snapshot of 1 GiB with one block, through the EBS direct API. */
export async function smallSnapshot({ ebs, ec2 }: Pick<Platform, "ebs" | "ec2">, byte = 1): Promise<string> {
  const { SnapshotId: id = "" } = await ebs.send(new StartSnapshotCommand({ VolumeSize: 1 }));
  const block = Buffer.alloc(BLOCK_BYTES, byte);
  await ebs.send(
    new PutSnapshotBlockCommand({
      SnapshotId: id,
      BlockIndex: 0,
      BlockData: block,
      DataLength: block.length,
      Checksum: createHash("sha256").update(block).digest("base64"),
      ChecksumAlgorithm: "SHA256",
    }),
  );
  await ebs.send(new CompleteSnapshotCommand({ SnapshotId: id, ChangedBlocksCount: 1 }));
  await waitUntilSnapshotCompleted({ client: ec2, maxWaitTime: 60, minDelay: 1 }, { SnapshotIds: [id] });
  return id;
}
