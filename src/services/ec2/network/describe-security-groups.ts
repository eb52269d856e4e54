// DescribeSecurityGroups and DescribeSecurityGroupRules.
import {
  type SecurityGroup as ApiGroup,
  type SecurityGroupRule as ApiRule,
  DescribeSecurityGroupRules$,
  type DescribeSecurityGroupRulesRequest,
  type DescribeSecurityGroupRulesResult,
  DescribeSecurityGroups$,
  type DescribeSecurityGroupsRequest,
  type DescribeSecurityGroupsResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import { ec2Arn } from "../../../model/arn.ts";
import { groupNotFound, groupsOfOwner, rulesOf, type SecurityGroupRule } from "../../../model/security-group.ts";
import { type Tag, tagsOf } from "../../../model/tags.ts";
import { defaultVpc } from "../../../model/vpc.ts";
import { compileFilters, type FilterTable, type FilterValue } from "../../../protocol/filters.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { pageOf } from "../page.ts";
import { apiPermissions, apiRule } from "./ip-permissions.ts";

interface Shown {
  readonly group: ApiGroup;
  readonly rules: readonly SecurityGroupRule[];
}

const ruleValues =
  (egress: 0 | 1, read: (rule: SecurityGroupRule) => FilterValue) =>
  ({ rules }: Shown): FilterValue[] =>
    rules.filter((rule) => rule.is_egress === egress).map(read);

const permissionFilters = (prefix: "ip-permission" | "egress.ip-permission", egress: 0 | 1) => ({
  [`${prefix}.cidr`]: ruleValues(egress, (rule) => rule.cidr_ipv4),
  [`${prefix}.from-port`]: ruleValues(egress, (rule) => rule.from_port),
  [`${prefix}.group-id`]: ruleValues(egress, (rule) => rule.referenced_group_id),
  [`${prefix}.ipv6-cidr`]: ruleValues(egress, (rule) => rule.cidr_ipv6),
  [`${prefix}.protocol`]: ruleValues(egress, (rule) => rule.protocol),
  [`${prefix}.to-port`]: ruleValues(egress, (rule) => rule.to_port),
});

const GROUP_FILTERS: FilterTable<Shown> = {
  values: {
    description: ({ group }) => group.Description,
    "group-id": ({ group }) => group.GroupId,
    "group-name": ({ group }) => group.GroupName,
    "owner-id": ({ group }) => group.OwnerId,
    "vpc-id": ({ group }) => group.VpcId,
    ...permissionFilters("ip-permission", 0),
    ...permissionFilters("egress.ip-permission", 1),
  },
  tags: ({ group }) => group.Tags ?? [],
};

const apiTags = (tags: readonly Tag[] | undefined) => (tags ?? []).map((tag) => ({ Key: tag.key, Value: tag.value }));

export const describeSecurityGroups = operation({
  action: "ec2:DescribeSecurityGroups",
  schema: DescribeSecurityGroups$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeSecurityGroups"),
  async run(ctx: RequestContext, input: DescribeSecurityGroupsRequest): Promise<DescribeSecurityGroupsResult> {
    const filters = compileFilters(input.Filters, GROUP_FILTERS);
    const owner = ownerOf(ctx);
    await defaultVpc(ctx.database, owner, ctx.now());
    const db = ctx.database.read;
    const all = await groupsOfOwner(db, owner);
    const ids = input.GroupIds?.map((id) => parseId("securityGroup", id));
    for (const id of ids ?? []) if (!all.some((group) => group.id === id)) throw groupNotFound(id);
    for (const name of input.GroupNames ?? []) {
      if (!all.some((group) => group.name === name)) {
        throw new ApiError("InvalidGroup.NotFound", `The security group '${name}' does not exist`);
      }
    }
    const named = all.filter(
      (group) => (ids?.includes(group.id) ?? true) && (input.GroupNames?.includes(group.name) ?? true),
    );
    const groupIds = named.map((group) => group.id);
    const rules = await rulesOf(db, groupIds);
    const tags = await tagsOf(db, owner.accountId, groupIds);
    const shown = named.map((group): Shown => {
      const own = rules.get(group.id) ?? [];
      return {
        rules: own,
        group: {
          GroupId: group.id,
          GroupName: group.name,
          Description: group.description,
          OwnerId: group.account_id,
          VpcId: group.vpc_id,
          SecurityGroupArn: ec2Arn(owner.region, owner.accountId, "security-group", group.id),
          IpPermissions: apiPermissions(
            own.filter((rule) => rule.is_egress === 0),
            group.account_id,
          ),
          IpPermissionsEgress: apiPermissions(
            own.filter((rule) => rule.is_egress === 1),
            group.account_id,
          ),
          Tags: apiTags(tags.get(group.id)),
        },
      };
    });
    const found = shown.filter(filters.matches).map(({ group }) => group);
    const { page, token } = pageOf(ctx, "DescribeSecurityGroups", input, found, (group) => group.GroupId ?? "");
    return { SecurityGroups: page, ...token };
  },
});

const RULE_FILTERS: FilterTable<ApiRule> = {
  values: {
    "group-id": (rule) => rule.GroupId,
    "security-group-rule-id": (rule) => rule.SecurityGroupRuleId,
  },
  tags: (rule) => rule.Tags ?? [],
};

export const describeSecurityGroupRules = operation({
  action: "ec2:DescribeSecurityGroupRules",
  schema: DescribeSecurityGroupRules$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeSecurityGroupRules"),
  async run(ctx: RequestContext, input: DescribeSecurityGroupRulesRequest): Promise<DescribeSecurityGroupRulesResult> {
    const filters = compileFilters(input.Filters, RULE_FILTERS);
    const owner = ownerOf(ctx);
    const db = ctx.database.read;
    const groups = await groupsOfOwner(db, owner);
    const rules = await rulesOf(
      db,
      groups.map((group) => group.id),
    );
    const rows = groups.flatMap((group) => (rules.get(group.id) ?? []).map((rule) => ({ group, rule })));
    for (const id of input.SecurityGroupRuleIds ?? []) {
      if (!rows.some(({ rule }) => rule.id === id)) {
        throw new ApiError("InvalidSecurityGroupRuleId.NotFound", `The security group rule ID '${id}' does not exist`);
      }
    }
    const chosen = rows.filter(({ rule }) => input.SecurityGroupRuleIds?.includes(rule.id) ?? true);
    const tags = await tagsOf(
      db,
      owner.accountId,
      chosen.map(({ rule }) => rule.id),
    );
    const found = chosen
      .map(({ group, rule }) => apiRule(rule, group, tags.get(rule.id) ?? []))
      .filter(filters.matches);
    const { page, token } = pageOf(
      ctx,
      "DescribeSecurityGroupRules",
      input,
      found,
      (rule) => rule.SecurityGroupRuleId ?? "",
    );
    return { SecurityGroupRules: page, ...token };
  },
});
