import {
  DeleteParameter$,
  type DeleteParameterRequest,
  type DeleteParameterResult,
  DeleteParameters$,
  type DeleteParametersRequest,
  type DeleteParametersResult,
} from "@aws-sdk/client-ssm";
import { invalid } from "../../model/ssm/parameter.ts";
import { deleteParameterRow } from "../../model/ssm/parameter-rows.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { checkNamed, findNamed, mustFindOwn } from "./named-parameter.ts";

const MOST_NAMES = 10;

/** Deletes a parameter with all its versions. */
export const deleteParameter = operation({
  action: "ssm:DeleteParameter",
  schema: DeleteParameter$,
  access: "write",
  resolve: (ctx: RequestContext, input: DeleteParameterRequest) =>
    mustFindOwn(ctx, "ssm:DeleteParameter", input.Name ?? ""),
  async run(ctx, _input, { parameter }, grant): Promise<DeleteParameterResult> {
    await ctx.database.transaction((tx) => deleteParameterRow(grant, tx, parameter));
    return {};
  },
});

/** Up to ten at once; what is not there, or not the caller's, is named and is no error. */
export const deleteParameters = operation({
  action: "ssm:DeleteParameters",
  schema: DeleteParameters$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeleteParametersRequest) {
    const names = [...new Set(input.Names ?? [])];
    if (names.length === 0 || names.length > MOST_NAMES) {
      throw invalid(
        `1 validation error detected: Value '[${names.join(", ")}]' at 'names' failed to satisfy constraint: Member must have length between 1 and ${MOST_NAMES}.`,
      );
    }
    const named = await Promise.all(names.map(async (text) => ({ text, ...(await findNamed(ctx, text)) })));
    return { named, checks: named.map((one) => checkNamed(ctx, "ssm:DeleteParameters", one)) };
  },
  async run(ctx, _input, { named }, grant): Promise<DeleteParametersResult> {
    const deleted: string[] = [];
    const missing: string[] = [];
    await ctx.database.transaction(async (tx) => {
      for (const { text, parameter } of named) {
        if (parameter === undefined || parameter.owner.accountId !== ctx.caller.accountId) missing.push(text);
        else {
          await deleteParameterRow(grant, tx, parameter);
          deleted.push(text);
        }
      }
    });
    return { DeletedParameters: deleted, InvalidParameters: missing };
  },
});
