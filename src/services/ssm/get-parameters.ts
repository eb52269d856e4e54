import {
  GetParameter$,
  type GetParameterRequest,
  type GetParameterResult,
  GetParameters$,
  type GetParametersRequest,
  type GetParametersResult,
} from "@aws-sdk/client-ssm";
import { ApiError } from "../../base/api-error.ts";
import { invalid } from "../../model/ssm/parameter.ts";
import { selectedVersion } from "../../model/ssm/parameter-rows.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { checkNamed, findNamed, mustFind } from "./named-parameter.ts";
import { shownParameter } from "./shown-parameter.ts";

const MOST_NAMES = 10;

/** One parameter's value: by name or ARN, the newest, or the one with a version number or a label. */
export const getParameter = operation({
  action: "ssm:GetParameter",
  schema: GetParameter$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetParameterRequest) => mustFind(ctx, "ssm:GetParameter", input.Name ?? ""),
  async run(ctx, _input, { parameter, reference }): Promise<GetParameterResult> {
    const version = await selectedVersion(ctx.database.read, parameter, reference);
    return { Parameter: shownParameter(parameter, version, reference.selectorText) };
  },
});

/** Up to ten at once; what is not there is named and is no error. */
export const getParameters = operation({
  action: "ssm:GetParameters",
  schema: GetParameters$,
  access: "read",
  async resolve(ctx: RequestContext, input: GetParametersRequest) {
    const names = input.Names ?? [];
    if (names.length === 0 || names.length > MOST_NAMES) {
      throw invalid(
        `1 validation error detected: Value '[${names.join(", ")}]' at 'names' failed to satisfy constraint: Member must have length between 1 and ${MOST_NAMES}.`,
      );
    }
    const named = await Promise.all(
      [...new Set(names)].map(async (text) => ({ text, ...(await findNamed(ctx, text)) })),
    );
    return { named, checks: named.map((one) => checkNamed(ctx, "ssm:GetParameters", one)) };
  },
  async run(ctx, _input, { named }): Promise<GetParametersResult> {
    const parameters = [];
    const missing = [];
    for (const { text, parameter, reference } of named) {
      if (parameter === undefined) {
        missing.push(text);
        continue;
      }
      try {
        const version = await selectedVersion(ctx.database.read, parameter, reference);
        parameters.push(shownParameter(parameter, version, reference.selectorText));
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        missing.push(text);
      }
    }
    return { Parameters: parameters, InvalidParameters: missing };
  },
});
