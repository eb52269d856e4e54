import {
  DescribeParameters$,
  type DescribeParametersRequest,
  type DescribeParametersResult,
  GetParameterHistory$,
  type GetParameterHistoryRequest,
  type GetParameterHistoryResult,
  GetParametersByPath$,
  type GetParametersByPathRequest,
  type GetParametersByPathResult,
} from "@aws-sdk/client-ssm";
import type { ConditionKeys } from "../../model/access.ts";
import { invalid, isPublicName, PUBLIC, parameterArn } from "../../model/ssm/parameter.ts";
import { type Listed, listParameters, versionsOf } from "../../model/ssm/parameter-rows.ts";
import { pageLimit, takePage } from "../../protocol/pages.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { mustFind, ownParameters } from "./named-parameter.ts";
import { matcher, olderMatcher } from "./parameter-filters.ts";
import { shownHistory, shownMetadata, shownParameter } from "./shown-parameter.ts";

const DESCRIBED = { min: 1, max: 50 };
const BY_PATH = { min: 1, max: 10 };

interface Paged {
  readonly MaxResults?: number | undefined;
  readonly NextToken?: string | undefined;
}

/** The page that the request asks for, of items in a fixed order; the next one starts after the last item's key. */
function pageOf<T>(
  ctx: RequestContext,
  action: string,
  input: Paged,
  limits: { readonly min: number; readonly max: number },
  all: readonly T[],
  key: (item: T) => string,
): { readonly page: readonly T[]; readonly token: { readonly NextToken?: string } } {
  const limit = pageLimit("ssm", "MaxResults", input.MaxResults, limits) ?? limits.max;
  const owner = [ctx.caller.accountId, ctx.region];
  const scope = { service: "ssm", action, owner, parameters: input } as const;
  const after = ctx.parts.pages.open(scope, input.NextToken);
  const rest = after === undefined ? all : all.filter((item) => key(item) > after);
  const { page, next } = takePage(rest, limit);
  return { page, token: next === undefined ? {} : { NextToken: ctx.parts.pages.seal(scope, key(next)) } };
}

/** The caller's parameters, without their values. */
export const describeParameters = operation({
  action: "ssm:DescribeParameters",
  schema: DescribeParameters$,
  access: "read",
  resolve: async (ctx: RequestContext, _input: DescribeParametersRequest) => ({
    checks: [
      { action: "ssm:DescribeParameters", resource: `arn:aws:ssm:${ctx.region}:${ctx.caller.accountId}:*`, keys: {} },
    ],
  }),
  async run(ctx, input): Promise<DescribeParametersResult> {
    if (input.Filters?.length && input.ParameterFilters?.length) {
      throw invalid("You can use either Filters or ParameterFilters in a single request.");
    }
    const matches = input.Filters?.length ? olderMatcher(input.Filters) : matcher("describe", input.ParameterFilters);
    // Parameters shared by other accounts: there are none.
    const own = input.Shared === true ? [] : await listParameters(ctx.database.read, ownParameters(ctx));
    const { page, token } = pageOf(ctx, "DescribeParameters", input, DESCRIBED, own.filter(matches), nameOf);
    return { Parameters: page.map((one) => shownMetadata(one, one.current)), ...token };
  },
});

/** Values of the parameters right under a path, or anywhere under it. `/aws/service/…` lists the public ones. */
export const getParametersByPath = operation({
  action: "ssm:GetParametersByPath",
  schema: GetParametersByPath$,
  access: "read",
  async resolve(ctx: RequestContext, input: GetParametersByPathRequest) {
    const path = input.Path ?? "";
    if (!/^(\/[a-zA-Z0-9_.-]+)*\/?$/.test(path) || !path.startsWith("/")) {
      throw invalid(
        'The parameter doesn\'t meet the parameter name requirements. The parameter name must begin with a forward slash "/". It can\'t be prefixed with "aws" or "ssm" (case-insensitive). It must use only letters, numbers, or the following symbols: . (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if specified, must use the forward slash symbol "/".',
      );
    }
    const accountId = isPublicName(`${path}/`) ? PUBLIC : ctx.caller.accountId;
    const keys: ConditionKeys = { "ssm:Recursive": String(input.Recursive === true) };
    const resource = parameterArn(ctx.region, accountId, path.replace(/\/$/, ""));
    return { path, accountId, checks: [{ action: "ssm:GetParametersByPath", resource, keys }] };
  },
  async run(ctx, input, { path, accountId }): Promise<GetParametersByPathResult> {
    const matches = matcher("path", input.ParameterFilters);
    const prefix = path.endsWith("/") ? path : `${path}/`;
    const recursive = input.Recursive === true;
    const all = await listParameters(ctx.database.read, { accountId, region: ctx.region });
    const under = all.filter(
      ({ name }) => name.startsWith(prefix) && (recursive || !name.slice(prefix.length).includes("/")),
    );
    // The root also holds the parameters without a path.
    const plain = prefix === "/" ? all.filter(({ name }) => !name.includes("/")) : [];
    const found = [...under, ...plain].sort((a, b) => (a.name < b.name ? -1 : 1)).filter(matches);
    const { page, token } = pageOf(ctx, "GetParametersByPath", input, BY_PATH, found, nameOf);
    return { Parameters: page.map((one) => shownParameter(one, one.current, undefined)), ...token };
  },
});

const nameOf = (one: Listed): string => one.name;

/** Every kept version with its value and labels, oldest first. */
export const getParameterHistory = operation({
  action: "ssm:GetParameterHistory",
  schema: GetParameterHistory$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetParameterHistoryRequest) =>
    mustFind(ctx, "ssm:GetParameterHistory", input.Name ?? ""),
  async run(ctx, input, { parameter }): Promise<GetParameterHistoryResult> {
    const versions = await versionsOf(ctx.database.read, parameter);
    // Padded, so that keys sort as numbers do.
    const key = ({ version }: { readonly version: number }) => String(version).padStart(10, "0");
    const { page, token } = pageOf(ctx, "GetParameterHistory", input, DESCRIBED, versions, key);
    return { Parameters: page.map(shownHistory), ...token };
  },
});
