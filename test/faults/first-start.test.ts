// A first start that is killed at any moment leaves nothing that a second one can't make good: whoever starts the server
// again has an administrator whose keys work.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import type { StoredCredentials } from "../../src/server/data-directory.ts";
import { killAll, processesOf } from "../support/processes.ts";

const MAIN = join(dirname(dirname(import.meta.dirname)), "src", "main.ts");

/** Loaded before the server: kills it right before or right after a file gets its name. */
const KILLER = `
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
const { rename } = fs.promises;
const die = (when, to) => {
  if (process.env.KILL_WHEN === when && String(to).endsWith("/" + process.env.KILL_AT)) process.kill(process.pid, "SIGKILL");
};
fs.promises.rename = async (from, to) => {
  die("before", to);
  await rename(from, to);
  die("after", to);
};
syncBuiltinESMExports();
`;

function start(t: TestContext, data: string, kill?: { readonly when: string; readonly at: string }) {
  const preload = kill === undefined ? [] : ["--import", `data:text/javascript,${encodeURIComponent(KILLER)}`];
  const argv = ["--disable-warning=ExperimentalWarning", ...preload, MAIN, "--data", data, "--port", "0", "--no-image"];
  const env = { ...process.env, ...(kill === undefined ? {} : { KILL_WHEN: kill.when, KILL_AT: kill.at }) };
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"], env, signal: t.signal });
  child.on("error", () => {});
  return child;
}

for (const kill of [
  { when: "before", at: "credentials.json" },
  { when: "after", at: "credentials.json" },
  { when: "before", at: "server.json" },
]) {
  test(`killed ${kill.when} ${kill.at} is there`, async (t) => {
    const scratch = mkdtempSync(join(tmpdir(), "ingot-"));
    const data = join(scratch, "data");
    t.after(async () => {
      await killAll(processesOf(data));
      rmSync(scratch, { recursive: true, force: true });
    });
    const killed = start(t, data, kill);
    const [, signal] = await once(killed, "exit");
    assert.equal(signal, "SIGKILL");
    const path = join(data, "credentials.json");
    assert.equal(existsSync(path), kill.when === "after" || kill.at !== "credentials.json");
    const before = existsSync(path) ? readFileSync(path, "utf8") : undefined;

    const server = start(t, data);
    let said = "";
    for await (const text of server.stdout.setEncoding("utf8")) {
      said += text;
      if (/^Ingot is ready: \S+$/m.test(said)) break;
    }
    const endpoint = /^Ingot is ready: (\S+)$/m.exec(said)?.[1] ?? assert.fail(said);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const stored = JSON.parse(readFileSync(path, "utf8")) as StoredCredentials;
    // What was committed stays as it is.
    if (kill.at === "server.json") assert.equal(readFileSync(path, "utf8"), before);
    for (const credentials of [stored.administrator, stored.root]) {
      const sts = new STSClient({ endpoint, region: stored.region, credentials, maxAttempts: 1 });
      assert.equal((await sts.send(new GetCallerIdentityCommand({}))).Account, stored.accountId);
      sts.destroy();
    }
    server.kill("SIGTERM");
    await once(server, "exit");
  });
}
