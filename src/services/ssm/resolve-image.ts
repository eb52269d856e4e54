// `resolve:ssm:NAME[:VERSION|:LABEL]`: an image named by a parameter, as RunInstances and its kin take it.
import { ApiError } from "../../base/api-error.ts";
import { type ImageId, isId } from "../../base/ids.ts";
import type { ResourceCheck } from "../../model/access.ts";
import { selectedVersion } from "../../model/ssm/parameter-rows.ts";
import type { RequestContext } from "../context.ts";
import { checkNamed, findNamed } from "./named-parameter.ts";

const PREFIX = "resolve:ssm:";

export const isSsmImage = (image: string): boolean => image.startsWith(PREFIX);

/**
 * The image that a parameter of the caller's, or a public one, names now.
 * @throws ApiError `InvalidParameterValue` when there is no such parameter, or it holds no image id
 */
export async function resolveSsmImage(ctx: RequestContext, image: string): Promise<ImageId> {
  const { parameter, reference } = await findNamed(ctx, image.slice(PREFIX.length));
  if (parameter === undefined) throw refused(image, "there is no such parameter.");
  try {
    const { value } = await selectedVersion(ctx.database.read, parameter, reference);
    if (isId("image", value)) return value;
  } catch (error) {
    if (error instanceof ApiError) throw refused(image, error.message);
    throw error;
  }
  throw refused(image, "the parameter holds no image id.");
}

/** The permission that reading the parameter takes: EC2 reads it as the caller. */
export const ssmImageCheck = async (ctx: RequestContext, image: string): Promise<ResourceCheck> =>
  checkNamed(ctx, "ssm:GetParameters", await findNamed(ctx, image.slice(PREFIX.length)));

const refused = (image: string, why: string): ApiError =>
  new ApiError("InvalidParameterValue", `Invalid value '${image}' for parameter ImageId: ${why}`);
