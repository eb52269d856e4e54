// An instance's interface, for tests that need one.
import type { InstanceId, SecurityGroupId, VpcId } from "../base/ids.ts";
import type { Nic } from "../model/nic.ts";

export const GROUP = "sg-0a" as SecurityGroupId;
export const NIC: Nic = {
  instanceId: "i-01" as InstanceId,
  mac: "02:00:00:00:00:01",
  privateIp: "172.31.5.6",
  publicIp: "127.91.3.7",
  vpcId: "vpc-01" as VpcId,
  vpcCidr: "172.31.0.0/16",
  subnetCidr: "172.31.0.0/20",
  hostname: "ip-172-31-5-6.ec2.internal",
  securityGroups: [GROUP],
  metadata: { enabled: true, hopLimit: 1 },
};
