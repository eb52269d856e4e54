// A volume as the API shows it, and the filters over that.
import type { Volume as ShownVolume, VolumeAttachment } from "@aws-sdk/client-ec2";
import { zonesOf } from "../../../model/regions.ts";
import type { Tag } from "../../../model/tags.ts";
import { type Volume, volumeArn } from "../../../model/volume.ts";
import type { FilterTable } from "../../../protocol/filters.ts";
import { shownTags } from "../tags/shown-tags.ts";

export interface VolumeView {
  readonly volume: Volume;
  readonly tags: readonly Tag[];
}

export const zoneIdOf = (volume: Volume): string | undefined =>
  zonesOf(volume.region).find((zone) => zone.name === volume.zone)?.id;

export const shownVolume = ({ volume, tags }: VolumeView): ShownVolume => ({
  VolumeId: volume.id,
  VolumeArn: volumeArn(volume),
  OwnerId: volume.account_id,
  Size: volume.size_gib,
  SnapshotId: volume.snapshot_id ?? "",
  AvailabilityZone: volume.zone,
  AvailabilityZoneId: zoneIdOf(volume),
  State: volume.state,
  CreateTime: new Date(volume.created_at),
  Attachments: attachmentsOf(volume),
  Encrypted: false,
  VolumeType: volume.type,
  Iops: volume.iops ?? undefined,
  Throughput: volume.throughput ?? undefined,
  MultiAttachEnabled: false,
  FastRestored: false,
  Tags: shownTags(tags),
});

const attachmentsOf = (volume: Volume): VolumeAttachment[] => {
  const attachment = shownAttachment(volume);
  return attachment === undefined ? [] : [attachment];
};

/** undefined for a volume that hangs on nothing. */
export function shownAttachment(volume: Volume): VolumeAttachment | undefined {
  if (volume.instance_id === null || volume.attachment === null) return undefined;
  return {
    VolumeId: volume.id,
    InstanceId: volume.instance_id,
    Device: volume.device_name ?? undefined,
    State: volume.attachment,
    AttachTime: volume.attached_at === null ? undefined : new Date(volume.attached_at),
    DeleteOnTermination: volume.delete_on_termination === 1,
  };
}

export const VOLUME_FILTERS: FilterTable<VolumeView> = {
  values: {
    "attachment.attach-time": ({ volume }) => volume.attached_at,
    "attachment.delete-on-termination": ({ volume }) =>
      volume.attachment === null ? undefined : volume.delete_on_termination === 1,
    "attachment.device": ({ volume }) => volume.device_name,
    "attachment.instance-id": ({ volume }) => volume.instance_id,
    "attachment.status": ({ volume }) => volume.attachment,
    "availability-zone": ({ volume }) => volume.zone,
    "availability-zone-id": ({ volume }) => zoneIdOf(volume),
    "create-time": ({ volume }) => volume.created_at,
    encrypted: () => false,
    "fast-restored": () => false,
    "multi-attach-enabled": () => false,
    "operator.managed": () => false,
    "operator.principal": () => undefined,
    size: ({ volume }) => volume.size_gib,
    "snapshot-id": ({ volume }) => volume.snapshot_id,
    "sse-type": () => "none",
    status: ({ volume }) => volume.state,
    "volume-id": ({ volume }) => volume.id,
    "volume-type": ({ volume }) => volume.type,
  },
  tags: ({ tags }) => shownTags(tags),
};
