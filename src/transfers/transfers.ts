// What works on transfer tasks: at most two at a time, oldest first. Rows say what is to be done; whatever a kill has torn
// off begins anew at the next start, and what was durable by then is not done twice.
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { ApiError } from "../base/api-error.ts";
import { chain, unreachable } from "../base/errors.ts";
import { failImage, settleImages } from "../model/image-rows.ts";
import { snapshotFailed } from "../model/snapshot-rows.ts";
import {
  findTransferTask,
  openTransferTasks,
  type TransferTask,
  transferCancelled,
  transferFailed,
  transferProgress,
} from "../model/transfer-task.ts";
import { exportImage } from "./export-image.ts";
import { importImage, importSnapshot } from "./import-disks.ts";
import type { TransferParts, TransferRun } from "./parts.ts";
import { TransferRefusal } from "./refusal.ts";
import { restoreImage, storeImage } from "./store-image.ts";

const AT_ONCE = 2;
/** Progress is written down when it has grown by so many per cent. */
const PROGRESS_STEP = 5;

export interface Transfers {
  /** Tasks have come, or are to be cancelled. Returns at once, never throws. */
  poke(): void;
  /** Ends what is under way; the next start takes it up again. */
  stop(): Promise<void>;
}

interface Running {
  readonly ended: Promise<void>;
  readonly controller: AbortController;
}

export async function startTransfers(parts: TransferParts): Promise<Transfers> {
  const { database, clock, log, directory } = parts;
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const running = new Map<string, Running>();
  let stopped = false;
  let looking: Promise<void> | null = null;
  let again = false;

  const poke = (): void => {
    if (stopped) return;
    again = true;
    looking ??= look().finally(() => {
      looking = null;
    });
  };

  const look = async (): Promise<void> => {
    while (again && !stopped) {
      again = false;
      try {
        for (const task of await openTransferTasks(database.read)) {
          const under = running.get(task.id);
          if (task.state === "cancelling") {
            if (under === undefined) await cancelled(task);
            else under.controller.abort(new Error("cancelled"));
          } else if (under === undefined && running.size < AT_ONCE && !stopped) start(task);
        }
      } catch (error) {
        log.error({ error: chain(error) }, "could not look for transfer tasks");
      }
    }
  };

  const start = (task: TransferTask): void => {
    const controller = new AbortController();
    const ended = work(task, controller).finally(() => {
      running.delete(task.id);
      poke();
    });
    running.set(task.id, { ended, controller });
  };

  const work = async (task: TransferTask, controller: AbortController): Promise<void> => {
    const scratch = join(directory, task.id);
    const { signal } = controller;
    const report = progressReport(parts, task);
    try {
      await mkdir(scratch, { mode: 0o700 });
      await perform({ ...parts, signal, scratch, progress: report.progress }, task);
    } catch (error) {
      if (stopped) return;
      const now = await findTransferTask(database.read, task.id).catch(() => undefined);
      if (now?.state === "cancelling") await cancelled(task);
      else {
        log.warn({ task: task.id, error: chain(error) }, "a transfer task failed");
        await failed(task, reasonOf(error));
      }
    } finally {
      await report.settled();
      await rm(scratch, { recursive: true, force: true });
    }
  };

  const cancelled = (task: TransferTask): Promise<void> =>
    database.transaction((tx) => transferCancelled(tx, task.id, clock.now())).catch(complain(task));

  const failed = (task: TransferTask, reason: string): Promise<void> =>
    database
      .transaction(async (tx) => {
        await transferFailed(tx, task.id, reason, clock.now());
        if (task.kind !== "restore-image") return;
        for (const id of task.work.snapshots) await snapshotFailed(tx, id, reason);
        await failImage(tx, task.image_id as never, reason);
        await settleImages(tx);
      })
      .catch(complain(task));

  const complain = (task: TransferTask) => (error: unknown) =>
    log.error({ task: task.id, error: chain(error) }, "could not write down how a transfer task ended");

  poke();
  return {
    poke,
    async stop() {
      stopped = true;
      for (const { controller } of running.values()) controller.abort(new Error("the server is stopping"));
      await looking;
      await Promise.allSettled([...running.values()].map(({ ended }) => ended));
    },
  };
}

function perform(run: TransferRun, task: TransferTask): Promise<void> {
  switch (task.kind) {
    case "import-image":
      return importImage(run, task);
    case "import-snapshot":
      return importSnapshot(run, task);
    case "export-image":
      return exportImage(run, task);
    case "store-image":
      return storeImage(run, task);
    case "restore-image":
      return restoreImage(run, task);
    default:
      return unreachable(task);
  }
}

/** Rows at steps of some per cent, one after the other. */
function progressReport({ database, log }: TransferParts, task: TransferTask) {
  let last = { stage: task.stage, percent: -PROGRESS_STEP };
  let writing: Promise<void> = Promise.resolve();
  return {
    progress(stage: string, fraction: number): void {
      const percent = Math.floor(fraction * 100);
      if (stage === last.stage && percent < last.percent + PROGRESS_STEP) return;
      last = { stage, percent };
      writing = writing
        .then(() => database.transaction((tx) => transferProgress(tx, task.id, stage, percent)))
        .catch((error) => log.warn({ task: task.id, error: chain(error) }, "could not write down a task's progress"));
    },
    settled: () => writing,
  };
}

/**
 * What the task's owner is told. Errors that are meant for a client say what is wrong with his file, bucket or image;
 * of others he learns that it was not his fault.
 */
const reasonOf = (error: unknown): string => {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof TransferRefusal || cause instanceof ApiError || cause.name === "DiskFormatError") {
      return `ClientError: ${cause.message}`;
    }
  }
  return "ServerError: an internal error has occurred during the task.";
};
