// What of a template would not launch, as its maker would be told by RunInstances: EC2 keeps such a template and warns.
import type { RequestLaunchTemplateData, ValidationWarning } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import { findInstanceType } from "../../../compute/instance-types.ts";
import { imageForLaunch } from "../../../model/image-rows.ts";
import { keyPairByName, keyPairNotFound } from "../../../model/key-pair.ts";
import { groupsByIds } from "../../../model/security-group.ts";
import { subnetById } from "../../../model/vpc.ts";
import type { RequestContext } from "../../context.ts";
import { isSsmImage } from "../../ssm/resolve-image.ts";
import { parseMappings } from "../block-device-mappings.ts";
import { viewerOf } from "../images/viewer.ts";
import { parseLaunch } from "../instances/launch-request.ts";
import { ownerOf } from "../owner.ts";
import { overTemplate } from "./template-data.ts";

/** Stands for an image where the template leaves it to the launch. */
const SOME_IMAGE = "ami-00000000";

export async function templateWarnings(
  ctx: RequestContext,
  data: RequestLaunchTemplateData,
): Promise<{ readonly Warning?: ValidationWarning }> {
  const owner = ownerOf(ctx);
  const db = ctx.database.read;
  const { ImageId: image, KeyName: keyName } = data;
  const subnets = (data.NetworkInterfaces ?? []).flatMap((card) => card.SubnetId ?? []);
  const groups = [
    ...(data.SecurityGroupIds ?? []),
    ...(data.NetworkInterfaces ?? []).flatMap((card) => card.Groups ?? []),
  ];
  const questions: (() => unknown)[] = [
    () => parseLaunch(overTemplate(data, { MinCount: 1, MaxCount: 1, ImageId: image ?? SOME_IMAGE })),
    () => parseMappings(data.BlockDeviceMappings),
    () => data.InstanceType !== undefined && findInstanceType(data.InstanceType),
    () =>
      image !== undefined &&
      !isSsmImage(image) &&
      imageForLaunch(db, viewerOf(ctx), ctx.region, parseId("image", image)),
    async () => {
      if (keyName !== undefined && (await keyPairByName(db, owner, keyName)) === undefined)
        throw keyPairNotFound(keyName);
    },
    () =>
      groupsByIds(
        db,
        owner,
        groups.map((id) => parseId("securityGroup", id)),
      ),
    ...subnets.map((id) => () => subnetById(db, owner, parseId("subnet", id))),
  ];
  const errors: { Code: string; Message: string }[] = [];
  for (const ask of questions) {
    try {
      await ask();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      errors.push({ Code: error.code, Message: error.message });
    }
  }
  return errors.length === 0 ? {} : { Warning: { Errors: errors } };
}
