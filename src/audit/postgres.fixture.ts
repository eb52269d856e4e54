// A PostgreSQL of a test's own, where its programs are installed.
import { spawn, spawnSync } from "node:child_process";
import { chownSync, existsSync, globSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { DatabaseLocation } from "../database/database.ts";

/** Where `initdb` and `postgres` are; undefined: not installed. */
const programs = (): string | undefined =>
  globSync("/usr/lib/postgresql/*/bin").find((directory) => existsSync(join(directory, "initdb")));

/** PostgreSQL refuses to run as root. */
function user(): { readonly uid: number; readonly gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string) => Number(spawnSync("id", [flag, "postgres"], { encoding: "utf8" }).stdout);
  return { uid: id("-u"), gid: id("-g") };
}

/** Starts it on a unix socket, gone after the test. Undefined, with the test skipped: it is not installed. */
export async function startPostgres(t: TestContext): Promise<DatabaseLocation | undefined> {
  const bin = programs();
  if (bin === undefined) {
    t.skip("PostgreSQL is not installed");
    return undefined;
  }
  const directory = mkdtempSync(join(tmpdir(), "ingot-pg-"));
  const as = user();
  if (as !== undefined) chownSync(directory, as.uid, as.gid);
  const data = join(directory, "data");
  const made = spawnSync(join(bin, "initdb"), ["-D", data, "-A", "trust", "-U", "ingot", "--no-sync"], {
    ...as,
    encoding: "utf8",
    cwd: directory,
  });
  if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`);
  const settings = ["-k", directory, "-c", "listen_addresses=", "-c", "fsync=off"];
  const server = spawn(join(bin, "postgres"), ["-D", data, ...settings], {
    ...as,
    cwd: directory,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = new Promise((resolve) => server.once("exit", resolve));
  t.after(async () => {
    server.kill("SIGQUIT");
    await ended;
    rmSync(directory, { recursive: true, force: true });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("exit", () => reject(new Error("postgres ended before it was ready")));
    server.stderr.on("data", (chunk) => {
      if (String(chunk).includes("ready to accept connections")) resolve();
    });
  });
  return { engine: "postgres", url: `postgres://ingot@localhost/postgres?host=${encodeURIComponent(directory)}` };
}
