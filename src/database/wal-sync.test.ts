import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

/** Commits ten transactions, first one by one, then at once, and says when each is told to be done. */
const PROGRAM = `
  import { writeSync } from "node:fs";
  import { sql } from "kysely";
  const { openDatabase } = await import(${JSON.stringify(new URL("./database.ts", import.meta.url).href)});
  const database = await openDatabase({ engine: "sqlite", path: process.argv[1] });
  const commit = async (n) => {
    await database.transaction((tx) => sql\`insert into numbers values (\${n})\`.execute(tx));
    writeSync(1, "durable " + n + "\\n");
  };
  await database.transaction((tx) => sql\`create table numbers (n integer)\`.execute(tx));
  writeSync(1, "begin\\n");
  for (let n = 0; n < 5; n++) await commit(n);
  await Promise.all([5, 6, 7, 8, 9].map(commit));
  writeSync(1, "end\\n");
  await database.close();
`;

const strace = spawnSync("strace", ["-V"]).status === 0;

test("a transaction that has resolved is on the disk; those at once share a sync, none is made by the main thread", {
  skip: !strace && "strace is not installed",
}, (t) => {
  const directory = mkdtempSync(join(tmpdir(), "ingot-wal-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const trace = join(directory, "trace");
  execFileSync(
    "strace",
    [
      ...["-f", "-y", "-e", "trace=pwrite64,write,fdatasync,fsync", "-o", trace],
      ...[process.execPath, "--disable-warning=ExperimentalWarning", "--input-type=module", "-e", PROGRAM],
      join(directory, "db"),
    ],
    { stdio: ["ignore", "ignore", "inherit"], cwd: import.meta.dirname },
  );
  const calls = readFileSync(trace, "utf8").split("\n");
  const from = calls.findIndex((line) => line.includes('"begin'));
  const to = calls.findIndex((line) => line.includes('"end'));
  const main = calls[from]!.split(" ")[0];
  let unsynced = false;
  let syncs = 0;
  for (const line of calls.slice(from, to)) {
    if (/pwrite64\(.*db-wal/.test(line)) unsynced = true;
    // Written down when it returns, or when it is resumed after another thread's call.
    if (/f(data)?sync/.test(line) && !line.includes("unfinished")) {
      assert.notEqual(line.split(" ")[0], main, "the main thread waits for the disk");
      syncs++;
      unsynced = false;
    }
    // Of those at once, one may write while another is told.
    if (/"durable [0-4]/.test(line)) assert.equal(unsynced, false, "told before it is durable");
  }
  assert.ok(syncs >= 6 && syncs <= 9, `${syncs} syncs for five commits one by one and five at once`);
});
