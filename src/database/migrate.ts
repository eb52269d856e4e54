// Numbered migrations, run in order at open. A database that knows a migration which this program does not is refused:
// a newer program has written it, and this one would misread it.
import { type Kysely, sql } from "kysely";
import { migrations } from "./migrations/index.ts";

export interface Migration {
  /** `0010-identity`: the number orders, the name tells. Never renamed once released. */
  readonly name: string;
  /** In SQL that SQLite and PostgreSQL both speak. Runs inside a transaction with its own bookkeeping. */
  up(db: Kysely<unknown>): Promise<void>;
}

/** @throws Error when the database is newer than the program, or a migration fails (then nothing of it is kept) */
export async function migrate<S>(db: Kysely<S>): Promise<void> {
  await sql`create table if not exists migrations (name text primary key, applied_at text not null)`.execute(db);
  const { rows } = await sql<{ name: string }>`select name from migrations`.execute(db);
  const applied = new Set(rows.map((row) => row.name));
  const known = new Set(migrations.map((migration) => migration.name));
  const unknown = [...applied].filter((name) => !known.has(name));
  if (unknown.length > 0) {
    throw new Error(`the database was written by a newer Ingot (it has ${unknown.join(", ")}): run that one`);
  }
  for (const migration of migrations) {
    if (applied.has(migration.name)) continue;
    try {
      await db.transaction().execute(async (tx) => {
        await migration.up(tx as unknown as Kysely<unknown>);
        await sql`insert into migrations (name, applied_at) values (${migration.name}, ${new Date().toISOString()})`.execute(
          tx,
        );
      });
    } catch (cause) {
      throw new Error(`migration ${migration.name}`, { cause });
    }
  }
}

/** Runs the statements of a schema one by one. They are ours, written in this folder: no value is pasted into them. */
export async function run(db: Kysely<unknown>, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}
