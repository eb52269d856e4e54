// Enable- and DisableImageDeregistrationProtection. With a cool-down, switching it off takes effect a day later.
import {
  DisableImageDeregistrationProtection$,
  type DisableImageDeregistrationProtectionRequest,
  type DisableImageDeregistrationProtectionResult,
  EnableImageDeregistrationProtection$,
  type EnableImageDeregistrationProtectionRequest,
  type EnableImageDeregistrationProtectionResult,
} from "@aws-sdk/client-ec2";
import { coolingProtection, deregistrationProtection, mustBeReady } from "../../../model/image.ts";
import { updateImage } from "../../../model/image-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { resolveOwnImage } from "./own-image.ts";

export const enableImageDeregistrationProtection = operation({
  action: "ec2:EnableImageDeregistrationProtection",
  schema: EnableImageDeregistrationProtection$,
  access: "write",
  resolve: (ctx: RequestContext, input: EnableImageDeregistrationProtectionRequest) =>
    resolveOwnImage(ctx, "ec2:EnableImageDeregistrationProtection", input.ImageId),
  async run(ctx, input, { image }, grant): Promise<EnableImageDeregistrationProtectionResult> {
    mustBeReady(image, ["available", "disabled"]);
    const protection = input.WithCooldown === true ? "enabled-with-cooldown" : "enabled-without-cooldown";
    await ctx.database.transaction((tx) => updateImage(grant, tx, image.id, { deregistration_protection: protection }));
    return { Return: protection };
  },
});

export const disableImageDeregistrationProtection = operation({
  action: "ec2:DisableImageDeregistrationProtection",
  schema: DisableImageDeregistrationProtection$,
  access: "write",
  resolve: (ctx: RequestContext, input: DisableImageDeregistrationProtectionRequest) =>
    resolveOwnImage(ctx, "ec2:DisableImageDeregistrationProtection", input.ImageId),
  async run(ctx, _input, { image }, grant): Promise<DisableImageDeregistrationProtectionResult> {
    const now = ctx.now();
    const current = deregistrationProtection(image, now);
    // A cool-down that runs already runs on: asking again neither shortens nor restarts it.
    const cooling = current === "enabled-with-cooldown" ? coolingProtection(now) : current;
    const protection = current === "enabled-without-cooldown" ? "disabled" : cooling;
    await ctx.database.transaction((tx) =>
      updateImage(grant, tx, image.id, {
        deregistration_protection: protection === "disabled" ? null : protection,
      }),
    );
    return { Return: protection };
  },
});
