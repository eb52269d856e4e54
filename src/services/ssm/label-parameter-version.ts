import {
  LabelParameterVersion$,
  type LabelParameterVersionRequest,
  type LabelParameterVersionResult,
  UnlabelParameterVersion$,
  type UnlabelParameterVersionRequest,
  type UnlabelParameterVersionResult,
} from "@aws-sdk/client-ssm";
import type { Db } from "../../database/database.ts";
import { invalid, MOST_LABELS, parameterNotFound } from "../../model/ssm/parameter.ts";
import { findParameter, labelVersion, type Parameter, unlabelVersion } from "../../model/ssm/parameter-rows.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { mustFindOwn } from "./named-parameter.ts";

function labelsOf({ Labels: labels = [] }: { readonly Labels: readonly string[] | undefined }): string[] {
  if (labels.length > 0 && labels.length <= MOST_LABELS) return [...labels];
  throw invalid(
    `1 validation error detected: Value '[${labels.join(", ")}]' at 'labels' failed to satisfy constraint: Member must have length between 1 and ${MOST_LABELS}.`,
  );
}

/** The parameter as it is now, inside the transaction that changes it. */
async function current(tx: Db, { owner, name }: Parameter): Promise<Parameter> {
  const found = await findParameter(tx, owner, name);
  if (found === undefined) throw parameterNotFound(name);
  return found;
}

/** Names a version. A label that another version has moves. */
export const labelParameterVersion = operation({
  action: "ssm:LabelParameterVersion",
  schema: LabelParameterVersion$,
  access: "write",
  resolve: (ctx: RequestContext, input: LabelParameterVersionRequest) =>
    mustFindOwn(ctx, "ssm:LabelParameterVersion", input.Name ?? ""),
  async run(ctx, input, { parameter }, grant): Promise<LabelParameterVersionResult> {
    const labels = labelsOf(input);
    const result = await ctx.database.transaction(async (tx) =>
      labelVersion(grant, tx, await current(tx, parameter), input.ParameterVersion, labels),
    );
    return { InvalidLabels: [...result.invalid], ParameterVersion: result.version };
  },
});

/** Takes labels off a version. */
export const unlabelParameterVersion = operation({
  action: "ssm:UnlabelParameterVersion",
  schema: UnlabelParameterVersion$,
  access: "write",
  resolve: (ctx: RequestContext, input: UnlabelParameterVersionRequest) =>
    mustFindOwn(ctx, "ssm:UnlabelParameterVersion", input.Name ?? ""),
  async run(ctx, input, { parameter }, grant): Promise<UnlabelParameterVersionResult> {
    const labels = labelsOf(input);
    const result = await ctx.database.transaction(async (tx) =>
      unlabelVersion(grant, tx, await current(tx, parameter), input.ParameterVersion ?? 0, labels),
    );
    return { RemovedLabels: [...result.removed], InvalidLabels: [...result.invalid] };
  },
});
