// What only the operator may do. The operator is the first account: the platform is a resource of it, so no policy of
// another account reaches it, and within it policies decide who may act (`ingot:CreateAccount` on the platform's ARN).
import type { Action, ResourceCheck } from "../../model/access.ts";
import { operatorAccount } from "../../model/identity/account.ts";
import type { RequestContext } from "../context.ts";

/** `arn:aws:ingot::OPERATOR:platform` */
export async function operatorCheck<A extends Action>(ctx: RequestContext, action: A): Promise<ResourceCheck<A>> {
  const operator = await operatorAccount(ctx.database.read);
  return { action, resource: `arn:aws:ingot::${operator}:platform`, keys: {} };
}
