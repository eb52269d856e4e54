// CreateSecurityGroup and DeleteSecurityGroup.
import {
  CreateSecurityGroup$,
  type CreateSecurityGroupRequest,
  type CreateSecurityGroupResult,
  DeleteSecurityGroup$,
  type DeleteSecurityGroupRequest,
  type DeleteSecurityGroupResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { newId, parseId, type VpcId } from "../../../base/ids.ts";
import { isUniqueViolation } from "../../../database/database.ts";
import { ec2Arn } from "../../../model/arn.ts";
import { deleteSecurityGroupRows } from "../../../model/security-group-rows.ts";
import { requestTagKeys, writeTags } from "../../../model/tags.ts";
import { defaultVpc, makeSecurityGroup, vpcNotFound } from "../../../model/vpc.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";
import { groupCheck, namedGroup } from "./change-rules.ts";

/** 1 to 255 of EC2's characters for names and descriptions in a VPC. */
const ALLOWED = /^[a-zA-Z0-9 ._\-:/()#,@[\]+=&;{}!$*]{1,255}$/;

function parseText(parameter: "groupName" | "groupDescription", text: string | undefined): string {
  if (text === undefined || text === "") {
    throw new ApiError("MissingParameter", `The request must contain the parameter ${parameter}`);
  }
  if (!ALLOWED.test(text))
    throw new ApiError("InvalidParameterValue", `Value (${text}) for parameter ${parameter} is invalid.`);
  return text;
}

export const createSecurityGroup = operation({
  action: "ec2:CreateSecurityGroup",
  schema: CreateSecurityGroup$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateSecurityGroupRequest) {
    const name = parseText("groupName", input.GroupName);
    const description = parseText("groupDescription", input.Description);
    if (name.startsWith("sg-")) {
      throw new ApiError(
        "InvalidParameterValue",
        "Invalid value for parameter groupName. Group names may not be in the format sg-*.",
      );
    }
    if (name === "default") throw new ApiError("InvalidGroup.Reserved", "The security group 'default' is reserved");
    const owner = ownerOf(ctx);
    const own = await defaultVpc(ctx.database, owner, ctx.now());
    const vpcId = input.VpcId === undefined ? own : parseId("vpc", input.VpcId);
    if (vpcId !== own && !(await ownsVpc(ctx, vpcId))) throw vpcNotFound(vpcId);
    const tags = parseTagSpecifications(input.TagSpecifications, ["security-group"]);
    const arn = ec2Arn(ctx.region, owner.accountId, "security-group", "*");
    const vpc = ec2Arn(ctx.region, owner.accountId, "vpc", vpcId);
    return {
      name,
      description,
      vpcId,
      tags,
      checks: [
        {
          action: "ec2:CreateSecurityGroup",
          resource: arn,
          keys: { "ec2:Vpc": vpc, "ec2:Region": ctx.region, ...requestTagKeys(tags.all) },
        },
        { action: "ec2:CreateSecurityGroup", resource: vpc, keys: { "ec2:Region": ctx.region } },
        ...createTagsCheck("CreateSecurityGroup", arn, tags.of("security-group")),
      ],
    };
  },
  async run(ctx, _input, { name, description, vpcId, tags }): Promise<CreateSecurityGroupResult> {
    const id = newId("securityGroup");
    const owner = ownerOf(ctx);
    const own = tags.of("security-group");
    await ctx.database.transaction(async (tx) => {
      try {
        await makeSecurityGroup(tx, owner, { id, vpcId, name, description, selfIngress: false, now: ctx.now() });
      } catch (error) {
        if (!isUniqueViolation(error)) throw error;
        throw new ApiError("InvalidGroup.Duplicate", `The security group '${name}' already exists for VPC '${vpcId}'`);
      }
      await writeTags(tx, owner, { id, type: "security-group" }, own);
    });
    return {
      GroupId: id,
      SecurityGroupArn: ec2Arn(ctx.region, owner.accountId, "security-group", id),
      Tags: own.map((tag) => ({ Key: tag.key, Value: tag.value })),
    };
  },
});

async function ownsVpc(ctx: RequestContext, vpcId: VpcId): Promise<boolean> {
  const row = await ctx.database.read
    .selectFrom("vpcs")
    .select("id")
    .where("id", "=", vpcId)
    .where("account_id", "=", ctx.caller.accountId)
    .where("region", "=", ctx.region)
    .executeTakeFirst();
  return row !== undefined;
}

export const deleteSecurityGroup = operation({
  action: "ec2:DeleteSecurityGroup",
  schema: DeleteSecurityGroup$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeleteSecurityGroupRequest) {
    const group = await namedGroup(ctx, input);
    return { group, checks: [await groupCheck(ctx, "ec2:DeleteSecurityGroup", group)] };
  },
  async run(ctx, _input, { group }, grant): Promise<DeleteSecurityGroupResult> {
    if (group.name === "default") {
      throw new ApiError(
        "CannotDelete",
        `the specified group: "${group.id}" name: "default" cannot be deleted by a user`,
      );
    }
    await ctx.database.transaction((tx) => deleteSecurityGroupRows(grant, tx, group));
    ctx.parts.host.poke();
    return { Return: true, GroupId: group.id };
  },
});
