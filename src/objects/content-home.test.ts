import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openDatabase } from "../database/database.ts";
import { openContentHome } from "./content-home.ts";

test("objects that lie somewhere else than the server is told are not taken for lost: it does not start", async (t) => {
  const scratch = mkdtempSync(join(tmpdir(), "ingot-content-"));
  const database = await openDatabase({ engine: "sqlite", path: join(scratch, "db") });
  t.after(async () => {
    await database.close();
    rmSync(scratch, { recursive: true, force: true });
  });
  const directory = join(scratch, "buckets");
  // Nobody listens there.
  const bucket = { bucket: "far", prefix: "", endpoint: "http://127.0.0.1:9", region: "us-east-1", credentials: null };
  (await openContentHome(database, directory, undefined)).close();
  await database.transaction((tx) =>
    tx
      .insertInto("s3_pieces")
      .values({ owner_id: "o", position: 0, file: "f".repeat(32), first_byte: 0, bytes: 1 })
      .execute(),
  );
  await assert.rejects(openContentHome(database, directory, bucket), /lies in the data directory, not in s3:\/\/far\//);
  (await openContentHome(database, directory, undefined)).close();
});
