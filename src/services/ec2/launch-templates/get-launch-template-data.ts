import {
  GetLaunchTemplateData$,
  type GetLaunchTemplateDataRequest,
  type GetLaunchTemplateDataResult,
  type ResponseLaunchTemplateData,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { groupsOf, type Instance } from "../../../model/instance.ts";
import { tagsOf } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { namedInstance } from "../instances/named-instance.ts";

/** What would launch another instance like this one, but for what no two can share: addresses and what disks hold now. */
export const getLaunchTemplateData = operation({
  action: "ec2:GetLaunchTemplateData",
  schema: GetLaunchTemplateData$,
  access: "read",
  resolve: (ctx: RequestContext, input: GetLaunchTemplateDataRequest) =>
    namedInstance(ctx, "ec2:GetLaunchTemplateData", input.InstanceId),
  async run(ctx, _input, { instance }): Promise<GetLaunchTemplateDataResult> {
    if (instance.state === "terminated" || instance.state === "shutting-down") {
      throw new ApiError(
        "IncorrectInstanceState",
        `The instance '${instance.id}' is not in a state from which its launch template data can be read.`,
      );
    }
    return { LaunchTemplateData: await dataOfInstance(ctx, instance) };
  },
});

async function dataOfInstance(ctx: RequestContext, instance: Instance): Promise<ResponseLaunchTemplateData> {
  const db = ctx.database.read;
  const volumes = await db
    .selectFrom("volumes")
    .selectAll()
    .where("instance_id", "=", instance.id)
    .where("attachment", "is not", null)
    .orderBy("is_root", "desc")
    .orderBy("device_name")
    .execute();
  const groups = (await groupsOf(db, [instance.id])).get(instance.id) ?? [];
  const tags = (await tagsOf(db, instance.account_id, [instance.id])).get(instance.id) ?? [];
  const own = tags.filter((tag) => !tag.key.startsWith("aws:"));
  return {
    EbsOptimized: instance.ebs_optimized === 1,
    ...(instance.profile_arn === null ? {} : { IamInstanceProfile: { Arn: instance.profile_arn } }),
    BlockDeviceMappings: volumes.map((volume) => ({
      DeviceName: volume.device_name ?? undefined,
      Ebs: {
        // Beside a snapshot the flag would be refused at launch: a volume is as its snapshot is.
        ...(volume.snapshot_id === null ? { Encrypted: false } : {}),
        DeleteOnTermination: volume.delete_on_termination === 1,
        ...(volume.iops === null || volume.type === "gp2" ? {} : { Iops: volume.iops }),
        ...(volume.throughput === null ? {} : { Throughput: volume.throughput }),
        ...(volume.snapshot_id === null ? {} : { SnapshotId: volume.snapshot_id }),
        VolumeSize: volume.size_gib,
        VolumeType: volume.type as "gp3",
      },
    })),
    NetworkInterfaces: [
      {
        AssociatePublicIpAddress: instance.wants_public_ip === 1,
        DeleteOnTermination: true,
        Description: "",
        DeviceIndex: 0,
        Groups: groups.map((group) => group.id),
        InterfaceType: "interface",
        SubnetId: instance.subnet_id,
        NetworkCardIndex: 0,
      },
    ],
    ImageId: instance.image_id,
    InstanceType: instance.type as NonNullable<ResponseLaunchTemplateData["InstanceType"]>,
    ...(instance.key_name === null ? {} : { KeyName: instance.key_name }),
    Monitoring: { Enabled: instance.monitoring === 1 },
    Placement: { AvailabilityZone: instance.zone, GroupName: "", Tenancy: "default" },
    DisableApiTermination: instance.disable_api_termination === 1,
    DisableApiStop: instance.disable_api_stop === 1,
    InstanceInitiatedShutdownBehavior: instance.shutdown_behavior,
    ...(instance.user_data === null ? {} : { UserData: instance.user_data }),
    ...(own.length === 0
      ? {}
      : {
          TagSpecifications: [
            { ResourceType: "instance" as const, Tags: own.map(({ key, value }) => ({ Key: key, Value: value })) },
          ],
        }),
    MetadataOptions: {
      HttpTokens: instance.http_tokens,
      HttpPutResponseHopLimit: instance.http_hop_limit,
      HttpEndpoint: instance.http_endpoint,
      HttpProtocolIpv6: "disabled",
      InstanceMetadataTags: instance.metadata_tags,
    },
  };
}
