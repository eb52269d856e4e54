// Numbered migrations, run in order at open. A database that knows a migration which this program does not is refused:
// a newer program has written it, and this one would misread it.
import { type Kysely, sql } from "kysely";
import { migrations } from "./migrations/index.ts";

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
