// The four Describes of transfer tasks, and CancelImportTask.
import {
  CancelImportTask$,
  type CancelImportTaskRequest,
  type CancelImportTaskResult,
  DescribeExportImageTasks$,
  type DescribeExportImageTasksRequest,
  type DescribeExportImageTasksResult,
  DescribeImportImageTasks$,
  type DescribeImportImageTasksRequest,
  type DescribeImportImageTasksResult,
  DescribeImportSnapshotTasks$,
  type DescribeImportSnapshotTasksRequest,
  type DescribeImportSnapshotTasksResult,
  DescribeStoreImageTasks$,
  type DescribeStoreImageTasksRequest,
  type DescribeStoreImageTasksResult,
} from "@aws-sdk/client-ec2";
import { ApiError, type ErrorCode } from "../../../base/api-error.ts";
import { type IdKind, isId, parseId } from "../../../base/ids.ts";
import type { ConditionKeys } from "../../../model/access.ts";
import { ec2Arn } from "../../../model/arn.ts";
import { resourceTagKeys, type Tag, tagsOf } from "../../../model/tags.ts";
import {
  cancelTransferTask,
  findTransferTask,
  type TransferKind,
  type TransferTask,
  transferTasksOf,
} from "../../../model/transfer-task.ts";
import { compileFilters, type Filter, type FilterTable } from "../../../protocol/filters.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { pageOf } from "../page.ts";
import { required } from "../parameters.ts";
import { shownTags } from "../tags/shown-tags.ts";
import {
  importStatus,
  shownExportTask,
  shownImageTask,
  shownSnapshotTask,
  shownStoreTask,
  storeState,
} from "./shown-task.ts";

/** Store tasks are shown for so long. */
const STORE_TASKS_SHOWN_MS = 31 * 24 * 3_600_000;

interface View<K extends TransferKind> {
  readonly task: TransferTask<K>;
  readonly tags: readonly Tag[];
}

interface Asked {
  readonly Filters?: readonly Filter[] | undefined;
  readonly MaxResults?: number | undefined;
  readonly NextToken?: string | undefined;
}

interface NamedTasks {
  readonly ids: readonly string[] | undefined;
  readonly kind: IdKind;
  readonly code: "InvalidConversionTaskId" | "InvalidExportTaskID.NotFound";
}

/** A page of the caller's tasks of a kind: those named, where any are. */
async function tasksOf<K extends "import-image" | "import-snapshot" | "export-image">(
  ctx: RequestContext,
  action: string,
  kind: K,
  input: Asked,
  named: NamedTasks,
) {
  const table: FilterTable<View<K>> = {
    values: { "task-state": ({ task }) => importStatus(task as Pick<TransferTask, "state">) },
    tags: ({ tags }) => shownTags(tags),
  };
  const filters = compileFilters(input.Filters, table);
  const all = await transferTasksOf(ctx.database.read, ownerOf(ctx), kind);
  for (const id of named.ids ?? []) {
    if (!all.some((task) => (task as TransferTask).id === id)) throw taskNotFound(named.kind, named.code, id);
  }
  const chosen = all.filter((task) => !named.ids?.length || named.ids.includes((task as TransferTask).id));
  const ids = chosen.map((task) => (task as TransferTask).id);
  const tags = await tagsOf(ctx.database.read, ctx.caller.accountId, ids);
  const views = chosen
    .map((task): View<K> => ({ task, tags: tags.get((task as TransferTask).id) ?? [] }))
    .filter(filters.matches);
  return pageOf(ctx, action, input, views, ({ task }) => (task as TransferTask).id);
}

function taskNotFound(kind: IdKind, code: NamedTasks["code"], id: string): ApiError {
  const malformed: ErrorCode =
    code === "InvalidConversionTaskId" ? "InvalidConversionTaskId.Malformed" : "InvalidExportTaskID.Malformed";
  return isId(kind, id)
    ? new ApiError(code, `The task ID '${id}' does not exist`)
    : new ApiError(malformed, `Invalid task ID: '${id}'`);
}

export const describeImportImageTasks = operation({
  action: "ec2:DescribeImportImageTasks",
  schema: DescribeImportImageTasks$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeImportImageTasksRequest) =>
    onAnything("ec2:DescribeImportImageTasks"),
  async run(ctx, input): Promise<DescribeImportImageTasksResult> {
    const named: NamedTasks = { ids: input.ImportTaskIds, kind: "importImageTask", code: "InvalidConversionTaskId" };
    const { page, token } = await tasksOf(ctx, "DescribeImportImageTasks", "import-image", input, named);
    return { ImportImageTasks: page.map(({ task, tags }) => shownImageTask(task, tags)), ...token };
  },
});

export const describeImportSnapshotTasks = operation({
  action: "ec2:DescribeImportSnapshotTasks",
  schema: DescribeImportSnapshotTasks$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeImportSnapshotTasksRequest) =>
    onAnything("ec2:DescribeImportSnapshotTasks"),
  async run(ctx, input): Promise<DescribeImportSnapshotTasksResult> {
    const named: NamedTasks = { ids: input.ImportTaskIds, kind: "importSnapshotTask", code: "InvalidConversionTaskId" };
    const { page, token } = await tasksOf(ctx, "DescribeImportSnapshotTasks", "import-snapshot", input, named);
    return { ImportSnapshotTasks: page.map(({ task, tags }) => shownSnapshotTask(task, tags)), ...token };
  },
});

export const describeExportImageTasks = operation({
  action: "ec2:DescribeExportImageTasks",
  schema: DescribeExportImageTasks$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeExportImageTasksRequest) =>
    onAnything("ec2:DescribeExportImageTasks"),
  async run(ctx, input): Promise<DescribeExportImageTasksResult> {
    const named: NamedTasks = {
      ids: input.ExportImageTaskIds,
      kind: "exportImageTask",
      code: "InvalidExportTaskID.NotFound",
    };
    const { page, token } = await tasksOf(ctx, "DescribeExportImageTasks", "export-image", input, named);
    return { ExportImageTasks: page.map(({ task, tags }) => shownExportTask(task, tags)), ...token };
  },
});

const STORE_FILTERS: FilterTable<TransferTask<"store-image">> = {
  values: { "task-state": (task) => storeState(task), bucket: (task) => task.bucket },
};

/** Newest first. */
export const describeStoreImageTasks = operation({
  action: "ec2:DescribeStoreImageTasks",
  schema: DescribeStoreImageTasks$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: DescribeStoreImageTasksRequest) =>
    onAnything("ec2:DescribeStoreImageTasks"),
  async run(ctx, input): Promise<DescribeStoreImageTasksResult> {
    const filters = compileFilters(input.Filters, STORE_FILTERS);
    const images = (input.ImageIds ?? []).map((id) => parseId("image", id));
    const since = new Date(ctx.now().getTime() - STORE_TASKS_SHOWN_MS).toISOString();
    const all = (await transferTasksOf(ctx.database.read, ownerOf(ctx), "store-image"))
      .filter((task) => task.created_at > since && (images.length === 0 || images.some((id) => id === task.image_id)))
      .filter(filters.matches)
      .reverse();
    const { page, token } = pageOf(ctx, "DescribeStoreImageTasks", input, all, (task) => task.id);
    return { StoreImageTaskResults: page.map(shownStoreTask), ...token };
  },
});

/** What is being imported is given up: nothing of it stays. */
export const cancelImportTask = operation({
  action: "ec2:CancelImportTask",
  schema: CancelImportTask$,
  access: "write",
  async resolve(ctx: RequestContext, input: CancelImportTaskRequest) {
    const id = required(input.ImportTaskId, "ImportTaskId");
    const snapshot = id.startsWith("import-snap-");
    const task = await findTransferTask(ctx.database.read, id);
    const mine = task?.account_id === ctx.caller.accountId && task.region === ctx.region;
    if (task === undefined || !mine || !task.kind.startsWith("import-")) {
      throw taskNotFound(snapshot ? "importSnapshotTask" : "importImageTask", "InvalidConversionTaskId", id);
    }
    const tags = await tagsOf(ctx.database.read, ctx.caller.accountId, [id]);
    const resource = ec2Arn(
      ctx.region,
      ctx.caller.accountId,
      snapshot ? "import-snapshot-task" : "import-image-task",
      id,
    );
    const keys: ConditionKeys = { "ec2:Region": ctx.region, ...resourceTagKeys(tags.get(id) ?? []) };
    return { task, checks: [{ action: "ec2:CancelImportTask", resource, keys }] };
  },
  async run(ctx, _input, { task }, grant): Promise<CancelImportTaskResult> {
    const before = importStatus(task);
    const cancelled = await ctx.database.transaction((tx) => cancelTransferTask(grant, tx, task.id));
    if (!cancelled && task.state !== "cancelling") {
      throw new ApiError("IncorrectState", `The import task '${task.id}' is ${before}: it cannot be cancelled.`);
    }
    ctx.parts.transfers.poke();
    return { ImportTaskId: task.id, PreviousState: before, State: "deleting" };
  },
});
