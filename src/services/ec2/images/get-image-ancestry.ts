import {
  GetImageAncestry$,
  type GetImageAncestryRequest,
  type GetImageAncestryResult,
  type ImageAncestryEntry,
} from "@aws-sdk/client-ec2";
import type { ImageId, Region } from "../../../base/ids.ts";
import type { Image } from "../../../model/image.ts";
import { findImage, usableImage } from "../../../model/image-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { imageCheck, parseImageId } from "./own-image.ts";
import { viewerOf } from "./viewer.ts";

/** EC2's longest answer. */
const MOST_ENTRIES = 50;

/**
 * The image, what it was made from, and so on back to an image without a recorded parent or one that the platform brought
 * along. Parents are named even where the caller may not use them, and after they were deregistered.
 */
export const getImageAncestry = operation({
  action: "ec2:GetImageAncestry",
  schema: GetImageAncestry$,
  access: "read",
  async resolve(ctx: RequestContext, input: GetImageAncestryRequest) {
    const image = await usableImage(ctx.database.read, viewerOf(ctx), ctx.region, parseImageId(input.ImageId));
    return { image, checks: [await imageCheck(ctx, "ec2:GetImageAncestry", image)] };
  },
  async run(ctx, _input, { image }): Promise<GetImageAncestryResult> {
    const entries: ImageAncestryEntry[] = [];
    let next: Image | undefined = image;
    while (next !== undefined && entries.length < MOST_ENTRIES) {
      const { source_image_id: source, source_image_region: region } = next;
      entries.push({
        CreationDate: new Date(next.created_at),
        ImageId: next.id,
        ...(next.owner_alias === null ? {} : { ImageOwnerAlias: next.owner_alias }),
        ...(source === null ? {} : { SourceImageId: source, SourceImageRegion: region ?? next.region }),
      });
      if (source === null || next.owner_alias !== null) break;
      next = await findImage(ctx.database.read, (region ?? next.region) as Region, source as ImageId);
    }
    return { ImageAncestryEntries: entries };
  },
});
