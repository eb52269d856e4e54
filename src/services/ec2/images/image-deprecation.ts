// EnableImageDeprecation and DisableImageDeprecation: from that time on an image is left out of other accounts' lists.
// It can still be named, launched and copied.
import {
  DisableImageDeprecation$,
  type DisableImageDeprecationRequest,
  type DisableImageDeprecationResult,
  EnableImageDeprecation$,
  type EnableImageDeprecationRequest,
  type EnableImageDeprecationResult,
} from "@aws-sdk/client-ec2";
import { mustBeReady } from "../../../model/image.ts";
import { updateImage } from "../../../model/image-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { invalidValue, required } from "../parameters.ts";
import { resolveOwnImage } from "./own-image.ts";

/** EC2's furthest deprecation time: ten years from now. */
const MOST_YEARS = 10;
const MINUTE_MS = 60_000;

export const enableImageDeprecation = operation({
  action: "ec2:EnableImageDeprecation",
  schema: EnableImageDeprecation$,
  access: "write",
  async resolve(ctx: RequestContext, input: EnableImageDeprecationRequest) {
    const at = required(input.DeprecateAt, "deprecateAt");
    const furthest = ctx.now();
    furthest.setUTCFullYear(furthest.getUTCFullYear() + MOST_YEARS);
    if (at < ctx.now()) throw invalidValue("deprecateAt", at.toISOString(), "It must be in the future.");
    if (at > furthest) throw invalidValue("deprecateAt", at.toISOString(), `It must be within ${MOST_YEARS} years.`);
    return { at, ...(await resolveOwnImage(ctx, "ec2:EnableImageDeprecation", input.ImageId)) };
  },
  async run(ctx, _input, { image, at }, grant): Promise<EnableImageDeprecationResult> {
    mustBeReady(image, ["available", "disabled"]);
    const minute = new Date(Math.round(at.getTime() / MINUTE_MS) * MINUTE_MS);
    await ctx.database.transaction((tx) => updateImage(grant, tx, image.id, { deprecate_at: minute.toISOString() }));
    return { Return: true };
  },
});

export const disableImageDeprecation = operation({
  action: "ec2:DisableImageDeprecation",
  schema: DisableImageDeprecation$,
  access: "write",
  resolve: (ctx: RequestContext, input: DisableImageDeprecationRequest) =>
    resolveOwnImage(ctx, "ec2:DisableImageDeprecation", input.ImageId),
  async run(ctx, _input, { image }, grant): Promise<DisableImageDeprecationResult> {
    await ctx.database.transaction((tx) => updateImage(grant, tx, image.id, { deprecate_at: null }));
    return { Return: true };
  },
});
