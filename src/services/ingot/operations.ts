import { createAccount, listAccounts } from "./accounts.ts";
import { deliverTrails, findEvents, getImageHistory, verifyEvents } from "./audit.ts";
import { getComplianceReport } from "./compliance.ts";
import { explainAccess } from "./explain-access.ts";
import {
  deleteFindingSuppression,
  getFinding,
  listDetectionRules,
  listFindingSuppressions,
  listFindings,
  suppressFinding,
  updateFinding,
} from "./findings.ts";
import { listImageAccess } from "./list-image-access.ts";
import {
  collectStore,
  describeStoreTasks,
  getStoreUsage,
  rebuildStoreIndex,
  scrubStore,
  stopStoreTask,
} from "./store.ts";

/** Each is named as its schema is. */
export const ingotOperations = {
  CollectStore: collectStore,
  CreateAccount: createAccount,
  DescribeStoreTasks: describeStoreTasks,
  GetStoreUsage: getStoreUsage,
  DeliverTrails: deliverTrails,
  FindEvents: findEvents,
  GetImageHistory: getImageHistory,
  ListAccounts: listAccounts,
  ExplainAccess: explainAccess,
  ListImageAccess: listImageAccess,
  VerifyEvents: verifyEvents,
  RebuildStoreIndex: rebuildStoreIndex,
  ScrubStore: scrubStore,
  StopStoreTask: stopStoreTask,
  DeleteFindingSuppression: deleteFindingSuppression,
  GetComplianceReport: getComplianceReport,
  GetFinding: getFinding,
  ListDetectionRules: listDetectionRules,
  ListFindingSuppressions: listFindingSuppressions,
  ListFindings: listFindings,
  SuppressFinding: suppressFinding,
  UpdateFinding: updateFinding,
} as const;
