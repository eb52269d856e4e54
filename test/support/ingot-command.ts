// `./ingot …` as a person types it: the bundle where it is newer than the sources, as after `npm test`'s set-up, else those.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import type { Platform } from "./platform.ts";

const LAUNCHER = join(dirname(dirname(import.meta.dirname)), "ingot");

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs it to its end, in a world of its own: nothing of this machine's AWS or Ingot settings is seen. */
export function ingot(words: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ran> {
  const child = spawn(LAUNCHER, words, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env.PATH, HOME: "/nonexistent", ...environment },
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout, stderr }));
  });
}

/** On a platform's data directory; its standard output. @throws Error with what it said, unless it succeeds */
export async function ingotOn(platform: Platform, ...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await ingot(words, { INGOT_DATA: platform.dataDirectory });
  if (code !== 0) throw new Error(`ingot ${words.join(" ")} ended with ${code}: ${stderr}${stdout}`);
  return stdout;
}
