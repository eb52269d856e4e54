import { createAccount, listAccounts } from "./accounts.ts";

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
  ListAccounts: listAccounts,
  RebuildStoreIndex: rebuildStoreIndex,
  ScrubStore: scrubStore,
  StopStoreTask: stopStoreTask,
} as const;
