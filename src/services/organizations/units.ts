import {
  type ChildType,
  CreateOrganizationalUnit$,
  type CreateOrganizationalUnitRequest,
  DeleteOrganizationalUnit$,
  type DeleteOrganizationalUnitRequest,
  DescribeOrganizationalUnit$,
  type DescribeOrganizationalUnitRequest,
  ListAccountsForParent$,
  type ListAccountsForParentRequest,
  ListChildren$,
  type ListChildrenRequest,
  ListOrganizationalUnitsForParent$,
  type ListOrganizationalUnitsForParentRequest,
  ListParents$,
  type ListParentsRequest,
  UpdateOrganizationalUnit$,
  type UpdateOrganizationalUnitRequest,
} from "@aws-sdk/client-organizations";
import { ApiError } from "../../base/api-error.ts";
import type { Db } from "../../database/database.ts";
import type { Action } from "../../model/access.ts";
import {
  above,
  constraint,
  invalidInput,
  MOST_UNIT_LEVELS,
  membersOf,
  mustFind,
  type Organization,
  targetType,
  type Unit,
  unitById,
  unitsBelow,
} from "../../model/organization.ts";
import { beginChange, deleteUnit, insertUnit, renameUnit } from "../../model/organization-rows.ts";
import type { RequestContext } from "../context.ts";
import { operation } from "../operation.ts";
import {
  accountAnswer,
  existingParent,
  managedOrganization,
  noTags,
  page,
  placeCheck,
  required,
  stillManaged,
  unitAnswer,
} from "./answers.ts";

/** @throws ApiError `InvalidInputException` */
function unitName(name: string | undefined): string {
  const given = required(name, "a name");
  if (given.length > 128) throw invalidInput("MAX_LENGTH_EXCEEDED", "A unit's name has at most 128 characters.");
  return given;
}

/** @throws ApiError `OrganizationalUnitNotFoundException` */
async function existingUnit(db: Db, organization: Organization, id: string): Promise<Unit> {
  if (targetType(id) !== "ORGANIZATIONAL_UNIT") throw invalidInput("INVALID_PATTERN", "That is no unit's id.");
  return mustFind(
    await unitById(db, organization, id),
    "OrganizationalUnitNotFoundException",
    "You specified an organizational unit that doesn't exist.",
  );
}

async function resolveUnit<A extends Action>(ctx: RequestContext, action: A, value: string | undefined) {
  const organization = await managedOrganization(ctx);
  const unit = await existingUnit(ctx.database.read, organization, required(value, "an organizational unit"));
  return { organization, unit, checks: [placeCheck(action, organization, unit.id)] };
}

async function resolveParent<A extends Action>(ctx: RequestContext, action: A, value: string | undefined) {
  const organization = await managedOrganization(ctx);
  const parent = await existingParent(ctx.database.read, organization, required(value, "a parent"));
  return { organization, parent, checks: [placeCheck(action, organization, parent)] };
}

export const createOrganizationalUnit = operation({
  action: "organizations:CreateOrganizationalUnit",
  schema: CreateOrganizationalUnit$,
  access: "write",
  resolve: (ctx: RequestContext, input: CreateOrganizationalUnitRequest) =>
    resolveParent(ctx, "organizations:CreateOrganizationalUnit", input.ParentId),
  async run(ctx, input, { organization, parent }, grant) {
    noTags(input.Tags);
    const name = unitName(input.Name);
    const unit = await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      const current = await stillManaged(tx, ctx, organization);
      await existingParent(tx, current, parent);
      if ((await above(tx, current, parent)).length >= MOST_UNIT_LEVELS) {
        throw constraint("OU_DEPTH_LIMIT_EXCEEDED", `Units nest ${MOST_UNIT_LEVELS} levels deep at most.`);
      }
      return insertUnit(grant, tx, current, parent, name, ctx.now());
    });
    return { OrganizationalUnit: unitAnswer(organization, unit) };
  },
});

export const describeOrganizationalUnit = operation({
  action: "organizations:DescribeOrganizationalUnit",
  schema: DescribeOrganizationalUnit$,
  access: "read",
  resolve: (ctx: RequestContext, input: DescribeOrganizationalUnitRequest) =>
    resolveUnit(ctx, "organizations:DescribeOrganizationalUnit", input.OrganizationalUnitId),
  run: async (_ctx, _input, { organization, unit }) => ({ OrganizationalUnit: unitAnswer(organization, unit) }),
});

export const updateOrganizationalUnit = operation({
  action: "organizations:UpdateOrganizationalUnit",
  schema: UpdateOrganizationalUnit$,
  access: "write",
  resolve: (ctx: RequestContext, input: UpdateOrganizationalUnitRequest) =>
    resolveUnit(ctx, "organizations:UpdateOrganizationalUnit", input.OrganizationalUnitId),
  async run(ctx, input, { organization, unit }, grant) {
    const name = input.Name === undefined ? unit.name : unitName(input.Name);
    await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      await renameUnit(grant, tx, unit.id, name);
    });
    return { OrganizationalUnit: unitAnswer(organization, { ...unit, name }) };
  },
});

export const deleteOrganizationalUnit = operation({
  action: "organizations:DeleteOrganizationalUnit",
  schema: DeleteOrganizationalUnit$,
  access: "write",
  resolve: (ctx: RequestContext, input: DeleteOrganizationalUnitRequest) =>
    resolveUnit(ctx, "organizations:DeleteOrganizationalUnit", input.OrganizationalUnitId),
  async run(ctx, _input, { organization, unit }, grant) {
    await ctx.database.transaction(async (tx) => {
      await beginChange(tx, organization);
      const accounts = await membersOf(tx, organization, { parent: unit.id });
      if (accounts.length > 0 || (await unitsBelow(tx, organization, unit.id)).length > 0) {
        throw new ApiError(
          "OrganizationalUnitNotEmptyException",
          "The specified OU is not empty. Move all accounts to another root or to other OUs, remove all child OUs, and try the operation again.",
        );
      }
      await deleteUnit(grant, tx, unit.id);
    });
  },
});

export const listOrganizationalUnitsForParent = operation({
  action: "organizations:ListOrganizationalUnitsForParent",
  schema: ListOrganizationalUnitsForParent$,
  access: "read",
  resolve: (ctx: RequestContext, input: ListOrganizationalUnitsForParentRequest) =>
    resolveParent(ctx, "organizations:ListOrganizationalUnitsForParent", input.ParentId),
  async run(ctx, input, { organization, parent }) {
    const units = await unitsBelow(ctx.database.read, organization, parent);
    const { items, ...more } = page(ctx, "ListOrganizationalUnitsForParent", input, units);
    return { OrganizationalUnits: items.map((unit) => unitAnswer(organization, unit)), ...more };
  },
});

export const listAccountsForParent = operation({
  action: "organizations:ListAccountsForParent",
  schema: ListAccountsForParent$,
  access: "read",
  resolve: (ctx: RequestContext, input: ListAccountsForParentRequest) =>
    resolveParent(ctx, "organizations:ListAccountsForParent", input.ParentId),
  async run(ctx, input, { organization, parent }) {
    const accounts = await membersOf(ctx.database.read, organization, { parent });
    const { items, ...more } = page(ctx, "ListAccountsForParent", input, accounts);
    return { Accounts: items.map((account) => accountAnswer(organization, account)), ...more };
  },
});

export const listChildren = operation({
  action: "organizations:ListChildren",
  schema: ListChildren$,
  access: "read",
  resolve: (ctx: RequestContext, input: ListChildrenRequest) =>
    resolveParent(ctx, "organizations:ListChildren", input.ParentId),
  async run(ctx, input, { organization, parent }) {
    const type: ChildType = input.ChildType === "ACCOUNT" ? "ACCOUNT" : "ORGANIZATIONAL_UNIT";
    if (input.ChildType !== type) {
      throw invalidInput("INVALID_ENUM", "ChildType is ACCOUNT or ORGANIZATIONAL_UNIT.");
    }
    const below: readonly { readonly id: string }[] =
      type === "ACCOUNT"
        ? await membersOf(ctx.database.read, organization, { parent })
        : await unitsBelow(ctx.database.read, organization, parent);
    const { items, ...more } = page(ctx, "ListChildren", input, below);
    return { Children: items.map(({ id }) => ({ Id: id, Type: type })), ...more };
  },
});

export const listParents = operation({
  action: "organizations:ListParents",
  schema: ListParents$,
  access: "read",
  async resolve(ctx: RequestContext, input: ListParentsRequest) {
    const organization = await managedOrganization(ctx);
    const id = required(input.ChildId, "a child");
    const db = ctx.database.read;
    const found =
      targetType(id) === "ACCOUNT"
        ? (await membersOf(db, organization, { id }))[0]?.parentId
        : (await unitById(db, organization, id))?.parent_id;
    const parent = mustFind(found, "ChildNotFoundException", "You specified a child that doesn't exist.");
    return { parent, checks: [placeCheck("organizations:ListParents", organization, id)] };
  },
  run: async (_ctx, _input, { parent }) => ({
    Parents: [
      { Id: parent, Type: targetType(parent) === "ROOT" ? ("ROOT" as const) : ("ORGANIZATIONAL_UNIT" as const) },
    ],
  }),
});
