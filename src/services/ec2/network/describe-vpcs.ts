// VPCs, subnets and what EC2 shows beside them. Each account has its default VPC in every Region; the first look makes it.
import {
  type Subnet as ApiSubnet,
  DescribeAccountAttributes$,
  type DescribeAccountAttributesRequest,
  type DescribeAccountAttributesResult,
  DescribeSubnets$,
  type DescribeSubnetsRequest,
  type DescribeSubnetsResult,
  DescribeVpcAttribute$,
  type DescribeVpcAttributeRequest,
  type DescribeVpcAttributeResult,
  DescribeVpcs$,
  type DescribeVpcsRequest,
  type DescribeVpcsResult,
  type Vpc,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import { ec2Arn } from "../../../model/arn.ts";
import { networkSize, parseNetwork } from "../../../model/ipv4.ts";
import { zonesOf } from "../../../model/regions.ts";
import { type Tag, tagsOf } from "../../../model/tags.ts";
import { defaultVpc, subnetNotFound, vpcNotFound } from "../../../model/vpc.ts";
import { compileFilters, type FilterTable } from "../../../protocol/filters.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { pageOf } from "../page.ts";

const apiTags = (tags: readonly Tag[] | undefined) => (tags ?? []).map((tag) => ({ Key: tag.key, Value: tag.value }));

const VPC_FILTERS: FilterTable<Vpc> = {
  values: {
    cidr: (vpc) => vpc.CidrBlock,
    "cidr-block": (vpc) => vpc.CidrBlock,
    "cidr-block-association.cidr-block": (vpc) => vpc.CidrBlock,
    "cidr-block-association.state": () => "associated",
    "dhcp-options-id": (vpc) => vpc.DhcpOptionsId,
    "is-default": (vpc) => vpc.IsDefault,
    // The older spelling, which clients still send.
    isDefault: (vpc) => vpc.IsDefault,
    "owner-id": (vpc) => vpc.OwnerId,
    state: (vpc) => vpc.State,
    "vpc-id": (vpc) => vpc.VpcId,
  },
  tags: (vpc) => vpc.Tags ?? [],
};

async function vpcsOf(ctx: RequestContext): Promise<Vpc[]> {
  const owner = ownerOf(ctx);
  await defaultVpc(ctx.database, owner, ctx.now());
  const rows = await ctx.database.read
    .selectFrom("vpcs")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .orderBy("created_at")
    .orderBy("id")
    .execute();
  const tags = await tagsOf(
    ctx.database.read,
    owner.accountId,
    rows.map((row) => row.id),
  );
  return rows.map((row) => ({
    VpcId: row.id,
    State: "available",
    CidrBlock: row.cidr,
    DhcpOptionsId: "default",
    InstanceTenancy: "default",
    IsDefault: row.is_default === 1,
    OwnerId: row.account_id,
    CidrBlockAssociationSet: [
      {
        AssociationId: row.id.replace("vpc-", "vpc-cidr-assoc-"),
        CidrBlock: row.cidr,
        CidrBlockState: { State: "associated" },
      },
    ],
    Ipv6CidrBlockAssociationSet: [],
    Tags: apiTags(tags.get(row.id)),
  }));
}

export const describeVpcs = operation({
  action: "ec2:DescribeVpcs",
  schema: DescribeVpcs$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeVpcs"),
  async run(ctx: RequestContext, input: DescribeVpcsRequest): Promise<DescribeVpcsResult> {
    const filters = compileFilters(input.Filters, VPC_FILTERS);
    const all = await vpcsOf(ctx);
    const ids = input.VpcIds?.map((id) => parseId("vpc", id));
    for (const id of ids ?? []) if (!all.some((vpc) => vpc.VpcId === id)) throw vpcNotFound(id);
    const found = all.filter((vpc) => ids?.some((id) => id === vpc.VpcId) ?? true).filter(filters.matches);
    const { page, token } = pageOf(ctx, "DescribeVpcs", input, found, (vpc) => vpc.VpcId ?? "");
    return { Vpcs: page, ...token };
  },
});

/** DNS is on in every VPC here, and hosts have names. */
export const describeVpcAttribute = operation({
  action: "ec2:DescribeVpcAttribute",
  schema: DescribeVpcAttribute$,
  access: "read",
  async resolve(ctx: RequestContext, input: DescribeVpcAttributeRequest) {
    const id = parseId("vpc", input.VpcId ?? "");
    if (!(await vpcsOf(ctx)).some((vpc) => vpc.VpcId === id)) throw vpcNotFound(id);
    return {
      id,
      checks: [
        { action: "ec2:DescribeVpcAttribute", resource: ec2Arn(ctx.region, ctx.caller.accountId, "vpc", id), keys: {} },
      ],
    };
  },
  async run(_ctx, input, { id }): Promise<DescribeVpcAttributeResult> {
    switch (input.Attribute) {
      case "enableDnsSupport":
        return { VpcId: id, EnableDnsSupport: { Value: true } };
      case "enableDnsHostnames":
        return { VpcId: id, EnableDnsHostnames: { Value: true } };
      case "enableNetworkAddressUsageMetrics":
        return { VpcId: id, EnableNetworkAddressUsageMetrics: { Value: false } };
      default:
        throw new ApiError("InvalidParameterValue", `Value (${input.Attribute}) for parameter attribute is invalid.`);
    }
  },
});

const SUBNET_FILTERS: FilterTable<ApiSubnet> = {
  values: {
    "availability-zone": (subnet) => subnet.AvailabilityZone,
    // Packer still uses the older spelling.
    availabilityZone: (subnet) => subnet.AvailabilityZone,
    "availability-zone-id": (subnet) => subnet.AvailabilityZoneId,
    "available-ip-address-count": (subnet) => subnet.AvailableIpAddressCount,
    cidr: (subnet) => subnet.CidrBlock,
    "cidr-block": (subnet) => subnet.CidrBlock,
    cidrBlock: (subnet) => subnet.CidrBlock,
    "default-for-az": (subnet) => subnet.DefaultForAz,
    defaultForAz: (subnet) => subnet.DefaultForAz,
    "map-public-ip-on-launch": (subnet) => subnet.MapPublicIpOnLaunch,
    "owner-id": (subnet) => subnet.OwnerId,
    state: (subnet) => subnet.State,
    "subnet-arn": (subnet) => subnet.SubnetArn,
    "subnet-id": (subnet) => subnet.SubnetId,
    "vpc-id": (subnet) => subnet.VpcId,
  },
  tags: (subnet) => subnet.Tags ?? [],
};

/** Addresses that EC2 keeps for itself in each subnet. */
const RESERVED_ADDRESSES = 5;

async function subnetsOf(ctx: RequestContext): Promise<ApiSubnet[]> {
  const owner = ownerOf(ctx);
  await defaultVpc(ctx.database, owner, ctx.now());
  const db = ctx.database.read;
  const rows = await db
    .selectFrom("subnets")
    .selectAll()
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .orderBy("vpc_id")
    .orderBy("zone")
    .execute();
  const used = await db
    .selectFrom("instances")
    .select((eb) => ["subnet_id", eb.fn.countAll<number>().as("count")])
    .where("account_id", "=", owner.accountId)
    .where("state", "<>", "terminated")
    .groupBy("subnet_id")
    .execute();
  const taken = new Map(used.map((row) => [row.subnet_id, Number(row.count)]));
  const tags = await tagsOf(
    db,
    owner.accountId,
    rows.map((row) => row.id),
  );
  const zoneIds = new Map(zonesOf(ctx.region).map((zone) => [zone.name, zone.id]));
  return rows.map((row) => ({
    SubnetId: row.id,
    SubnetArn: ec2Arn(owner.region, owner.accountId, "subnet", row.id),
    VpcId: row.vpc_id,
    OwnerId: row.account_id,
    State: "available",
    AvailabilityZone: row.zone,
    AvailabilityZoneId: zoneIds.get(row.zone),
    AvailableIpAddressCount:
      networkSize(parseNetwork(row.cidr)?.prefix ?? 32) - RESERVED_ADDRESSES - (taken.get(row.id) ?? 0),
    CidrBlock: row.cidr,
    DefaultForAz: row.is_default === 1,
    MapPublicIpOnLaunch: row.map_public_ip === 1,
    MapCustomerOwnedIpOnLaunch: false,
    AssignIpv6AddressOnCreation: false,
    Ipv6Native: false,
    EnableDns64: false,
    Ipv6CidrBlockAssociationSet: [],
    PrivateDnsNameOptionsOnLaunch: {
      HostnameType: "ip-name",
      EnableResourceNameDnsARecord: false,
      EnableResourceNameDnsAAAARecord: false,
    },
    Tags: apiTags(tags.get(row.id)),
  }));
}

export const describeSubnets = operation({
  action: "ec2:DescribeSubnets",
  schema: DescribeSubnets$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeSubnets"),
  async run(ctx: RequestContext, input: DescribeSubnetsRequest): Promise<DescribeSubnetsResult> {
    const filters = compileFilters(input.Filters, SUBNET_FILTERS);
    const all = await subnetsOf(ctx);
    const ids = input.SubnetIds?.map((id) => parseId("subnet", id));
    for (const id of ids ?? []) if (!all.some((subnet) => subnet.SubnetId === id)) throw subnetNotFound(id);
    const found = all.filter((subnet) => ids?.some((id) => id === subnet.SubnetId) ?? true).filter(filters.matches);
    const { page, token } = pageOf(ctx, "DescribeSubnets", input, found, (subnet) => subnet.SubnetId ?? "");
    return { Subnets: page, ...token };
  },
});

export const describeAccountAttributes = operation({
  action: "ec2:DescribeAccountAttributes",
  schema: DescribeAccountAttributes$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeAccountAttributes"),
  async run(ctx: RequestContext, input: DescribeAccountAttributesRequest): Promise<DescribeAccountAttributesResult> {
    const vpc = await defaultVpc(ctx.database, ownerOf(ctx), ctx.now());
    const attributes: readonly (readonly [string, string])[] = [
      ["supported-platforms", "VPC"],
      ["default-vpc", vpc],
      ["max-instances", "100"],
      ["vpc-max-security-groups-per-interface", "5"],
      ["max-elastic-ips", "0"],
      ["vpc-max-elastic-ips", "0"],
    ];
    const wanted: readonly string[] | undefined = input.AttributeNames;
    return {
      AccountAttributes: attributes
        .filter(([name]) => wanted?.includes(name) ?? true)
        .map(([name, value]) => ({ AttributeName: name, AttributeValues: [{ AttributeValue: value }] })),
    };
  },
});
