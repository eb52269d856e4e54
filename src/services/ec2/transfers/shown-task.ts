// Transfer tasks as EC2 shows them.
import type {
  ExportImageTask,
  ImportImageTask,
  ImportSnapshotTask,
  SnapshotDetail,
  SnapshotTaskDetail,
  StoreImageTaskResult,
} from "@aws-sdk/client-ec2";
import type { Tag } from "../../../model/tags.ts";
import type { TransferTask } from "../../../model/transfer-task.ts";
import { shownTags } from "../tags/shown-tags.ts";

/** What `shown` of an import keeps of each disk; the last two once it is there. */
export interface ShownDisk {
  readonly description?: string;
  readonly deviceName?: string;
  readonly format?: string;
  readonly url?: string;
  readonly userBucket?: { readonly bucket: string; readonly key: string };
  readonly sourceSnapshotId?: string;
  readonly fileBytes: number;
  readonly snapshotId?: string;
}

interface ShownImport {
  readonly description?: string;
  readonly architecture?: string;
  readonly bootMode?: ImportImageTask["BootMode"] | null;
  readonly platform?: string;
  readonly licenseType?: string;
  readonly hypervisor?: string;
  readonly usageOperation?: string;
  readonly disks: readonly ShownDisk[];
}

const importOf = (task: TransferTask<"import-image" | "import-snapshot">): ShownImport =>
  task.shown as unknown as ShownImport;

/** EC2's word for an import's state: what has failed, and what was cancelled, is `deleted` or on its way there. */
export const importStatus = ({ state }: Pick<TransferTask, "state">): string =>
  ({ active: "active", cancelling: "deleting", cancelled: "deleted", completed: "completed", failed: "deleted" })[
    state
  ];

/** Progress is shown while there is some. */
const going = (task: TransferTask): { readonly Progress?: string; readonly StatusMessage?: string } => {
  switch (task.state) {
    case "active":
      return { Progress: String(task.progress), StatusMessage: task.stage };
    case "failed":
      return { StatusMessage: task.failure ?? "" };
    case "cancelled":
    case "cancelling":
      return { StatusMessage: "cancelled by its owner" };
    case "completed":
      return {};
  }
};

const common = (disk: ShownDisk): SnapshotTaskDetail & SnapshotDetail => ({
  ...(disk.description === undefined ? {} : { Description: disk.description }),
  DiskImageSize: disk.fileBytes,
  ...(disk.format === undefined ? {} : { Format: disk.format }),
  ...(disk.snapshotId === undefined ? {} : { SnapshotId: disk.snapshotId }),
  ...(disk.url === undefined ? {} : { Url: disk.url }),
  ...(disk.userBucket === undefined
    ? {}
    : { UserBucket: { S3Bucket: disk.userBucket.bucket, S3Key: disk.userBucket.key } }),
});

export function shownSnapshotTask(task: TransferTask<"import-snapshot">, tags: readonly Tag[]): ImportSnapshotTask {
  const { description = "", disks } = importOf(task);
  const [disk] = disks;
  return {
    ImportTaskId: task.id,
    Description: description,
    SnapshotTaskDetail: {
      ...(disk === undefined ? {} : common(disk)),
      Description: description,
      Encrypted: false,
      // The SDK's waiter knows `completed` and `error`.
      Status: task.state === "failed" ? "error" : importStatus(task),
      ...going(task),
    },
    Tags: shownTags(tags),
  };
}

export function shownImageTask(task: TransferTask<"import-image">, tags: readonly Tag[]): ImportImageTask {
  const { description, architecture, bootMode, platform, licenseType, hypervisor, usageOperation, disks } =
    importOf(task);
  return {
    ImportTaskId: task.id,
    Architecture: architecture,
    Description: description,
    Encrypted: false,
    Hypervisor: hypervisor,
    ...(task.image_id === null ? {} : { ImageId: task.image_id }),
    LicenseType: licenseType,
    Platform: platform,
    ...(bootMode == null ? {} : { BootMode: bootMode }),
    UsageOperation: usageOperation,
    SnapshotDetails: disks.map((disk) => ({
      ...common(disk),
      ...(disk.deviceName === undefined ? {} : { DeviceName: disk.deviceName }),
      Status: importStatus(task),
    })),
    Status: importStatus(task),
    ...going(task),
    Tags: shownTags(tags),
  };
}

export function shownExportTask(task: TransferTask<"export-image">, tags: readonly Tag[]): ExportImageTask {
  const { description, prefix } = task.shown as { readonly description?: string; readonly prefix?: string };
  return {
    ExportImageTaskId: task.id,
    ...(description === undefined ? {} : { Description: description }),
    ...(task.image_id === null ? {} : { ImageId: task.image_id }),
    S3ExportLocation: { S3Bucket: task.bucket, ...(prefix === undefined ? {} : { S3Prefix: prefix }) },
    Status: importStatus(task),
    ...going(task),
    Tags: shownTags(tags),
  };
}

export const shownStoreTask = (task: TransferTask<"store-image">): StoreImageTaskResult => ({
  ...(task.image_id === null ? {} : { AmiId: task.image_id }),
  Bucket: task.bucket,
  S3objectKey: task.work.key,
  TaskStartTime: new Date(task.created_at),
  ProgressPercentage: task.progress,
  StoreTaskState: storeState(task),
  ...(task.failure === null ? {} : { StoreTaskFailureReason: task.failure }),
});

export const storeState = ({ state }: Pick<TransferTask, "state">): "InProgress" | "Completed" | "Failed" =>
  state === "completed" ? "Completed" : state === "active" ? "InProgress" : "Failed";
