// node:sqlite under Kysely. WAL; one connection writes, others read. Commits are synced by wal-sync.ts.
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { type Dialect, SqliteDialect } from "kysely";

/** Statements that a connection keeps compiled. Ours are some hundreds of texts; lists of ids make more. */
const MAX_STATEMENTS = 500;

/** Milliseconds that a connection waits for another process's lock before SQLITE_BUSY. */
const BUSY_TIMEOUT_MS = 5000;

/** Opens `path` (made when absent) for Kysely. `readOnly` connections see committed rows only. */
export function sqliteDialect(path: string, readOnly: boolean): Dialect {
  const connection = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
  connection.exec("pragma journal_mode = wal");
  connection.exec("pragma synchronous = normal");
  connection.exec("pragma foreign_keys = on");
  if (readOnly) connection.exec("pragma query_only = on");
  const statements = new Map<string, Prepared>();
  const prepare = (sql: string): Prepared => {
    let statement = statements.get(sql);
    if (statement === undefined) {
      statement = prepared(connection.prepare(sql));
      if (statements.size >= MAX_STATEMENTS) {
        const oldest = statements.keys().next().value;
        if (oldest !== undefined) statements.delete(oldest);
      }
      statements.set(sql, statement);
    }
    return statement;
  };
  return new SqliteDialect({
    database: {
      close: () => {
        statements.clear();
        connection.close();
      },
      prepare(sql: string) {
        // A full disk has rolled back already: to do it again fails, and would hide why.
        if (sql === "rollback" && !connection.isTransaction) return NOTHING_TO_ROLL_BACK;
        return prepare(sql);
      },
    },
  });
}

/** A compiled statement as Kysely asks it. */
interface Prepared {
  /** Does it answer rows? Asked of SQLite once: the answer describes every column. */
  readonly reader: boolean;
  all(parameters: readonly unknown[]): unknown[];
  run(parameters: readonly unknown[]): { changes: number | bigint; lastInsertRowid: number | bigint };
  iterate(parameters: readonly unknown[]): IterableIterator<unknown>;
}

const prepared = (statement: StatementSync): Prepared => ({
  reader: statement.columns().length > 0,
  all: (parameters) => statement.all(...(parameters as SQLInputValue[])),
  run: (parameters) => statement.run(...(parameters as SQLInputValue[])),
  iterate: (parameters) => statement.iterate(...(parameters as SQLInputValue[])),
});

const NOTHING_TO_ROLL_BACK: Prepared = {
  reader: false,
  all: () => [],
  run: () => ({ changes: 0, lastInsertRowid: 0 }),
  iterate: () => [].values(),
};
