// How a command fails: one line that says what happened and what to do next, and an exit code that a script can use.
import { chain, systemCode } from "../base/errors.ts";

export const EXIT = {
  failed: 1,
  usage: 2,
  /** No server answers. */
  unreachable: 3,
  /** As `kill -l` has it: ended by Ctrl-C. */
  interrupted: 130,
} as const;

/** For the person who typed the command. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly exitCode: number;
  /** @param message what happened, and what to do next */
  constructor(message: string, options: { readonly exitCode?: number; readonly cause?: unknown } = {}) {
    super(message, "cause" in options ? { cause: options.cause } : {});
    this.exitCode = options.exitCode ?? EXIT.failed;
  }
}

/** What to do next, by the code of a refusal. The rest explains itself. */
const ADVICE: Readonly<Record<string, string>> = {
  AuthFailure: `the credentials are not of this server: unset AWS_ACCESS_KEY_ID, or run eval "$(ingot env)" again`,
  InvalidClientTokenId: `the credentials are not of this server: run eval "$(ingot env)" again`,
  SignatureDoesNotMatch: `the credentials are not of this server: run eval "$(ingot env)" again`,
  RequestTimeTooSkewed: "set this machine's clock",
  RequestExpired: "set this machine's clock",
  UnauthorizedOperation: "ask the account's administrator for the permission",
  AccessDenied: "ask the account's administrator for the permission",
  AccessDeniedException: "ask the account's administrator for the permission",
  InsufficientInstanceCapacity: "terminate what is not needed, or launch a smaller --type",
  InvalidInstanceType: "see aws ec2 describe-instance-types",
  "InvalidAMIID.NotFound": "see ingot images --all",
  "InvalidAMIName.Duplicate": "give another name",
  "InvalidKeyPair.NotFound": "see aws ec2 describe-key-pairs",
  IncorrectInstanceState: "see ingot ps",
  UnsupportedOperation: "see docs/parity.md for what this server answers",
};

const NO_CONNECTION = new Set(["ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "ENOTFOUND", "ETIMEDOUT", "EAI_AGAIN"]);

/** A failure's one line, and the code to exit with. */
export function explain(error: unknown, endpoint: string | undefined): { line: string; exitCode: number } {
  if (error instanceof CliError) return { line: oneLine(chain(error)), exitCode: error.exitCode };
  if (isRefusal(error)) {
    const advice = ADVICE[error.name];
    const end = advice === undefined ? "" : `${/[.!?]$/.test(error.message) ? " " : ". "}Next: ${advice}`;
    return { line: oneLine(`${error.name}: ${error.message}${end}`), exitCode: EXIT.failed };
  }
  const code = innermostCode(error);
  if (code !== undefined && NO_CONNECTION.has(code) && endpoint !== undefined) {
    return {
      line: `no server answers at ${endpoint} (${code}): start it with ingot serve`,
      exitCode: EXIT.unreachable,
    };
  }
  return { line: oneLine(chain(error)), exitCode: EXIT.failed };
}

/** An error that the server has answered with. */
export function isRefusal(error: unknown): error is Error & { readonly $metadata: object } {
  return (
    error instanceof Error &&
    "$metadata" in error &&
    "$fault" in error &&
    // The SDK decorates connection failures with $metadata too.
    systemCode(error) === undefined
  );
}

/** Is it the server's refusal with one of these codes? */
export const isCode = (error: unknown, ...codes: readonly string[]): boolean =>
  isRefusal(error) && codes.includes(error.name);

function innermostCode(error: unknown): string | undefined {
  let code: string | undefined;
  for (let at: unknown = error; at instanceof Error; at = at.cause) code = systemCode(at) ?? code;
  if (error instanceof AggregateError) return innermostCode(error.errors[0]) ?? code;
  return code;
}

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, " ").trim();
