// What every action on one parameter shares: finding it, and the permission that it takes.
import { ApiError } from "../../base/api-error.ts";
import type { Action, ConditionKeys, ResourceCheck } from "../../model/access.ts";
import {
  isPublicName,
  PUBLIC,
  parameterArn,
  parameterNotFound,
  parseReference,
  type Reference,
} from "../../model/ssm/parameter.ts";
import { findReferenced, type Parameter, type ParameterOwner } from "../../model/ssm/parameter-rows.ts";
import type { RequestContext } from "../context.ts";

/** The caller's own parameters in the Region that the call was signed for. */
export const ownParameters = (ctx: RequestContext): ParameterOwner => ({
  accountId: ctx.caller.accountId,
  region: ctx.region,
});

export interface Named {
  readonly reference: Reference;
  readonly parameter: Parameter | undefined;
}

/** What `text` names, if anything that the caller may know of. */
export async function findNamed(ctx: RequestContext, text: string): Promise<Named> {
  const reference = parseReference(text);
  return { reference, parameter: await findReferenced(ctx.database.read, ownParameters(ctx), reference) };
}

/** Permission to do `action` to what was named, whether or not it is there. */
export function checkNamed<A extends Action>(
  ctx: RequestContext,
  action: A,
  { reference, parameter }: Named,
  keys: ConditionKeys = {},
): ResourceCheck<A> {
  const name = parameter?.name ?? reference.names[0] ?? "";
  const owner =
    parameter?.owner.accountId ?? reference.accountId ?? (isPublicName(name) ? PUBLIC : ctx.caller.accountId);
  return {
    action,
    resource: parameterArn(reference.region ?? ctx.region, owner, name),
    keys: { ...keys, ...tagKeys(parameter?.tags ?? {}) },
  };
}

const tagKeys = (tags: Readonly<Record<string, string>>): ConditionKeys =>
  Object.fromEntries(Object.entries(tags).map(([key, value]) => [`aws:ResourceTag/${key}`, value]));

/**
 * One parameter that must be there.
 * @throws ApiError `ParameterNotFound`, told only to those who may do `action` to it
 */
export async function mustFind<A extends Action>(
  ctx: RequestContext,
  action: A,
  text: string,
): Promise<{ readonly reference: Reference; readonly parameter: Parameter; readonly checks: ResourceCheck<A>[] }> {
  const named = await findNamed(ctx, text);
  const check = checkNamed(ctx, action, named);
  if (named.parameter === undefined) throw hidden(parameterNotFound(text), check.resource);
  return { reference: named.reference, parameter: named.parameter, checks: [check] };
}

/** The same, for actions that change: only the caller's own parameters can be changed. */
export async function mustFindOwn<A extends Action>(ctx: RequestContext, action: A, text: string) {
  const found = await mustFind(ctx, action, text);
  if (found.parameter.owner.accountId !== ctx.caller.accountId) {
    throw new ApiError("AccessDeniedException", `No access to reserved parameter name: ${found.parameter.name}.`);
  }
  return found;
}

const hidden = (error: ApiError, resourceArn: string): ApiError =>
  new ApiError(error.code, error.message, { resourceArn });
