// DescribeImageReferences: what of the caller's own refers to images. There are instances, launch templates and parameters
// here; Image Builder's recipes may be asked for, and there are none. A template that names a parameter is not listed: the
// parameter is.
import {
  DescribeImageReferences$,
  type DescribeImageReferencesRequest,
  type DescribeImageReferencesResult,
  type ImageReference,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { type ImageId, parseId } from "../../../base/ids.ts";
import type { Action, ConditionKeys, ResourceCheck } from "../../../model/access.ts";
import { ec2Arn } from "../../../model/arn.ts";
import type { Instance } from "../../../model/instance.ts";
import { templatesUsing } from "../../../model/launch-template.ts";
import { parameterArn } from "../../../model/ssm/parameter.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { pageOf } from "../page.ts";
import { invalidValue } from "../parameters.ts";

const TYPES = [
  "ec2:Instance",
  "ec2:LaunchTemplate",
  "ssm:Parameter",
  "imagebuilder:ImageRecipe",
  "imagebuilder:ContainerRecipe",
] as const;
type Type = (typeof TYPES)[number];
const STATES: ReadonlySet<string> = new Set<Instance["state"]>([
  ...(["pending", "running", "shutting-down", "terminated", "stopping", "stopped"] as const),
]);
const MOST_IMAGES = 10;
/** Versions of a template that are looked at, from the newest. */
const DEFAULT_DEPTH = 10;
const MOST_DEPTH = 10_000;

interface Asked {
  readonly images: readonly ImageId[];
  readonly types: ReadonlySet<Type>;
  /** Of instances; null: all. */
  readonly states: readonly Instance["state"][] | null;
  readonly depth: number;
}

function parse(input: DescribeImageReferencesRequest): Asked {
  const images = (input.ImageIds ?? []).map((id) => parseId("image", id));
  if (images.length === 0) throw new ApiError("MissingParameter", "The request must contain the parameter imageIds");
  if (images.length > MOST_IMAGES) throw invalidValue("imageIds", images.length, `At most ${MOST_IMAGES} at once.`);
  const named = input.ResourceTypes ?? [];
  if (input.IncludeAllResourceTypes !== true && named.length === 0) {
    throw new ApiError("MissingParameter", "Either IncludeAllResourceTypes or ResourceTypes must be specified");
  }
  const types = new Set<Type>(input.IncludeAllResourceTypes === true ? TYPES : []);
  let states: Instance["state"][] | null = null;
  let depth = DEFAULT_DEPTH;
  for (const { ResourceType: given = "", ResourceTypeOptions: options = [] } of named) {
    const type = TYPES.find((one) => one === given);
    if (type === undefined) throw invalidValue("resourceType", given);
    types.add(type);
    for (const { OptionName: name = "", OptionValues: values = [] } of options) {
      if (type === "ec2:Instance" && name === "state-name") {
        for (const value of values) if (!STATES.has(value)) throw invalidValue("optionValue", value);
        states = values as Instance["state"][];
      } else if (type === "ec2:LaunchTemplate" && name === "version-depth") {
        depth = Number(values[0]);
        if (!Number.isInteger(depth) || depth < 1 || depth > MOST_DEPTH) {
          throw invalidValue("optionValue", values[0] ?? "");
        }
      } else throw invalidValue("optionName", name);
    }
  }
  return { images, types, states, depth };
}

/** EC2 looks on behalf of the caller, and policies can tell by this key. */
const VIA: ConditionKeys = { "aws:CalledVia": ["ec2-images.amazonaws.com"] };

export const describeImageReferences = operation({
  action: "ec2:DescribeImageReferences",
  schema: DescribeImageReferences$,
  access: "read",
  async resolve(ctx: RequestContext, input: DescribeImageReferencesRequest) {
    const asked = parse(input);
    const anything = (action: Action, resource = "*"): ResourceCheck => ({ action, resource, keys: VIA });
    return {
      asked,
      checks: [
        { action: "ec2:DescribeImageReferences", resource: "*", keys: {} } as const,
        ...(asked.types.has("ec2:Instance") ? [anything("ec2:DescribeInstances")] : []),
        ...(asked.types.has("ec2:LaunchTemplate")
          ? [anything("ec2:DescribeLaunchTemplates"), anything("ec2:DescribeLaunchTemplateVersions")]
          : []),
        ...(asked.types.has("ssm:Parameter")
          ? [anything("ssm:DescribeParameters", `arn:aws:ssm:${ctx.region}:${ctx.caller.accountId}:*`)]
          : []),
      ],
    };
  },
  async run(ctx, input, { asked }): Promise<DescribeImageReferencesResult> {
    const found = [
      ...(asked.types.has("ec2:Instance") ? await instances(ctx, asked) : []),
      ...(asked.types.has("ec2:LaunchTemplate") ? await launchTemplates(ctx, asked) : []),
      ...(asked.types.has("ssm:Parameter") ? await parameters(ctx, asked.images) : []),
    ];
    const { page, token } = pageOf(ctx, "DescribeImageReferences", input, found, (one) => `${one.ImageId} ${one.Arn}`);
    return { ImageReferences: page, ...token };
  },
});

async function instances(ctx: RequestContext, { images, states }: Asked): Promise<ImageReference[]> {
  let rows = ctx.database.read
    .selectFrom("instances")
    .select(["id", "image_id"])
    .where("account_id", "=", ctx.caller.accountId)
    .where("region", "=", ctx.region)
    .where("image_id", "in", [...images]);
  if (states !== null && states.length > 0) rows = rows.where("state", "in", [...states]);
  const found = await rows.orderBy("image_id").orderBy("id").execute();
  return found.map((row) => ({
    ImageId: row.image_id,
    ResourceType: "ec2:Instance",
    Arn: ec2Arn(ctx.region, ctx.caller.accountId, "instance", row.id),
  }));
}

async function launchTemplates(ctx: RequestContext, { images, depth }: Asked): Promise<ImageReference[]> {
  const found = await templatesUsing(ctx.database.read, ctx.region, images, [ctx.caller.accountId], depth);
  return found.map(({ imageId, accountId, templateId }) => ({
    ImageId: imageId,
    ResourceType: "ec2:LaunchTemplate",
    Arn: ec2Arn(ctx.region, accountId, "launch-template", templateId),
  }));
}

/** Parameters whose newest version is the image. */
async function parameters(ctx: RequestContext, images: readonly ImageId[]): Promise<ImageReference[]> {
  const found = await ctx.database.read
    .selectFrom("ssm_parameters as p")
    .innerJoin("ssm_parameter_versions as v", (join) =>
      join
        .onRef("v.account_id", "=", "p.account_id")
        .onRef("v.region", "=", "p.region")
        .onRef("v.name", "=", "p.name")
        .onRef("v.version", "=", "p.version"),
    )
    .select(["p.name", "v.value"])
    .where("p.account_id", "=", ctx.caller.accountId)
    .where("p.region", "=", ctx.region)
    .where("v.value", "in", [...images])
    .orderBy("v.value")
    .orderBy("p.name")
    .execute();
  return found.map((row) => ({
    ImageId: row.value,
    ResourceType: "ssm:Parameter",
    Arn: parameterArn(ctx.region, ctx.caller.accountId, row.name),
  }));
}
