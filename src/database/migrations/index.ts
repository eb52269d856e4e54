import type { Migration } from "../migrate.ts";

/** In order. Append only. */
export const migrations: readonly Migration[] = [];
