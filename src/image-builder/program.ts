import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  readonly cwd?: string;
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Written to the program's standard input, which is closed afterwards. */
  readonly input?: string;
  /** With `stream` only: hears what the program says while it works. */
  readonly onStderrLine?: (line: string) => void;
}

/** e2fsprogs, fdisk and nft live where an ordinary user's PATH does not look. */
const PATH = `${process.env.PATH ?? ""}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`;

/** Messages are read by programs here and by our users in bug reports: one language for both. */
export const programEnvironment = (more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv => ({
  ...process.env,
  LC_ALL: "C",
  PATH,
  ...more,
});

/**
 * Runs a program to its end and gives what it printed.
 * @throws Error with the program's last words when it fails, is killed, or does not exist
 */
export async function run(program: string, argv: readonly string[], options: RunOptions = {}): Promise<string> {
  return (await runForBoth(program, argv, options)).stdout;
}

/** `run` for programs that complain on standard error and still succeed: gives the end of that, too. */
export async function runForBoth(
  program: string,
  argv: readonly string[],
  options: RunOptions = {},
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const child = start(program, argv, options);
  const out: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => out.push(chunk));
  const finished = succeed(program, child);
  child.stdin?.on("error", () => {}); // a program that dies early says why on stderr; EPIPE would hide it
  child.stdin?.end(options.input ?? "");
  const stderr = await finished;
  return { stdout: Buffer.concat(out).toString(), stderr };
}

/** Starts a program whose standard output the caller reads as it comes. Await both the reading and `finished`. */
export function stream(program: string, argv: readonly string[], options: Omit<RunOptions, "input"> = {}) {
  const child = start(program, argv, options);
  child.stdin?.end();
  if (child.stdout === null) throw new Error(`run ${program}: no standard output`);
  const finished = succeed(program, child);
  if (options.onStderrLine !== undefined && child.stderr !== null) {
    createInterface({ input: child.stderr }).on("line", options.onStderrLine);
  }
  finished.catch(() => {}); // awaited by the caller; must not go unheard if the reading fails first
  return { stdout: child.stdout, finished };
}

function start(program: string, argv: readonly string[], { signal, cwd, env }: RunOptions): ChildProcess {
  return spawn(program, argv, {
    stdio: ["pipe", "pipe", "pipe"],
    env: programEnvironment(env),
    ...(cwd === undefined ? {} : { cwd }),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** How much of a failed program's stderr goes into the error: its end, where the reason is. */
const LAST_WORDS = 2000;

async function succeed(program: string, child: ChildProcess): Promise<string> {
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-LAST_WORDS);
  });
  let result: [number | null, NodeJS.Signals | null];
  try {
    result = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  } catch (cause) {
    throw new Error(`run ${program}`, { cause });
  }
  const [code, signal] = result;
  if (code !== 0) throw new Error(`${program} ${signal ?? `exited with ${code}`}: ${stderr.trim()}`);
  return stderr;
}
