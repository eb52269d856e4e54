import {
  cancelImportTask,
  describeExportImageTasks,
  describeImportImageTasks,
  describeImportSnapshotTasks,
  describeStoreImageTasks,
} from "./describe-tasks.ts";
import { exportImage } from "./export-image.ts";
import { importImage, importSnapshot } from "./import-disks.ts";
import { createRestoreImageTask, createStoreImageTask } from "./store-image.ts";

export const transferOperations = {
  CancelImportTask: cancelImportTask,
  CreateRestoreImageTask: createRestoreImageTask,
  CreateStoreImageTask: createStoreImageTask,
  DescribeExportImageTasks: describeExportImageTasks,
  DescribeImportImageTasks: describeImportImageTasks,
  DescribeImportSnapshotTasks: describeImportSnapshotTasks,
  DescribeStoreImageTasks: describeStoreImageTasks,
  ExportImage: exportImage,
  ImportImage: importImage,
  ImportSnapshot: importSnapshot,
};
