// An instance as the API shows it.
import type { Instance as ApiInstance, AttachmentStatus, Reservation } from "@aws-sdk/client-ec2";
import type { Db } from "../../../database/database.ts";
import type { VolumesTable } from "../../../database/tables/ec2.ts";
import { groupsOf, type Instance, STATE_CODE } from "../../../model/instance.ts";
import { privateDnsName } from "../../../model/regions.ts";
import { type Tag, tagsOf } from "../../../model/tags.ts";

export type AttachedVolume = Pick<
  VolumesTable,
  "id" | "instance_id" | "device_name" | "attachment" | "attached_at" | "delete_on_termination" | "is_root"
>;

/** An instance with what hangs on it. */
export interface InstanceView {
  readonly instance: Instance;
  readonly volumes: readonly AttachedVolume[];
  readonly groups: readonly { readonly id: string; readonly name: string }[];
  readonly tags: readonly Tag[];
}

/** Loads what hangs on these instances: three queries, however many there are. */
export async function viewsOf(db: Db, instances: readonly Instance[]): Promise<InstanceView[]> {
  const first = instances[0];
  if (first === undefined) return [];
  const ids = instances.map((instance) => instance.id);
  const volumes = new Map<string, AttachedVolume[]>();
  for (let at = 0; at < ids.length; at += 500) {
    const rows = await db
      .selectFrom("volumes")
      .select(["id", "instance_id", "device_name", "attachment", "attached_at", "delete_on_termination", "is_root"])
      .where("instance_id", "in", ids.slice(at, at + 500))
      .where("attachment", "is not", null)
      .orderBy("is_root", "desc")
      .orderBy("device_name")
      .execute();
    for (const row of rows) {
      const list = volumes.get(row.instance_id ?? "") ?? [];
      list.push(row);
      volumes.set(row.instance_id ?? "", list);
    }
  }
  const groups = await groupsOf(db, ids);
  const tags = await tagsOf(db, first.account_id, ids);
  return instances.map((instance) => ({
    instance,
    volumes: volumes.get(instance.id) ?? [],
    groups: groups.get(instance.id) ?? [],
    tags: tags.get(instance.id) ?? [],
  }));
}

/** Instances grouped as they were launched, in the order given. */
export function reservationsOf(views: readonly InstanceView[]): Reservation[] {
  const reservations = new Map<string, Reservation & { Instances: ApiInstance[] }>();
  for (const view of views) {
    const id = view.instance.reservation_id;
    let reservation = reservations.get(id);
    if (reservation === undefined) {
      reservation = { ReservationId: id, OwnerId: view.instance.account_id, Groups: [], Instances: [] };
      reservations.set(id, reservation);
    }
    reservation.Instances.push(apiInstance(view));
  }
  return [...reservations.values()];
}

export function apiInstance({ instance, volumes, groups, tags }: InstanceView): ApiInstance {
  const gone = instance.state === "terminated";
  const apiGroups = groups.map((group) => ({ GroupId: group.id, GroupName: group.name }));
  const privateDns = privateDnsName(instance.region, instance.private_ip);
  return {
    InstanceId: instance.id,
    ImageId: instance.image_id,
    State: { Code: STATE_CODE[instance.state], Name: instance.state },
    PrivateDnsName: gone ? "" : privateDns,
    PublicDnsName: instance.public_ip === null ? "" : publicDnsName(instance.public_ip),
    StateTransitionReason: instance.transition_reason,
    ...(instance.state_reason_code === null
      ? {}
      : {
          StateReason: { Code: instance.state_reason_code, Message: instance.state_reason_message ?? undefined },
        }),
    ...(instance.key_name === null ? {} : { KeyName: instance.key_name }),
    AmiLaunchIndex: instance.launch_index,
    ProductCodes: [],
    InstanceType: instance.type as NonNullable<ApiInstance["InstanceType"]>,
    LaunchTime: new Date(instance.launched_at),
    Placement: { AvailabilityZone: instance.zone, GroupName: "", Tenancy: "default" },
    Monitoring: { State: instance.monitoring === 1 ? "enabled" : "disabled" },
    ...(gone
      ? {}
      : {
          SubnetId: instance.subnet_id,
          VpcId: instance.vpc_id,
          PrivateIpAddress: instance.private_ip,
          ...(instance.public_ip === null ? {} : { PublicIpAddress: instance.public_ip }),
          NetworkInterfaces: [networkInterface(instance, privateDns, apiGroups)],
        }),
    Architecture: instance.architecture as NonNullable<ApiInstance["Architecture"]>,
    RootDeviceType: "ebs",
    RootDeviceName: instance.root_device_name,
    BlockDeviceMappings: volumes.map((volume) => ({
      DeviceName: volume.device_name ?? undefined,
      Ebs: {
        VolumeId: volume.id,
        Status: (volume.attachment ?? undefined) as AttachmentStatus | undefined,
        AttachTime: volume.attached_at === null ? undefined : new Date(volume.attached_at),
        DeleteOnTermination: volume.delete_on_termination === 1,
      },
    })),
    VirtualizationType: "hvm",
    Hypervisor: "xen",
    EbsOptimized: instance.ebs_optimized === 1,
    EnaSupport: true,
    SecurityGroups: gone ? [] : apiGroups,
    SourceDestCheck: instance.source_dest_check === 1,
    ...(instance.client_token === null ? { ClientToken: "" } : { ClientToken: instance.client_token }),
    ...(instance.profile_arn === null || instance.profile_id === null
      ? {}
      : { IamInstanceProfile: { Arn: instance.profile_arn, Id: instance.profile_id } }),
    Tags: tags.map((tag) => ({ Key: tag.key, Value: tag.value })),
    MetadataOptions: metadataOptions(instance),
    EnclaveOptions: { Enabled: false },
    HibernationOptions: { Configured: false },
    CapacityReservationSpecification: { CapacityReservationPreference: "open" },
    CurrentInstanceBootMode: instance.boot_mode,
    PlatformDetails: "Linux/UNIX",
    UsageOperation: "RunInstances",
    UsageOperationUpdateTime: new Date(instance.launched_at),
    PrivateDnsNameOptions: {
      HostnameType: "ip-name",
      EnableResourceNameDnsARecord: false,
      EnableResourceNameDnsAAAARecord: false,
    },
    MaintenanceOptions: { AutoRecovery: "default" },
  };
}

/** How EC2 would name a public address. Inside a guest the network's own DNS answers it with the private address. */
export const publicDnsName = (publicIp: string): string =>
  `ec2-${publicIp.replaceAll(".", "-")}.compute-1.amazonaws.com`;

export const metadataOptions = (instance: Instance) => ({
  State: "applied" as const,
  HttpTokens: instance.http_tokens,
  HttpPutResponseHopLimit: instance.http_hop_limit,
  HttpEndpoint: instance.http_endpoint,
  HttpProtocolIpv6: "disabled" as const,
  InstanceMetadataTags: instance.metadata_tags,
});

function networkInterface(
  instance: Instance,
  privateDns: string,
  groups: { GroupId: string; GroupName: string }[],
): NonNullable<ApiInstance["NetworkInterfaces"]>[number] {
  const association =
    instance.public_ip === null
      ? {}
      : {
          Association: {
            IpOwnerId: "amazon",
            PublicDnsName: publicDnsName(instance.public_ip),
            PublicIp: instance.public_ip,
          },
        };
  return {
    ...association,
    Attachment: {
      AttachTime: new Date(instance.launched_at),
      AttachmentId: instance.attachment_id,
      DeleteOnTermination: true,
      DeviceIndex: 0,
      Status: instance.state === "pending" ? "attaching" : "attached",
      NetworkCardIndex: 0,
    },
    Description: "",
    Groups: groups,
    Ipv6Addresses: [],
    MacAddress: instance.mac,
    NetworkInterfaceId: instance.network_interface_id,
    OwnerId: instance.account_id,
    PrivateDnsName: privateDns,
    PrivateIpAddress: instance.private_ip,
    PrivateIpAddresses: [
      { ...association, Primary: true, PrivateDnsName: privateDns, PrivateIpAddress: instance.private_ip },
    ],
    SourceDestCheck: instance.source_dest_check === 1,
    Status: "in-use",
    SubnetId: instance.subnet_id,
    VpcId: instance.vpc_id,
    InterfaceType: "interface",
  };
}
