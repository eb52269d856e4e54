// `AllowedPattern` is a client's regular expression, run on a client's text. A pattern can be made to take years, so it runs
// where V8 stops it after a while.
import { createContext, Script } from "node:vm";
import { ApiError } from "../../base/api-error.ts";
import { invalid } from "../../model/ssm/parameter.ts";

const MOST_PATTERN_CHARS = 1024;
const TIMEOUT_MS = 100;

const script = new Script("new RegExp(pattern).test(value)");

/** @throws ApiError `InvalidAllowedPatternException`, `ParameterPatternMismatchException` */
export function checkPattern(pattern: string, value: string): void {
  if (pattern.length > MOST_PATTERN_CHARS) {
    throw invalid(
      `1 validation error detected: Value at 'allowedPattern' failed to satisfy constraint: Member must have length less than or equal to ${MOST_PATTERN_CHARS}.`,
    );
  }
  const invalidPattern = (cause: unknown): ApiError =>
    new ApiError("InvalidAllowedPatternException", `The allowed pattern is not valid or takes too long: ${pattern}`, {
      cause,
    });
  // Strings go in, a boolean comes out: nothing of ours is reachable from inside.
  const sandbox = createContext(Object.assign(Object.create(null), { pattern, value }), {
    codeGeneration: { strings: false, wasm: false },
  });
  let matches: unknown;
  try {
    matches = script.runInContext(sandbox, { timeout: TIMEOUT_MS });
  } catch (cause) {
    throw invalidPattern(cause);
  }
  if (matches !== true) {
    throw new ApiError(
      "ParameterPatternMismatchException",
      `Parameter value, cannot be validated against allowedPattern: ${pattern}`,
    );
  }
}
