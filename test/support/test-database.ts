import { join } from "node:path";
import type { TestContext } from "node:test";
import { startPostgres } from "../../src/audit/postgres.fixture.ts";
import type { DatabaseLocation } from "../../src/database/database.ts";

/**
 * Where a test keeps its rows: SQLite below `directory`, or with INGOT_TEST_DATABASE=postgres a PostgreSQL of its own.
 * What closes the database must be registered before: hooks run in order, and PostgreSQL ends in one.
 */
export async function testDatabase(t: TestContext, directory: string): Promise<DatabaseLocation> {
  const sqlite = { engine: "sqlite", path: join(directory, "ingot.sqlite") } as const;
  if (process.env.INGOT_TEST_DATABASE !== "postgres") return sqlite;
  return (await startPostgres(t)) ?? sqlite;
}
