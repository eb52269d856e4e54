// Virtual networks: every account has a default VPC in each Region, made when it is first needed.
import { ApiError } from "../base/api-error.ts";
import { newId, type Region, type SecurityGroupId, type SubnetId, type VpcId } from "../base/ids.ts";
import type { Database, Db } from "../database/database.ts";
import { formatNetwork, parseNetwork } from "./ipv4.ts";
import { zonesOf } from "./regions.ts";

export interface Owner {
  readonly accountId: string;
  readonly region: Region;
}

/**
 * Networks of VPCs, in the order in which they are given out: EC2's own default first. All guests share one fabric, so no
 * two VPCs of a data directory may overlap; 271 of them fit.
 */
const VPC_NETWORKS: readonly string[] = [
  ...Array.from({ length: 16 }, (_, n) => `172.${31 - n}.0.0/16`),
  ...Array.from({ length: 255 }, (_, n) => `10.${n + 1}.0.0/16`),
];
const SUBNET_PREFIX = 20;

/** The default VPC's id, made with its subnets and its default security group at the first call. */
export async function defaultVpc(database: Database, owner: Owner, now: Date): Promise<VpcId> {
  const found = await findDefaultVpc(database.read, owner);
  return (
    found ?? database.transaction(async (tx) => (await findDefaultVpc(tx, owner)) ?? makeDefaultVpc(tx, owner, now))
  );
}

async function findDefaultVpc(db: Db, owner: Owner): Promise<VpcId | undefined> {
  const row = await db
    .selectFrom("vpcs")
    .select("id")
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .where("is_default", "=", 1)
    .executeTakeFirst();
  return row?.id as VpcId | undefined;
}

async function makeDefaultVpc(tx: Db, owner: Owner, now: Date): Promise<VpcId> {
  const taken = new Set((await tx.selectFrom("vpcs").select("cidr").execute()).map((row) => row.cidr));
  const cidr = VPC_NETWORKS.find((candidate) => !taken.has(candidate));
  const network = cidr === undefined ? null : parseNetwork(cidr);
  if (cidr === undefined || network === null) {
    throw new ApiError("ResourceLimitExceeded", "Every network that this Ingot can give to a VPC is in use.");
  }
  const vpcId = newId("vpc");
  const mine = { account_id: owner.accountId, region: owner.region };
  await tx
    .insertInto("vpcs")
    .values({ id: vpcId, ...mine, cidr, is_default: 1, created_at: now.toISOString() })
    .execute();
  await tx
    .insertInto("subnets")
    .values(
      zonesOf(owner.region).map((zone, index) => ({
        id: newId("subnet"),
        vpc_id: vpcId,
        ...mine,
        zone: zone.name,
        cidr: formatNetwork({ base: network.base + index * 2 ** (32 - SUBNET_PREFIX), prefix: SUBNET_PREFIX }),
        is_default: 1 as const,
        map_public_ip: 1 as const,
      })),
    )
    .execute();
  await makeSecurityGroup(tx, owner, {
    id: newId("securityGroup"),
    vpcId,
    name: "default",
    description: "default VPC security group",
    selfIngress: true,
    now,
  });
  return vpcId;
}

/** A group as EC2 makes it: everything may leave; the default group also lets its own members in. */
export async function makeSecurityGroup(
  tx: Db,
  owner: Owner,
  group: {
    readonly id: SecurityGroupId;
    readonly vpcId: VpcId;
    readonly name: string;
    readonly description: string;
    readonly selfIngress: boolean;
    readonly now: Date;
  },
): Promise<void> {
  const mine = { account_id: owner.accountId, region: owner.region };
  await tx
    .insertInto("security_groups")
    .values({
      id: group.id,
      ...mine,
      vpc_id: group.vpcId,
      name: group.name,
      description: group.description,
      created_at: group.now.toISOString(),
    })
    .execute();
  const open = {
    group_id: group.id,
    ...mine,
    protocol: "-1",
    from_port: null,
    to_port: null,
    cidr_ipv6: null,
    prefix_list_id: null,
    description: null,
  };
  await tx
    .insertInto("security_group_rules")
    .values({
      id: newId("securityGroupRule"),
      ...open,
      is_egress: 1,
      cidr_ipv4: "0.0.0.0/0",
      referenced_group_id: null,
    })
    .execute();
  if (group.selfIngress) {
    await tx
      .insertInto("security_group_rules")
      .values({ id: newId("securityGroupRule"), ...open, is_egress: 0, cidr_ipv4: null, referenced_group_id: group.id })
      .execute();
  }
}

export interface Subnet {
  readonly id: SubnetId;
  readonly vpcId: VpcId;
  readonly zone: string;
  readonly cidr: string;
  readonly mapPublicIp: boolean;
}

export const subnetNotFound = (id: string): ApiError =>
  new ApiError("InvalidSubnetID.NotFound", `The subnet ID '${id}' does not exist`);

export const vpcNotFound = (id: string): ApiError =>
  new ApiError("InvalidVpcID.NotFound", `The vpc ID '${id}' does not exist`);

/** The owner's subnet of this id. @throws ApiError `InvalidSubnetID.NotFound` */
export async function subnetById(db: Db, owner: Owner, id: string): Promise<Subnet> {
  const row = await db
    .selectFrom("subnets")
    .selectAll()
    .where("id", "=", id)
    .where("account_id", "=", owner.accountId)
    .where("region", "=", owner.region)
    .executeTakeFirst();
  if (row === undefined) throw subnetNotFound(id);
  return subnetOf(row);
}

/** The default subnet of a zone, or of the first zone. @throws ApiError `InvalidZone.NotFound` */
export async function defaultSubnet(db: Db, vpcId: VpcId, zone: string | undefined): Promise<Subnet> {
  const rows = await db
    .selectFrom("subnets")
    .selectAll()
    .where("vpc_id", "=", vpcId)
    .where("is_default", "=", 1)
    .orderBy("zone")
    .execute();
  const row = zone === undefined ? rows[0] : rows.find((candidate) => candidate.zone === zone);
  if (row === undefined) throw new ApiError("InvalidZone.NotFound", `The zone '${zone}' does not exist.`);
  return subnetOf(row);
}

function subnetOf(row: { id: string; vpc_id: string; zone: string; cidr: string; map_public_ip: number }): Subnet {
  return {
    id: row.id as SubnetId,
    vpcId: row.vpc_id as VpcId,
    zone: row.zone,
    cidr: row.cidr,
    mapPublicIp: row.map_public_ip === 1,
  };
}
