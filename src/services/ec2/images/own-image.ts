// Nearly every image action names one image of the caller's own. What they share before they may run.
import { type ImageId, parseId } from "../../../base/ids.ts";
import type { Action, ConditionKeys, ResourceCheck } from "../../../model/access.ts";
import { imageArn } from "../../../model/arn.ts";
import { canLaunch, type Image, imageGone, imageKeys, imageNotFound, notImageOwner } from "../../../model/image.ts";
import { findImage, permissionsOf } from "../../../model/image-rows.ts";
import { tagsOf } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { required } from "../parameters.ts";
import { viewerOf } from "./viewer.ts";

export const parseImageId = (text: string | undefined): ImageId => parseId("image", required(text, "imageId"));

/**
 * The caller's own living image, and the question whether `action` may be done to it.
 * @throws ApiError `InvalidAMIID.Malformed`, `.NotFound`, `.Unavailable` (deregistered), `AuthFailure` (someone else's)
 */
export async function resolveOwnImage(
  ctx: RequestContext,
  action: Action,
  imageId: string | undefined,
  keys: ConditionKeys = {},
): Promise<{ readonly image: Image; readonly checks: ResourceCheck[] }> {
  const id = parseImageId(imageId);
  const image = await findImage(ctx.database.read, ctx.region, id);
  if (image === undefined) throw imageNotFound(ctx.region, id);
  if (image.account_id !== ctx.caller.accountId) {
    const shared = canLaunch(image, await permissionsOf(ctx.database.read, id), viewerOf(ctx));
    throw shared ? notImageOwner(ctx.region, id) : imageNotFound(ctx.region, id);
  }
  if (image.state === "deregistered") throw imageGone(ctx.region, id);
  return { image, checks: [await imageCheck(ctx, action, image, keys)] };
}

/** May the caller do `action` to the image? */
export async function imageCheck(
  ctx: RequestContext,
  action: Action,
  image: Image,
  keys: ConditionKeys = {},
): Promise<ResourceCheck> {
  const tags = await tagsOf(ctx.database.read, ctx.caller.accountId, [image.id]);
  return {
    action,
    resource: imageArn(image.region, image.id),
    keys: { ...imageKeys(image, tags.get(image.id) ?? []), ...keys },
  };
}
