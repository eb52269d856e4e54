// RunInstances: from a request to rows. The host's reconciler sees them `pending` and starts the machines.
import { type Reservation, RunInstances$, type RunInstancesRequest } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import {
  type ImageId,
  type InstanceId,
  newId,
  parseId,
  type ReservationId,
  type SnapshotId,
} from "../../../base/ids.ts";
import { findInstanceType, type InstanceType } from "../../../compute/instance-types.ts";
import type { Db } from "../../../database/database.ts";
import type { ConditionKeys, ResourceCheck } from "../../../model/access.ts";
import { isAssignable } from "../../../model/addresses.ts";
import { mustBeAllowed } from "../../../model/allowed-images.ts";
import { ec2Arn, imageArn, snapshotArn } from "../../../model/arn.ts";
import { type BlockDevice, snapshotsOf } from "../../../model/block-device.ts";
import { keepToken, type TokenUse, tokenResult } from "../../../model/client-token.ts";
import { type Image, imageKeys } from "../../../model/image.ts";
import { imageForLaunch, imageLaunched } from "../../../model/image-rows.ts";
import { type Instance, instanceKeys, instancesByIds } from "../../../model/instance.ts";
import { type KeyPair, keyPairByName, keyPairKeys, keyPairNotFound } from "../../../model/key-pair.ts";
import { insertLaunch, type LaunchShape } from "../../../model/launch.ts";
import { groupsByIds, groupsByNames, type SecurityGroup, securityGroupKeys } from "../../../model/security-group.ts";
import { type Snapshot, snapshotKeys } from "../../../model/snapshot.ts";
import { findSnapshots, readableSnapshot } from "../../../model/snapshot-rows.ts";
import { requestTagKeys, tagsOf } from "../../../model/tags.ts";
import { defaultSubnet, defaultVpc, type Subnet, subnetById } from "../../../model/vpc.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { isSsmImage, resolveSsmImage, ssmImageCheck } from "../../ssm/resolve-image.ts";
import { applyMappings, parseMappings, snapshotsNamed } from "../block-device-mappings.ts";
import { viewerOf } from "../images/viewer.ts";
import {
  type LaunchedKind,
  launchFromTemplate,
  type TemplateLaunch,
} from "../launch-templates/launch-from-template.ts";
import { ownerOf } from "../owner.ts";
import { createTagsCheck, parseTagSpecifications, type TagsOnCreate } from "../tags/tag-specifications.ts";
import { type LaunchProfile, launchProfile, passRoleCheck } from "./instance-profile.ts";
import { fingerprint, type LaunchRequest, parseLaunch } from "./launch-request.ts";
import { metadataDefaults, metadataSettings } from "./metadata-defaults.ts";
import { reservationsOf, viewsOf } from "./shape.ts";

/** Everything that a launch refers to, found. */
interface Found {
  readonly template: TemplateLaunch;
  readonly request: LaunchRequest;
  readonly image: Image;
  readonly type: InstanceType;
  readonly subnet: Subnet;
  readonly groups: readonly SecurityGroup[];
  readonly keyPair: KeyPair | undefined;
  readonly profile: LaunchProfile | undefined;
  readonly devices: readonly BlockDevice[];
  readonly tags: TagsOnCreate;
  readonly shape: LaunchShape;
}

/** Launches `MinCount` to `MaxCount` instances; answers once they are written down, before they run. */
export const runInstances = operation({
  action: "ec2:RunInstances",
  schema: RunInstances$,
  access: "write",
  async resolve(ctx: RequestContext, input: RunInstancesRequest) {
    const found = await find(ctx, input);
    const foreign = found.image.account_id === ctx.caller.accountId ? [] : [found.image.account_id];
    return { found, checks: await checksOf(ctx, found), recipients: foreign };
  },
  async run(ctx, input, { found }, grant): Promise<Reservation> {
    const { request, image, type } = found;
    const owner = ownerOf(ctx);
    const token: TokenUse | undefined =
      request.clientToken === undefined
        ? undefined
        : { action: "RunInstances", token: request.clientToken, parameters: fingerprint(input) };
    if (token !== undefined) {
      const before = await tokenResult(ctx.database.read, owner, token);
      if (before !== undefined) return reservation(ctx, before as ReservationId);
    }
    const count = await admitted(ctx, request, type);
    const reservationId = newId("reservation");
    const ids = await ctx.database.transaction(async (tx) => {
      if (token !== undefined) await keepToken(tx, owner, token, reservationId, ctx.now());
      await mustStillHold(ctx, tx, found);
      await imageLaunched(tx, image.id, ctx.now());
      return insertLaunch(grant, tx, {
        owner,
        reservationId,
        count,
        subnet: found.subnet,
        privateIp: request.privateIp ?? null,
        groupIds: found.groups.map((group) => group.id),
        shape: found.shape,
        volumes: found.devices.flatMap((device) => ("ebs" in device ? [device] : [])),
        instanceTags: [...found.tags.of("instance"), ...found.template.systemTags],
        volumeTags: found.tags.of("volume"),
        at: ctx.now(),
      });
    });
    ctx.parts.host.poke();
    return reservation(ctx, reservationId, ids);
  },
});

async function find(ctx: RequestContext, said: RunInstancesRequest): Promise<Found> {
  const template = await launchFromTemplate(ctx, said);
  const { input } = template;
  const request = parseLaunch(input);
  const db = ctx.database.read;
  const owner = ownerOf(ctx);
  const tags = parseTagSpecifications(input.TagSpecifications, ["instance", "volume", "network-interface"]);
  const imageId: ImageId = isSsmImage(request.image)
    ? await resolveSsmImage(ctx, request.image)
    : parseId("image", request.image);
  const image = await imageForLaunch(db, viewerOf(ctx), ctx.region, imageId);
  await mustBeAllowed(db, owner, image, ctx.now());
  const type = findInstanceType(request.type);
  if (image.architecture !== type.architecture) {
    throw new ApiError(
      "InvalidParameterValue",
      `The architecture '${type.architecture}' of the specified instance type does not match the architecture '${image.architecture}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.`,
    );
  }
  if (image.virtualization_type !== "hvm") {
    throw new ApiError(
      "InvalidParameterCombination",
      `Virtualization type '${image.virtualization_type}' is not supported for instances of type '${type.name}'.`,
    );
  }
  const vpcId = await defaultVpc(ctx.database, owner, ctx.now());
  const subnet =
    request.subnetId === undefined
      ? await defaultSubnet(db, vpcId, request.zone)
      : await subnetById(db, owner, parseId("subnet", request.subnetId));
  if (request.privateIp !== undefined && !isAssignable(subnet.cidr, request.privateIp)) {
    throw new ApiError(
      "InvalidParameterValue",
      `Address ${request.privateIp} does not fall within the subnet's address range`,
    );
  }
  const named = [
    ...(await groupsByIds(
      db,
      owner,
      request.groupIds.map((id) => parseId("securityGroup", id)),
    )),
    ...(await groupsByNames(db, owner, subnet.vpcId, request.groupNames)),
  ];
  const groups = named.length > 0 ? named : await groupsByNames(db, owner, subnet.vpcId, ["default"]);
  const keyPair = request.keyName === undefined ? undefined : await keyPairByName(db, owner, request.keyName);
  if (request.keyName !== undefined && keyPair === undefined) throw keyPairNotFound(request.keyName);
  const profile = request.profile === undefined ? undefined : await launchProfile(db, owner.accountId, request.profile);
  const devices = await devicesOf(ctx, image, request);
  const metadata = metadataSettings(request.metadata, await metadataDefaults(db, owner), image.imds_support);
  const shape: LaunchShape = {
    client_token: request.clientToken ?? null,
    image_id: image.id,
    type: type.name,
    key_name: keyPair?.name ?? null,
    public_key: keyPair?.public_key ?? null,
    user_data: request.userData ?? null,
    architecture: image.architecture,
    boot_mode: image.boot_mode === "uefi" || image.boot_mode === "uefi-preferred" ? "uefi" : "legacy-bios",
    root_device_name: image.root_device_name,
    wants_public_ip: (request.publicIp ?? subnet.mapPublicIp) ? 1 : 0,
    source_dest_check: 1,
    profile_arn: profile?.arn ?? null,
    profile_id: profile?.id ?? null,
    ...metadata,
    ebs_optimized: request.ebsOptimized ? 1 : 0,
    monitoring: request.monitoring ? 1 : 0,
    disable_api_termination: request.disableApiTermination ? 1 : 0,
    disable_api_stop: request.disableApiStop ? 1 : 0,
    shutdown_behavior: request.shutdownBehavior,
  };
  return { template, request, image, type, subnet, groups, keyPair, profile, devices, tags, shape };
}

/** The image's devices with the request's changes; snapshots that the request names must be readable. */
async function devicesOf(ctx: RequestContext, image: Image, request: LaunchRequest): Promise<BlockDevice[]> {
  const requests = parseMappings(request.blockDevices);
  const named = await namedSnapshots(ctx, request);
  // An image's volume may be larger than its snapshot: what is asked for only has to hold the snapshot.
  const sizes = new Map<SnapshotId, Pick<Snapshot, "size_gib">>(
    await findSnapshots(ctx.database.read, ctx.region, snapshotsOf(image.block_devices)),
  );
  for (const snapshot of named) sizes.set(snapshot.id, snapshot);
  return applyMappings(image.block_devices, requests, sizes, image.root_device_name);
}

/** The snapshots that the request itself names. @throws ApiError `InvalidSnapshot.NotFound` for those it may not read */
const namedSnapshots = (ctx: RequestContext, request: LaunchRequest): Promise<Snapshot[]> =>
  Promise.all(
    snapshotsNamed(parseMappings(request.blockDevices)).map((id) =>
      readableSnapshot(ctx.database.read, ctx.caller.accountId, ctx.region, id),
    ),
  );

/** Every resource that a launch touches, each with what policies may ask of it. */
async function checksOf(ctx: RequestContext, found: Found): Promise<ResourceCheck[]> {
  const { template, image, subnet, groups, keyPair, profile, devices, tags, shape, type } = found;
  const account = ctx.caller.accountId;
  const own = (kind: Parameters<typeof ec2Arn>[2], id: string) => ec2Arn(ctx.region, account, kind, id);
  const requestTags = requestTagKeys(tags.all);
  const vpc = own("vpc", subnet.vpcId);
  const place: ConditionKeys = { "ec2:Region": ctx.region, "ec2:AvailabilityZone": subnet.zone, "ec2:Vpc": vpc };
  const stored = await tagsOf(ctx.database.read, account, [
    image.id,
    subnet.id,
    ...groups.map((group) => group.id),
    ...(keyPair === undefined ? [] : [keyPair.id]),
  ]);
  const tagged = (id: string) => stored.get(id) ?? [];
  const check = (kind: LaunchedKind, resource: string, keys: ConditionKeys, name?: string): ResourceCheck => ({
    action: "ec2:RunInstances",
    resource,
    keys: { ...keys, ...template.keysOf(kind, name), ...requestTags },
  });
  const instanceArn = own("instance", "*");
  const volumes = devices.flatMap((device) => ("ebs" in device ? [device] : []));
  const snapshots = await namedSnapshots(ctx, found.request);
  return [
    check("image", imageArn(ctx.region, image.id), imageKeys(image, tagged(image.id))),
    check("instance", instanceArn, {
      ...place,
      ...instanceKeys({ ...shape, type: type.name, zone: subnet.zone, region: ctx.region }, []),
    }),
    ...template.checks,
    check("subnet", own("subnet", subnet.id), { ...place, "ec2:SubnetID": subnet.id }),
    check("network-interface", own("network-interface", "*"), {
      ...place,
      "ec2:Subnet": own("subnet", subnet.id),
      "ec2:AssociatePublicIpAddress": String(shape.wants_public_ip === 1),
    }),
    ...groups.map((group) =>
      check("security-group", own("security-group", group.id), securityGroupKeys(group, vpc, tagged(group.id))),
    ),
    ...volumes.map(({ deviceName, ebs }) =>
      check(
        "volume",
        own("volume", "*"),
        {
          ...place,
          "ec2:VolumeSize": String(ebs.sizeGib),
          "ec2:VolumeType": ebs.type,
          "ec2:Encrypted": "false",
          ...(ebs.iops === null ? {} : { "ec2:VolumeIops": String(ebs.iops) }),
          ...(ebs.snapshotId === null ? {} : { "ec2:ParentSnapshot": snapshotArn(ctx.region, ebs.snapshotId) }),
        },
        deviceName,
      ),
    ),
    ...snapshots.map((snapshot) =>
      check("snapshot", snapshotArn(ctx.region, snapshot.id), snapshotKeys(snapshot, []), snapshot.id),
    ),
    ...(keyPair === undefined
      ? []
      : [check("key-pair", own("key-pair", keyPair.name), keyPairKeys(keyPair, tagged(keyPair.id)))]),
    ...(profile === undefined ? [] : passRoleCheck(profile)),
    ...(isSsmImage(found.request.image) ? [await ssmImageCheck(ctx, found.request.image)] : []),
    ...createTagsCheck("RunInstances", instanceArn, tags.of("instance")),
    ...createTagsCheck("RunInstances", own("volume", "*"), tags.of("volume")),
    ...createTagsCheck("RunInstances", own("network-interface", "*"), tags.of("network-interface")),
  ];
}

/** As many as fit, at least `MinCount`. @throws ApiError `InsufficientInstanceCapacity` */
async function admitted(ctx: RequestContext, request: LaunchRequest, type: InstanceType): Promise<number> {
  for (let count = request.maxCount; ; count--) {
    try {
      await ctx.parts.host.admit({ memoryMib: type.memoryMib * count, vcpus: type.vcpus * count });
      return count;
    } catch (error) {
      if (count <= request.minCount) throw error;
    }
  }
}

/** What was found may have changed since: an image that was deregistered or unshared meanwhile is not launched. */
async function mustStillHold(ctx: RequestContext, tx: Db, { request, image, subnet }: Found): Promise<void> {
  await imageForLaunch(tx, viewerOf(ctx), image.region, image.id);
  if (request.privateIp === undefined) return;
  const holder = await tx
    .selectFrom("instances")
    .select("id")
    .where("vpc_id", "=", subnet.vpcId)
    .where("private_ip", "=", request.privateIp)
    .where("state", "<>", "terminated")
    .executeTakeFirst();
  if (holder !== undefined) throw new ApiError("InvalidIPAddress.InUse", `Address ${request.privateIp} is in use.`);
}

async function reservation(ctx: RequestContext, id: ReservationId, ids?: readonly InstanceId[]): Promise<Reservation> {
  const owner = ownerOf(ctx);
  const db = ctx.database.read;
  const instances =
    ids === undefined
      ? ((await db
          .selectFrom("instances")
          .selectAll()
          .where("reservation_id", "=", id)
          .orderBy("launch_index")
          .execute()) as Instance[])
      : await instancesByIds(db, owner, ids);
  const [shown] = reservationsOf(await viewsOf(db, instances));
  return shown ?? { ReservationId: id, OwnerId: owner.accountId, Groups: [], Instances: [] };
}
