// CreateStoreImageTask and CreateRestoreImageTask: an image into one object, and such an object into an image.
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { accountId } from "../base/ids.ts";
import { writeFully } from "../base/write-fully.ts";
import { settleImages } from "../model/image-rows.ts";
import { snapshotCompleted } from "../model/snapshot-rows.ts";
import { type TransferTask, transferCompleted } from "../model/transfer-task.ts";
import { ArchiveError, readArchive, writeArchive } from "./image-archive.ts";
import { parseImageHead } from "./image-head.ts";
import type { TransferRun } from "./parts.ts";
import { TransferRefusal } from "./refusal.ts";

export async function storeImage(run: TransferRun, task: TransferTask<"store-image">): Promise<void> {
  const { key, tags, head, snapshots } = task.work;
  const disks = await Promise.all(snapshots.map((id) => run.storage.open(id)));
  let total = 0;
  for (const id of snapshots) total += (await run.storage.describe(id))?.allocatedBytes ?? 0;
  let done = 0;
  const archive = writeArchive(head, disks, (bytes) => {
    run.signal.throwIfAborted();
    done += bytes;
    run.progress("storing", total === 0 ? 1 : done / total);
  });
  const { name, description, createdAt } = parseImageHead(head).image;
  await run.objects.write(
    { bucket: task.bucket, key, task: task.id },
    {
      tags,
      // Headers are Latin letters: what a name may hold beyond is in the head.
      metadata: {
        "ami-name": plain(name),
        "ami-description": plain(description ?? ""),
        "ami-registered-date": createdAt,
        "ami-owner-account": task.account_id,
        "ami-store-date": run.clock.now().toISOString(),
      },
    },
    Readable.from(archive, { objectMode: false }),
  );
  await run.database.transaction((tx) => transferCompleted(tx, task.id, run.clock.now()));
}

const plain = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, "?");

/** Of the whole: unpacking, then keeping each disk. */
const UNPACKED = 0.5;

export async function restoreImage(run: TransferRun, task: TransferTask<"restore-image">): Promise<void> {
  const { snapshots } = task.work;
  const missing = [];
  for (const id of snapshots) if ((await run.storage.describe(id)) === undefined) missing.push(id);
  if (missing.length > 0) await unpack(run, task);
  const owner = accountId(task.account_id);
  for (const [index, snapshotId] of snapshots.entries()) {
    const kept =
      (await run.storage.describe(snapshotId)) ??
      (await run.storage.importDisk(
        { path: diskPath(run, index), format: "raw", snapshotId, owner },
        {
          signal: run.signal,
          onProgress: ({ doneBytes, totalBytes }) => {
            const fraction = totalBytes === 0 ? 1 : doneBytes / totalBytes;
            run.progress("restoring", UNPACKED + (1 - UNPACKED) * ((index + fraction) / snapshots.length));
          },
        },
      ));
    await run.database.transaction(async (tx) => {
      const content = { digest: kept.digest, allocatedBytes: kept.allocatedBytes, at: run.clock.now() };
      await snapshotCompleted(tx, snapshotId, content);
      await settleImages(tx);
    });
  }
  await run.database.transaction((tx) => transferCompleted(tx, task.id, run.clock.now()));
}

const diskPath = (run: TransferRun, index: number): string => join(run.scratch, `disk-${index}`);

/** The archive's disks, as sparse files. */
async function unpack(run: TransferRun, task: TransferTask<"restore-image">): Promise<void> {
  const { key, etag } = task.work;
  const object = await run.objects.get(task.bucket, key);
  if (object === undefined || object.etag !== etag) {
    object?.body.destroy();
    throw new TransferRefusal(`the object s3://${task.bucket}/${key} is not the one any more that it was.`);
  }
  const files: FileHandle[] = [];
  try {
    let read = 0;
    const counted = object.body.map((chunk: Buffer) => {
      read += chunk.length;
      run.progress("restoring", (UNPACKED * read) / Math.max(1, object.bytes));
      return chunk;
    });
    const begin = async (head: unknown): Promise<number[]> => {
      const sizes = parseImageHead(head).disks.map(({ bytes }) => bytes);
      for (const [index, bytes] of sizes.entries()) {
        const file = await open(diskPath(run, index), "wx", 0o600);
        files.push(file);
        await file.truncate(bytes);
      }
      return sizes;
    };
    await readArchive(counted, begin, async (disk, offset, bytes) => {
      run.signal.throwIfAborted();
      const file = files[disk];
      if (file !== undefined) await writeFully(file, bytes, offset);
    });
  } catch (error) {
    if (error instanceof ArchiveError) {
      throw new TransferRefusal(`the object s3://${task.bucket}/${key}: ${error.message}.`, { cause: error });
    }
    throw error;
  } finally {
    object.body.destroy();
    for (const file of files) await file.close();
  }
}
