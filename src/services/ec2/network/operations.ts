import {
  authorizeSecurityGroupEgress,
  authorizeSecurityGroupIngress,
  revokeSecurityGroupEgress,
  revokeSecurityGroupIngress,
} from "./change-rules.ts";
import { describeNetworkInterfaces } from "./describe-network-interfaces.ts";
import { describeAvailabilityZones, describeRegions } from "./describe-places.ts";
import { describeSecurityGroupRules, describeSecurityGroups } from "./describe-security-groups.ts";
import { describeAccountAttributes, describeSubnets, describeVpcAttribute, describeVpcs } from "./describe-vpcs.ts";
import { createSecurityGroup, deleteSecurityGroup } from "./make-security-group.ts";

export const networkOperations = {
  AuthorizeSecurityGroupEgress: authorizeSecurityGroupEgress,
  AuthorizeSecurityGroupIngress: authorizeSecurityGroupIngress,
  CreateSecurityGroup: createSecurityGroup,
  DeleteSecurityGroup: deleteSecurityGroup,
  DescribeAccountAttributes: describeAccountAttributes,
  DescribeAvailabilityZones: describeAvailabilityZones,
  DescribeNetworkInterfaces: describeNetworkInterfaces,
  DescribeRegions: describeRegions,
  DescribeSecurityGroupRules: describeSecurityGroupRules,
  DescribeSecurityGroups: describeSecurityGroups,
  DescribeSubnets: describeSubnets,
  DescribeVpcAttribute: describeVpcAttribute,
  DescribeVpcs: describeVpcs,
  RevokeSecurityGroupEgress: revokeSecurityGroupEgress,
  RevokeSecurityGroupIngress: revokeSecurityGroupIngress,
};
