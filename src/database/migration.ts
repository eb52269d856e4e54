// What a migration is. The numbered files in `migrations/` are made of these.
import { type Kysely, sql } from "kysely";

export interface Migration {
  /** `0010-identity`: the number orders, the name tells. Never renamed once released. */
  readonly name: string;
  /** In SQL that SQLite and PostgreSQL both speak. Runs inside a transaction with its own bookkeeping. */
  up(db: Kysely<unknown>): Promise<void>;
}

/** Runs the statements of a schema one by one. They are ours, written in this folder: no value is pasted into them. */
export async function run(db: Kysely<unknown>, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
