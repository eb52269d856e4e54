// The database: SQLite in the data directory, or PostgreSQL where one machine is not enough. One code path, in SQL that
// both speak (text, bigint, JSON as text, times as ISO 8601 text in UTC, booleans as 0 and 1).
//
// Writers are serialised in this process: SQLite has one writer anyway, and a rule that reads before it writes then
// holds without retries. On PostgreSQL transactions are SERIALIZABLE and a conflict is tried again.
import { HandleEmptyInListsPlugin, Kysely, PostgresDialect, replaceWithNoncontingentExpression } from "kysely";
import { chain } from "../base/errors.ts";
import { migrate } from "./migrate.ts";
import type { Schema } from "./schema.ts";
import { sqliteDialect } from "./sqlite.ts";
import { walSync } from "./wal-sync.ts";

/** Something that queries: the database itself or a transaction. */
export type Db = Kysely<Schema>;

export interface Database {
  readonly engine: "sqlite" | "postgres";
  /** Queries outside a transaction. Sees what is committed. */
  readonly read: Db;
  /**
   * Runs `work` in one transaction; it commits when `work` resolves and is durable when this resolves.
   * Await nothing but queries inside: every other writer waits. Do not call it from inside itself.
   */
  transaction<T>(work: (tx: Db) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export type DatabaseLocation =
  | { readonly engine: "sqlite"; readonly path: string }
  | { readonly engine: "postgres"; readonly url: string };

/** PostgreSQL's code for a serialization failure and for a deadlock: the transaction may simply be run again. */
const TRY_AGAIN = new Set(["40001", "40P01"]);
const MOST_TRIES = 10;

/**
 * Opens the database and brings it to this program's version.
 * @throws Error when a newer program has written it
 */
export async function openDatabase(location: DatabaseLocation): Promise<Database> {
  try {
    return location.engine === "sqlite" ? await openSqlite(location.path) : await openPostgres(location.url);
  } catch (cause) {
    throw new Error(`open the ${location.engine} database`, { cause });
  }
}

async function openSqlite(path: string): Promise<Database> {
  const writer = new Kysely<Schema>({ dialect: sqliteDialect(path, false) });
  await migrate(writer);
  const reader = new Kysely<Schema>({ dialect: sqliteDialect(path, true) });
  const queue = serial();
  // What lies in memory has no log.
  const log = path === ":memory:" ? null : walSync(path);
  return {
    engine: "sqlite",
    read: reader,
    async transaction(work) {
      const result = await queue(() => writer.transaction().execute(work));
      // Others write meanwhile.
      await log?.synced();
      return result;
    },
    async close() {
      await queue(async () => {});
      await log?.close();
      await reader.destroy();
      await writer.destroy();
    },
  };
}

async function openPostgres(url: string): Promise<Database> {
  const { default: pg } = await import("pg");
  // int8 as a number: nothing here counts past 2^53.
  const types = new pg.TypeOverrides();
  types.setTypeParser(20, (text: string) => Number(text));
  const pool = new pg.Pool({ connectionString: url, max: 10, types });
  // `in ()`, which nothing is in, is SQLite's; here it is a syntax error.
  const emptyLists = new HandleEmptyInListsPlugin({ strategy: replaceWithNoncontingentExpression });
  const db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }), plugins: [emptyLists] });
  try {
    await migrate(db);
  } catch (error) {
    await db.destroy();
    throw error;
  }
  const queue = serial();
  return {
    engine: "postgres",
    read: db,
    transaction: (work) =>
      queue(async () => {
        for (let tries = 1; ; tries++) {
          try {
            return await db.transaction().setIsolationLevel("serializable").execute(work);
          } catch (error) {
            if (tries >= MOST_TRIES || !isConflict(error)) throw error;
          }
        }
      }),
    async close() {
      await queue(async () => {});
      await db.destroy();
    },
  };
}

/** Runs tasks one after the other, in the order given. */
function serial(): <T>(task: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (task) => {
    const next = last.then(task, task);
    last = next.catch(() => {});
    return next;
  };
}

const isConflict = (error: unknown): boolean =>
  error instanceof Error && "code" in error && typeof error.code === "string" && TRY_AGAIN.has(error.code);

/** Did a unique constraint refuse the row? Both engines say so in their own way. */
export function isUniqueViolation(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ("code" in error && error.code === "23505") return true;
  return chain(error).includes("UNIQUE constraint failed");
}
