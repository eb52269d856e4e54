// Client tokens of calls whose parameters are all that makes them what they are.
import { createHash } from "node:crypto";
import { ApiError } from "../../base/api-error.ts";
import type { TokenUse } from "../../model/client-token.ts";

const MOST_CHARS = 128;

/**
 * undefined without a token.
 * @throws ApiError `InvalidParameterValue` for one of more than 128 characters
 */
export function tokenUse(
  action: string,
  input: { readonly ClientToken?: string | undefined; readonly DryRun?: boolean | undefined },
): TokenUse | undefined {
  const { ClientToken: token, DryRun: _dryRun, ...rest } = input;
  if (token === undefined) return undefined;
  if (token.length > MOST_CHARS) {
    throw new ApiError("InvalidParameterValue", `Value (${token.slice(0, 16)}…) for parameter clientToken is invalid.`);
  }
  return { action, token, parameters: createHash("sha256").update(JSON.stringify(rest)).digest("hex") };
}
