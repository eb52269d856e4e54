// The stock AWS CLI against a platform. Debian 12's 2.9 knows no AWS_ENDPOINT_URL (it came with 2.13 and 1.29), so the
// endpoint is always said.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { MIB } from "../../src/base/units.ts";
import type { Platform } from "./platform.ts";

const run = promisify(execFile);

/** What `aws --version` says, as [major, minor]; `null`: it is not installed. */
export async function awsCliVersion(): Promise<readonly [major: number, minor: number] | null> {
  try {
    const { stdout, stderr } = await run("aws", ["--version"]);
    const [, major, minor] = /aws-cli\/(\d+)\.(\d+)/.exec(`${stdout}${stderr}`) ?? [];
    return [Number(major), Number(minor)];
  } catch {
    return null;
  }
}

/** Commands that talk to several services at once take their endpoints from the environment only. */
export const readsEndpointVariable = ([major, minor]: readonly [number, number]): boolean =>
  major === 1 ? minor >= 29 : minor >= 13;

/** Runs it. @returns what it printed @throws as execFile does, with `stderr` in the message */
export async function awsCli(
  platform: Platform,
  words: readonly string[],
  environment: NodeJS.ProcessEnv = platform.environment(),
): Promise<string> {
  const argv = [...words, "--endpoint-url", platform.url];
  return (await run("aws", argv, { env: environment, maxBuffer: 64 * MIB, timeout: 300_000 })).stdout;
}
