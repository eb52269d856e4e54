// DescribeInstances and DescribeInstanceStatus.
import {
  DescribeInstanceStatus$,
  type DescribeInstanceStatusRequest,
  type DescribeInstanceStatusResult,
  DescribeInstances$,
  type DescribeInstancesRequest,
  type DescribeInstancesResult,
  type InstanceStatus,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import { type Instance, instancesByIds, instancesOf, STATE_CODE } from "../../../model/instance.ts";
import { privateDnsName } from "../../../model/regions.ts";
import { compileFilters, type FilterTable } from "../../../protocol/filters.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { pageOf } from "../page.ts";
import { type InstanceView, publicDnsName, reservationsOf, viewsOf } from "./shape.ts";

const date = (text: string): Date => new Date(text);

/** All filters of EC2 that say something about an instance with one interface, on shared hardware, with EBS disks. */
const FILTERS: FilterTable<InstanceView> = {
  values: {
    affinity: () => [],
    architecture: ({ instance }) => instance.architecture,
    "availability-zone": ({ instance }) => instance.zone,
    "block-device-mapping.attach-time": ({ volumes }) =>
      volumes.map((v) => (v.attached_at === null ? null : date(v.attached_at))),
    "block-device-mapping.delete-on-termination": ({ volumes }) => volumes.map((v) => v.delete_on_termination === 1),
    "block-device-mapping.device-name": ({ volumes }) => volumes.map((v) => v.device_name),
    "block-device-mapping.status": ({ volumes }) => volumes.map((v) => v.attachment),
    "block-device-mapping.volume-id": ({ volumes }) => volumes.map((v) => v.id),
    "boot-mode": ({ instance }) => instance.boot_mode,
    "client-token": ({ instance }) => instance.client_token,
    "current-instance-boot-mode": ({ instance }) => instance.boot_mode,
    "dns-name": ({ instance }) => (instance.public_ip === null ? [] : publicDnsName(instance.public_ip)),
    "ebs-optimized": ({ instance }) => instance.ebs_optimized === 1,
    "ena-support": () => true,
    "enclave-options.enabled": () => false,
    "hibernation-options.configured": () => false,
    "host-id": () => [],
    hypervisor: () => "xen",
    "iam-instance-profile.arn": ({ instance }) => instance.profile_arn,
    "iam-instance-profile.id": ({ instance }) => instance.profile_id,
    "image-id": ({ instance }) => instance.image_id,
    "instance-id": ({ instance }) => instance.id,
    "instance-lifecycle": () => [],
    "instance-state-code": ({ instance }) => STATE_CODE[instance.state],
    "instance-state-name": ({ instance }) => instance.state,
    "instance-type": ({ instance }) => instance.type,
    "instance.group-id": ({ groups }) => groups.map((group) => group.id),
    "instance.group-name": ({ groups }) => groups.map((group) => group.name),
    "ip-address": ({ instance }) => instance.public_ip,
    "kernel-id": () => [],
    "key-name": ({ instance }) => instance.key_name,
    "launch-index": ({ instance }) => instance.launch_index,
    "launch-time": ({ instance }) => date(instance.launched_at),
    "metadata-options.http-endpoint": ({ instance }) => instance.http_endpoint,
    "metadata-options.http-put-response-hop-limit": ({ instance }) => instance.http_hop_limit,
    "metadata-options.http-tokens": ({ instance }) => instance.http_tokens,
    "metadata-options.instance-metadata-tags": ({ instance }) => instance.metadata_tags,
    "monitoring-state": ({ instance }) => (instance.monitoring === 1 ? "enabled" : "disabled"),
    "network-interface.addresses.association.public-ip": ({ instance }) => instance.public_ip,
    "network-interface.addresses.primary": () => true,
    "network-interface.addresses.private-ip-address": ({ instance }) => instance.private_ip,
    "network-interface.association.public-ip": ({ instance }) => instance.public_ip,
    "network-interface.attachment.attachment-id": ({ instance }) => instance.attachment_id,
    "network-interface.availability-zone": ({ instance }) => instance.zone,
    "network-interface.group-id": ({ groups }) => groups.map((group) => group.id),
    "network-interface.group-name": ({ groups }) => groups.map((group) => group.name),
    "network-interface.mac-address": ({ instance }) => instance.mac,
    "network-interface.network-interface-id": ({ instance }) => instance.network_interface_id,
    "network-interface.private-dns-name": ({ instance }) => privateDnsName(instance.region, instance.private_ip),
    "network-interface.private-ip-address": ({ instance }) => instance.private_ip,
    "network-interface.status": () => "in-use",
    "network-interface.subnet-id": ({ instance }) => instance.subnet_id,
    "network-interface.vpc-id": ({ instance }) => instance.vpc_id,
    "owner-id": ({ instance }) => instance.account_id,
    platform: () => [],
    "platform-details": () => "Linux/UNIX",
    "private-dns-name": ({ instance }) => privateDnsName(instance.region, instance.private_ip),
    "private-ip-address": ({ instance }) => instance.private_ip,
    "product-code": () => [],
    "product-code.type": () => [],
    reason: ({ instance }) => instance.transition_reason,
    "requester-id": () => [],
    "reservation-id": ({ instance }) => instance.reservation_id,
    "root-device-name": ({ instance }) => instance.root_device_name,
    "root-device-type": () => "ebs",
    "source-dest-check": ({ instance }) => instance.source_dest_check === 1,
    "spot-instance-request-id": () => [],
    "state-reason-code": ({ instance }) => instance.state_reason_code,
    "state-reason-message": ({ instance }) => instance.state_reason_message,
    "subnet-id": ({ instance }) => instance.subnet_id,
    tenancy: () => "default",
    "tpm-support": () => [],
    "usage-operation": () => "RunInstances",
    "virtualization-type": () => "hvm",
    "vpc-id": ({ instance }) => instance.vpc_id,
  },
  tags: ({ tags }) => tags.map((tag) => ({ Key: tag.key, Value: tag.value })),
};

/** The instances that a call names, or all. @throws ApiError `InvalidInstanceID.*`, `InvalidParameterCombination` */
async function chosen(
  ctx: RequestContext,
  input: { readonly InstanceIds?: string[] | undefined; readonly MaxResults?: number | undefined },
): Promise<Instance[]> {
  const db = ctx.database.read;
  const owner = ownerOf(ctx);
  if (input.InstanceIds === undefined || input.InstanceIds.length === 0) return instancesOf(db, owner, ctx.now());
  if (input.MaxResults !== undefined) {
    throw new ApiError(
      "InvalidParameterCombination",
      "The parameter instancesSet cannot be used with the parameter maxResults",
    );
  }
  return instancesByIds(
    db,
    owner,
    input.InstanceIds.map((id) => parseId("instance", id)),
  );
}

export const describeInstances = operation({
  action: "ec2:DescribeInstances",
  schema: DescribeInstances$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeInstances"),
  async run(ctx: RequestContext, input: DescribeInstancesRequest): Promise<DescribeInstancesResult> {
    const filters = compileFilters(input.Filters, FILTERS);
    const views = await viewsOf(ctx.database.read, await chosen(ctx, input));
    const found = views.filter(filters.matches);
    const { page, token } = pageOf(ctx, "DescribeInstances", input, found, ({ instance }) => instance.id);
    return { Reservations: reservationsOf(page), ...token };
  },
});

const STATUS_FILTERS: FilterTable<InstanceView> = {
  values: {
    "availability-zone": ({ instance }) => instance.zone,
    "event.code": () => [],
    "instance-state-code": ({ instance }) => STATE_CODE[instance.state],
    "instance-state-name": ({ instance }) => instance.state,
    "instance-status.reachability": ({ instance }) => reachability(instance),
    "instance-status.status": ({ instance }) => status(instance),
    "system-status.reachability": ({ instance }) => reachability(instance),
    "system-status.status": ({ instance }) => status(instance),
  },
  tags: ({ tags }) => tags.map((tag) => ({ Key: tag.key, Value: tag.value })),
};

const status = (instance: Instance) => {
  if (instance.state === "running") return "ok" as const;
  return instance.state === "pending" ? ("initializing" as const) : ("not-applicable" as const);
};
const reachability = (instance: Instance) =>
  instance.state === "running" ? ("passed" as const) : ("initializing" as const);

function apiStatus({ instance }: InstanceView): InstanceStatus {
  const summary = {
    Status: status(instance),
    ...(status(instance) === "not-applicable"
      ? {}
      : { Details: [{ Name: "reachability" as const, Status: reachability(instance) }] }),
  };
  return {
    InstanceId: instance.id,
    AvailabilityZone: instance.zone,
    Events: [],
    InstanceState: { Code: STATE_CODE[instance.state], Name: instance.state },
    InstanceStatus: summary,
    SystemStatus: summary,
  };
}

/** "ok" says that the machine runs and answers QMP. Whether its guest answers on the network is for the guest to show. */
export const describeInstanceStatus = operation({
  action: "ec2:DescribeInstanceStatus",
  schema: DescribeInstanceStatus$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeInstanceStatus"),
  async run(ctx: RequestContext, input: DescribeInstanceStatusRequest): Promise<DescribeInstanceStatusResult> {
    const filters = compileFilters(input.Filters, STATUS_FILTERS);
    const instances = (await chosen(ctx, input)).filter(
      (instance) => input.IncludeAllInstances === true || instance.state === "running",
    );
    const found = (await viewsOf(ctx.database.read, instances)).filter(filters.matches);
    const { page, token } = pageOf(ctx, "DescribeInstanceStatus", input, found, ({ instance }) => instance.id);
    return { InstanceStatuses: page.map(apiStatus), ...token };
  },
});
