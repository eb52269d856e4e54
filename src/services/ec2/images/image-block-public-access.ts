// Block public access for images: an account's guard, per Region, against sharing an image with everybody.
//
// AWS switches it on for new accounts. Here it starts switched off: "everybody" is the accounts of one installation, and
// what the operator publishes is meant to be seen.
import {
  DisableImageBlockPublicAccess$,
  type DisableImageBlockPublicAccessRequest,
  type DisableImageBlockPublicAccessResult,
  EnableImageBlockPublicAccess$,
  type EnableImageBlockPublicAccessRequest,
  type EnableImageBlockPublicAccessResult,
  GetImageBlockPublicAccessState$,
  type GetImageBlockPublicAccessStateRequest,
  type GetImageBlockPublicAccessStateResult,
} from "@aws-sdk/client-ec2";
import { changeSetting, settingOf } from "../../../model/settings.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { oneOf, required } from "../parameters.ts";

export const getImageBlockPublicAccessState = operation({
  action: "ec2:GetImageBlockPublicAccessState",
  schema: GetImageBlockPublicAccessState$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: GetImageBlockPublicAccessStateRequest) =>
    onAnything("ec2:GetImageBlockPublicAccessState"),
  async run(ctx): Promise<GetImageBlockPublicAccessStateResult> {
    const state = await settingOf(ctx.database.read, ownerOf(ctx), "image-block-public-access");
    return { ImageBlockPublicAccessState: state ?? "unblocked", ManagedBy: "account" };
  },
});

export const enableImageBlockPublicAccess = operation({
  action: "ec2:EnableImageBlockPublicAccess",
  schema: EnableImageBlockPublicAccess$,
  access: "write",
  async resolve(_ctx: RequestContext, input: EnableImageBlockPublicAccessRequest) {
    const name = "imageBlockPublicAccessState";
    required(oneOf(input.ImageBlockPublicAccessState, ["block-new-sharing"], name), name);
    return onAnything("ec2:EnableImageBlockPublicAccess");
  },
  async run(ctx, _input, _resolved, grant): Promise<EnableImageBlockPublicAccessResult> {
    await ctx.database.transaction((tx) =>
      changeSetting(grant, tx, ownerOf(ctx), "image-block-public-access", "block-new-sharing"),
    );
    return { ImageBlockPublicAccessState: "block-new-sharing" };
  },
});

export const disableImageBlockPublicAccess = operation({
  action: "ec2:DisableImageBlockPublicAccess",
  schema: DisableImageBlockPublicAccess$,
  access: "write",
  resolve: async (_ctx: RequestContext, _input: DisableImageBlockPublicAccessRequest) =>
    onAnything("ec2:DisableImageBlockPublicAccess"),
  async run(ctx, _input, _resolved, grant): Promise<DisableImageBlockPublicAccessResult> {
    await ctx.database.transaction((tx) =>
      changeSetting(grant, tx, ownerOf(ctx), "image-block-public-access", "unblocked"),
    );
    return { ImageBlockPublicAccessState: "unblocked" };
  },
});
