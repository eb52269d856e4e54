// IpPermissions: how a request names rules of a security group, and how rules are shown again.

import { isIPv6 } from "node:net";
import type {
  SecurityGroupRule as ApiRule,
  IpPermission,
  IpRange,
  Ipv6Range,
  UserIdGroupPair,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { formatNetwork, parseNetwork } from "../../../model/ipv4.ts";
import type { SecurityGroup, SecurityGroupRule } from "../../../model/security-group.ts";
import type { Tag } from "../../../model/tags.ts";

/** A rule without its id and its group. */
export type RuleSpec = Pick<
  SecurityGroupRule,
  | "protocol"
  | "from_port"
  | "to_port"
  | "cidr_ipv4"
  | "cidr_ipv6"
  | "prefix_list_id"
  | "referenced_group_id"
  | "description"
>;

/** The parameters that Authorize… and Revoke… share. The single ones are EC2's old style; both may not be mixed. */
export interface PermissionsInput {
  readonly IpPermissions?: readonly IpPermission[] | undefined;
  readonly CidrIp?: string | undefined;
  readonly FromPort?: number | undefined;
  readonly ToPort?: number | undefined;
  readonly IpProtocol?: string | undefined;
  readonly SourceSecurityGroupName?: string | undefined;
}

const MOST_RULES = 1000;
const NUMBER_NAME: Readonly<Record<string, string>> = { "1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6" };

/**
 * One spec for each peer of each permission.
 * @param groupIdByName  looks a group up by its name in the same VPC
 * @throws ApiError `InvalidPermission.Malformed`, `InvalidParameterValue`, `MissingParameter`
 */
export async function parsePermissions(
  input: PermissionsInput,
  groupIdByName: (name: string) => Promise<string>,
): Promise<RuleSpec[]> {
  const permissions = [...(input.IpPermissions ?? [])];
  const old = oldStyle(input);
  if (old !== undefined) {
    if (permissions.length > 0) {
      throw new ApiError(
        "InvalidParameterCombination",
        "The parameter 'ipPermissions' may not be used in combination with 'ipProtocol'",
      );
    }
    permissions.push(old);
  }
  const specs: RuleSpec[] = [];
  for (const permission of permissions) specs.push(...(await specsOf(permission, groupIdByName)));
  if (specs.length === 0)
    throw new ApiError("MissingParameter", "The request must contain the parameter ipPermissions");
  if (specs.length > MOST_RULES) {
    throw new ApiError("InvalidParameterValue", `A request may name at most ${MOST_RULES} rules.`);
  }
  return specs;
}

function oldStyle(input: PermissionsInput): IpPermission | undefined {
  const { IpProtocol, FromPort, ToPort, CidrIp, SourceSecurityGroupName } = input;
  if (SourceSecurityGroupName !== undefined) {
    return {
      IpProtocol: IpProtocol ?? "-1",
      FromPort,
      ToPort,
      UserIdGroupPairs: [{ GroupName: SourceSecurityGroupName }],
    };
  }
  if (IpProtocol === undefined && CidrIp === undefined) return undefined;
  return { IpProtocol, FromPort, ToPort, IpRanges: CidrIp === undefined ? [] : [{ CidrIp }] };
}

async function specsOf(
  permission: IpPermission,
  groupIdByName: (name: string) => Promise<string>,
): Promise<RuleSpec[]> {
  const base = {
    ...portsOf(permission),
    cidr_ipv4: null,
    cidr_ipv6: null,
    prefix_list_id: null,
    referenced_group_id: null,
  };
  const specs: RuleSpec[] = [];
  for (const { CidrIp: cidr = "", Description } of permission.IpRanges ?? []) {
    const network = parseNetwork(cidr);
    if (network === null) throw new ApiError("InvalidParameterValue", `CIDR block ${cidr} is malformed`);
    specs.push({ ...base, cidr_ipv4: formatNetwork(network), description: describe(Description) });
  }
  for (const { CidrIpv6: cidr = "", Description } of permission.Ipv6Ranges ?? []) {
    const [address = "", bits = "", ...rest] = cidr.split("/");
    if (!isIPv6(address) || !/^([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])$/.test(bits) || rest.length > 0) {
      throw new ApiError("InvalidParameterValue", `CIDR block ${cidr} is malformed`);
    }
    specs.push({ ...base, cidr_ipv6: `${address}/${bits}`, description: describe(Description) });
  }
  for (const pair of permission.UserIdGroupPairs ?? []) {
    const id = pair.GroupId ?? (await groupIdByName(pair.GroupName ?? ""));
    specs.push({ ...base, referenced_group_id: id, description: describe(pair.Description) });
  }
  if ((permission.PrefixListIds ?? []).length > 0) {
    throw new ApiError("UnsupportedOperation", "Prefix lists are not supported here.");
  }
  return specs;
}

function portsOf(permission: IpPermission): Pick<RuleSpec, "protocol" | "from_port" | "to_port"> {
  const given = permission.IpProtocol;
  if (given === undefined) throw new ApiError("MissingParameter", "The request must contain the parameter ipProtocol");
  const lower = given.toLowerCase();
  const protocol = lower === "all" ? "-1" : (NUMBER_NAME[lower] ?? lower);
  if (protocol === "-1") return { protocol, from_port: null, to_port: null };
  const named = ["tcp", "udp", "icmp", "icmpv6"].includes(protocol);
  if (!named && !/^([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])$/.test(protocol)) {
    throw new ApiError("InvalidPermission.Malformed", `Invalid value '${given}' for IP protocol. Unknown protocol.`);
  }
  const from = permission.FromPort;
  const to = permission.ToPort;
  if (protocol === "tcp" || protocol === "udp") {
    if (from === undefined || to === undefined) {
      throw new ApiError(
        "InvalidParameterValue",
        "Invalid value 'null' for portRange. Must specify both from and to ports with TCP/UDP.",
      );
    }
    if (from < 0 || to > 65535 || from > to) {
      throw new ApiError("InvalidParameterValue", `Invalid value '${from}-${to}' for portRange.`);
    }
    return { protocol, from_port: from, to_port: to };
  }
  if (protocol === "icmp" || protocol === "icmpv6") {
    if ((from ?? -1) < -1 || (from ?? -1) > 255 || (to ?? -1) < -1 || (to ?? -1) > 255) {
      throw new ApiError("InvalidParameterValue", `Invalid value '${from}' for ICMP type, or '${to}' for its code.`);
    }
    return { protocol, from_port: from ?? -1, to_port: to ?? -1 };
  }
  return { protocol, from_port: null, to_port: null };
}

function describe(text: string | undefined): string | null {
  if (text === undefined) return null;
  if (text.length > 255 || !/^[a-zA-Z0-9. _\-:/()#,@[\]+=&;{}!$*]*$/.test(text)) {
    throw new ApiError("InvalidParameterValue", `Invalid rule description: '${text}'.`);
  }
  return text;
}

/** Do two specs allow the same? Their descriptions do not count. */
export const sameRule = (a: RuleSpec, b: RuleSpec): boolean =>
  a.protocol === b.protocol &&
  a.from_port === b.from_port &&
  a.to_port === b.to_port &&
  a.cidr_ipv4 === b.cidr_ipv4 &&
  a.cidr_ipv6 === b.cidr_ipv6 &&
  a.referenced_group_id === b.referenced_group_id;

/** A rule's other end, for messages: `0.0.0.0/0`, `sg-…`. */
export const peerOf = (rule: RuleSpec): string =>
  rule.cidr_ipv4 ?? rule.cidr_ipv6 ?? rule.referenced_group_id ?? rule.prefix_list_id ?? "";

interface ShownPermission extends IpPermission {
  IpRanges: IpRange[];
  Ipv6Ranges: Ipv6Range[];
  UserIdGroupPairs: UserIdGroupPair[];
}

/** Rules as DescribeSecurityGroups shows them: one permission for each protocol and port range. */
export function apiPermissions(rules: readonly SecurityGroupRule[], accountId: string): IpPermission[] {
  const permissions = new Map<string, ShownPermission>();
  for (const rule of rules) {
    const key = `${rule.protocol} ${rule.from_port} ${rule.to_port}`;
    let permission = permissions.get(key);
    if (permission === undefined) {
      permission = {
        IpProtocol: rule.protocol,
        ...(rule.from_port === null ? {} : { FromPort: rule.from_port }),
        ...(rule.to_port === null ? {} : { ToPort: rule.to_port }),
        UserIdGroupPairs: [],
        IpRanges: [],
        Ipv6Ranges: [],
        PrefixListIds: [],
      };
      permissions.set(key, permission);
    }
    const description = rule.description === null ? {} : { Description: rule.description };
    if (rule.cidr_ipv4 !== null) permission.IpRanges.push({ CidrIp: rule.cidr_ipv4, ...description });
    if (rule.cidr_ipv6 !== null) permission.Ipv6Ranges.push({ CidrIpv6: rule.cidr_ipv6, ...description });
    if (rule.referenced_group_id !== null) {
      permission.UserIdGroupPairs.push({ GroupId: rule.referenced_group_id, UserId: accountId, ...description });
    }
  }
  return [...permissions.values()];
}

/** A rule as DescribeSecurityGroupRules and Authorize… show it. */
export const apiRule = (
  rule: SecurityGroupRule,
  group: Pick<SecurityGroup, "account_id" | "vpc_id">,
  tags: readonly Tag[],
): ApiRule => ({
  SecurityGroupRuleId: rule.id,
  GroupId: rule.group_id,
  GroupOwnerId: group.account_id,
  IsEgress: rule.is_egress === 1,
  IpProtocol: rule.protocol,
  FromPort: rule.from_port ?? -1,
  ToPort: rule.to_port ?? -1,
  ...(rule.cidr_ipv4 === null ? {} : { CidrIpv4: rule.cidr_ipv4 }),
  ...(rule.cidr_ipv6 === null ? {} : { CidrIpv6: rule.cidr_ipv6 }),
  ...(rule.referenced_group_id === null
    ? {}
    : { ReferencedGroupInfo: { GroupId: rule.referenced_group_id, UserId: group.account_id, VpcId: group.vpc_id } }),
  ...(rule.description === null ? {} : { Description: rule.description }),
  Tags: tags.map((tag) => ({ Key: tag.key, Value: tag.value })),
});
