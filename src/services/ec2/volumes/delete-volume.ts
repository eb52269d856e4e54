import { DeleteVolume$, type DeleteVolumeRequest } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { ownVolume, wantDeleted } from "../../../model/volume-rows.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { resolveOwnVolume } from "./own-volume.ts";

/** Only a volume that hangs on nothing. Its bytes go once no capture reads them any more. */
export const deleteVolume = operation({
  action: "ec2:DeleteVolume",
  schema: DeleteVolume$,
  access: "write",
  resolve: (ctx: RequestContext, input: DeleteVolumeRequest) =>
    resolveOwnVolume(ctx, "ec2:DeleteVolume", input.VolumeId),
  async run(ctx, _input, { volume: { id } }, grant): Promise<Record<string, never>> {
    await ctx.database.transaction(async (tx) => {
      const volume = await ownVolume(tx, ownerOf(ctx), id);
      if (volume.state === "in-use") {
        throw new ApiError("VolumeInUse", `Volume ${id} is currently attached to ${volume.instance_id}`);
      }
      if (volume.state !== "deleting") await wantDeleted(grant, tx, id);
    });
    ctx.parts.host.poke();
    return {};
  },
});
