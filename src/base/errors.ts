// Failures inside the program. What a client is told is `api-error.ts`.

/** The whole story on one line: `create image ami-1: publish pack 9f2c: no space left on device`. */
export function chain(error: unknown): string {
  const parts: string[] = [];
  for (let e: unknown = error; e !== undefined && e !== null; e = e instanceof Error ? e.cause : undefined) {
    parts.push(e instanceof Error ? e.message : String(e));
  }
  return parts.join(": ");
}

/** For the default branch of an exhaustive switch: a state that the compiler says cannot be. */
export function unreachable(value: never): never {
  throw new Error(`not a known case: ${JSON.stringify(value)}`);
}

/** The `code` of a Node system error (`ENOENT`, `EADDRINUSE`…), or undefined. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** SQLITE_FULL, as node:sqlite's errors carry it. */
const SQLITE_FULL = 13;
const POSTGRES_DISK_FULL = "53100";

/** Is there, somewhere in the chain, a file system (or a quota) without room? */
export function isDiskFull(error: unknown): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const code = systemCode(at);
    if (code === "ENOSPC" || code === "EDQUOT" || code === POSTGRES_DISK_FULL) return true;
    if (code === "ERR_SQLITE_ERROR" && "errcode" in at && at.errcode === SQLITE_FULL) return true;
  }
  return false;
}
