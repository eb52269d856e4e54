import { CliError, EXIT } from "./failure.ts";

/** Aborts at the first Ctrl-C, so that the command can clean up behind itself; a second one ends it at once. */
export function interruption(): AbortSignal {
  const given = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => given.abort(new CliError("given up", { exitCode: EXIT.interrupted })));
  }
  return given.signal;
}
