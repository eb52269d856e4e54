// What nearly every EC2 action says about a parameter that is missing or wrong.
import { ApiError } from "../../base/api-error.ts";

export const missingParameter = (name: string): ApiError =>
  new ApiError("MissingParameter", `The request must contain the parameter ${name}`);

export const invalidValue = (name: string, value: string | number, why = ""): ApiError =>
  new ApiError("InvalidParameterValue", `Value (${value}) for parameter ${name} is invalid.${why && ` ${why}`}`);

export const notSupported = (what: string): ApiError =>
  new ApiError("UnsupportedOperation", `${what} not supported here.`);

/** The codec has seen that it is there; the SDK's types say that it may be absent. @throws ApiError `MissingParameter` */
export function required<T>(value: T | undefined, name: string): T {
  if (value === undefined || value === "") throw missingParameter(name);
  return value;
}

/** @throws ApiError `InvalidParameterValue` */
export function oneOf<const T extends string>(
  text: string | undefined,
  allowed: readonly T[],
  name: string,
): T | undefined {
  if (text === undefined || text === "") return undefined;
  const found = allowed.find((value) => value === text);
  if (found === undefined) throw invalidValue(name, text, `Valid values are: ${allowed.join(", ")}.`);
  return found;
}
