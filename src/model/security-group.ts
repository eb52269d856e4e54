// Security groups and their rules.
import { ApiError } from "../base/api-error.ts";
import type { Region, SecurityGroupId, VpcId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { SecurityGroupRulesTable, SecurityGroupsTable } from "../database/tables/ec2.ts";
import type { ConditionKeys } from "./access.ts";
import type { SecurityGroupRules, SecurityRule } from "./nic.ts";
import { resourceTagKeys, type Tag } from "./tags.ts";
import type { Owner } from "./vpc.ts";

export type SecurityGroup = Readonly<SecurityGroupsTable> & {
  readonly id: SecurityGroupId;
  readonly region: Region;
  readonly vpc_id: VpcId;
};
export type SecurityGroupRule = Readonly<SecurityGroupRulesTable>;

export const groupNotFound = (id: string): ApiError =>
  new ApiError("InvalidGroup.NotFound", `The security group '${id}' does not exist`);

/** The owner's groups of these ids, in the order asked for. @throws ApiError `InvalidGroup.NotFound` */
export async function groupsByIds(db: Db, owner: Owner, ids: readonly string[]): Promise<SecurityGroup[]> {
  if (ids.length === 0) return [];
  const rows = (await db
    .selectFrom("security_groups")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("id", "in", [...new Set(ids)])
    .execute()) as SecurityGroup[];
  return ids.map((id) => {
    const found = rows.find((row) => row.id === id);
    if (found === undefined) throw groupNotFound(id);
    return found;
  });
}

/** A VPC's groups of these names. @throws ApiError `InvalidGroup.NotFound` */
export async function groupsByNames(
  db: Db,
  owner: Owner,
  vpcId: VpcId,
  names: readonly string[],
): Promise<SecurityGroup[]> {
  if (names.length === 0) return [];
  const rows = (await db
    .selectFrom("security_groups")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("vpc_id", "=", vpcId)
    .where("name", "in", [...new Set(names)])
    .execute()) as SecurityGroup[];
  return names.map((name) => {
    const found = rows.find((row) => row.name === name);
    if (found === undefined) {
      throw new ApiError("InvalidGroup.NotFound", `The security group '${name}' does not exist in VPC '${vpcId}'`);
    }
    return found;
  });
}

export async function groupsOfOwner(db: Db, owner: Owner): Promise<SecurityGroup[]> {
  const rows = await db
    .selectFrom("security_groups")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .orderBy("name")
    .orderBy("id")
    .execute();
  return rows as SecurityGroup[];
}

/** Rules by group id, in the order in which they were made. */
export async function rulesOf(db: Db, groupIds: readonly string[]): Promise<Map<string, SecurityGroupRule[]>> {
  const rules = new Map<string, SecurityGroupRule[]>();
  for (let at = 0; at < groupIds.length; at += 500) {
    const rows = await db
      .selectFrom("security_group_rules")
      .selectAll()
      .where("group_id", "in", groupIds.slice(at, at + 500))
      .orderBy("group_id")
      .orderBy("id")
      .execute();
    for (const row of rows) {
      const list = rules.get(row.group_id) ?? [];
      list.push(row);
      rules.set(row.group_id, list);
    }
  }
  return rules;
}

const PROTOCOL_NUMBER: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 };

/** A group's rules as the fabric enforces them. The guests' network has no IPv6: rules about it hold nothing to enforce. */
export function fabricRules(groupId: SecurityGroupId, rules: readonly SecurityGroupRule[]): SecurityGroupRules {
  const inForce = (egress: 0 | 1): SecurityRule[] =>
    rules.flatMap((rule) => {
      if (rule.is_egress !== egress) return [];
      const peer: SecurityRule["peer"] | null =
        rule.cidr_ipv4 !== null
          ? { kind: "cidr", cidr: rule.cidr_ipv4 }
          : rule.referenced_group_id !== null
            ? { kind: "group", groupId: rule.referenced_group_id as SecurityGroupId }
            : null;
      if (peer === null) return [];
      const protocol = rule.protocol === "-1" ? "all" : (PROTOCOL_NUMBER[rule.protocol] ?? Number(rule.protocol));
      return [{ protocol, fromPort: rule.from_port, toPort: rule.to_port, peer }];
    });
  return { groupId, ingress: inForce(0), egress: inForce(1) };
}

/** What policies may ask of a security group. */
export const securityGroupKeys = (
  group: Pick<SecurityGroup, "id" | "region">,
  vpcArn: string,
  tags: readonly Tag[],
): ConditionKeys => ({
  "ec2:SecurityGroupID": group.id,
  "ec2:Vpc": vpcArn,
  "ec2:Region": group.region,
  ...resourceTagKeys(tags),
});
