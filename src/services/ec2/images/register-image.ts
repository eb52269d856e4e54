// RegisterImage: an image from snapshots that are there already.
//
// Order of checks: name → attributes → mapping → snapshots exist, are the caller's, are completed → sizes → root device →
// policies → name free. The new image has no ancestry: nobody knows where the snapshots' bytes come from.
import { RegisterImage$, type RegisterImageRequest, type RegisterImageResult } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { newId, type SnapshotId } from "../../../base/ids.ts";
import type { ResourceCheck } from "../../../model/access.ts";
import { imageArn, snapshotArn } from "../../../model/arn.ts";
import { imageKeys, parseDescription, parseImageName } from "../../../model/image.ts";
import { insertImage, type NewImage, nameMustBeFree } from "../../../model/image-rows.ts";
import { mustBeCompleted, type Snapshot, snapshotKeys, snapshotNotFound } from "../../../model/snapshot.ts";
import { findSnapshots, ownSnapshot } from "../../../model/snapshot-rows.ts";
import { requestTagKeys, tagsOf, writeTags } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { applyMappings, parseMappings, snapshotsNamed } from "../block-device-mappings.ts";
import { ownerOf } from "../owner.ts";
import { notSupported, oneOf } from "../parameters.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";

const DEFAULT_ROOT_DEVICE = "/dev/sda1";
const ARCHITECTURES = ["i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"] as const;

export const registerImage = operation({
  action: "ec2:RegisterImage",
  schema: RegisterImage$,
  access: "write",
  async resolve(ctx: RequestContext, input: RegisterImageRequest) {
    const attributes = parseAttributes(input);
    const requests = parseMappings(input.BlockDeviceMappings);
    const tags = parseTagSpecifications(input.TagSpecifications, ["image"]);
    const db = ctx.database.read;
    const { accountId } = ctx.caller;

    const snapshots = new Map<SnapshotId, Snapshot>();
    for (const id of snapshotsNamed(requests)) {
      const snapshot = await ownSnapshot(db, accountId, ctx.region, id);
      mustBeCompleted(snapshot);
      snapshots.set(id, snapshot);
    }
    const devices = applyMappings([], requests, snapshots, attributes.root_device_name);
    const root = devices.find((device) => device.deviceName === attributes.root_device_name);
    if (root === undefined || !("ebs" in root) || root.ebs.snapshotId === null) {
      throw new ApiError("InvalidBlockDeviceMapping", "No root snapshot specified in device mapping.");
    }

    const id = newId("image");
    const arn = imageArn(ctx.region, "*");
    const newKeys = imageKeys(
      { id, region: ctx.region, account_id: accountId, owner_alias: null, is_public: false },
      [],
    );
    const snapshotTags = await tagsOf(db, accountId, [...snapshots.keys()]);
    return {
      id,
      attributes,
      devices,
      named: [...snapshots.keys()],
      tags,
      checks: [
        { action: "ec2:RegisterImage", resource: arn, keys: { ...newKeys, ...requestTagKeys(tags.all) } } as const,
        ...[...snapshots.values()].map(
          (snapshot): ResourceCheck => ({
            action: "ec2:RegisterImage",
            resource: snapshotArn(ctx.region, snapshot.id),
            keys: snapshotKeys(snapshot, snapshotTags.get(snapshot.id) ?? []),
          }),
        ),
        ...createTagsCheck("RegisterImage", arn, tags.of("image")),
      ],
    };
  },
  async run(ctx, _input, { id, attributes, devices, named, tags }, grant): Promise<RegisterImageResult> {
    const owner = ownerOf(ctx);
    const image: NewImage = {
      id,
      account_id: owner.accountId,
      region: owner.region,
      ...attributes,
      state: "available",
      state_reason: null,
      block_devices: devices,
      location: `${owner.accountId}/${attributes.name}`,
      owner_alias: null,
      source_instance_id: null,
      source_image_id: null,
      source_image_region: null,
      direct_kernel: null,
      reboot: 0,
      created_at: ctx.now().toISOString(),
      deprecate_at: null,
      deregistration_protection: null,
      last_launched_at: null,
      deregistered_at: null,
    };
    await ctx.database.transaction(async (tx) => {
      await nameMustBeFree(tx, image);
      // They may have been deleted since the call was looked at.
      const still = await findSnapshots(tx, owner.region, named);
      const gone = named.find((snapshot) => !still.has(snapshot));
      if (gone !== undefined) throw snapshotNotFound(owner.region, gone);
      await insertImage(grant, tx, image);
      await writeTags(tx, owner, { id, type: "image" }, tags.of("image"));
    });
    return { ImageId: id };
  },
});

/** The image's own attributes, as the request gives them and EC2 fills them in. */
function parseAttributes(input: RegisterImageRequest) {
  const name = parseImageName(input.Name);
  const description = parseDescription(input.Description);
  if (input.ImageLocation && (input.BlockDeviceMappings ?? []).length === 0) {
    throw new ApiError("InvalidManifest", "Images are registered from snapshots here, not from manifests in S3.");
  }
  if (input.KernelId || input.RamdiskId) throw notSupported("Kernel and RAM disk images are");
  if ((input.BillingProducts ?? []).length > 0) throw notSupported("Billing products are");
  const boot_mode = oneOf(input.BootMode, ["legacy-bios", "uefi", "uefi-preferred"], "bootMode") ?? null;
  const tpm_support = oneOf(input.TpmSupport, ["v2.0"], "tpmSupport") ?? null;
  if (tpm_support !== null && boot_mode !== "uefi") {
    throw new ApiError("InvalidParameterCombination", "TpmSupport needs the boot mode uefi.");
  }
  return {
    name,
    description,
    architecture: oneOf(input.Architecture, ARCHITECTURES, "architecture") ?? "i386",
    // EC2's default, whatever one thinks of it: a client that means hvm says so.
    virtualization_type: oneOf(input.VirtualizationType, ["hvm", "paravirtual"], "virtualizationType") ?? "paravirtual",
    root_device_name: input.RootDeviceName || DEFAULT_ROOT_DEVICE,
    boot_mode,
    tpm_support,
    imds_support: oneOf(input.ImdsSupport, ["v2.0"], "imdsSupport") ?? null,
    uefi_data: input.UefiData || null,
    sriov_net_support: oneOf(input.SriovNetSupport, ["simple"], "sriovNetSupport") ?? null,
    ena_support: input.EnaSupport === true ? (1 as const) : (0 as const),
  };
}
