import {
  GetInstanceUefiData$,
  type GetInstanceUefiDataRequest,
  type GetInstanceUefiDataResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import { ec2Arn } from "../../../model/arn.ts";
import { instanceKeys, instancesByIds } from "../../../model/instance.ts";
import { tagsOf } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { required } from "../parameters.ts";

/**
 * An instance's non-volatile UEFI variables, which Ingot does not keep yet.
 * Terraform asks for them with an image's id whenever it reads an `aws_ami`, and takes the refusal for "none".
 */
export const getInstanceUefiData = operation({
  action: "ec2:GetInstanceUefiData",
  schema: GetInstanceUefiData$,
  access: "read",
  async resolve(ctx: RequestContext, input: GetInstanceUefiDataRequest) {
    const id = parseId("instance", required(input.InstanceId, "instanceId"));
    const [instance] = await instancesByIds(ctx.database.read, ownerOf(ctx), [id]);
    const tags = await tagsOf(ctx.database.read, ctx.caller.accountId, [id]);
    const keys = instance === undefined ? {} : instanceKeys(instance, tags.get(id) ?? []);
    return {
      checks: [
        {
          action: "ec2:GetInstanceUefiData",
          resource: ec2Arn(ctx.region, ctx.caller.accountId, "instance", id),
          keys,
        },
      ],
    };
  },
  async run(): Promise<GetInstanceUefiDataResult> {
    throw new ApiError("UnsupportedOperation", "UEFI variables of instances are not kept.");
  },
});
