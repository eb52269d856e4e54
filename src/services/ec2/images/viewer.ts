import type { Viewer } from "../../../model/image.ts";
import type { RequestContext } from "../../context.ts";

/** As whom the caller sees images. Organisations are not there yet, so no account is a member of one. */
export const viewerOf = (ctx: RequestContext): Viewer => ({ accountId: ctx.caller.accountId });
