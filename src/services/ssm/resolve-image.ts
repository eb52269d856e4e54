// `resolve:ssm:NAME[:VERSION|:LABEL]`: an image named by a parameter, as RunInstances and its kin take it.
import { ApiError } from "../../base/api-error.ts";
import { type ImageId, isId } from "../../base/ids.ts";
import type { RequestContext } from "../context.ts";

const PREFIX = "resolve:ssm:";

export const isSsmImage = (image: string): boolean => image.startsWith(PREFIX);

/** @throws ApiError `InvalidParameterValue` when there is no such parameter, or it holds no image id */
export async function resolveSsmImage(ctx: RequestContext, image: string): Promise<ImageId> {
  const [name = "", selector] = image.slice(PREFIX.length).split(/:(?=[^/]*$)/);
  const db = ctx.database.read;
  const versions = await db
    .selectFrom("ssm_parameter_versions")
    .select(["account_id", "version", "value", "labels"])
    .where("account_id", "in", [ctx.caller.accountId, ""])
    .where("region", "=", ctx.region)
    .where("name", "=", name)
    .orderBy("account_id", "desc")
    .orderBy("version", "desc")
    .execute();
  const chosen =
    selector === undefined
      ? versions[0]
      : versions.find(
          (row) => String(row.version) === selector || (JSON.parse(row.labels) as string[]).includes(selector),
        );
  if (chosen === undefined || !isId("image", chosen.value)) {
    throw new ApiError("InvalidParameterValue", `Invalid value '${image}' for parameter ImageId: it names no image.`);
  }
  return chosen.value;
}
