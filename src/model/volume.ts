// What a volume is: a disk of an account, in one zone; a thin overlay over a snapshot, or over nothing.
//
//   CreateVolume → available ⇄ in-use (attaching → attached → detaching) ; available → deleting → deleted
//   RunInstances → in-use; on termination → deleting, or available
//
// "Attaching", "detaching" and "deleting" are wishes that the host fulfils. With an instance that is stopped there is
// nothing to do, so such an attachment is complete at once.
import { ApiError } from "../base/api-error.ts";
import type { InstanceId, Region, SnapshotId, VolumeId } from "../base/ids.ts";
import type { VolumeModificationsTable, VolumesTable } from "../database/tables/ec2.ts";
import type { ConditionKeys } from "./access.ts";
import { ec2Arn, snapshotArn } from "./arn.ts";
import type { EbsDevice, VolumeType } from "./block-device.ts";
import { resourceTagKeys, type Tag } from "./tags.ts";

export type Volume = Readonly<
  Omit<VolumesTable, "id" | "region" | "snapshot_id" | "captured_as" | "instance_id" | "type">
> & {
  readonly id: VolumeId;
  readonly region: Region;
  readonly snapshot_id: SnapshotId | null;
  readonly captured_as: SnapshotId | null;
  readonly instance_id: InstanceId | null;
  readonly type: VolumeType;
};
export type VolumeState = Volume["state"];

/** What ModifyVolume changes. */
export type VolumeShape = Pick<EbsDevice, "sizeGib" | "type" | "iops" | "throughput">;

export type VolumeModification = Readonly<Omit<VolumeModificationsTable, "volume_id" | "original" | "target">> & {
  readonly volume_id: VolumeId;
  readonly original: VolumeShape;
  readonly target: VolumeShape;
};

export const shapeOf = (volume: Volume): VolumeShape => ({
  sizeGib: volume.size_gib,
  type: volume.type,
  iops: volume.iops,
  throughput: volume.throughput,
});

export const volumeArn = (volume: Pick<Volume, "id" | "region" | "account_id">): string =>
  ec2Arn(volume.region, volume.account_id, "volume", volume.id);

/** What policies may ask of a volume. `tags` are the owner's. */
export function volumeKeys(
  volume: Pick<Volume, "id" | "region" | "zone" | "size_gib" | "type" | "iops" | "throughput" | "snapshot_id">,
  tags: readonly Tag[],
): ConditionKeys {
  return {
    "ec2:VolumeID": volume.id,
    "ec2:VolumeSize": String(volume.size_gib),
    "ec2:VolumeType": volume.type,
    "ec2:AvailabilityZone": volume.zone,
    "ec2:Encrypted": "false",
    "ec2:Region": volume.region,
    ...(volume.iops === null ? {} : { "ec2:VolumeIops": String(volume.iops) }),
    ...(volume.throughput === null ? {} : { "ec2:VolumeThroughput": String(volume.throughput) }),
    ...(volume.snapshot_id === null ? {} : { "ec2:ParentSnapshot": snapshotArn(volume.region, volume.snapshot_id) }),
    ...resourceTagKeys(tags),
  };
}

export const volumeNotFound = (owner: { accountId: string; region: Region }, id: VolumeId): ApiError =>
  new ApiError("InvalidVolume.NotFound", `The volume '${id}' does not exist.`, {
    resourceArn: ec2Arn(owner.region, owner.accountId, "volume", id),
  });

export type NewVolume = Pick<
  Volume,
  "id" | "account_id" | "region" | "zone" | "size_gib" | "snapshot_id" | "type" | "iops" | "throughput" | "created_at"
>;

/** Where a volume that is made with an instance hangs. */
export interface VolumePlace {
  readonly instanceId: InstanceId;
  readonly deviceName: string;
  readonly root: boolean;
  readonly deleteOnTermination: boolean;
}

/** A volume's row: free, or attached to the instance that is being launched with it. */
export const newVolumeRow = (volume: NewVolume, place: VolumePlace | null): Volume => ({
  ...volume,
  state: place === null ? "available" : "in-use",
  deleted_at: null,
  captured_as: null,
  instance_id: place?.instanceId ?? null,
  device_name: place?.deviceName ?? null,
  is_root: place?.root === true ? 1 : 0,
  attachment: place === null ? null : "attaching",
  force_detach: 0,
  attached_at: place === null ? null : volume.created_at,
  delete_on_termination: place?.deleteOnTermination === true ? 1 : 0,
});
