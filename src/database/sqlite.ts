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
  const statements = new Map<string, StatementSync>();
  const prepare = (sql: string): StatementSync => {
    let statement = statements.get(sql);
    if (statement === undefined) {
      statement = connection.prepare(sql);
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
        const statement = prepare(sql);
        return {
          reader: statement.columns().length > 0,
          all: (parameters: readonly unknown[]) => statement.all(...(parameters as SQLInputValue[])),
          run: (parameters: readonly unknown[]) => {
            // A full disk has rolled back already: to do it again fails, and would hide why.
            if (sql === "rollback" && !connection.isTransaction) return { changes: 0, lastInsertRowid: 0 };
            const { changes, lastInsertRowid } = statement.run(...(parameters as SQLInputValue[]));
            return { changes, lastInsertRowid };
          },
          iterate: (parameters: readonly unknown[]) =>
            statement.iterate(...(parameters as SQLInputValue[])) as IterableIterator<unknown>,
        };
      },
    },
  });
}
