import { createAccount, listAccounts } from "./accounts.ts";

/** Each is named as its schema is. */
export const ingotOperations = {
  CreateAccount: createAccount,
  ListAccounts: listAccounts,
} as const;
