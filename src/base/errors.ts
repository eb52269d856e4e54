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
