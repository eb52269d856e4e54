// An image whose bytes have rotted: its guests get I/O errors, a scrub says what and whose, nothing else is touched.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { GetSnapshotBlockCommand, ListSnapshotBlocksCommand } from "@aws-sdk/client-ebs";
import {
  CopyImageCommand,
  DescribeImagesCommand,
  GetConsoleOutputCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { registerImage } from "../support/catalogue.ts";
import { ingot } from "../support/ingot-command.ts";
import { instanceIn, instanceOf, startInstance, tinyImage, until } from "../support/instances.ts";
import { startPlatform } from "../support/platform.ts";
import { processesOf } from "../support/processes.ts";

test("a damaged pack: I/O errors in the guest, a plain report, and all that is sound goes on", async (t) => {
  const platform = await startPlatform(t, { image: true });
  const { ec2, ebs } = platform;
  const image = await tinyImage(platform);
  const { ImageId: copy = "" } = await ec2.send(
    new CopyImageCommand({ SourceImageId: image, SourceRegion: "us-east-1", Name: "copy" }),
  );
  const copied = await until("the copy", async () => {
    const { Images: [found] = [] } = await ec2.send(new DescribeImagesCommand({ ImageIds: [copy] }));
    return found?.State === "available" ? found : undefined;
  });
  // A byte in every 4 KiB of what is there now: no frame of the image's stays whole.
  const packs = join(platform.dataDirectory, "store", "packs");
  for (const entry of readdirSync(packs, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const bytes = readFileSync(path);
    for (let at = 2048; at < bytes.length * 0.95; at += 4096) bytes[at]! ^= 0xff;
    writeFileSync(path, bytes);
  }
  // What comes afterwards lies in packs of its own.
  const sound = await registerImage(platform, "sound");
  const server = platform.pid;

  const id = await startInstance(platform, image);
  await instanceIn(platform, id, "running");
  const output = await until("the guest's complaint", async () => {
    const { Output = "" } = await ec2.send(new GetConsoleOutputCommand({ InstanceId: id, Latest: true }));
    const text = Buffer.from(Output, "base64").toString();
    return /I\/O error|critical medium error|unable to read/i.test(text) ? text : undefined;
  });
  assert.match(output, /nvme0n1|EXT4-fs/);
  assert.notEqual((await instanceOf(platform, id)).State?.Name, "pending");

  const snapshotId = copied.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId ?? "";
  const listed = ebs.send(new ListSnapshotBlocksCommand({ SnapshotId: snapshotId }));
  const read = listed.then(({ Blocks = [] }) =>
    ebs.send(
      new GetSnapshotBlockCommand({
        SnapshotId: snapshotId,
        BlockIndex: Blocks[0]?.BlockIndex,
        BlockToken: Blocks[0]?.BlockToken,
      }),
    ),
  );
  await assert.rejects(read, { name: "InternalServerException" });

  const onData = { INGOT_DATA: platform.dataDirectory };
  const scrub = await ingot(["store", "scrub", "--rate", "1000"], onData);
  assert.equal(scrub.code, 1, scrub.stdout + scrub.stderr);
  assert.match(scrub.stdout + scrub.stderr, new RegExp(snapshotId));

  // The same server, the same block server, and an image that is whole.
  assert.equal(platform.pid, server);
  assert.ok(processesOf(platform.dataDirectory).some(({ command }) => command.includes("block-server")));
  const good = await startInstance(platform, sound);
  await instanceIn(platform, good, "running");
  for (const each of [id, good]) {
    await ec2.send(new TerminateInstancesCommand({ InstanceIds: [each] }));
    await instanceIn(platform, each, "terminated");
  }
});
