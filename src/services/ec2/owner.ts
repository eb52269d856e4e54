import type { Owner } from "../../model/vpc.ts";
import type { RequestContext } from "../context.ts";

/** Whose resources a call is about: the caller's account, in the Region that the call was signed for. */
export const ownerOf = (ctx: RequestContext): Owner => ({ accountId: ctx.caller.accountId, region: ctx.region });
