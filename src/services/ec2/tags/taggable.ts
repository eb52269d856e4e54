// What a tag can hang on: how each kind of resource is found by its id, and what policies may ask of it.
//
// Images and snapshots that are shared or public can be tagged too: the tags are then the caller's own, and nobody else
// sees them.
import { ApiError } from "../../../base/api-error.ts";
import {
  type IdKind,
  type ImageId,
  type InstanceId,
  isId,
  parseId,
  type SnapshotId,
  type VolumeId,
} from "../../../base/ids.ts";
import type { ConditionKeys } from "../../../model/access.ts";
import { ec2Arn, imageArn, type OwnedResourceType, snapshotArn } from "../../../model/arn.ts";
import { canLaunch, imageKeys, imageNotFound } from "../../../model/image.ts";
import { findImage, permissionsOf } from "../../../model/image-rows.ts";
import { instanceKeys, instancesByIds } from "../../../model/instance.ts";
import { keyPairById, keyPairKeys, keyPairNotFound } from "../../../model/key-pair.ts";
import { templateArn, templateById, templateIdNotFound, templateKeys } from "../../../model/launch-template.ts";
import { groupsByIds, securityGroupKeys } from "../../../model/security-group.ts";
import { snapshotKeys } from "../../../model/snapshot.ts";
import { readableSnapshot } from "../../../model/snapshot-rows.ts";
import type { Tag, TaggedType } from "../../../model/tags.ts";
import { resourceTagKeys } from "../../../model/tags.ts";
import { findTransferTask } from "../../../model/transfer-task.ts";
import { volumeArn, volumeKeys } from "../../../model/volume.ts";
import { ownVolume } from "../../../model/volume-rows.ts";
import { subnetById, vpcNotFound } from "../../../model/vpc.ts";
import type { RequestContext } from "../../context.ts";
import { viewerOf } from "../images/viewer.ts";
import { ownerOf } from "../owner.ts";

export interface Taggable {
  readonly id: string;
  readonly type: TaggedType;
  readonly arn: string;
  readonly keys: ConditionKeys;
}

/** @param tags  those that the caller's account has on it */
type Find = (ctx: RequestContext, id: string, tags: readonly Tag[]) => Promise<Omit<Taggable, "id" | "type">>;

interface Kind {
  readonly kind: IdKind;
  readonly type: TaggedType;
  readonly find: Find;
}

const owned = (ctx: RequestContext, type: OwnedResourceType, id: string): string =>
  ec2Arn(ctx.region, ctx.caller.accountId, type, id);

const KINDS: readonly Kind[] = [
  {
    kind: "image",
    type: "image",
    async find(ctx, text, tags) {
      const id = text as ImageId;
      const image = await findImage(ctx.database.read, ctx.region, id);
      if (image === undefined || image.state === "deregistered") throw imageNotFound(ctx.region, id);
      const permissions = await permissionsOf(ctx.database.read, id);
      if (!canLaunch(image, permissions, viewerOf(ctx))) throw imageNotFound(ctx.region, id);
      return { arn: imageArn(ctx.region, id), keys: imageKeys(image, tags) };
    },
  },
  {
    kind: "snapshot",
    type: "snapshot",
    async find(ctx, text, tags) {
      const id = text as SnapshotId;
      const snapshot = await readableSnapshot(ctx.database.read, ctx.caller.accountId, ctx.region, id);
      return { arn: snapshotArn(ctx.region, id), keys: snapshotKeys(snapshot, tags) };
    },
  },
  {
    kind: "volume",
    type: "volume",
    async find(ctx, id, tags) {
      const volume = await ownVolume(ctx.database.read, ownerOf(ctx), id as VolumeId);
      return { arn: volumeArn(volume), keys: volumeKeys(volume, tags) };
    },
  },
  {
    kind: "instance",
    type: "instance",
    async find(ctx, id, tags) {
      const [instance] = await instancesByIds(ctx.database.read, ownerOf(ctx), [id as InstanceId]);
      return { arn: owned(ctx, "instance", id), keys: instance === undefined ? {} : instanceKeys(instance, tags) };
    },
  },
  {
    kind: "keyPair",
    type: "key-pair",
    async find(ctx, id, tags) {
      const keyPair = await keyPairById(ctx.database.read, ownerOf(ctx), id);
      if (keyPair === undefined) throw keyPairNotFound(id);
      return { arn: owned(ctx, "key-pair", keyPair.name), keys: keyPairKeys(keyPair, tags) };
    },
  },
  {
    kind: "launchTemplate",
    type: "launch-template",
    async find(ctx, id, tags) {
      const owner = ownerOf(ctx);
      const template = await templateById(ctx.database.read, owner, id);
      if (template === undefined) throw templateIdNotFound(owner, id);
      return { arn: templateArn(owner, id), keys: templateKeys(owner, tags) };
    },
  },
  {
    kind: "securityGroup",
    type: "security-group",
    async find(ctx, id, tags) {
      const [group] = await groupsByIds(ctx.database.read, ownerOf(ctx), [id]);
      const keys = group === undefined ? {} : securityGroupKeys(group, owned(ctx, "vpc", group.vpc_id), tags);
      return { arn: owned(ctx, "security-group", id), keys };
    },
  },
  {
    kind: "securityGroupRule",
    type: "security-group-rule",
    async find(ctx, id, tags) {
      const row = await ctx.database.read
        .selectFrom("security_group_rules")
        .select("id")
        .where("id", "=", id)
        .where("account_id", "=", ctx.caller.accountId)
        .where("region", "=", ctx.region)
        .executeTakeFirst();
      if (row === undefined) {
        throw new ApiError("InvalidSecurityGroupRuleId.NotFound", `The security group rule ID '${id}' does not exist`);
      }
      return { arn: owned(ctx, "security-group-rule", id), keys: plainKeys(ctx, tags) };
    },
  },
  {
    kind: "vpc",
    type: "vpc",
    async find(ctx, id, tags) {
      const row = await ctx.database.read
        .selectFrom("vpcs")
        .select("id")
        .where("id", "=", id)
        .where("account_id", "=", ctx.caller.accountId)
        .where("region", "=", ctx.region)
        .executeTakeFirst();
      if (row === undefined) throw vpcNotFound(id);
      return { arn: owned(ctx, "vpc", id), keys: { "ec2:VpcID": id, ...plainKeys(ctx, tags) } };
    },
  },
  {
    kind: "subnet",
    type: "subnet",
    async find(ctx, id, tags) {
      const subnet = await subnetById(ctx.database.read, ownerOf(ctx), id);
      const keys = {
        "ec2:SubnetID": id,
        "ec2:Vpc": owned(ctx, "vpc", subnet.vpcId),
        "ec2:AvailabilityZone": subnet.zone,
        ...plainKeys(ctx, tags),
      };
      return { arn: owned(ctx, "subnet", id), keys };
    },
  },
  {
    kind: "networkInterface",
    type: "network-interface",
    async find(ctx, id, tags) {
      const row = await ctx.database.read
        .selectFrom("instances")
        .select(["subnet_id", "zone"])
        .where("network_interface_id", "=", id)
        .where("account_id", "=", ctx.caller.accountId)
        .where("region", "=", ctx.region)
        .where("state", "<>", "terminated")
        .executeTakeFirst();
      if (row === undefined) {
        throw new ApiError("InvalidNetworkInterfaceID.NotFound", `The networkInterface ID '${id}' does not exist`);
      }
      const keys = {
        "ec2:Subnet": owned(ctx, "subnet", row.subnet_id),
        "ec2:AvailabilityZone": row.zone,
        ...plainKeys(ctx, tags),
      };
      return { arn: owned(ctx, "network-interface", id), keys };
    },
  },
];

/** A task that moves disks, the caller's own. */
const transfer = (kind: IdKind, type: OwnedResourceType): Kind => ({
  kind,
  type,
  async find(ctx, id, tags) {
    const task = await findTransferTask(ctx.database.read, id);
    if (task?.account_id !== ctx.caller.accountId || task.region !== ctx.region) {
      throw new ApiError(
        type === "export-image-task" ? "InvalidExportTaskID.NotFound" : "InvalidConversionTaskId",
        `The task ID '${id}' does not exist`,
      );
    }
    return { arn: owned(ctx, type, id), keys: plainKeys(ctx, tags) };
  },
});

const plainKeys = (ctx: RequestContext, tags: readonly Tag[]): ConditionKeys => ({
  "ec2:Region": ctx.region,
  ...resourceTagKeys(tags),
});

const TRANSFERS: readonly Kind[] = [
  transfer("importImageTask", "import-image-task"),
  transfer("importSnapshotTask", "import-snapshot-task"),
  transfer("exportImageTask", "export-image-task"),
];

/**
 * The resource behind an id of whatever kind.
 * @throws ApiError the kind's own `….NotFound` and `….Malformed`; `InvalidID` for what is no id at all
 */
export async function findTaggable(ctx: RequestContext, id: string, tags: readonly Tag[]): Promise<Taggable> {
  const kind = [...KINDS, ...TRANSFERS].find((candidate) => isId(candidate.kind, id));
  if (kind !== undefined) return { id, type: kind.type, ...(await kind.find(ctx, id, tags)) };
  // Right prefix, wrong rest: the kind's own words.
  const prefixed: readonly [string, IdKind][] = [
    ["ami-", "image"],
    ["snap-", "snapshot"],
    ["vol-", "volume"],
    ["i-", "instance"],
    ["sg-", "securityGroup"],
    ["lt-", "launchTemplate"],
  ];
  const meant = prefixed.find(([prefix]) => id.startsWith(prefix));
  if (meant !== undefined) parseId(meant[1], id);
  throw new ApiError("InvalidID", `The ID '${id}' is not valid`);
}
