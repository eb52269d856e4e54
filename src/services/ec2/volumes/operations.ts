// What may be done to volumes.
import { attachVolume, detachVolume } from "./attach-volume.ts";
import { createVolume } from "./create-volume.ts";
import { deleteVolume } from "./delete-volume.ts";
import { describeVolumeAttribute, describeVolumeStatus, describeVolumes } from "./describe-volumes.ts";
import { describeVolumesModifications, modifyVolume } from "./modify-volume.ts";

export const volumeOperations = {
  AttachVolume: attachVolume,
  CreateVolume: createVolume,
  DeleteVolume: deleteVolume,
  DescribeVolumeAttribute: describeVolumeAttribute,
  DescribeVolumeStatus: describeVolumeStatus,
  DescribeVolumes: describeVolumes,
  DescribeVolumesModifications: describeVolumesModifications,
  DetachVolume: detachVolume,
  ModifyVolume: modifyVolume,
};
