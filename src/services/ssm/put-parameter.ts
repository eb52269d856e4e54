import { PutParameter$, type PutParameterRequest, type PutParameterResult } from "@aws-sdk/client-ssm";
import { ApiError } from "../../base/api-error.ts";
import { isId } from "../../base/ids.ts";
import type { ResourceCheck } from "../../model/access.ts";
import { usableImage } from "../../model/image-rows.ts";
import {
  checkNewName,
  invalid,
  type ParameterVersion,
  parameterArn,
  parseReference,
  tierFor,
} from "../../model/ssm/parameter.ts";
import { addVersion, findParameter, selectedVersion } from "../../model/ssm/parameter-rows.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import { checkPattern } from "./allowed-pattern.ts";
import { ownParameters } from "./named-parameter.ts";
import { parseTags, requestTagKeys } from "./tags.ts";

/**
 * The name in an ARN. Parameters are made where the call is: an ARN of elsewhere must not become one of the same name here.
 * @throws ApiError `ValidationException`
 */
function ownName(ctx: RequestContext, arn: string): string {
  const { accountId, region, names } = parseReference(arn);
  if (accountId !== ctx.caller.accountId || region !== ctx.region) {
    throw invalid(`The parameter ${arn} belongs to another account or Region.`);
  }
  return names[0] ?? "";
}

/**
 * Makes a parameter, or a new version of one. What an overwriting call does not say stays as it was.
 *
 * Gaps, on purpose: SecureString (there is no KMS), parameter policies, `aws:ssm:integration`. An image is checked before
 * the answer; AWS checks it later and tells by an event.
 */
export const putParameter = operation({
  action: "ssm:PutParameter",
  schema: PutParameter$,
  access: "write",
  async resolve(ctx: RequestContext, input: PutParameterRequest) {
    const text = input.Name ?? "";
    // A name that is none is refused by the name it has; only an ARN is taken apart.
    const name = text.startsWith("arn:") ? ownName(ctx, text) : text;
    const tags = parseTags(input.Tags);
    const resource = parameterArn(ctx.region, ctx.caller.accountId, name);
    const before = await findParameter(ctx.database.read, ownParameters(ctx), name);
    const keys = {
      "ssm:Overwrite": String(input.Overwrite === true),
      ...requestTagKeys(tags),
      ...Object.fromEntries(
        Object.entries(before?.tags ?? {}).map(([key, value]) => [`aws:ResourceTag/${key}`, value]),
      ),
    };
    const checks: ResourceCheck[] = [{ action: "ssm:PutParameter", resource, keys }];
    if (Object.keys(tags).length > 0) checks.push({ action: "ssm:AddTagsToResource", resource, keys });
    return { name, tags, checks };
  },
  async run(ctx, input, { name, tags }, grant): Promise<PutParameterResult> {
    checkNewName(name);
    const value = input.Value ?? "";
    if (value === "") {
      throw invalid(
        "1 validation error detected: Value at 'value' failed to satisfy constraint: Member must have length greater than or equal to 1.",
      );
    }
    refuseUnsupported(input);
    const overwrite = input.Overwrite === true;
    if (overwrite && Object.keys(tags).length > 0) {
      throw invalid(
        "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.",
      );
    }
    const owner = ownParameters(ctx);
    return ctx.database.transaction(async (tx) => {
      const parameter = await findParameter(tx, owner, name);
      if (parameter !== undefined && !overwrite) {
        throw new ApiError(
          "ParameterAlreadyExists",
          "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
        );
      }
      const before = parameter === undefined ? undefined : await selectedVersion(tx, parameter, parseReference(name));
      const type = typeFor(input, before);
      const pattern = input.AllowedPattern ?? before?.allowed_pattern ?? null;
      if (pattern !== null) checkPattern(pattern, value);
      const dataType = dataTypeFor(input, before);
      if (dataType === "aws:ec2:image") {
        if (!isId("image", value)) throw imageRefused(value);
        try {
          await usableImage(tx, { accountId: ctx.caller.accountId }, ctx.region, value);
        } catch (cause) {
          if (cause instanceof ApiError) throw imageRefused(value);
          throw cause;
        }
      }
      const tier = tierFor(value, input.Tier, before?.tier);
      const version = await addVersion(
        grant,
        tx,
        owner,
        name,
        {
          type,
          value,
          data_type: dataType,
          tier,
          description: input.Description ?? before?.description ?? null,
          allowed_pattern: pattern,
          modified_at: ctx.now().toISOString(),
          modified_by: ctx.caller.arn,
        },
        tags,
      );
      return { Version: version, Tier: tier };
    });
  },
});

const imageRefused = (value: string): ApiError =>
  invalid(`The value '${value}' is not the ID of an AMI that this account can use in this Region.`);

function refuseUnsupported(input: PutParameterRequest): void {
  if (input.Type === "SecureString") {
    throw new ApiError(
      "UnsupportedParameterType",
      "SecureString parameters are not supported: there is no key management service here. Use String or StringList.",
    );
  }
  if (input.KeyId !== undefined) throw invalid("KeyId is required for SecureString type parameter only.");
  if (input.Policies !== undefined && !/^\s*(\[\s*\])?\s*$/.test(input.Policies)) {
    throw invalid("Parameter policies are not supported.");
  }
  if ((input.Description?.length ?? 0) > 1024) {
    throw invalid(
      "1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length less than or equal to 1024.",
    );
  }
}

function typeFor(input: PutParameterRequest, before: ParameterVersion | undefined): ParameterVersion["type"] {
  const { Type: type } = input;
  if (type === undefined) {
    if (before !== undefined) return before.type;
    throw invalid("A parameter type is required when you create a parameter.");
  }
  if (type !== "String" && type !== "StringList") {
    throw invalid(
      `1 validation error detected: Value '${type}' at 'type' failed to satisfy constraint: Member must satisfy enum value set: [SecureString, StringList, String].`,
    );
  }
  if (before !== undefined && before.type !== type) {
    throw new ApiError(
      "HierarchyTypeMismatchException",
      "Parameter Store does not support changing a parameter type in a hierarchy. For example, you can't change a parameter from a String type to a SecureString type. You must create a new, unique parameter.",
    );
  }
  return type;
}

function dataTypeFor(input: PutParameterRequest, before: ParameterVersion | undefined): ParameterVersion["data_type"] {
  const { DataType: dataType = before?.data_type ?? "text", Type: type } = input;
  if (dataType !== "text" && dataType !== "aws:ec2:image") {
    throw invalid(
      `The following data type is not supported: ${dataType} (Data type names are all lowercase.) Supported: text, aws:ec2:image.`,
    );
  }
  if (dataType === "aws:ec2:image" && type === "StringList") {
    throw invalid("Parameters of data type aws:ec2:image are of type String.");
  }
  return dataType;
}
