import {
  CreateOrganization$,
  type CreateOrganizationRequest,
  DeleteOrganization$,
  DescribeOrganization$,
  DisablePolicyType$,
  type DisablePolicyTypeRequest,
  EnablePolicyType$,
  type EnablePolicyTypeRequest,
  ListRoots$,
  type ListRootsRequest,
} from "@aws-sdk/client-organizations";
import { ApiError } from "../../base/api-error.ts";
import type { Action } from "../../model/access.ts";
import { invalidInput, membersOf } from "../../model/organization.ts";
import {
  beginChange,
  deleteOrganizationRows,
  insertOrganization,
  setServiceControl,
} from "../../model/organization-rows.ts";
import type { RequestContext } from "../context.ts";
import { onAnything, operation } from "../operation.ts";
import {
  managedOrganization,
  member,
  memberOrganization,
  organizationAnswer,
  POLICY_KEYS,
  placeCheck,
  required,
  rootAnswer,
  serviceControlOnly,
  stillManaged,
} from "./answers.ts";

/** The caller's account begins an organization, and manages it. */
export const createOrganization = operation({
  action: "organizations:CreateOrganization",
  schema: CreateOrganization$,
  access: "write",
  resolve: async (_ctx: RequestContext, _input: CreateOrganizationRequest) =>
    onAnything("organizations:CreateOrganization"),
  async run(ctx, input, _resolved, grant) {
    if (input.FeatureSet !== undefined && input.FeatureSet !== "ALL") {
      throw invalidInput("INVALID_ENUM", "Ingot's organizations have all features: there are no bills to consolidate.");
    }
    const made = await ctx.database.transaction((tx) => insertOrganization(grant, tx, ctx.caller.accountId, ctx.now()));
    const { email } = await member(ctx.database.read, made, ctx.caller.accountId);
    return { Organization: organizationAnswer(made, email) };
  },
});

/** Members may ask, too. */
export const describeOrganization = operation({
  action: "organizations:DescribeOrganization",
  schema: DescribeOrganization$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: object) => onAnything("organizations:DescribeOrganization"),
  async run(ctx) {
    const organization = await memberOrganization(ctx);
    const { email } = await member(ctx.database.read, organization, organization.managementAccount);
    return { Organization: organizationAnswer(organization, email) };
  },
});

export const deleteOrganization = operation({
  action: "organizations:DeleteOrganization",
  schema: DeleteOrganization$,
  access: "write",
  resolve: async (_ctx: RequestContext, _input: object) => onAnything("organizations:DeleteOrganization"),
  async run(ctx, _input, _resolved, grant) {
    const organization = await managedOrganization(ctx);
    await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      const members = await membersOf(tx, await stillManaged(tx, ctx, organization));
      if (members.length > 1) {
        throw new ApiError("OrganizationNotEmptyException", "Remove every member account from the organization first.");
      }
      await deleteOrganizationRows(grant, tx, organization);
    });
  },
});

export const listRoots = operation({
  action: "organizations:ListRoots",
  schema: ListRoots$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: ListRootsRequest) => onAnything("organizations:ListRoots"),
  run: async (ctx) => ({ Roots: [rootAnswer(await managedOrganization(ctx))] }),
});

async function resolveRoot<A extends Action>(
  ctx: RequestContext,
  action: A,
  input: { readonly RootId: string | undefined; readonly PolicyType: string | undefined },
) {
  const organization = await managedOrganization(ctx);
  const id = required(input.RootId, "a root");
  serviceControlOnly(input.PolicyType);
  if (id !== organization.rootId)
    throw new ApiError("RootNotFoundException", "You specified a root that doesn't exist.");
  return { organization, checks: [placeCheck(action, organization, id, POLICY_KEYS)] };
}

/** From now, service control policies limit the members. All that is there gets FullAWSAccess, so nothing changes yet. */
export const enablePolicyType = operation({
  action: "organizations:EnablePolicyType",
  schema: EnablePolicyType$,
  access: "write",
  resolve: (ctx: RequestContext, input: EnablePolicyTypeRequest) =>
    resolveRoot(ctx, "organizations:EnablePolicyType", input),
  run: async (ctx, _input, { organization }, grant) => {
    await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      if ((await stillManaged(tx, ctx, organization)).serviceControl) {
        throw new ApiError("PolicyTypeAlreadyEnabledException", "The specified policy type is already enabled.");
      }
      await setServiceControl(grant, tx, organization, true);
    });
    return { Root: rootAnswer({ ...organization, serviceControl: true }) };
  },
});

/** Detaches every policy, for good; the policies stay. */
export const disablePolicyType = operation({
  action: "organizations:DisablePolicyType",
  schema: DisablePolicyType$,
  access: "write",
  resolve: (ctx: RequestContext, input: DisablePolicyTypeRequest) =>
    resolveRoot(ctx, "organizations:DisablePolicyType", input),
  run: async (ctx, _input, { organization }, grant) => {
    await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      if (!(await stillManaged(tx, ctx, organization)).serviceControl) throw notEnabled();
      await setServiceControl(grant, tx, organization, false);
    });
    return { Root: rootAnswer({ ...organization, serviceControl: false }) };
  },
});

export const notEnabled = (): ApiError =>
  new ApiError("PolicyTypeNotEnabledException", "The specified policy type isn't currently enabled in this root.");
