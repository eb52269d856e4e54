// What IAM says of a parameter that is missing or malformed.
import { ApiError } from "../../base/api-error.ts";

const constraint = (value: string, member: string, rule: string): ApiError =>
  new ApiError(
    "ValidationError",
    `1 validation error detected: Value ${value} at '${member}' failed to satisfy constraint: ${rule}`,
  );

/** @throws ApiError `ValidationError` */
export function required<T>(value: T | undefined | null, member: string): T {
  if (value === undefined || value === null) throw constraint("null", member, "Member must not be null");
  return value;
}

/** A name of a user, role, policy…: `[\w+=,.@-]+`. @throws ApiError `ValidationError` */
export function nameOf(value: string | undefined, member: string, mostChars: number): string {
  const name = required(value, member);
  if (name === "") throw constraint(`'${name}'`, member, "Member must have length greater than or equal to 1");
  if (name.length > mostChars) {
    throw constraint(`'${name}'`, member, `Member must have length less than or equal to ${mostChars}`);
  }
  if (!/^[\w+=,.@-]+$/.test(name)) {
    throw constraint(`'${name}'`, member, "Member must satisfy regular expression pattern: [\\w+=,.@-]+");
  }
  return name;
}

/** A path, `/` when absent. @throws ApiError `ValidationError` */
export function pathOf(value: string | undefined): string {
  const path = value ?? "/";
  if (path.length > 512 || !/^(\/|\/[\u0021-\u007e]+\/)$/.test(path)) {
    throw new ApiError(
      "ValidationError",
      `The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.`,
    );
  }
  return path;
}

/** The beginning of a path, `/` when absent. @throws ApiError `ValidationError` */
export function pathPrefixOf(value: string | undefined): string {
  const prefix = value ?? "/";
  if (prefix.length > 512 || !/^\/[\u0021-\u007e]*$/.test(prefix)) {
    throw new ApiError("ValidationError", "The specified value for pathPrefix is invalid. It must begin with /.");
  }
  return prefix;
}

/** @throws ApiError `ValidationError` */
export function arnOf(value: string | undefined, member = "policyArn"): string {
  const arn = required(value, member);
  if (!/^arn:aws[\w-]*:iam::(\d{12}|aws):policy\/[\u0021-\u007e]+$/.test(arn)) {
    throw new ApiError("ValidationError", `ARN ${arn} is not valid.`);
  }
  return arn;
}

/** Text within bounds; absent stays absent. @throws ApiError `ValidationError` */
export function textOf(value: string | undefined, member: string, mostChars: number): string | null {
  if (value === undefined) return null;
  if (value.length > mostChars) {
    throw constraint(`'${value.slice(0, 64)}…'`, member, `Member must have length less than or equal to ${mostChars}`);
  }
  return value;
}

/** @throws ApiError `ValidationError` */
export function numberWithin(
  value: number | undefined,
  member: string,
  least: number,
  most: number,
): number | undefined {
  if (value === undefined) return undefined;
  if (value < least) throw constraint(`'${value}'`, member, `Member must have value greater than or equal to ${least}`);
  if (value > most) throw constraint(`'${value}'`, member, `Member must have value less than or equal to ${most}`);
  return value;
}
