import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { sql } from "kysely";
import { isDiskFull } from "../base/errors.ts";
import { type Db, openDatabase } from "./database.ts";

test("a transaction that meets a full disk says so, leaves nothing, and the next one works", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "ingot-sqlite-"));
  const database = await openDatabase({ engine: "sqlite", path: join(directory, "a.sqlite") });
  t.after(async () => {
    await database.close();
    rmSync(directory, { recursive: true, force: true });
  });
  // As a disk: the file may not grow.
  const limit = (pages: number) =>
    database.transaction((tx) => sql.raw(`pragma max_page_count = ${pages}`).execute(tx));
  const put = (tx: Db, name: string, bytes: number) =>
    tx
      .insertInto("settings")
      .values({ account_id: "", region: "", name, value: "x".repeat(bytes) })
      .execute();
  await limit(1);
  await assert.rejects(
    database.transaction(async (tx) => {
      await put(tx, "small", 1);
      await put(tx, "large", 1_000_000);
    }),
    (error) => isDiskFull(error),
  );
  await limit(1_000_000);
  await database.transaction((tx) => put(tx, "after", 1_000_000));
  const rows = await database.read.selectFrom("settings").select("name").execute();
  assert.deepEqual(
    rows.map(({ name }) => name),
    ["after"],
  );
});
