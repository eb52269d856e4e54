// What the metadata service tells a guest about itself, read from the rows at the time of asking.
import { ApiError } from "../base/api-error.ts";
import type { Clock } from "../base/clock.ts";
import { chain } from "../base/errors.ts";
import type { ImageId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { Database, Db } from "../database/database.ts";
import type { InstanceMetadata, MetadataSource, RoleCredentials } from "../metadata/instance-metadata.ts";
import { findInstanceProfileById } from "../model/identity/instance-profiles.ts";
import { groupsOf, type Instance } from "../model/instance.ts";
import { privateDnsName, zonesOf } from "../model/regions.ts";
import { tagsOf } from "../model/tags.ts";
import { volumesOfInstance } from "../model/volume-rows.ts";
import { publicDnsName } from "../services/ec2/instances/shape.ts";

/** An image's line of ancestors is followed so far. */
const MOST_ANCESTORS = 50;

export type IssueCredentials = (
  instance: {
    readonly instanceId: string;
    readonly accountId: string;
    readonly region: string;
    readonly roleArn: string;
  },
  delivery: "1.0" | "2.0",
) => Promise<RoleCredentials | null>;

export function metadataSource(parts: {
  readonly database: Database;
  readonly issue: IssueCredentials;
  readonly clock: Clock;
  readonly log: Log;
}): MetadataSource {
  const db = parts.database.read;
  return {
    async describe(privateIp) {
      const instance = (await db
        .selectFrom("instances")
        .selectAll()
        .where("private_ip", "=", privateIp)
        .where("state", "<>", "terminated")
        .executeTakeFirst()) as Instance | undefined;
      return instance === undefined ? null : describeInstance(db, instance);
    },
    async roleCredentials(instanceId, delivery) {
      const instance = await db
        .selectFrom("instances")
        .select(["account_id", "region", "profile_id"])
        .where("id", "=", instanceId)
        .executeTakeFirst();
      if (instance?.profile_id == null) return null;
      const profile = await findInstanceProfileById(db, instance.profile_id);
      if (profile?.roleArn == null) return null;
      try {
        return await parts.issue(
          { instanceId, accountId: instance.account_id, region: instance.region, roleArn: profile.roleArn },
          delivery,
        );
      } catch (error) {
        // A trust policy that does not let EC2 assume the role: the guest finds no credentials, as in EC2.
        if (!(error instanceof ApiError)) throw error;
        parts.log.warn({ instanceId, error: chain(error) }, "an instance's role gives it no credentials");
        return null;
      }
    },
  };
}

async function describeInstance(db: Db, instance: Instance): Promise<InstanceMetadata> {
  const [subnet, vpc] = await Promise.all([
    db.selectFrom("subnets").select("cidr").where("id", "=", instance.subnet_id).executeTakeFirstOrThrow(),
    db.selectFrom("vpcs").select("cidr").where("id", "=", instance.vpc_id).executeTakeFirstOrThrow(),
  ]);
  const groups = (await groupsOf(db, [instance.id])).get(instance.id) ?? [];
  const tags = (await tagsOf(db, instance.account_id, [instance.id])).get(instance.id) ?? [];
  const volumes = await volumesOfInstance(db, instance.id);
  const profile = instance.profile_id === null ? undefined : await findInstanceProfileById(db, instance.profile_id);
  return {
    instanceId: instance.id,
    imageId: instance.image_id,
    ancestorImageIds: await ancestors(db, instance.image_id as ImageId),
    accountId: instance.account_id,
    region: instance.region,
    availabilityZone: instance.zone,
    availabilityZoneId: zonesOf(instance.region).find((zone) => zone.name === instance.zone)?.id ?? "",
    architecture: instance.architecture,
    instanceType: instance.type,
    reservationId: instance.reservation_id,
    launchIndex: instance.launch_index,
    launchTime: new Date(instance.launched_at),
    privateIp: instance.private_ip,
    privateDnsName: privateDnsName(instance.region, instance.private_ip),
    publicIp: instance.public_ip,
    publicDnsName: instance.public_ip === null ? null : publicDnsName(instance.public_ip),
    mac: instance.mac,
    networkInterfaceId: instance.network_interface_id,
    subnetId: instance.subnet_id,
    subnetCidr: subnet.cidr,
    vpcId: instance.vpc_id,
    vpcCidr: vpc.cidr,
    securityGroups: groups,
    keyPair:
      instance.key_name === null || instance.public_key === null
        ? null
        : { name: instance.key_name, publicKey: `${instance.public_key} ${instance.key_name}` },
    rootDeviceName: instance.root_device_name,
    dataDeviceNames: volumes.flatMap((volume) =>
      volume.is_root === 1 || volume.device_name === null ? [] : [volume.device_name],
    ),
    userData: instance.user_data === null ? null : Buffer.from(instance.user_data, "base64"),
    instanceProfile:
      profile === undefined
        ? null
        : {
            arn: profile.arn,
            id: profile.id,
            ...(profile.roleArn === null ? {} : { roleName: profile.roleArn.split("/").at(-1) ?? "" }),
          },
    tags: Object.fromEntries(tags.map((tag) => [tag.key, tag.value])),
    options: {
      enabled: instance.http_endpoint === "enabled",
      tokensRequired: instance.http_tokens === "required",
      tags: instance.metadata_tags === "enabled",
    },
  };
}

/** The images that this one was made from, nearest first. */
async function ancestors(db: Db, id: ImageId): Promise<string[]> {
  const line: string[] = [];
  let next: string | null = id;
  while (next !== null && line.length < MOST_ANCESTORS) {
    const row: { source_image_id: string | null } | undefined = await db
      .selectFrom("images")
      .select("source_image_id")
      .where("id", "=", next)
      .executeTakeFirst();
    next = row?.source_image_id ?? null;
    if (next === null || line.includes(next)) break;
    line.push(next);
  }
  return line;
}
