// ingot store usage | collect | scrub | rebuild-index | tasks: what the block store holds, and its upkeep.
import { setTimeout as delay } from "node:timers/promises";
import {
  CollectStore$,
  DescribeStoreTasks$,
  GetStoreUsage$,
  type ImageUsage$,
  type Of,
  RebuildStoreIndex$,
  ScrubStore$,
  StopStoreTask$,
  type StoreTask$,
} from "../../services/ingot/store-schema.ts";
import { type IngotClient, ingotClient } from "../clients/ingot.ts";
import { CliError } from "../failure.ts";
import { formatBytes, type Output, table } from "../output.ts";
import { type CommonOptions, openSession } from "../session.ts";

type Task = Of<typeof StoreTask$>;

const POLL_MS = 300;

export async function usage(options: CommonOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const found = await ingotClient(connection).send(GetStoreUsage$, {});
  const most = <T extends { readonly ExclusiveBytes: number }>(all: readonly T[]): T[] =>
    [...all].sort((a, b) => b.ExclusiveBytes - a.ExclusiveBytes);
  const headings = ["NAME", "OWNER", "DATA", "ONLY ITS OWN", "SHARED", "FREED IF DELETED"];
  const row = (name: string, one: Omit<Of<typeof ImageUsage$>, "ImageId" | "SnapshotIds" | "Name">): string[] => [
    name,
    one.OwnerId ?? "-",
    formatBytes(one.AllocatedBytes),
    formatBytes(one.ExclusiveBytes),
    formatBytes(one.SharedBytes),
    formatBytes(one.FreedIfDeletedBytes),
  ];
  const rows = [
    ...most(found.Images).map((image) => row(`${image.ImageId} ${image.Name ?? ""}`.trim(), image)),
    ...most(found.Snapshots).map((snapshot) => row(snapshot.SnapshotId, snapshot)),
  ];
  const data = found.Snapshots.reduce((sum, { AllocatedBytes }) => sum + AllocatedBytes, 0);
  const total = `${formatBytes(found.TotalBytes)} stored for ${formatBytes(data)} of data; ${formatBytes(found.ReachedBytes)} in use`;
  output.result(found, `${await table(headings, rows)}\n\n${total}`);
}

export interface CollectOptions extends CommonOptions {
  readonly dryRun?: boolean;
}

export async function collect(options: CollectOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const client = ingotClient(connection);
  const { Task: begun } = await client.send(CollectStore$, { PlanOnly: options.dryRun === true });
  const task = await ended(client, begun, output, "Collecting");
  const would = task.PlanOnly ? "would be " : "";
  output.result(
    task,
    [
      `${formatBytes(task.FreedBytes ?? 0)} ${would}freed, ${formatBytes(task.RewrittenBytes ?? 0)} ${would}rewritten, ${task.Packs ?? 0} packs ${would}removed`,
      ...(task.DamagedPacks ?? []).map((pack) => `damaged and kept: pack ${pack}`),
    ].join("\n"),
  );
}

export interface ScrubOptions extends CommonOptions {
  readonly rate?: number;
}

/** Fails when anything is damaged, so that a script hears of it. */
export async function scrub(options: ScrubOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const client = ingotClient(connection);
  const rate = options.rate === undefined ? {} : { BytesPerSecond: options.rate * 1024 * 1024 };
  const { Task: begun } = await client.send(ScrubStore$, rate);
  const task = await ended(client, begun, output, "Scrubbing");
  const damage = task.Damage ?? [];
  const faults = task.Faults ?? [];
  output.result(
    task,
    [
      ...damage.map(({ Pack, FrameOffset, Reason }) => `pack ${Pack}, byte ${FrameOffset}: ${Reason}`),
      ...faults,
      ...(task.AffectedSnapshotIds ?? []).map((id) => `touched: ${id}`),
      ...(task.AffectedImageIds ?? []).map((id) => `touched: ${id}`),
      `${formatBytes(task.TotalBytes ?? 0)} read, ${damage.length + faults.length} damaged places`,
    ].join("\n"),
  );
  if (damage.length + faults.length > 0) throw new CliError("the store is damaged");
}

export async function rebuildIndex(options: CommonOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const client = ingotClient(connection);
  const { Task: begun } = await client.send(RebuildStoreIndex$, {});
  const task = await ended(client, begun, output, "Reading packs");
  const damaged = (task.DamagedPacks ?? []).map((pack) => `damaged: pack ${pack}`);
  output.result(task, [...damaged, `${task.Blobs ?? 0} blobs of ${task.Packs ?? 0} packs indexed`].join("\n"));
}

export async function tasks(options: CommonOptions): Promise<void> {
  const { connection, output } = openSession(options);
  const { Tasks } = await ingotClient(connection).send(DescribeStoreTasks$, {});
  const rows = Tasks.map((task) => [
    task.TaskId,
    task.State,
    task.StartTime.toISOString(),
    task.TotalBytes ? `${Math.floor((100 * (task.DoneBytes ?? 0)) / task.TotalBytes)} %` : "",
    task.Message ?? "",
  ]);
  output.result(Tasks, await table(["TASK", "STATE", "STARTED", "DONE", ""], rows));
}

/** Waits, with a bar; Ctrl-C stops the task too. @throws CliError when it fails or is stopped */
async function ended(client: IngotClient, begun: Task, output: Output, label: string): Promise<Task> {
  const progress = output.progress(label, begun.Kind === "scrub" ? "bytes" : "%");
  const stop = (): void => {
    void client.send(StopStoreTask$, { TaskId: begun.TaskId }).catch(() => {});
  };
  process.once("SIGINT", stop);
  try {
    for (;;) {
      const { Tasks } = await client.send(DescribeStoreTasks$, { TaskIds: [begun.TaskId] });
      const task = Tasks[0] ?? begun;
      if (task.State === "failed" || task.State === "stopped") {
        throw new CliError(
          `${task.TaskId} ${task.State === "failed" ? "failed" : "was stopped"}: ${task.Message ?? ""}`,
        );
      }
      if (task.State !== "running") {
        progress.done();
        return task;
      }
      progress.update(task.DoneBytes ?? 0, task.TotalBytes ?? 1);
      await delay(POLL_MS);
    }
  } catch (error) {
    progress.failed();
    throw error;
  } finally {
    process.removeListener("SIGINT", stop);
  }
}
