// ExportImage: qemu-img writes the disk to a file, which goes into the bucket. Neither can be gone on with after a kill:
// both are begun anew.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { Transform } from "node:stream";
import { MIB } from "../base/units.ts";
import { type TransferTask, transferCompleted } from "../model/transfer-task.ts";
import type { TransferRun } from "./parts.ts";

const READ_BYTES = MIB;
/** Of the whole: converting, then uploading. */
const CONVERTED = 0.6;

export async function exportImage(run: TransferRun, task: TransferTask<"export-image">): Promise<void> {
  const { snapshotId, format, key } = task.work;
  const path = join(run.scratch, "disk");
  run.progress("converting", 0);
  await run.storage.exportDisk(snapshotId, path, {
    format,
    signal: run.signal,
    onProgress: (fraction) => run.progress("converting", CONVERTED * fraction),
  });
  const { size } = await stat(path);
  let done = 0;
  const counting = new Transform({
    highWaterMark: READ_BYTES,
    transform(chunk: Buffer, _encoding, next) {
      done += chunk.length;
      run.progress("uploading", CONVERTED + (1 - CONVERTED) * (done / Math.max(1, size)));
      next(null, chunk);
    },
  });
  const file = createReadStream(path, { highWaterMark: READ_BYTES, signal: run.signal });
  file.once("error", (error) => counting.destroy(error));
  await run.objects.write({ bucket: task.bucket, key, task: task.id }, { metadata: {}, tags: {} }, file.pipe(counting));
  await run.database.transaction((tx) => transferCompleted(tx, task.id, run.clock.now()));
}
