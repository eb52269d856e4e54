// Pages of a list: how many, from where, and what a client is told when it asks for neither sensibly.
//
//   const limit = pageLimit("ec2", "MaxResults", input.MaxResults, { min: 5, max: 1000 });
//   const scope = { service: "ec2", action: "DescribeImages", owner: [account, region], parameters: input } as const;
//   const after = tokens.open(scope, input.NextToken);              // the last row's key, or undefined: from the start
//   const { page, next } = takePage(rowsAfter(after, limit + 1), limit);
//   return { Images: page, NextToken: next === undefined ? undefined : tokens.seal(scope, next.key) };
//
// A token is the position and a MAC over everything that it must not be used apart from: service, action, owner, and all
// parameters but the page size and the token itself. So a token that a client altered, or used in another request, is
// simply not one of ours. It never expires, and says nothing but the position: keep secrets out of that.

import { createHmac, timingSafeEqual } from "node:crypto";
import { ApiError, type ErrorCode } from "../base/api-error.ts";
import type { ServiceName } from "./wire.ts";

export interface PageScope {
  readonly service: ServiceName;
  readonly action: string;
  /** Whose list it is: account, Region. */
  readonly owner: readonly string[];
  /** The whole input; page size and token are left out here. */
  readonly parameters: object;
}

export interface PageTokens {
  /** @param position  where the next page starts, in the action's own words; the client can read it */
  seal(scope: PageScope, position: string): string;
  /**
   * @returns undefined without a token: the first page
   * @throws ApiError in the service's own terms, for whatever `seal` did not give for this scope
   */
  open(scope: PageScope, token: string | undefined): string | undefined;
}

const MAC_BYTES = 16;
/** Positions are ids or names; a URL that carries a token must stay below 8 KiB. */
const MAX_TOKEN_LENGTH = 4096;

/** Members that choose a page rather than a list, in all our services. */
const PAGING: ReadonlySet<string> = new Set([
  "DryRun",
  "Marker",
  "MaxItems",
  "MaxResults",
  "NextToken",
  "StartingBlockIndex",
]);

/** @param key  32 random bytes that every process answering for the same data shares */
export function pageTokens(key: Uint8Array): PageTokens {
  const macOf = (scope: PageScope, position: string): Buffer => {
    const text = JSON.stringify([
      scope.service,
      scope.action,
      scope.owner,
      canonical(scope.parameters, true),
      position,
    ]);
    return createHmac("sha256", key).update(text).digest().subarray(0, MAC_BYTES);
  };
  return {
    seal(scope, position) {
      return Buffer.concat([macOf(scope, position), Buffer.from(position)]).toString("base64url");
    },
    open(scope, token) {
      if (token === undefined || token === "") return undefined;
      if (token.length > MAX_TOKEN_LENGTH || !/^[A-Za-z0-9_-]+$/.test(token)) throw badToken(scope.service, token);
      const bytes = Buffer.from(token, "base64url");
      if (bytes.length < MAC_BYTES) throw badToken(scope.service, token);
      const position = bytes.toString("utf8", MAC_BYTES);
      if (!timingSafeEqual(bytes.subarray(0, MAC_BYTES), macOf(scope, position))) throw badToken(scope.service, token);
      return position;
    },
  };
}

/** The same text for the same value, whatever the order of its members. */
function canonical(value: unknown, top = false): unknown {
  if (Array.isArray(value)) return value.map((item) => canonical(item));
  if (typeof value !== "object" || value === null || value instanceof Date || value instanceof Uint8Array) return value;
  return Object.entries(value)
    .filter(([name, member]) => member !== undefined && !(top && PAGING.has(name)))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, member]) => [name, canonical(member)]);
}

/** EC2's list of codes has InvalidNextToken, but what it really answers is InvalidParameterValue (seen in client logs). */
function badToken(service: ServiceName, token: string): ApiError {
  const shown = token.length <= 64 ? token : `${token.slice(0, 64)}…`;
  switch (service) {
    case "ec2":
      return new ApiError(
        "InvalidParameterValue",
        `Value ( ${shown} ) for parameter NextToken is invalid. The token is invalid.`,
      );
    case "iam":
    case "sts":
      return new ApiError("ValidationError", `Invalid Marker: ${shown}`);
    case "cloudtrail":
      return new ApiError("InvalidNextTokenException", "The token is invalid, or was not given for this request.");
    case "ssm":
      return new ApiError("InvalidNextToken", "The specified token is not valid.");
    case "organizations":
      return new ApiError("InvalidInputException", "You specified an invalid value for NextToken.", {
        fields: { Reason: "INVALID_NEXT_TOKEN" },
      });
    case "ingot":
      return new ApiError("ValidationException", "The token is invalid, or was not given for this request.");
    case "ebs":
      return new ApiError("ValidationException", "The page token is invalid.", {
        fields: { Reason: "INVALID_PAGE_TOKEN" },
      });
    case "s3":
      return new ApiError("InvalidArgument", "The continuation token provided is incorrect");
  }
}

export interface PageLimits {
  readonly min: number;
  readonly max: number;
}

const LIMIT_CODE: Readonly<Record<Exclude<ServiceName, "ec2">, ErrorCode>> = {
  iam: "ValidationError",
  sts: "ValidationError",
  cloudtrail: "InvalidMaxResultsException",
  ssm: "ValidationException",
  organizations: "InvalidInputException",
  ingot: "ValidationException",
  ebs: "ValidationException",
  s3: "InvalidArgument",
};

/**
 * The page size that a client asked for.
 * @param name  the member, as the service's own errors spell it: `MaxResults`, `MaxItems`
 * @returns undefined where it asked for none: all at once in EC2, the action's default elsewhere
 * @throws ApiError in the service's own terms outside `limits`
 */
export function pageLimit(
  service: ServiceName,
  name: string,
  value: number | undefined,
  limits: PageLimits,
): number | undefined {
  if (value === undefined) return undefined;
  if (value >= limits.min && value <= limits.max) return value;
  const low = value < limits.min;
  const member = name.charAt(0).toLowerCase() + name.slice(1);
  if (service === "ec2") {
    const expecting = low ? `greater than ${limits.min}` : `less than or equal to ${limits.max}`;
    throw new ApiError(
      "InvalidParameterValue",
      `Value ( ${value} ) for parameter ${member} is invalid. Expecting a value ${expecting}.`,
    );
  }
  const bound = low ? `greater than or equal to ${limits.min}` : `less than or equal to ${limits.max}`;
  throw new ApiError(
    LIMIT_CODE[service],
    `1 validation error detected: Value '${value}' at '${member}' failed to satisfy constraint: Member must have value ${bound}`,
  );
}

/**
 * EC2: who names the rows cannot also ask for pages of them.
 * @param idsName  as EC2's message spells it: `volumeSet`, `instancesSet`, `imageIdSet`
 * @throws ApiError `InvalidParameterCombination`
 */
export function refusePagesOfIds(
  idsName: string,
  ids: readonly string[] | undefined,
  input: { readonly MaxResults?: number | undefined; readonly NextToken?: string | undefined },
): void {
  if (ids === undefined || ids.length === 0) return;
  const other = input.MaxResults !== undefined ? "maxResults" : input.NextToken !== undefined ? "nextToken" : undefined;
  if (other === undefined) return;
  throw new ApiError(
    "InvalidParameterCombination",
    `The parameter ${idsName} cannot be used with the parameter ${other}`,
  );
}

export interface Page<Row> {
  readonly page: readonly Row[];
  /** The last row of this page, where more follow: the next one starts after it. */
  readonly next: Row | undefined;
}

/** @param rows  one more than `limit`, if there are that many; without a limit all of them */
export function takePage<Row>(rows: readonly Row[], limit: number | undefined): Page<Row> {
  if (limit === undefined || rows.length <= limit) return { page: rows, next: undefined };
  return { page: rows.slice(0, limit), next: rows[limit - 1] };
}
