// Writing a launch: the instances, their volumes and their groups, in one transaction.
import { type InstanceId, newId, type ReservationId, type SecurityGroupId } from "../base/ids.ts";
import type { Db } from "../database/database.ts";
import type { InstancesTable } from "../database/tables/ec2.ts";
import type { Grant } from "./access.ts";
import { freePrivateAddresses, freePublicAddresses, newMac } from "./addresses.ts";
import type { EbsDevice } from "./block-device.ts";
import { putInGroups } from "./security-group-rows.ts";
import { type Tag, writeTags } from "./tags.ts";
import type { Owner, Subnet } from "./vpc.ts";

/** What all instances of a launch share, as the row keeps it. */
export type LaunchShape = Omit<
  InstancesTable,
  | "id"
  | "account_id"
  | "region"
  | "reservation_id"
  | "launch_index"
  | "state"
  | "desired"
  | "force"
  | "reboots_asked"
  | "reboots_done"
  | "state_reason_code"
  | "state_reason_message"
  | "transition_reason"
  | "launched_at"
  | "changed_at"
  | "network_interface_id"
  | "attachment_id"
  | "mac"
  | "private_ip"
  | "public_ip"
  | "profile_association_id"
  | "zone"
  | "vpc_id"
  | "subnet_id"
>;

export interface Launch {
  readonly owner: Owner;
  readonly reservationId: ReservationId;
  readonly count: number;
  readonly subnet: Subnet;
  /** Fixed by the client; null: any free ones. */
  readonly privateIp: string | null;
  readonly groupIds: readonly SecurityGroupId[];
  readonly shape: LaunchShape;
  readonly volumes: readonly { readonly deviceName: string; readonly ebs: EbsDevice }[];
  readonly instanceTags: readonly Tag[];
  readonly volumeTags: readonly Tag[];
  readonly at: Date;
}

/**
 * Writes the rows of a launch, `pending`. Cost: three statements and one for each volume and each tag, per instance.
 * @returns the ids, in launch order
 * @throws ApiError `InsufficientFreeAddressesInSubnet`
 */
export async function insertLaunch(_grant: Grant<"ec2:RunInstances">, tx: Db, launch: Launch): Promise<InstanceId[]> {
  const { owner, subnet, count, at } = launch;
  const privateIps = launch.privateIp === null ? await freePrivateAddresses(tx, subnet, count) : [launch.privateIp];
  const publicIps = await freePublicAddresses(tx, launch.shape.wants_public_ip === 1 ? count : 0);
  const mine = { account_id: owner.accountId, region: owner.region };
  const now = at.toISOString();
  const ids: InstanceId[] = [];
  for (let index = 0; index < count; index++) {
    const id = newId("instance");
    ids.push(id);
    await tx
      .insertInto("instances")
      .values({
        ...launch.shape,
        ...mine,
        id,
        zone: subnet.zone,
        reservation_id: launch.reservationId,
        launch_index: index,
        state: "pending",
        desired: "running",
        force: 0,
        state_reason_code: null,
        state_reason_message: null,
        transition_reason: "",
        launched_at: now,
        changed_at: now,
        vpc_id: subnet.vpcId,
        subnet_id: subnet.id,
        network_interface_id: newId("networkInterface"),
        attachment_id: newId("networkInterfaceAttachment"),
        mac: newMac(),
        private_ip: privateIps[index] ?? "",
        public_ip: publicIps[index] ?? null,
        profile_association_id: launch.shape.profile_arn === null ? null : newId("instanceProfileAssociation"),
      })
      .execute();
    await putInGroups(tx, id, launch.groupIds);
    await writeTags(tx, owner, { id, type: "instance" }, launch.instanceTags);
    for (const { deviceName, ebs } of launch.volumes) {
      const volumeId = newId("volume");
      await tx
        .insertInto("volumes")
        .values({
          id: volumeId,
          ...mine,
          zone: subnet.zone,
          size_gib: ebs.sizeGib,
          snapshot_id: ebs.snapshotId,
          type: ebs.type,
          iops: ebs.iops,
          throughput: ebs.throughput,
          state: "in-use",
          created_at: now,
          deleted_at: null,
          captured_as: null,
          instance_id: id,
          device_name: deviceName,
          is_root: deviceName === launch.shape.root_device_name ? 1 : 0,
          attachment: "attaching",
          force_detach: 0,
          attached_at: now,
          delete_on_termination: ebs.deleteOnTermination ? 1 : 0,
        })
        .execute();
      await writeTags(tx, owner, { id: volumeId, type: "volume" }, launch.volumeTags);
    }
  }
  return ids;
}
