// What all actions of Organizations share: whose organization, who may, and how its parts are shown.
import type { Account, Organization as OrganizationAnswer, PolicySummary, Root } from "@aws-sdk/client-organizations";
import { ApiError } from "../../base/api-error.ts";
import type { Db } from "../../database/database.ts";
import type { Action, ConditionKeys, ResourceCheck } from "../../model/access.ts";
import {
  accountArn,
  FULL_ACCESS,
  invalidInput,
  type MemberAccount,
  membersOf,
  mustFind,
  type Organization,
  type OrganizationPolicy,
  organizationArn,
  organizationOf,
  policyArn,
  targetArn,
  targetType,
  type Unit,
  unitById,
} from "../../model/organization.ts";
import type { RequestContext } from "../context.ts";

const SERVICE_CONTROL = "SERVICE_CONTROL_POLICY";
export const POLICY_KEYS: ConditionKeys = { "organizations:PolicyType": SERVICE_CONTROL };

/** @throws ApiError `AWSOrganizationsNotInUseException` */
export async function memberOrganization(ctx: RequestContext): Promise<Organization> {
  return mustFind(
    await organizationOf(ctx.database.read, ctx.caller.accountId),
    "AWSOrganizationsNotInUseException",
    "Your account is not a member of an organization.",
  );
}

/** The organization that the caller's account manages. @throws ApiError `AccessDeniedException` for member accounts */
export async function managedOrganization(ctx: RequestContext): Promise<Organization> {
  const organization = await memberOrganization(ctx);
  if (organization.managementAccount !== ctx.caller.accountId) {
    throw new ApiError("AccessDeniedException", "You don't have permissions to access this resource.");
  }
  return organization;
}

/** The organization as it is now, inside the transaction that changes it. */
export async function stillManaged(tx: Db, ctx: RequestContext, was: Organization): Promise<Organization> {
  const now = await organizationOf(tx, ctx.caller.accountId);
  if (now?.id !== was.id) throw new ApiError("ConflictException", "The organization has changed meanwhile.");
  return now;
}

/** One question about a place in the tree. */
export const placeCheck = <A extends Action>(
  action: A,
  organization: Organization,
  id: string,
  keys: ConditionKeys = {},
): ResourceCheck<A> => ({ action, resource: targetArn(organization, id), keys });

/** @throws ApiError `InvalidInputException` */
export function required(value: string | undefined, name: string): string {
  if (value === undefined || value === "") throw invalidInput("INPUT_REQUIRED", `You must specify ${name}.`);
  return value;
}

/** @throws ApiError `InvalidInputException`: tags of organizations, roots, units and policies are not kept */
export function noTags(tags: readonly unknown[] | undefined): void {
  if (tags !== undefined && tags.length > 0) {
    throw invalidInput(
      "INVALID_LIST_MEMBER",
      "Ingot keeps no tags on accounts, units and policies of an organization.",
    );
  }
}

/** Only service control policies are there. @throws ApiError `PolicyTypeNotAvailableForOrganizationException` */
export function serviceControlOnly(type: string | undefined): void {
  if (required(type, "a policy type") === SERVICE_CONTROL) return;
  throw new ApiError(
    "PolicyTypeNotAvailableForOrganizationException",
    `Ingot evaluates policies of the type ${SERVICE_CONTROL} only: ${type} would limit nobody.`,
  );
}

/** A root or a unit that is there. @throws ApiError `ParentNotFoundException` */
export async function existingParent(db: Db, organization: Organization, id: string): Promise<string> {
  const kind = targetType(id);
  const found =
    kind === "ROOT"
      ? id === organization.rootId
      : kind === "ORGANIZATIONAL_UNIT" && (await unitById(db, organization, id)) !== undefined;
  if (!found) {
    throw new ApiError(
      "ParentNotFoundException",
      "You provided a root or an organizational unit (OU) that doesn't exist.",
    );
  }
  return id;
}

/** Something that policies can be attached to. @throws ApiError `TargetNotFoundException` */
export async function targetName(db: Db, organization: Organization, id: string): Promise<string> {
  const missing = "You specified a target that doesn't exist.";
  switch (targetType(id)) {
    case "ROOT":
      if (id !== organization.rootId) throw new ApiError("TargetNotFoundException", missing);
      return "Root";
    case "ORGANIZATIONAL_UNIT":
      return mustFind(await unitById(db, organization, id), "TargetNotFoundException", missing).name;
    case "ACCOUNT":
      return mustFind((await membersOf(db, organization, { id }))[0], "TargetNotFoundException", missing).name;
  }
}

/** @throws ApiError `AccountNotFoundException` */
export async function member(db: Db, organization: Organization, id: string): Promise<MemberAccount> {
  if (targetType(id) !== "ACCOUNT") throw invalidInput("INVALID_PATTERN", "An account id has 12 digits.");
  return mustFind(
    (await membersOf(db, organization, { id }))[0],
    "AccountNotFoundException",
    "You specified an account that doesn't exist.",
  );
}

interface PageInput {
  readonly NextToken?: string | undefined;
  readonly MaxResults?: number | undefined;
}

/** A page of a list that is short enough to be read whole; at most 20 a page, as Amazon has it. */
export function page<T>(
  ctx: RequestContext,
  action: string,
  input: PageInput,
  all: readonly T[],
): { readonly items: T[]; readonly NextToken?: string } {
  const limit = Math.min(Math.max(input.MaxResults ?? 20, 1), 20);
  const scope = { service: "organizations", action, owner: [ctx.caller.accountId], parameters: input } as const;
  const from = Number(ctx.parts.pages.open(scope, input.NextToken) ?? 0);
  const items = all.slice(from, from + limit);
  if (from + limit >= all.length) return { items };
  return { items, NextToken: ctx.parts.pages.seal(scope, String(from + limit)) };
}

export const organizationAnswer = (organization: Organization, managerEmail: string): OrganizationAnswer => ({
  Id: organization.id,
  Arn: organizationArn(organization),
  FeatureSet: "ALL",
  MasterAccountId: organization.managementAccount,
  MasterAccountArn: accountArn(organization, organization.managementAccount),
  MasterAccountEmail: managerEmail,
  AvailablePolicyTypes: [{ Type: SERVICE_CONTROL, Status: "ENABLED" }],
});

export const accountAnswer = (organization: Organization, account: MemberAccount): Account => ({
  Id: account.id,
  Arn: accountArn(organization, account.id),
  Email: account.email,
  Name: account.name,
  Status: account.status,
  State: account.status,
  JoinedMethod: account.joinedMethod,
  JoinedTimestamp: account.joinedAt,
});

export const rootAnswer = (organization: Organization): Root => ({
  Id: organization.rootId,
  Arn: targetArn(organization, organization.rootId),
  Name: "Root",
  PolicyTypes: organization.serviceControl ? [{ Type: SERVICE_CONTROL, Status: "ENABLED" }] : [],
});

export const unitAnswer = (organization: Organization, unit: Unit) => ({
  Id: unit.id,
  Arn: targetArn(organization, unit.id),
  Name: unit.name,
});

export const policyAnswer = (organization: Organization, policy: OrganizationPolicy): PolicySummary => ({
  Id: policy.id,
  Arn: policyArn(organization, policy.id),
  Name: policy.name,
  Description: policy.description,
  Type: SERVICE_CONTROL,
  AwsManaged: policy.id === FULL_ACCESS.id,
});
