import type { Viewer } from "../../../model/image.ts";
import type { RequestContext } from "../../context.ts";

/** As whom the caller sees images. */
export const viewerOf = ({ caller }: RequestContext): Viewer => ({
  accountId: caller.accountId,
  memberOf: caller.organization?.memberOf ?? [],
});
