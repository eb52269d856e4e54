import {
  DescribeNetworkInterfaces$,
  type DescribeNetworkInterfacesRequest,
  type DescribeNetworkInterfacesResult,
  type NetworkInterface,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { parseId } from "../../../base/ids.ts";
import { instancesOf } from "../../../model/instance.ts";
import { tagsOf } from "../../../model/tags.ts";
import { compileFilters, type FilterTable } from "../../../protocol/filters.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { apiInstance, viewsOf } from "../instances/shape.ts";
import { ownerOf } from "../owner.ts";
import { pageOf } from "../page.ts";

const FILTERS: FilterTable<NetworkInterface> = {
  values: {
    "addresses.private-ip-address": (card) => card.PrivateIpAddress,
    "association.public-ip": (card) => card.Association?.PublicIp,
    "attachment.attachment-id": (card) => card.Attachment?.AttachmentId,
    "attachment.delete-on-termination": (card) => card.Attachment?.DeleteOnTermination,
    "attachment.device-index": (card) => card.Attachment?.DeviceIndex,
    "attachment.instance-id": (card) => card.Attachment?.InstanceId,
    "attachment.status": (card) => card.Attachment?.Status,
    "availability-zone": (card) => card.AvailabilityZone,
    description: (card) => card.Description,
    "group-id": (card) => (card.Groups ?? []).map((group) => group.GroupId),
    "group-name": (card) => (card.Groups ?? []).map((group) => group.GroupName),
    "interface-type": (card) => card.InterfaceType,
    "mac-address": (card) => card.MacAddress,
    "network-interface-id": (card) => card.NetworkInterfaceId,
    "owner-id": (card) => card.OwnerId,
    "private-dns-name": (card) => card.PrivateDnsName,
    "private-ip-address": (card) => card.PrivateIpAddress,
    "requester-managed": () => false,
    "source-dest-check": (card) => card.SourceDestCheck,
    status: (card) => card.Status,
    "subnet-id": (card) => card.SubnetId,
    "vpc-id": (card) => card.VpcId,
  },
  tags: (card) => card.TagSet ?? [],
};

/** The one interface of each instance that is there: interfaces live and die with their instances here. */
async function interfacesOf(ctx: RequestContext): Promise<NetworkInterface[]> {
  const owner = ownerOf(ctx);
  const instances = (await instancesOf(ctx.database.read, owner, ctx.now())).filter(
    (instance) => instance.state !== "terminated",
  );
  const views = await viewsOf(ctx.database.read, instances);
  const tags = await tagsOf(
    ctx.database.read,
    owner.accountId,
    instances.map((instance) => instance.network_interface_id),
  );
  return views.flatMap((view) => {
    const [card] = apiInstance(view).NetworkInterfaces ?? [];
    if (card === undefined) return [];
    const { Attachment: attachment, Ipv6Addresses: _none, ...shared } = card;
    return [
      {
        ...shared,
        Attachment: { ...attachment, InstanceId: view.instance.id, InstanceOwnerId: view.instance.account_id },
        AvailabilityZone: view.instance.zone,
        Ipv6Addresses: [],
        RequesterManaged: false,
        InterfaceType: "interface",
        TagSet: (tags.get(view.instance.network_interface_id) ?? []).map((tag) => ({ Key: tag.key, Value: tag.value })),
      },
    ];
  });
}

export const describeNetworkInterfaces = operation({
  action: "ec2:DescribeNetworkInterfaces",
  schema: DescribeNetworkInterfaces$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeNetworkInterfaces"),
  async run(ctx: RequestContext, input: DescribeNetworkInterfacesRequest): Promise<DescribeNetworkInterfacesResult> {
    const filters = compileFilters(input.Filters, FILTERS);
    const all = await interfacesOf(ctx);
    const ids = input.NetworkInterfaceIds?.map((id) => parseId("networkInterface", id));
    for (const id of ids ?? []) {
      if (!all.some((card) => card.NetworkInterfaceId === id)) {
        throw new ApiError("InvalidNetworkInterfaceID.NotFound", `The networkInterface ID '${id}' does not exist`);
      }
    }
    const found = all
      .filter((card) => ids?.some((id) => id === card.NetworkInterfaceId) ?? true)
      .filter(filters.matches);
    const { page, token } = pageOf(
      ctx,
      "DescribeNetworkInterfaces",
      input,
      found,
      (card) => card.NetworkInterfaceId ?? "",
    );
    return { NetworkInterfaces: page, ...token };
  },
});
