// ImportImage and ImportSnapshot: an object, fetched into a file, goes through the store's door for foreign disks; then the
// rows come, all in one transaction.
import { open } from "node:fs/promises";
import { join } from "node:path";
import { accountId, newId } from "../base/ids.ts";
import { GIB, MIB, volumeSizeGib } from "../base/units.ts";
import { writeFully } from "../base/write-fully.ts";
import type { Db } from "../database/database.ts";
import { type BlockDevice, volumeShape } from "../model/block-device.ts";
import { insertImage, type NewImage } from "../model/image-rows.ts";
import { insertSnapshots, newSnapshot } from "../model/snapshot-rows.ts";
import { type IncomingDisk, type TransferTask, transferCompleted } from "../model/transfer-task.ts";
import type { StoredDisk, TransferRun } from "./parts.ts";
import { TransferRefusal } from "./refusal.ts";

/** A compressed file of this size holds more than EBS's largest volume. */
const MOST_FILE_BYTES = 16 * 1024 * GIB;
/** Of a disk's part of the whole: fetching it, then converting and keeping it. */
const FETCHED = 0.3;

export async function importSnapshot(run: TransferRun, task: TransferTask<"import-snapshot">): Promise<void> {
  const { disk } = task.work;
  const kept = await keepDisk(run, task, disk, 0, 1);
  await run.database.transaction(async (tx) => {
    const shown = shownWith(task, [disk]);
    if (await transferCompleted(tx, task.id, run.clock.now(), { shown })) {
      await enterSnapshots(run, tx, task, [{ disk, kept }]);
    }
  });
}

export async function importImage(run: TransferRun, task: TransferTask<"import-image">): Promise<void> {
  const { disks, image } = task.work;
  const kept: { readonly disk: IncomingDisk; readonly kept: StoredDisk }[] = [];
  for (const [index, disk] of disks.entries()) {
    kept.push({ disk, kept: await keepDisk(run, task, disk, index / disks.length, 1 / disks.length) });
  }
  run.progress("preparing ami", 0.95);
  const devices = kept.map(
    ({ disk, kept: content }): BlockDevice => ({
      deviceName: disk.deviceName ?? "",
      ebs: {
        snapshotId: disk.snapshotId,
        ...volumeShape({ type: "gp2", sizeGib: volumeSizeGib(content.bytes), iops: undefined, throughput: undefined }),
        deleteOnTermination: true,
      },
    }),
  );
  const id = newId("image");
  const now = run.clock.now().toISOString();
  const row: NewImage = {
    id,
    account_id: task.account_id,
    region: task.region,
    // As on EC2: the task's id, which nothing else is called.
    name: task.id,
    description: image.description,
    state: "available",
    state_reason: null,
    architecture: image.architecture,
    virtualization_type: "hvm",
    boot_mode: image.bootMode,
    root_device_name: devices[0]?.deviceName ?? "",
    block_devices: devices,
    ena_support: 1,
    sriov_net_support: null,
    tpm_support: null,
    imds_support: null,
    uefi_data: null,
    location: `${task.account_id}/${task.id}`,
    owner_alias: null,
    source_instance_id: null,
    source_image_id: null,
    source_image_region: null,
    direct_kernel: null,
    reboot: 0,
    created_at: now,
    deprecate_at: null,
    deregistration_protection: null,
    last_launched_at: null,
    deregistered_at: null,
  };
  await run.database.transaction(async (tx) => {
    const shown = shownWith(task, disks);
    if (!(await transferCompleted(tx, task.id, run.clock.now(), { imageId: id, shown }))) return;
    await enterSnapshots(run, tx, task, kept, id);
    await insertImage("ingot", tx, row);
  });
}

/** What Describe shows, with the snapshots, which are there now. */
function shownWith(task: TransferTask, disks: readonly IncomingDisk[]): Readonly<Record<string, unknown>> {
  const before = task.shown.disks as readonly object[];
  return {
    ...task.shown,
    disks: before.map((disk, index) => ({ ...disk, snapshotId: disks[index]?.snapshotId })),
  };
}

/** The disk's content, in the store under its id. What was there already, from before a restart, is not fetched again. */
async function keepDisk(
  run: TransferRun,
  task: TransferTask,
  disk: IncomingDisk,
  start: number,
  share: number,
): Promise<StoredDisk> {
  const there = await run.storage.describe(disk.snapshotId);
  if (there !== undefined) return there;
  if ("snapshotId" in disk.from) return run.storage.copy(disk.snapshotId, disk.from.snapshotId);
  const { bucket, key, format } = disk.from;
  const path = join(run.scratch, disk.snapshotId);
  run.progress("downloading", start * 0.95);
  await fetchObject(run, { bucket, key }, path, (fraction) =>
    run.progress("downloading", 0.95 * (start + share * FETCHED * fraction)),
  );
  const options = {
    signal: run.signal,
    onProgress: ({ doneBytes, totalBytes }: { doneBytes: number; totalBytes: number }) => {
      const fraction = totalBytes === 0 ? 1 : doneBytes / totalBytes;
      run.progress("converting", 0.95 * (start + share * (FETCHED + (1 - FETCHED) * fraction)));
    },
  };
  return run.storage.importDisk(
    { path, format, snapshotId: disk.snapshotId, owner: accountId(task.account_id) },
    options,
  );
}

/** Writes an object to a new file, sparse where it is zero. @throws TransferRefusal when the object is gone */
async function fetchObject(
  run: Pick<TransferRun, "objects" | "signal">,
  from: { readonly bucket: string; readonly key: string },
  path: string,
  onFraction: (fraction: number) => void,
): Promise<void> {
  const object = await run.objects.get(from.bucket, from.key);
  if (object === undefined)
    throw new TransferRefusal(`the object s3://${from.bucket}/${from.key} is not there any more.`);
  if (object.bytes > MOST_FILE_BYTES) {
    object.body.destroy();
    throw new TransferRefusal(`the object s3://${from.bucket}/${from.key} is too long for a disk.`);
  }
  const file = await open(path, "wx", 0o600);
  try {
    let done = 0;
    for await (const chunk of object.body as AsyncIterable<Buffer>) {
      run.signal.throwIfAborted();
      if (!isZero(chunk)) await writeFully(file, chunk, done);
      done += chunk.length;
      onFraction(done / Math.max(1, object.bytes));
    }
    await file.truncate(done);
  } finally {
    await file.close();
  }
}

const ZEROES = Buffer.alloc(MIB);
const isZero = (chunk: Buffer): boolean =>
  chunk.length <= ZEROES.length && chunk.equals(ZEROES.subarray(0, chunk.length));

/** Rows of snapshots whose content is durable. */
async function enterSnapshots(
  run: TransferRun,
  tx: Db,
  task: TransferTask,
  disks: readonly { readonly disk: IncomingDisk; readonly kept: StoredDisk }[],
  imageId?: string,
): Promise<void> {
  const now = run.clock.now().toISOString();
  const rows = disks.map(({ disk, kept }) => ({
    ...newSnapshot({
      id: disk.snapshotId,
      account_id: task.account_id,
      region: task.region,
      volume_id: null,
      description: imageId === undefined ? disk.description : `Created by AWS-VMImport service for ${task.id}`,
      size_gib: volumeSizeGib(kept.bytes),
      size_bytes: kept.bytes,
      started_at: task.created_at,
      origin: "import",
      capture_group: imageId ?? disk.snapshotId,
    }),
    state: "completed" as const,
    progress: 100,
    completed_at: now,
    digest: kept.digest,
    allocated_bytes: kept.allocatedBytes,
  }));
  await insertSnapshots("ingot", tx, rows);
}
