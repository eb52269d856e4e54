// CopyImage: the same machine under a new id, in the Region that is called, owned by the caller. Blocks are shared, so a copy
// costs rows; the host still reports when each snapshot's record is durable.
import { createHash } from "node:crypto";
import { CopyImage$, type CopyImageRequest, type CopyImageResult } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { type ImageId, newId, type SnapshotId } from "../../../base/ids.ts";
import type { ResourceCheck } from "../../../model/access.ts";
import { imageArn, snapshotArn } from "../../../model/arn.ts";
import { snapshotsOf } from "../../../model/block-device.ts";
import { keepToken, type TokenUse, tokenResult } from "../../../model/client-token.ts";
import { type Image, imageKeys, mustBeReady, parseDescription, parseImageName } from "../../../model/image.ts";
import { insertImage, type NewImage, nameMustBeFree, usableImage } from "../../../model/image-rows.ts";
import { isRegion } from "../../../model/regions.ts";
import { type Snapshot, snapshotKeys } from "../../../model/snapshot.ts";
import { findSnapshots, insertSnapshots, mayRead, newSnapshot } from "../../../model/snapshot-rows.ts";
import { requestTagKeys, tagsOf, writeTags } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { invalidValue, notSupported, required } from "../parameters.ts";
import { createTagsCheck, parseTagSpecifications } from "../tags/tag-specifications.ts";
import { imageCheck, parseImageId } from "./own-image.ts";
import { viewerOf } from "./viewer.ts";

export const copyImage = operation({
  action: "ec2:CopyImage",
  schema: CopyImage$,
  access: "write",
  async resolve(ctx: RequestContext, input: CopyImageRequest) {
    const name = parseImageName(input.Name);
    const description = parseDescription(input.Description);
    const sourceRegion = required(input.SourceRegion, "sourceRegion");
    if (!isRegion(sourceRegion)) throw invalidValue("sourceRegion", sourceRegion);
    if (input.Encrypted === true || input.KmsKeyId) throw notSupported("Encrypted volumes are");
    if (input.DestinationOutpostArn) throw notSupported("Outposts are");
    const tags = parseTagSpecifications(input.TagSpecifications, ["image", "snapshot"]);
    const source = await usableImage(ctx.database.read, viewerOf(ctx), sourceRegion, parseImageId(input.SourceImageId));
    mustBeReady(source);
    const snapshots = await readableSnapshots(ctx, source);
    const copies = new Map<SnapshotId, SnapshotId>(snapshots.map((snapshot) => [snapshot.id, newId("snapshot")]));
    // A user's own tags on the source may come along; what its owner wrote is the owner's.
    const own =
      input.CopyImageTags === true ? await tagsOf(ctx.database.read, ctx.caller.accountId, [source.id]) : null;
    const imageTags = new Map((own?.get(source.id) ?? []).map((tag) => [tag.key, tag]));
    for (const tag of tags.of("image")) imageTags.set(tag.key, tag);

    const id = newId("image");
    const resource = imageArn(ctx.region, "*");
    const requestKeys = requestTagKeys(tags.all);
    const newKeys = imageKeys(
      { id, region: ctx.region, account_id: ctx.caller.accountId, owner_alias: null, is_public: false },
      [],
    );
    const checks: ResourceCheck[] = [
      { action: "ec2:CopyImage", resource, keys: { ...newKeys, ...requestKeys } },
      await imageCheck(ctx, "ec2:CopyImage", source),
      ...snapshots.map(
        (snapshot): ResourceCheck => ({
          action: "ec2:CopyImage",
          resource: snapshotArn(ctx.region, "*"),
          keys: { ...snapshotKeys({ ...snapshot, region: ctx.region }, []), ...requestKeys },
        }),
      ),
      ...createTagsCheck("CopyImage", resource, [...imageTags.values()]),
      ...createTagsCheck("CopyImage", snapshotArn(ctx.region, "*"), tags.of("snapshot")),
    ];
    return {
      id,
      name,
      description,
      source,
      snapshots,
      copies,
      imageTags: [...imageTags.values()],
      snapshotTags: tags.of("snapshot"),
      checks,
      recipients: source.account_id === ctx.caller.accountId ? [] : [source.account_id],
    };
  },
  async run(ctx, input, found, grant): Promise<CopyImageResult> {
    const { id, name, description, source, snapshots, copies } = found;
    const owner = ownerOf(ctx);
    const now = ctx.now().toISOString();
    const token: TokenUse | undefined =
      input.ClientToken === undefined
        ? undefined
        : { action: "CopyImage", token: input.ClientToken, parameters: fingerprint(input) };
    const result = await ctx.database.transaction(async (tx) => {
      if (token !== undefined) {
        const before = await tokenResult(tx, owner, token);
        if (before !== undefined) return before;
        await keepToken(tx, owner, token, id, ctx.now());
      }
      const image: NewImage = {
        id,
        account_id: owner.accountId,
        region: owner.region,
        name,
        description,
        state: "pending",
        state_reason: null,
        architecture: source.architecture,
        virtualization_type: source.virtualization_type,
        boot_mode: source.boot_mode,
        root_device_name: source.root_device_name,
        block_devices: source.block_devices.map((device) => {
          if (!("ebs" in device) || device.ebs.snapshotId === null) return device;
          const snapshotId = copies.get(device.ebs.snapshotId) ?? device.ebs.snapshotId;
          return { ...device, ebs: { ...device.ebs, snapshotId } };
        }),
        ena_support: source.ena_support,
        sriov_net_support: source.sriov_net_support,
        tpm_support: source.tpm_support,
        imds_support: source.imds_support,
        uefi_data: source.uefi_data,
        location: `${owner.accountId}/${name}`,
        owner_alias: null,
        source_instance_id: null,
        source_image_id: source.id,
        source_image_region: source.region,
        direct_kernel: null,
        reboot: 0,
        created_at: now,
        deprecate_at: null,
        deregistration_protection: null,
        last_launched_at: null,
        deregistered_at: null,
      };
      await nameMustBeFree(tx, image);
      // It may have been unshared, deregistered or emptied since the call was looked at.
      mustBeReady(await usableImage(tx, viewerOf(ctx), source.region, source.id));
      const still = await findSnapshots(tx, source.region, snapshotsOf(source.block_devices));
      if (still.size < copies.size) throw noStorageAccess();
      await insertSnapshots(
        grant,
        tx,
        snapshots.map((snapshot) =>
          newSnapshot({
            id: copies.get(snapshot.id) ?? newId("snapshot"),
            account_id: owner.accountId,
            region: owner.region,
            volume_id: null,
            description: copyDescription(id, source, snapshot),
            size_gib: snapshot.size_gib,
            size_bytes: snapshot.size_bytes,
            started_at: now,
            origin: "copy",
            source_snapshot_id: snapshot.id,
            capture_group: id,
          }),
        ),
      );
      await insertImage(grant, tx, image);
      await writeTags(tx, owner, { id, type: "image" }, found.imageTags);
      for (const copy of copies.values()) {
        await writeTags(tx, owner, { id: copy, type: "snapshot" }, found.snapshotTags);
      }
      return id;
    });
    ctx.parts.host.poke();
    return { ImageId: result };
  },
});

const copyDescription = (id: ImageId, source: Image, snapshot: Snapshot): string =>
  `Copied for DestinationAmi ${id} from SourceAmi ${source.id} for SourceSnapshot ${snapshot.id}.`;

/** The source's snapshots, all of them readable by the caller. @throws ApiError `InvalidRequest` otherwise */
async function readableSnapshots(ctx: RequestContext, source: Image): Promise<Snapshot[]> {
  const ids = snapshotsOf(source.block_devices);
  const found = await findSnapshots(ctx.database.read, source.region, ids);
  const snapshots: Snapshot[] = [];
  for (const id of ids) {
    const snapshot = found.get(id);
    if (snapshot === undefined) throw noStorageAccess();
    // What the platform brings along may be copied by all who may launch it; a sharing owner must say so by snapshot.
    if (source.owner_alias === null && !(await mayRead(ctx.database.read, snapshot, ctx.caller.accountId))) {
      throw noStorageAccess();
    }
    snapshots.push(snapshot);
  }
  return snapshots;
}

const noStorageAccess = (): ApiError =>
  new ApiError("InvalidRequest", "You do not have permission to access the storage of this ami");

const fingerprint = (input: CopyImageRequest): string =>
  createHash("sha256")
    .update(JSON.stringify({ ...input, DryRun: undefined, ClientToken: undefined }))
    .digest("hex");
