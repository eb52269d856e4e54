// `BlockDeviceMapping.N` in requests: what RegisterImage, CreateImage and RunInstances make of it, and how it is shown.
import type { BlockDeviceMapping } from "@aws-sdk/client-ec2";
import { ApiError } from "../../base/api-error.ts";
import { parseId, type SnapshotId } from "../../base/ids.ts";
import { type BlockDevice, type EbsDevice, volumeShape } from "../../model/block-device.ts";
import type { Snapshot } from "../../model/snapshot.ts";
import { notSupported } from "./parameters.ts";

/** One entry of a request, checked as far as the entry alone can tell. */
export type DeviceRequest =
  | { readonly deviceName: string; readonly kind: "none" }
  | { readonly deviceName: string; readonly kind: "virtual"; readonly virtualName: string }
  | { readonly deviceName: string; readonly kind: "ebs"; readonly ebs: EbsRequest };

/** What an entry says about its volume; what it does not say stays as it was, or gets EC2's default. */
export interface EbsRequest {
  readonly snapshotId: SnapshotId | undefined;
  readonly sizeGib: number | undefined;
  readonly type: string | undefined;
  readonly iops: number | undefined;
  readonly throughput: number | undefined;
  readonly deleteOnTermination: boolean | undefined;
}

/** EC2 takes names such as `/dev/sda1`, `xvdf`, `/dev/nvme1n1` (which it does not promise to keep). */
const DEVICE_NAME = /^[A-Za-z0-9/]{2,32}$/;
const VIRTUAL_NAME = /^ephemeral([0-9]|1[0-9]|2[0-3])$/;

/** @throws ApiError `InvalidBlockDeviceMapping`, `InvalidSnapshotID.Malformed`, `UnsupportedOperation` for encryption */
export function parseMappings(mappings: readonly BlockDeviceMapping[] | undefined): DeviceRequest[] {
  const seen = new Set<string>();
  return (mappings ?? []).map((mapping) => {
    const { DeviceName: deviceName, Ebs: ebs, VirtualName: virtualName, NoDevice: noDevice } = mapping;
    if (deviceName === undefined || deviceName === "") throw bad("Missing device name");
    if (!DEVICE_NAME.test(deviceName)) throw bad(`Invalid device name ${deviceName}`);
    if (seen.has(deviceName)) throw bad(`Duplicate device name: ${deviceName}`);
    seen.add(deviceName);
    // An empty NoDevice is how clients say it: its presence counts, not its value.
    if (noDevice !== undefined) return { deviceName, kind: "none" };
    if (ebs !== undefined) return { deviceName, kind: "ebs", ebs: parseEbs(deviceName, ebs) };
    if (virtualName === undefined || virtualName === "") {
      throw bad(`Either snapshot ID or volume size must be provided for: ${deviceName}`);
    }
    if (!VIRTUAL_NAME.test(virtualName)) throw bad(`Invalid virtual name: ${virtualName}`);
    return { deviceName, kind: "virtual", virtualName };
  });
}

function parseEbs(deviceName: string, ebs: NonNullable<BlockDeviceMapping["Ebs"]>): EbsRequest {
  if (ebs.Encrypted !== undefined && ebs.SnapshotId) {
    throw bad(`the encrypted flag cannot be specified since device ${deviceName} has a snapshot specified.`);
  }
  if (ebs.Encrypted === true || ebs.KmsKeyId) throw notSupported("Encrypted volumes are");
  if (ebs.OutpostArn) throw notSupported("Outposts are");
  return {
    snapshotId: ebs.SnapshotId ? parseId("snapshot", ebs.SnapshotId) : undefined,
    sizeGib: ebs.VolumeSize,
    type: ebs.VolumeType,
    iops: ebs.Iops,
    throughput: ebs.Throughput,
    deleteOnTermination: ebs.DeleteOnTermination,
  };
}

/** The snapshots that a request names, each once. */
export function snapshotsNamed(requests: readonly DeviceRequest[]): SnapshotId[] {
  const ids = new Set<SnapshotId>();
  for (const request of requests) {
    if (request.kind === "ebs" && request.ebs.snapshotId !== undefined) ids.add(request.ebs.snapshotId);
  }
  return [...ids];
}

/**
 * The devices that come of an image's mapping and a request's changes to it: those of `base` first, in their order, then
 * new ones. RegisterImage passes no base.
 * @param snapshots  those of `base` and of the requests, by id
 * @throws ApiError `InvalidBlockDeviceMapping`, and what `volumeShape` throws
 */
export function applyMappings(
  base: readonly BlockDevice[],
  requests: readonly DeviceRequest[],
  snapshots: ReadonlyMap<SnapshotId, Pick<Snapshot, "size_gib">>,
  rootDeviceName: string,
): BlockDevice[] {
  const byName = new Map(requests.map((request) => [request.deviceName, request]));
  const result: BlockDevice[] = [];
  for (const device of base) {
    const request = byName.get(device.deviceName);
    byName.delete(device.deviceName);
    if (request === undefined) result.push(device);
    else if (request.kind === "none") {
      if (device.deviceName === rootDeviceName) throw bad("The root device cannot be suppressed.");
    } else if (request.kind === "virtual") result.push(virtualDevice(request));
    else result.push(changedDevice(device, request.ebs, snapshots, rootDeviceName));
  }
  for (const request of byName.values()) {
    if (request.kind === "virtual") result.push(virtualDevice(request));
    if (request.kind === "ebs") {
      result.push({ deviceName: request.deviceName, ebs: newVolume(request.deviceName, request.ebs, snapshots) });
    }
  }
  return result;
}

const virtualDevice = ({ deviceName, virtualName }: { deviceName: string; virtualName: string }): BlockDevice => ({
  deviceName,
  virtualName,
});

function changedDevice(
  device: BlockDevice,
  request: EbsRequest,
  snapshots: ReadonlyMap<SnapshotId, Pick<Snapshot, "size_gib">>,
  rootDeviceName: string,
): BlockDevice {
  const { deviceName } = device;
  if (!("ebs" in device)) {
    if (request.snapshotId !== undefined) throw bad("snapshotId can only be modified on EBS devices");
    return { deviceName, ebs: newVolume(deviceName, request, snapshots) };
  }
  const { ebs } = device;
  if (request.snapshotId !== undefined && request.snapshotId !== ebs.snapshotId && deviceName === rootDeviceName) {
    throw bad("snapshotId cannot be modified on root device");
  }
  // IOPS and throughput belong to a type: another type starts with its own.
  const sameType = request.type === undefined || request.type === "" || request.type === ebs.type;
  const provisions = sameType && ebs.type !== "gp2";
  return {
    deviceName,
    ebs: newVolume(
      deviceName,
      {
        snapshotId: request.snapshotId ?? ebs.snapshotId ?? undefined,
        sizeGib: request.sizeGib ?? (request.snapshotId === undefined ? ebs.sizeGib : undefined),
        type: request.type ?? ebs.type,
        iops: request.iops ?? (provisions ? (ebs.iops ?? undefined) : undefined),
        throughput: request.throughput ?? (provisions ? (ebs.throughput ?? undefined) : undefined),
        deleteOnTermination: request.deleteOnTermination ?? ebs.deleteOnTermination,
      },
      snapshots,
    ),
  };
}

function newVolume(
  deviceName: string,
  request: EbsRequest,
  snapshots: ReadonlyMap<SnapshotId, Pick<Snapshot, "size_gib">>,
): EbsDevice {
  const { snapshotId } = request;
  const snapshot = snapshotId === undefined ? undefined : snapshots.get(snapshotId);
  if (snapshotId !== undefined && snapshot === undefined) throw bad(`The snapshot '${snapshotId}' does not exist.`);
  const sizeGib = request.sizeGib ?? snapshot?.size_gib;
  if (sizeGib === undefined) throw bad(`Either snapshot ID or volume size must be provided for: ${deviceName}`);
  if (snapshot !== undefined && sizeGib < snapshot.size_gib) {
    throw bad(
      `Volume of size ${sizeGib}GB is smaller than snapshot '${snapshotId}', expect size>= ${snapshot.size_gib}GB`,
    );
  }
  return {
    snapshotId: snapshotId ?? null,
    ...volumeShape({ type: request.type, sizeGib, iops: request.iops, throughput: request.throughput }),
    deleteOnTermination: request.deleteOnTermination ?? true,
  };
}

/** As DescribeImages and DescribeImageAttribute show them. */
export const shownMappings = (devices: readonly BlockDevice[]): BlockDeviceMapping[] =>
  devices.map((device) => {
    if (!("ebs" in device)) return { DeviceName: device.deviceName, VirtualName: device.virtualName };
    const { ebs } = device;
    return {
      DeviceName: device.deviceName,
      Ebs: {
        DeleteOnTermination: ebs.deleteOnTermination,
        ...(ebs.snapshotId === null ? {} : { SnapshotId: ebs.snapshotId }),
        VolumeSize: ebs.sizeGib,
        VolumeType: ebs.type,
        // EC2 shows IOPS where they were provisioned, not gp2's baseline.
        ...(ebs.iops === null || ebs.type === "gp2" ? {} : { Iops: ebs.iops }),
        ...(ebs.throughput === null ? {} : { Throughput: ebs.throughput }),
        Encrypted: false,
      },
    };
  });

const bad = (message: string): ApiError => new ApiError("InvalidBlockDeviceMapping", message);
