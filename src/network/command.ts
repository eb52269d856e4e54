// Short programs that the fabric runs to the end: `ip`, `nft`. What varies goes in by standard input.
import { runProgram } from "../base/programs.ts";

/** Nothing that the fabric runs takes longer than a second, even on a busy machine; then it hangs. */
const COMMAND_TIMEOUT_MS = 30_000;

/** @returns standard output. @throws Error with what the program said, when it fails or cannot be started */
export const run = (argv: readonly string[], input = ""): Promise<string> =>
  runProgram(argv, input, COMMAND_TIMEOUT_MS);
