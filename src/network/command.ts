// Short programs that the fabric runs to the end: `ip`, `nft`. Argv arrays only; what varies goes in by standard input.
import { spawn } from "node:child_process";

/** Nothing that the fabric runs takes longer than a second, even on a busy machine; then it hangs. */
const COMMAND_TIMEOUT_MS = 30_000;

/** @returns standard output. @throws Error with what the program said, when it fails or cannot be started */
export function run(argv: readonly string[], input = ""): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0]!, argv.slice(1), { stdio: ["pipe", "pipe", "pipe"], timeout: COMMAND_TIMEOUT_MS });
    let output = "";
    let errors = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (errors.length < 4096) errors += text;
    });
    child.on("error", (error) => reject(new Error(`run ${argv[0]}`, { cause: error })));
    child.on("close", (code, signal) => {
      if (code === 0) resolve(output);
      else reject(new Error(`${argv.join(" ")} failed (${signal ?? code}): ${errors.trim()}`));
    });
    child.stdin.on("error", () => {}); // it ended before it had read all: its status says why
    child.stdin.end(input);
  });
}
