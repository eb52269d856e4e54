import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import type { Action, ConditionKeys } from "../../../model/access.ts";
import { ec2Arn } from "../../../model/arn.ts";
import { instanceKeys, instanceNotFound, instancesByIds } from "../../../model/instance.ts";
import { tagsOf } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { ownerOf } from "../owner.ts";

/** The one instance that a call is about, with its check. @throws ApiError `InvalidInstanceID.*`, `MissingParameter` */
export async function namedInstance(
  ctx: RequestContext,
  action: Action,
  id: string | undefined,
  keys: ConditionKeys = {},
) {
  if (id === undefined) throw new ApiError("MissingParameter", "The request must contain the parameter InstanceId");
  const parsed = parseId("instance", id);
  const [instance] = await instancesByIds(ctx.database.read, ownerOf(ctx), [parsed]);
  if (instance === undefined) throw instanceNotFound(ownerOf(ctx), [parsed]);
  const tags = await tagsOf(ctx.database.read, instance.account_id, [instance.id]);
  return {
    instance,
    checks: [
      {
        action,
        resource: ec2Arn(ctx.region, instance.account_id, "instance", instance.id),
        keys: { ...instanceKeys(instance, tags.get(instance.id) ?? []), ...keys },
      },
    ],
  };
}
