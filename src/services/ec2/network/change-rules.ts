// AuthorizeSecurityGroupIngress/Egress and RevokeSecurityGroupIngress/Egress: one family, two directions.
import {
  AuthorizeSecurityGroupEgress$,
  type AuthorizeSecurityGroupEgressResult,
  AuthorizeSecurityGroupIngress$,
  type AuthorizeSecurityGroupIngressResult,
  RevokeSecurityGroupEgress$,
  type RevokeSecurityGroupEgressResult,
  RevokeSecurityGroupIngress$,
  type RevokeSecurityGroupIngressResult,
  type TagSpecification,
} from "@aws-sdk/client-ec2";
import type { StaticOperationSchema } from "@smithy/types";
import { ApiError } from "../../../base/api-error.ts";
import { newId, parseId } from "../../../base/ids.ts";
import type { Action } from "../../../model/access.ts";
import { ec2Arn } from "../../../model/arn.ts";
import {
  groupsByIds,
  groupsByNames,
  groupsOfOwner,
  rulesOf,
  type SecurityGroup,
  type SecurityGroupRule,
  securityGroupKeys,
} from "../../../model/security-group.ts";
import { deleteRules, insertRules } from "../../../model/security-group-rows.ts";
import { requestTagKeys, tagsOf, writeTags } from "../../../model/tags.ts";
import { defaultVpc } from "../../../model/vpc.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";
import { apiRule, type PermissionsInput, parsePermissions, peerOf, type RuleSpec, sameRule } from "./ip-permissions.ts";

/** EC2's quota of rules per group and direction. */
const MOST_RULES_PER_GROUP = 60;

interface GroupInput extends PermissionsInput {
  readonly GroupId?: string | undefined;
  readonly GroupName?: string | undefined;
  readonly TagSpecifications?: TagSpecification[] | undefined;
  readonly SecurityGroupRuleIds?: string[] | undefined;
}

/** The group that a call names by id, or by name in the default VPC. */
export async function namedGroup(
  ctx: RequestContext,
  input: Pick<GroupInput, "GroupId" | "GroupName">,
): Promise<SecurityGroup> {
  const db = ctx.database.read;
  const owner = ownerOf(ctx);
  const [group] =
    input.GroupId !== undefined
      ? await groupsByIds(db, owner, [parseId("securityGroup", input.GroupId)])
      : input.GroupName !== undefined
        ? await groupsByNames(db, owner, await defaultVpc(ctx.database, owner, ctx.now()), [input.GroupName])
        : [];
  if (group === undefined)
    throw new ApiError("MissingParameter", "The request must contain the parameter groupName or groupId");
  return group;
}

/** The check for an action on a group that exists. */
export async function groupCheck(ctx: RequestContext, action: Action, group: SecurityGroup) {
  const tags = await tagsOf(ctx.database.read, group.account_id, [group.id]);
  return {
    action,
    resource: ec2Arn(ctx.region, group.account_id, "security-group", group.id),
    keys: securityGroupKeys(group, ec2Arn(ctx.region, group.account_id, "vpc", group.vpc_id), tags.get(group.id) ?? []),
  };
}

async function resolveRules(ctx: RequestContext, action: Action, input: GroupInput) {
  const group = await namedGroup(ctx, input);
  const specs =
    input.SecurityGroupRuleIds === undefined
      ? await parsePermissions(input, async (name) => {
          const [found] = await groupsByNames(ctx.database.read, ownerOf(ctx), group.vpc_id, [name]);
          return found?.id ?? name;
        })
      : [];
  const ids = specs.flatMap((spec) => (spec.referenced_group_id === null ? [] : [spec.referenced_group_id]));
  const known = new Set((await groupsOfOwner(ctx.database.read, ownerOf(ctx))).map((candidate) => candidate.id));
  for (const id of ids) await requireGroup(known, id);
  return { group, specs, ruleIds: input.SecurityGroupRuleIds, check: await groupCheck(ctx, action, group) };
}

async function requireGroup(known: ReadonlySet<string>, id: string): Promise<void> {
  if (!known.has(parseId("securityGroup", id))) {
    throw new ApiError("InvalidGroup.NotFound", `The security group '${id}' does not exist`);
  }
}

const row = (spec: RuleSpec, group: SecurityGroup, egress: 0 | 1): SecurityGroupRule => ({
  ...spec,
  id: newId("securityGroupRule"),
  group_id: group.id,
  account_id: group.account_id,
  region: group.region,
  is_egress: egress,
});

function authorize<A extends "ec2:AuthorizeSecurityGroupIngress" | "ec2:AuthorizeSecurityGroupEgress">(
  action: A,
  schema: StaticOperationSchema,
  egress: 0 | 1,
) {
  return operation({
    action,
    schema,
    access: "write",
    async resolve(ctx: RequestContext, input: GroupInput) {
      const resolved = await resolveRules(ctx, action, input);
      const tags = parseTagSpecifications(input.TagSpecifications, ["security-group-rule"]);
      const rule = ec2Arn(ctx.region, ctx.caller.accountId, "security-group-rule", "*");
      return {
        ...resolved,
        tags,
        checks: [
          { ...resolved.check, keys: { ...resolved.check.keys, ...requestTagKeys(tags.all) } },
          ...createTagsCheck(action.slice("ec2:".length), rule, tags.of("security-group-rule")),
        ],
      };
    },
    async run(
      ctx,
      _input,
      { group, specs, tags },
      grant,
    ): Promise<AuthorizeSecurityGroupIngressResult & AuthorizeSecurityGroupEgressResult> {
      const made = specs.map((spec) => row(spec, group, egress));
      await ctx.database.transaction(async (tx) => {
        const present = ((await rulesOf(tx, [group.id])).get(group.id) ?? []).filter(
          (rule) => rule.is_egress === egress,
        );
        for (const rule of made) {
          if (present.some((other) => sameRule(other, rule))) {
            throw new ApiError(
              "InvalidPermission.Duplicate",
              `the specified rule "peer: ${peerOf(rule)}, ${rule.protocol.toUpperCase()}, from port: ${rule.from_port}, to port: ${rule.to_port}, ALLOW" already exists`,
            );
          }
        }
        if (present.length + made.length > MOST_RULES_PER_GROUP) {
          throw new ApiError(
            "RulesPerSecurityGroupLimitExceeded",
            `The maximum number of rules per security group has been reached (${MOST_RULES_PER_GROUP}).`,
          );
        }
        await insertRules(grant, tx, made);
        for (const rule of made) {
          await writeTags(
            tx,
            ownerOf(ctx),
            { id: rule.id, type: "security-group-rule" },
            tags.of("security-group-rule"),
          );
        }
      });
      ctx.parts.host.poke();
      return {
        Return: true,
        SecurityGroupRules: made.map((rule) => apiRule(rule, group, tags.of("security-group-rule"))),
      };
    },
  });
}

function revoke<A extends "ec2:RevokeSecurityGroupIngress" | "ec2:RevokeSecurityGroupEgress">(
  action: A,
  schema: StaticOperationSchema,
  egress: 0 | 1,
) {
  return operation({
    action,
    schema,
    access: "write",
    async resolve(ctx: RequestContext, input: GroupInput) {
      const resolved = await resolveRules(ctx, action, input);
      return { ...resolved, checks: [resolved.check] };
    },
    async run(
      ctx,
      _input,
      { group, specs, ruleIds },
      grant,
    ): Promise<RevokeSecurityGroupIngressResult & RevokeSecurityGroupEgressResult> {
      const gone = await ctx.database.transaction(async (tx) => {
        const present = ((await rulesOf(tx, [group.id])).get(group.id) ?? []).filter(
          (rule) => rule.is_egress === egress,
        );
        const chosen =
          ruleIds === undefined
            ? specs.map((spec) => present.find((rule) => sameRule(rule, spec)))
            : ruleIds.map((id) => present.find((rule) => rule.id === id));
        const found = chosen.filter((rule) => rule !== undefined);
        if (found.length < chosen.length) {
          throw new ApiError("InvalidPermission.NotFound", "The specified rule does not exist in this security group.");
        }
        await deleteRules(
          grant,
          tx,
          found.map((rule) => rule.id),
        );
        return found;
      });
      ctx.parts.host.poke();
      return {
        Return: true,
        RevokedSecurityGroupRules: gone.map((rule) => ({
          SecurityGroupRuleId: rule.id,
          GroupId: rule.group_id,
          IsEgress: rule.is_egress === 1,
          IpProtocol: rule.protocol,
          FromPort: rule.from_port ?? -1,
          ToPort: rule.to_port ?? -1,
          ...(rule.cidr_ipv4 === null ? {} : { CidrIpv4: rule.cidr_ipv4 }),
          ...(rule.cidr_ipv6 === null ? {} : { CidrIpv6: rule.cidr_ipv6 }),
          ...(rule.referenced_group_id === null ? {} : { ReferencedGroupId: rule.referenced_group_id }),
        })),
      };
    },
  });
}

export const authorizeSecurityGroupIngress = authorize(
  "ec2:AuthorizeSecurityGroupIngress",
  AuthorizeSecurityGroupIngress$,
  0,
);
export const authorizeSecurityGroupEgress = authorize(
  "ec2:AuthorizeSecurityGroupEgress",
  AuthorizeSecurityGroupEgress$,
  1,
);
export const revokeSecurityGroupIngress = revoke("ec2:RevokeSecurityGroupIngress", RevokeSecurityGroupIngress$, 0);
export const revokeSecurityGroupEgress = revoke("ec2:RevokeSecurityGroupEgress", RevokeSecurityGroupEgress$, 1);
