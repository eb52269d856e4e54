// Other people's programs as clients: found where they are installed, run against a platform as somebody would run them at
// home, with a directory of their own to write into.
import { execFile } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { TestContext } from "node:test";
import type { Platform } from "./platform.ts";

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Emulated guests on a busy machine: nothing of a client's takes as long. */
const LIMIT_MS = 900_000;

/** The first of these paths or names that is a program; undefined when none is. */
export function findProgram(...names: readonly string[]): string | undefined {
  const directories = (process.env.PATH ?? "").split(delimiter);
  const paths = names.flatMap((name) => (name.includes("/") ? [name] : directories.map((each) => join(each, name))));
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Removed at the test's end. */
export function scratchDirectory(t: TestContext, name: string): string {
  const directory = mkdtempSync(join(tmpdir(), `ingot-${name}-`));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/**
 * What `ingot env` gives, for a client that reads no configuration of this machine's user. AWS_MAX_ATTEMPTS is left out: to
 * Packer it means how often a waiter looks.
 */
export function clientEnvironment(platform: Platform, home: string, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { AWS_MAX_ATTEMPTS: _, ...environment } = platform.environment();
  return { ...environment, HOME: home, LC_ALL: "C.UTF-8", ...more };
}

/** Runs it to its end, whatever that is. Killed when the test ends first. */
export function runProgram(
  t: TestContext,
  program: string,
  argv: readonly string[],
  options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const settings = { ...options, timeout: LIMIT_MS, maxBuffer: 64 * 1024 * 1024, signal: t.signal };
    execFile(program, argv, settings, (error, stdout, stderr) => {
      if (error === null) resolve({ code: 0, stdout, stderr });
      else if (typeof error.code === "number") resolve({ code: error.code, stdout, stderr });
      else reject(new Error(`run ${program} ${argv.join(" ")}: ${stdout}${stderr}`, { cause: error }));
    });
  });
}

/** Its standard output. @throws Error with all that it said when it fails */
export async function succeed(...args: Parameters<typeof runProgram>): Promise<string> {
  const { code, stdout, stderr } = await runProgram(...args);
  if (code !== 0) throw new Error(`${args[1]} ${args[2].join(" ")} failed (${code}):\n${stdout}${stderr}`);
  return stdout;
}
