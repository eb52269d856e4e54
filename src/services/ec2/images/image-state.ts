// EnableImage and DisableImage: take an image out of use and back. Disabling takes back every launch permission for good.
import {
  DisableImage$,
  type DisableImageRequest,
  type DisableImageResult,
  EnableImage$,
  type EnableImageRequest,
  type EnableImageResult,
} from "@aws-sdk/client-ec2";
import { mustBeReady } from "../../../model/image.ts";
import { dropPermissions, updateImage } from "../../../model/image-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { resolveOwnImage } from "./own-image.ts";

export const disableImage = operation({
  action: "ec2:DisableImage",
  schema: DisableImage$,
  access: "write",
  resolve: (ctx: RequestContext, input: DisableImageRequest) => resolveOwnImage(ctx, "ec2:DisableImage", input.ImageId),
  async run(ctx, _input, { image }, grant): Promise<DisableImageResult> {
    mustBeReady(image, ["available", "disabled"]);
    await ctx.database.transaction(async (tx) => {
      await updateImage(grant, tx, image.id, { state: "disabled" });
      await dropPermissions(grant, tx, image.id);
    });
    return { Return: true };
  },
});

export const enableImage = operation({
  action: "ec2:EnableImage",
  schema: EnableImage$,
  access: "write",
  resolve: (ctx: RequestContext, input: EnableImageRequest) => resolveOwnImage(ctx, "ec2:EnableImage", input.ImageId),
  async run(ctx, _input, { image }, grant): Promise<EnableImageResult> {
    mustBeReady(image, ["available", "disabled"]);
    await ctx.database.transaction((tx) => updateImage(grant, tx, image.id, { state: "available" }));
    return { Return: true };
  },
});
