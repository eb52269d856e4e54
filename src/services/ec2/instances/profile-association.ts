// Associate, Disassociate, Replace and Describe: the instance profile of an instance that is there.
import {
  AssociateIamInstanceProfile$,
  type AssociateIamInstanceProfileRequest,
  type AssociateIamInstanceProfileResult,
  DescribeIamInstanceProfileAssociations$,
  type DescribeIamInstanceProfileAssociationsRequest,
  type DescribeIamInstanceProfileAssociationsResult,
  DisassociateIamInstanceProfile$,
  type DisassociateIamInstanceProfileRequest,
  type DisassociateIamInstanceProfileResult,
  type IamInstanceProfileAssociation,
  ReplaceIamInstanceProfileAssociation$,
  type ReplaceIamInstanceProfileAssociationRequest,
  type ReplaceIamInstanceProfileAssociationResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { newId, parseId } from "../../../base/ids.ts";
import type { Action } from "../../../model/access.ts";
import { changeInstance, type Instance, instancesOf } from "../../../model/instance.ts";
import { compileFilters, type FilterTable } from "../../../protocol/filters.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { pageOf } from "../page.ts";
import { launchProfile, passRoleCheck } from "./instance-profile.ts";
import { namedInstance } from "./named-instance.ts";

type Association = Pick<Instance, "id" | "profile_arn" | "profile_id" | "profile_association_id">;

const shown = (instance: Association, state: "associated" | "disassociating"): IamInstanceProfileAssociation => ({
  AssociationId: instance.profile_association_id ?? undefined,
  InstanceId: instance.id,
  IamInstanceProfile: { Arn: instance.profile_arn ?? undefined, Id: instance.profile_id ?? undefined },
  State: state,
});

/** The instance that an association belongs to. @throws ApiError `InvalidAssociationID.NotFound` */
async function associated(ctx: RequestContext, action: Action, id: string | undefined) {
  const parsed = parseId("instanceProfileAssociation", id ?? "");
  const row = await ctx.database.read
    .selectFrom("instances")
    .select("id")
    .where("profile_association_id", "=", parsed)
    .where("account_id", "=", ctx.caller.accountId)
    .where("region", "=", ctx.region)
    .where("state", "<>", "terminated")
    .executeTakeFirst();
  if (row === undefined) {
    throw new ApiError("NoSuchAssociation", `An invalid association-id of '${parsed}' was given`);
  }
  return namedInstance(ctx, action, row.id);
}

async function profileFor(ctx: RequestContext, input: AssociateIamInstanceProfileRequest["IamInstanceProfile"]) {
  if (input?.Arn === undefined && input?.Name === undefined) {
    throw new ApiError("MissingParameter", "The request must contain the parameter IamInstanceProfile");
  }
  return launchProfile(ctx.database.read, ctx.caller.accountId, { arn: input.Arn, name: input.Name });
}

export const associateIamInstanceProfile = operation({
  action: "ec2:AssociateIamInstanceProfile",
  schema: AssociateIamInstanceProfile$,
  access: "write",
  async resolve(ctx: RequestContext, input: AssociateIamInstanceProfileRequest) {
    const profile = await profileFor(ctx, input.IamInstanceProfile);
    const named = await namedInstance(ctx, "ec2:AssociateIamInstanceProfile", input.InstanceId, {
      "ec2:NewInstanceProfile": profile.arn,
    });
    return { ...named, profile, checks: [...named.checks, ...passRoleCheck(profile)] };
  },
  async run(ctx, _input, { instance, profile }, grant): Promise<AssociateIamInstanceProfileResult> {
    if (instance.profile_arn !== null) {
      throw new ApiError("IncorrectState", `There is an existing association for instance ${instance.id}`);
    }
    const change = {
      profile_arn: profile.arn,
      profile_id: profile.id,
      profile_association_id: newId("instanceProfileAssociation"),
    };
    await ctx.database.transaction((tx) => changeInstance(grant, tx, instance.id, change));
    return { IamInstanceProfileAssociation: shown({ id: instance.id, ...change }, "associated") };
  },
});

export const replaceIamInstanceProfileAssociation = operation({
  action: "ec2:ReplaceIamInstanceProfileAssociation",
  schema: ReplaceIamInstanceProfileAssociation$,
  access: "write",
  async resolve(ctx: RequestContext, input: ReplaceIamInstanceProfileAssociationRequest) {
    const profile = await profileFor(ctx, input.IamInstanceProfile);
    const named = await associated(ctx, "ec2:ReplaceIamInstanceProfileAssociation", input.AssociationId);
    return { ...named, profile, checks: [...named.checks, ...passRoleCheck(profile)] };
  },
  async run(ctx, _input, { instance, profile }, grant): Promise<ReplaceIamInstanceProfileAssociationResult> {
    const change = {
      profile_arn: profile.arn,
      profile_id: profile.id,
      profile_association_id: newId("instanceProfileAssociation"),
    };
    await ctx.database.transaction((tx) => changeInstance(grant, tx, instance.id, change));
    return { IamInstanceProfileAssociation: shown({ id: instance.id, ...change }, "associated") };
  },
});

export const disassociateIamInstanceProfile = operation({
  action: "ec2:DisassociateIamInstanceProfile",
  schema: DisassociateIamInstanceProfile$,
  access: "write",
  resolve: (ctx: RequestContext, input: DisassociateIamInstanceProfileRequest) =>
    associated(ctx, "ec2:DisassociateIamInstanceProfile", input.AssociationId),
  async run(ctx, _input, { instance }, grant): Promise<DisassociateIamInstanceProfileResult> {
    await ctx.database.transaction((tx) =>
      changeInstance(grant, tx, instance.id, { profile_arn: null, profile_id: null, profile_association_id: null }),
    );
    return { IamInstanceProfileAssociation: shown(instance, "disassociating") };
  },
});

const FILTERS: FilterTable<IamInstanceProfileAssociation> = {
  values: {
    "instance-id": (association) => association.InstanceId,
    state: (association) => association.State,
  },
};

export const describeIamInstanceProfileAssociations = operation({
  action: "ec2:DescribeIamInstanceProfileAssociations",
  schema: DescribeIamInstanceProfileAssociations$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeIamInstanceProfileAssociations"),
  async run(
    ctx: RequestContext,
    input: DescribeIamInstanceProfileAssociationsRequest,
  ): Promise<DescribeIamInstanceProfileAssociationsResult> {
    const filters = compileFilters(input.Filters, FILTERS);
    const all = (await instancesOf(ctx.database.read, ownerOf(ctx), ctx.now()))
      .filter((instance) => instance.profile_association_id !== null && instance.state !== "terminated")
      .map((instance) => shown(instance, "associated"))
      .filter((association) => input.AssociationIds?.includes(association.AssociationId ?? "") ?? true);
    const found = all.filter(filters.matches);
    const { page, token } = pageOf(
      ctx,
      "DescribeIamInstanceProfileAssociations",
      input,
      found,
      (association) => association.AssociationId ?? "",
    );
    return { IamInstanceProfileAssociations: page, ...token };
  },
});
