// What an organization is: a tree of units under one root, with an account at every leaf. One account manages it, and no
// service control policy limits that one. Reading is here, changing in organization-rows.ts.
import { randomBytes } from "node:crypto";
import { ApiError, type ErrorCode } from "../base/api-error.ts";
import type { AccountId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { OrganizationPoliciesTable, OrganizationUnitsTable } from "../database/tables/organizations.ts";

export interface Organization {
  readonly id: string;
  readonly managementAccount: AccountId;
  readonly rootId: string;
  /** Service control policies are enabled. */
  readonly serviceControl: boolean;
  readonly createdAt: Date;
}

export type Unit = Readonly<OrganizationUnitsTable>;
export type OrganizationPolicy = Readonly<OrganizationPoliciesTable>;

export interface MemberAccount {
  readonly id: AccountId;
  readonly parentId: string;
  readonly name: string;
  readonly email: string;
  readonly status: "ACTIVE" | "SUSPENDED";
  readonly joinedMethod: "CREATED" | "INVITED";
  readonly joinedAt: Date;
}

/** Where an account stands. */
export interface Membership {
  readonly organization: Organization;
  /** Ids from the root to the account's parent. */
  readonly parents: readonly string[];
}

/** Attached to everything when service control policies are enabled; it may be detached. */
export const FULL_ACCESS: OrganizationPolicy = {
  id: "p-FullAWSAccess",
  organization_id: "",
  name: "FullAWSAccess",
  description: "Allows access to every operation",
  content: JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "*", Resource: "*" }] }),
  created_at: "",
};

/** Units below one another, the root not counted. */
export const MOST_UNIT_LEVELS = 5;

const ALPHABET = "0123456789abcdefghijklmnopqrstuv";
/** Letters and digits, five random bits each. */
const letters = (count: number): string => [...randomBytes(count)].map((byte) => ALPHABET[byte & 31]).join("");

export const newOrganizationId = (): string => `o-${letters(10)}`;
export const newRootId = (): string => `r-${letters(4)}`;
export const newUnitId = (rootId: string): string => `ou-${rootId.slice(2)}-${letters(8)}`;
export const newPolicyId = (): string => `p-${letters(8)}`;
export const newRequestId = (): string => `car-${randomBytes(16).toString("hex")}`;

export type TargetType = "ROOT" | "ORGANIZATIONAL_UNIT" | "ACCOUNT";

/** What kind of place an id names, by its shape. @throws ApiError `InvalidInputException` */
export function targetType(id: string): TargetType {
  if (/^r-[0-9a-z]{4,32}$/.test(id)) return "ROOT";
  if (/^ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}$/.test(id)) return "ORGANIZATIONAL_UNIT";
  if (/^\d{12}$/.test(id)) return "ACCOUNT";
  throw invalidInput("INVALID_PATTERN_TARGET_ID", "You specified an id that is of no root, unit or account.");
}

const arn = (organization: Organization, rest: string): string =>
  `arn:aws:organizations::${organization.managementAccount}:${rest}`;
export const organizationArn = (organization: Organization): string =>
  arn(organization, `organization/${organization.id}`);
export const accountArn = (organization: Organization, account: string): string =>
  arn(organization, `account/${organization.id}/${account}`);
export const policyArn = (organization: Organization, id: string): string =>
  id === FULL_ACCESS.id
    ? `arn:aws:organizations::aws:policy/service_control_policy/${id}`
    : arn(organization, `policy/${organization.id}/service_control_policy/${id}`);
/** Of a root, a unit or an account. */
export function targetArn(organization: Organization, id: string): string {
  switch (targetType(id)) {
    case "ROOT":
      return arn(organization, `root/${organization.id}/${id}`);
    case "ORGANIZATIONAL_UNIT":
      return arn(organization, `ou/${organization.id}/${id}`);
    case "ACCOUNT":
      return accountArn(organization, id);
  }
}

/** The organization that an account is in. */
export async function organizationOf(db: Db, account: string): Promise<Organization | undefined> {
  const row = await db
    .selectFrom("organization_accounts")
    .innerJoin("organizations", "organizations.id", "organization_accounts.organization_id")
    .selectAll("organizations")
    .where("organization_accounts.account_id", "=", account)
    .executeTakeFirst();
  return row === undefined
    ? undefined
    : {
        id: row.id,
        managementAccount: row.management_account_id as AccountId,
        rootId: row.root_id,
        serviceControl: row.service_control !== 0,
        createdAt: new Date(row.created_at),
      };
}

/** Cost: two queries, and one for each level of units above the account. */
export async function membershipOf(db: Db, account: string): Promise<Membership | undefined> {
  const organization = await organizationOf(db, account);
  if (organization === undefined) return undefined;
  const place = await db
    .selectFrom("organization_accounts")
    .select("parent_id")
    .where("account_id", "=", account)
    .executeTakeFirstOrThrow();
  return { organization, parents: [...(await above(db, organization, place.parent_id)), place.parent_id] };
}

/** Ids from the root down to the parent of `id`, which is a unit or the root. */
export async function above(db: Db, organization: Organization, id: string): Promise<string[]> {
  const parents: string[] = [];
  for (let at = id; at !== organization.rootId; ) {
    const unit = await unitById(db, organization, at);
    if (unit === undefined) throw new Error(`unit ${at} of organization ${organization.id} is not there`);
    parents.unshift(unit.parent_id);
    at = unit.parent_id;
  }
  return parents;
}

export const unitById = (db: Db, organization: Organization, id: string): Promise<Unit | undefined> =>
  db
    .selectFrom("organization_units")
    .selectAll()
    .where("id", "=", id)
    .where("organization_id", "=", organization.id)
    .executeTakeFirst();

/** Units right below one place, in the order of their ids. */
export const unitsBelow = (db: Db, organization: Organization, parent: string): Promise<Unit[]> =>
  db
    .selectFrom("organization_units")
    .selectAll()
    .where("organization_id", "=", organization.id)
    .where("parent_id", "=", parent)
    .orderBy("id")
    .execute();

/** Accounts in the order of their ids. */
export async function membersOf(
  db: Db,
  organization: Organization,
  of: { readonly parent?: string; readonly id?: string } = {},
): Promise<MemberAccount[]> {
  let query = db
    .selectFrom("organization_accounts")
    .innerJoin("accounts", "accounts.id", "organization_accounts.account_id")
    .select(["account_id", "parent_id", "joined_method", "joined_at", "accounts.name", "accounts.email"])
    .select("accounts.status")
    .where("organization_id", "=", organization.id)
    .orderBy("account_id");
  if (of.parent !== undefined) query = query.where("parent_id", "=", of.parent);
  if (of.id !== undefined) query = query.where("account_id", "=", of.id);
  return (await query.execute()).map((row) => ({
    id: row.account_id as AccountId,
    parentId: row.parent_id,
    name: row.name,
    email: row.email,
    status: row.status,
    joinedMethod: row.joined_method,
    joinedAt: new Date(row.joined_at),
  }));
}

/** @returns undefined where there is none, or it is of another organization */
export async function policyById(
  db: Db,
  organization: Organization,
  id: string,
): Promise<OrganizationPolicy | undefined> {
  if (id === FULL_ACCESS.id) return FULL_ACCESS;
  return db
    .selectFrom("organization_policies")
    .selectAll()
    .where("id", "=", id)
    .where("organization_id", "=", organization.id)
    .executeTakeFirst();
}

/** In the order of their ids, Amazon's own first. */
export const policiesOf = async (db: Db, organization: Organization): Promise<OrganizationPolicy[]> => [
  FULL_ACCESS,
  ...(await db
    .selectFrom("organization_policies")
    .selectAll()
    .where("organization_id", "=", organization.id)
    .orderBy("id")
    .execute()),
];

/** What is attached, right there, to any of `targets`. */
export async function attachedTo(
  db: Db,
  organization: Organization,
  targets: readonly string[],
): Promise<Map<string, OrganizationPolicy[]>> {
  const rows = await db
    .selectFrom("organization_attachments")
    .select(["target_id", "policy_id"])
    .where("organization_id", "=", organization.id)
    .where("target_id", "in", targets)
    .orderBy("policy_id")
    .execute();
  const all = new Map((await policiesOf(db, organization)).map((policy) => [policy.id, policy]));
  return new Map(
    targets.map((target) => [
      target,
      rows.flatMap((row) => {
        const policy = all.get(row.policy_id);
        return row.target_id === target && policy !== undefined ? [policy] : [];
      }),
    ]),
  );
}

export const invalidInput = (reason: string, message: string): ApiError =>
  new ApiError("InvalidInputException", message, { fields: { Reason: reason } });

export const constraint = (reason: string, message: string): ApiError =>
  new ApiError("ConstraintViolationException", message, { fields: { Reason: reason } });

/** @throws ApiError `code` for what is not there */
export function mustFind<T>(found: T | undefined, code: ErrorCode, message: string): T {
  if (found === undefined) throw new ApiError(code, message);
  return found;
}
