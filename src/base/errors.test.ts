import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { isDiskFull } from "./errors.ts";

test("a full disk is found however deep it lies, whoever met it", () => {
  const full = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
  assert.equal(isDiskFull(new Error("publish a pack", { cause: new Error("write", { cause: full }) })), true);
  assert.equal(isDiskFull(Object.assign(new Error("quota"), { code: "EDQUOT" })), true);
  assert.equal(isDiskFull(Object.assign(new Error("gone"), { code: "ENOENT" })), false);
  assert.equal(isDiskFull("ENOSPC"), false);
  // A database that may not grow says the same as one on a full disk.
  const database = new DatabaseSync(":memory:");
  database.exec("pragma max_page_count = 3; create table t (x)");
  const fill = (): void => {
    for (let n = 0; n < 100; n++) database.prepare("insert into t values (?)").run(Buffer.alloc(4000));
  };
  assert.throws(fill, (error) => isDiskFull(error));
  assert.throws(
    () => database.exec("select nonsense"),
    (error) => !isDiskFull(error),
  );
});
