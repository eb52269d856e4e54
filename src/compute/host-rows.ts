// What the host reads: the rows of everything alive, as machines need it.
import { join } from "node:path";
import type { SecurityGroupId, SnapshotId, VolumeId } from "../base/ids.ts";
import { GIB } from "../base/units.ts";
import type { Db } from "../database/database.ts";
import { groupsOf, type Instance } from "../model/instance.ts";
import type { Nic, SecurityGroupRules } from "../model/nic.ts";
import { privateDnsName } from "../model/regions.ts";
import { fabricRules, rulesOf } from "../model/security-group.ts";
import type { Volume } from "../model/volume.ts";
import { volumeOf } from "../model/volume-rows.ts";

/** One look at the rows. */
export interface HostRows {
  /** Every instance that is not terminated. */
  readonly instances: readonly Instance[];
  /** By instance. */
  readonly volumes: ReadonlyMap<string, readonly Volume[]>;
  /** Of instances that have, or are to have, a machine. */
  readonly nics: ReadonlyMap<string, Nic>;
  readonly groups: readonly SecurityGroupRules[];
}

/** Six queries, each over what is alive; nothing of the past is read. */
export async function readHostRows(db: Db): Promise<HostRows> {
  const instances = (await db
    .selectFrom("instances")
    .selectAll()
    .where("state", "<>", "terminated")
    .orderBy("launched_at")
    .orderBy("launch_index")
    .execute()) as Instance[];
  const volumes = new Map<string, Volume[]>();
  const attached = await db
    .selectFrom("volumes")
    .selectAll()
    .where("instance_id", "is not", null)
    .where("state", "=", "in-use")
    .orderBy("is_root", "desc")
    .orderBy("device_name")
    .execute();
  for (const row of attached) {
    const list = volumes.get(row.instance_id ?? "") ?? [];
    list.push(volumeOf(row));
    volumes.set(row.instance_id ?? "", list);
  }
  const live = instances.filter((instance) => instance.state !== "stopped");
  const memberships = await groupsOf(
    db,
    live.map((instance) => instance.id),
  );
  const networks = new Map(
    (await db.selectFrom("vpcs").select(["id", "cidr"]).execute()).map((row) => [row.id, row.cidr]),
  );
  const subnets = new Map(
    (await db.selectFrom("subnets").select(["id", "cidr"]).execute()).map((row) => [row.id, row.cidr]),
  );
  const nics = new Map<string, Nic>();
  const groupIds = new Set<string>();
  for (const instance of live) {
    const mine = memberships.get(instance.id) ?? [];
    for (const group of mine) groupIds.add(group.id);
    nics.set(instance.id, {
      instanceId: instance.id,
      mac: instance.mac,
      privateIp: instance.private_ip,
      publicIp: instance.public_ip,
      vpcId: instance.vpc_id,
      vpcCidr: networks.get(instance.vpc_id) ?? "",
      subnetCidr: subnets.get(instance.subnet_id) ?? "",
      hostname: privateDnsName(instance.region, instance.private_ip),
      securityGroups: mine.map((group) => group.id as SecurityGroupId),
      metadata: { enabled: instance.http_endpoint === "enabled", hopLimit: instance.http_hop_limit },
    });
  }
  const rules = await rulesOf(db, [...groupIds]);
  const groups = [...groupIds].sort().map((id) => fabricRules(id as SecurityGroupId, rules.get(id) ?? []));
  return { instances, volumes, nics, groups };
}

/** Where a volume's writes are kept. */
export const overlayPath = (directory: string, id: VolumeId): string => join(directory, "volumes", `${id}.qcow2`);

export const machineDirectory = (directory: string, id: string): string => join(directory, "machines", id);

/** Sockets and temporary files of a capture of disks that no machine holds. */
export const captureDirectory = (directory: string, group: string): string => join(directory, "captures", group);

export const volumeBytes = (volume: Pick<Volume, "size_gib">): number => volume.size_gib * GIB;

/** What lies beneath a volume's overlay. */
export const baseOf = (volume: Pick<Volume, "snapshot_id">): SnapshotId | null => volume.snapshot_id;
