// What network and compute say to each other about an instance's one network interface, and what the fabric is told of
// security groups. `main.ts` wires them.
import type { InstanceId, SecurityGroupId, VpcId } from "../base/ids.ts";

/** An instance's network interface, as the fabric needs it. */
export interface Nic {
  readonly instanceId: InstanceId;
  /** `02:…`, lower case. Unique in the data directory. */
  readonly mac: string;
  readonly privateIp: string;
  /** A loopback address of the host (127.x.y.z) that stands for the instance outside; `null`: none. */
  readonly publicIp: string | null;
  readonly vpcId: VpcId;
  /** `172.31.0.0/16`. No two VPCs of a data directory overlap, and guests of different VPCs never reach each other. */
  readonly vpcCidr: string;
  readonly subnetCidr: string;
  /** First label and domain: `ip-172-31-5-6.ec2.internal`. */
  readonly hostname: string;
  readonly securityGroups: readonly SecurityGroupId[];
  /** IMDS: off, or on with the largest number of hops its token may travel (1..64). */
  readonly metadata: { readonly enabled: boolean; readonly hopLimit: number };
}

/** How a machine is plugged in. */
export interface NicAttachment {
  /** Goes before QEMU's own argv, to start it where the network is: `["nsenter", "-t", …]`. May be empty. */
  readonly launcher: readonly string[];
  /** Value of `-netdev`, with `id=net0`. */
  readonly netdev: string;
}

export interface SecurityRule {
  /** IP protocol: a number as in `/etc/protocols`, or `all`. 6 tcp, 17 udp, 1 icmp. */
  readonly protocol: number | "all";
  /** Inclusive; for icmp the type and code, -1 = any. `null` where the protocol has no ports or all are meant. */
  readonly fromPort: number | null;
  readonly toPort: number | null;
  /** The other end. */
  readonly peer:
    | { readonly kind: "cidr"; readonly cidr: string }
    | { readonly kind: "group"; readonly groupId: SecurityGroupId };
}

/** A security group's rules in force. Stateful: what answers an allowed flow is allowed. */
export interface SecurityGroupRules {
  readonly groupId: SecurityGroupId;
  readonly ingress: readonly SecurityRule[];
  readonly egress: readonly SecurityRule[];
}
