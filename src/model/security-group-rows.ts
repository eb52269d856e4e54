// Writing security groups on a client's behalf.
import { ApiError } from "../base/api-error.ts";
import type { SecurityGroupId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { Grant } from "./access.ts";
import type { SecurityGroup, SecurityGroupRule } from "./security-group.ts";

type Authorize = Grant<"ec2:AuthorizeSecurityGroupIngress" | "ec2:AuthorizeSecurityGroupEgress">;
type Revoke = Grant<"ec2:RevokeSecurityGroupIngress" | "ec2:RevokeSecurityGroupEgress">;

export async function insertRules(_grant: Authorize, tx: Db, rules: readonly SecurityGroupRule[]): Promise<void> {
  await tx.insertInto("security_group_rules").values(rules).execute();
}

export async function deleteRules(_grant: Revoke, tx: Db, ids: readonly string[]): Promise<void> {
  await tx.deleteFrom("security_group_rules").where("id", "in", ids).execute();
  await tx.deleteFrom("tags").where("resource_id", "in", ids).execute();
}

/**
 * Removes a group, its rules and their tags.
 * @throws ApiError `DependencyViolation` while an instance or another group's rule refers to it
 */
export async function deleteSecurityGroupRows(
  _grant: Grant<"ec2:DeleteSecurityGroup">,
  tx: Db,
  group: SecurityGroup,
): Promise<void> {
  const used = await tx
    .selectFrom("instance_security_groups")
    .select("instance_id")
    .where("group_id", "=", group.id)
    .limit(1)
    .executeTakeFirst();
  const referenced = await tx
    .selectFrom("security_group_rules")
    .select("id")
    .where("referenced_group_id", "=", group.id)
    .where("group_id", "<>", group.id)
    .limit(1)
    .executeTakeFirst();
  if (used !== undefined || referenced !== undefined) {
    throw new ApiError("DependencyViolation", `resource ${group.id} has a dependent object`);
  }
  const rules = tx.selectFrom("security_group_rules").select("id").where("group_id", "=", group.id);
  await tx.deleteFrom("tags").where("resource_id", "in", rules).execute();
  await tx.deleteFrom("tags").where("resource_id", "=", group.id).execute();
  await tx.deleteFrom("security_group_rules").where("group_id", "=", group.id).execute();
  await tx.deleteFrom("security_groups").where("id", "=", group.id).execute();
}

/** The instance's groups become exactly these. */
export async function setInstanceGroups(
  tx: Db,
  instanceId: string,
  groupIds: readonly SecurityGroupId[],
): Promise<void> {
  await tx.deleteFrom("instance_security_groups").where("instance_id", "=", instanceId).execute();
  await putInGroups(tx, instanceId, groupIds);
}

/** Of an instance that is in no group yet. */
export async function putInGroups(tx: Db, instanceId: string, groupIds: readonly SecurityGroupId[]): Promise<void> {
  if (groupIds.length === 0) return;
  await tx
    .insertInto("instance_security_groups")
    .values([...new Set(groupIds)].map((groupId) => ({ instance_id: instanceId, group_id: groupId })))
    .execute();
}
