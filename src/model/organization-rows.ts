// Changes to organizations. Each takes the organization's row first, so that they come one after another, and raises the
// generation of every member: what limits a caller counts from its next request.
import { ApiError } from "../base/api-error.ts";
import type { AccountId } from "../base/ids.ts";
import { type Db, isUniqueViolation } from "../database/database.ts";
import type { OrganizationRequestsTable } from "../database/tables/organizations.ts";
import type { Grant } from "./access.ts";
import {
  FULL_ACCESS,
  newOrganizationId,
  newPolicyId,
  newRequestId,
  newRootId,
  newUnitId,
  type Organization,
  type OrganizationPolicy,
  type Unit,
} from "./organization.ts";

/** Call it first in the transaction that changes the organization. */
export async function beginChange(tx: Db, organization: Organization): Promise<void> {
  await tx
    .updateTable("organizations")
    .set((eb) => ({ revision: eb("revision", "+", 1) }))
    .where("id", "=", organization.id)
    .execute();
  await tx
    .updateTable("accounts")
    .set((eb) => ({ generation: eb("generation", "+", 1) }))
    .where("id", "in", (eb) =>
      eb.selectFrom("organization_accounts").select("account_id").where("organization_id", "=", organization.id),
    )
    .execute();
}

/** @throws ApiError `AlreadyInOrganizationException` */
export async function insertOrganization(
  _grant: Grant<"organizations:CreateOrganization">,
  tx: Db,
  managementAccount: AccountId,
  now: Date,
): Promise<Organization> {
  const organization: Organization = {
    id: newOrganizationId(),
    managementAccount,
    rootId: newRootId(),
    serviceControl: false,
    createdAt: now,
  };
  try {
    await tx
      .insertInto("organizations")
      .values({
        id: organization.id,
        management_account_id: managementAccount,
        root_id: organization.rootId,
        service_control: 0,
        revision: 1,
        created_at: now.toISOString(),
      })
      .execute();
    await insertMember(tx, organization, managementAccount, "INVITED", now);
  } catch (cause) {
    if (!isUniqueViolation(cause)) throw cause;
    throw new ApiError("AlreadyInOrganizationException", "The AWS account is already a member of an organization.", {
      cause,
    });
  }
  await beginChange(tx, organization);
  return organization;
}

/** Below the root. With service control policies enabled, nothing limits it until a policy is attached. */
export async function insertMember(
  tx: Db,
  organization: Organization,
  account: AccountId,
  how: "CREATED" | "INVITED",
  now: Date,
): Promise<void> {
  await tx
    .insertInto("organization_accounts")
    .values({
      account_id: account,
      organization_id: organization.id,
      parent_id: organization.rootId,
      joined_method: how,
      joined_at: now.toISOString(),
    })
    .execute();
  if (organization.serviceControl) await attach(tx, organization, [account], FULL_ACCESS.id);
}

/** Only when nobody but the manager is left. */
export async function deleteOrganizationRows(
  _grant: Grant<"organizations:DeleteOrganization">,
  tx: Db,
  organization: Organization,
): Promise<void> {
  await beginChange(tx, organization);
  for (const table of [
    "organization_attachments",
    "organization_policies",
    "organization_requests",
    "organization_units",
    "organization_accounts",
  ] as const) {
    await tx.deleteFrom(table).where("organization_id", "=", organization.id).execute();
  }
  await tx.deleteFrom("organizations").where("id", "=", organization.id).execute();
}

/** Remembers how CreateAccount ended. @returns the request's id */
export async function insertRequest(
  _grant: Grant<"organizations:CreateAccount">,
  tx: Db,
  request: Omit<OrganizationRequestsTable, "id">,
): Promise<string> {
  const id = newRequestId();
  await tx
    .insertInto("organization_requests")
    .values({ id, ...request })
    .execute();
  return id;
}

export async function placeAccount(
  _grant: Grant<"organizations:MoveAccount">,
  tx: Db,
  account: string,
  parent: string,
): Promise<void> {
  await tx.updateTable("organization_accounts").set({ parent_id: parent }).where("account_id", "=", account).execute();
}

export async function removeMember(
  _grant: Grant<"organizations:RemoveAccountFromOrganization" | "organizations:LeaveOrganization">,
  tx: Db,
  account: string,
): Promise<void> {
  await tx.deleteFrom("organization_attachments").where("target_id", "=", account).execute();
  await tx.deleteFrom("organization_accounts").where("account_id", "=", account).execute();
}

/** A closed account's credentials are worth nothing from now. */
export async function closeAccountRow(
  _grant: Grant<"organizations:CloseAccount">,
  tx: Db,
  account: string,
): Promise<void> {
  await tx.updateTable("accounts").set({ status: "SUSPENDED" }).where("id", "=", account).execute();
}

const unitTaken = (cause: unknown): ApiError =>
  new ApiError(
    "DuplicateOrganizationalUnitException",
    "An OU with the same name already exists.",
    cause === undefined ? {} : { cause },
  );

/** @throws ApiError `DuplicateOrganizationalUnitException` */
export async function insertUnit(
  _grant: Grant<"organizations:CreateOrganizationalUnit">,
  tx: Db,
  organization: Organization,
  parent: string,
  name: string,
  now: Date,
): Promise<Unit> {
  const unit: Unit = {
    id: newUnitId(organization.rootId),
    organization_id: organization.id,
    parent_id: parent,
    name,
    created_at: now.toISOString(),
  };
  try {
    await tx.insertInto("organization_units").values(unit).execute();
  } catch (cause) {
    throw isUniqueViolation(cause) ? unitTaken(cause) : cause;
  }
  if (organization.serviceControl) await attach(tx, organization, [unit.id], FULL_ACCESS.id);
  return unit;
}

/** @throws ApiError `DuplicateOrganizationalUnitException` */
export async function renameUnit(
  _grant: Grant<"organizations:UpdateOrganizationalUnit">,
  tx: Db,
  id: string,
  name: string,
): Promise<void> {
  try {
    await tx.updateTable("organization_units").set({ name }).where("id", "=", id).execute();
  } catch (cause) {
    throw isUniqueViolation(cause) ? unitTaken(cause) : cause;
  }
}

export async function deleteUnit(
  _grant: Grant<"organizations:DeleteOrganizationalUnit">,
  tx: Db,
  id: string,
): Promise<void> {
  await tx.deleteFrom("organization_attachments").where("target_id", "=", id).execute();
  await tx.deleteFrom("organization_units").where("id", "=", id).execute();
}

/** Enabling attaches FullAWSAccess to everything there is; disabling detaches every policy, and keeps the policies. */
export async function setServiceControl(
  _grant: Grant<"organizations:EnablePolicyType" | "organizations:DisablePolicyType">,
  tx: Db,
  organization: Organization,
  enabled: boolean,
): Promise<void> {
  await tx
    .updateTable("organizations")
    .set({ service_control: enabled ? 1 : 0 })
    .where("id", "=", organization.id)
    .execute();
  if (!enabled) {
    await tx.deleteFrom("organization_attachments").where("organization_id", "=", organization.id).execute();
    return;
  }
  const units = await tx
    .selectFrom("organization_units")
    .select("id")
    .where("organization_id", "=", organization.id)
    .execute();
  const accounts = await tx
    .selectFrom("organization_accounts")
    .select("account_id as id")
    .where("organization_id", "=", organization.id)
    .execute();
  const targets = [organization.rootId, ...[...units, ...accounts].map((each) => each.id)];
  await attach(tx, organization, targets, FULL_ACCESS.id);
}

const policyTaken = (cause: unknown): ApiError =>
  new ApiError("DuplicatePolicyException", "A policy with the same name already exists.", { cause });

/** @throws ApiError `DuplicatePolicyException` */
export async function insertOrganizationPolicy(
  _grant: Grant<"organizations:CreatePolicy">,
  tx: Db,
  policy: Omit<OrganizationPolicy, "id">,
): Promise<OrganizationPolicy> {
  const made = { id: newPolicyId(), ...policy };
  try {
    await tx.insertInto("organization_policies").values(made).execute();
  } catch (cause) {
    throw isUniqueViolation(cause) ? policyTaken(cause) : cause;
  }
  return made;
}

/** @throws ApiError `DuplicatePolicyException` */
export async function updateOrganizationPolicy(
  _grant: Grant<"organizations:UpdatePolicy">,
  tx: Db,
  { id, name, description, content }: OrganizationPolicy,
): Promise<void> {
  try {
    await tx.updateTable("organization_policies").set({ name, description, content }).where("id", "=", id).execute();
  } catch (cause) {
    throw isUniqueViolation(cause) ? policyTaken(cause) : cause;
  }
}

export const deleteOrganizationPolicy = async (
  _grant: Grant<"organizations:DeletePolicy">,
  tx: Db,
  id: string,
): Promise<void> => void (await tx.deleteFrom("organization_policies").where("id", "=", id).execute());

/** @throws ApiError `DuplicatePolicyAttachmentException` */
export async function attachOrganizationPolicy(
  _grant: Grant<"organizations:AttachPolicy">,
  tx: Db,
  organization: Organization,
  target: string,
  policy: string,
): Promise<void> {
  try {
    await attach(tx, organization, [target], policy);
  } catch (cause) {
    if (!isUniqueViolation(cause)) throw cause;
    throw new ApiError(
      "DuplicatePolicyAttachmentException",
      "The selected policy is already attached to the specified target.",
      { cause },
    );
  }
}

export async function detachOrganizationPolicy(
  _grant: Grant<"organizations:DetachPolicy">,
  tx: Db,
  target: string,
  policy: string,
): Promise<void> {
  await tx
    .deleteFrom("organization_attachments")
    .where("target_id", "=", target)
    .where("policy_id", "=", policy)
    .execute();
}

async function attach(tx: Db, organization: Organization, targets: readonly string[], policy: string): Promise<void> {
  await tx
    .insertInto("organization_attachments")
    .values(targets.map((target_id) => ({ organization_id: organization.id, target_id, policy_id: policy })))
    .execute();
}
