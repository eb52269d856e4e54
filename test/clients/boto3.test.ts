// boto3, with each Python here that has it.
import { realpathSync } from "node:fs";
import { delimiter, join } from "node:path";
import { type TestContext, test } from "node:test";
import { clientEnvironment, findProgram, runProgram, scratchDirectory, succeed } from "../support/client-programs.ts";
import { startPlatform } from "../support/platform.ts";

/** boto3's version by Python. */
async function pythons(t: TestContext): Promise<Map<string, string>> {
  const paths = (process.env.PATH ?? "").split(delimiter).map((directory) => join(directory, "python3"));
  const different = new Map(paths.flatMap((path) => (findProgram(path) ? [[realpathSync(path), path] as const] : [])));
  const found = new Map<string, string>();
  for (const python of different.values()) {
    const version = ["-c", "import boto3; print(boto3.__version__)"];
    const { code, stdout } = await runProgram(t, python, version, { cwd: import.meta.dirname, env: process.env });
    if (code === 0) found.set(stdout.trim(), python);
  }
  return found;
}

test("boto3: resources, paginators, waiters, refusals", async (t) => {
  const versions = await pythons(t);
  if (versions.size === 0) return t.skip("boto3 is not installed");
  for (const [version, python] of versions) {
    await t.test(`boto3 ${version}`, async (t) => {
      const platform = await startPlatform(t, { image: true });
      const friend = await platform.createAccount();
      const directory = scratchDirectory(t, "boto3");
      const script = join(import.meta.dirname, "boto3", "images.py");
      const argv = ["-W", "ignore", script, platform.url, platform.accountId, friend.accountId];
      await succeed(t, python, argv, { cwd: directory, env: clientEnvironment(platform, directory) });
    });
  }
});
