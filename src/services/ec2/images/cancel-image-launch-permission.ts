import {
  CancelImageLaunchPermission$,
  type CancelImageLaunchPermissionRequest,
  type CancelImageLaunchPermissionResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { changePermissions, permissionsOf, usableImage } from "../../../model/image-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { imageCheck, parseImageId } from "./own-image.ts";
import { viewerOf } from "./viewer.ts";

/** The recipient gives back its own access. What everybody or an organisation was given cannot be given back by one. */
export const cancelImageLaunchPermission = operation({
  action: "ec2:CancelImageLaunchPermission",
  schema: CancelImageLaunchPermission$,
  access: "write",
  async resolve(ctx: RequestContext, input: CancelImageLaunchPermissionRequest) {
    const image = await usableImage(ctx.database.read, viewerOf(ctx), ctx.region, parseImageId(input.ImageId));
    return {
      image,
      checks: [await imageCheck(ctx, "ec2:CancelImageLaunchPermission", image)],
      recipients: image.account_id === ctx.caller.accountId ? [] : [image.account_id],
    };
  },
  async run(ctx, _input, { image }, grant): Promise<CancelImageLaunchPermissionResult> {
    const mine = { kind: "user", value: ctx.caller.accountId } as const;
    await ctx.database.transaction(async (tx) => {
      const permissions = await permissionsOf(tx, image.id);
      if (!permissions.some(({ kind, value }) => kind === mine.kind && value === mine.value)) {
        throw new ApiError(
          "OperationNotPermitted",
          `The image '${image.id}' is not shared with your account by its ID.`,
        );
      }
      await changePermissions(grant, tx, image.id, { remove: [mine] });
    });
    return { Return: true };
  },
});
