// What the metadata service must know of an instance, and where it learns it.

/** An instance as it may see itself. */
export interface InstanceMetadata {
  readonly instanceId: string;
  readonly imageId: string;
  /** Images that this one was made from, nearest first. */
  readonly ancestorImageIds: readonly string[];
  readonly accountId: string;
  readonly region: string;
  readonly availabilityZone: string;
  /** `use1-az1`. */
  readonly availabilityZoneId: string;
  /** As in DescribeInstances: `x86_64`, `arm64`. */
  readonly architecture: string;
  readonly instanceType: string;
  readonly reservationId: string;
  /** Place within its RunInstances call, from 0. */
  readonly launchIndex: number;
  readonly launchTime: Date;
  readonly privateIp: string;
  /** `ip-172-31-5-6.ec2.internal`. */
  readonly privateDnsName: string;
  readonly publicIp: string | null;
  readonly publicDnsName: string | null;
  /** Of its one network interface, lower case. */
  readonly mac: string;
  readonly networkInterfaceId: string;
  readonly subnetId: string;
  readonly subnetCidr: string;
  readonly vpcId: string;
  readonly vpcCidr: string;
  readonly securityGroups: readonly { readonly id: string; readonly name: string }[];
  /** `publicKey` in OpenSSH's one-line form. */
  readonly keyPair: { readonly name: string; readonly publicKey: string } | null;
  /** `/dev/xvda`. */
  readonly rootDeviceName: string;
  /** Device names of the other volumes, as they were attached. */
  readonly dataDeviceNames: readonly string[];
  /** As given to RunInstances, decoded. */
  readonly userData: Uint8Array | null;
  readonly instanceProfile: InstanceProfile | null;
  /** Shown only where the instance's options say so. */
  readonly tags: Readonly<Record<string, string>>;
  readonly options: MetadataOptions;
}

export interface InstanceProfile {
  readonly arn: string;
  /** `AIPA…` */
  readonly id: string;
  /** Absent: the profile has no role in it. */
  readonly roleName?: string;
}

/** RunInstances' `MetadataOptions`. The hop limit is the network's affair. */
export interface MetadataOptions {
  /** `HttpEndpoint`. */
  readonly enabled: boolean;
  /** `HttpTokens` = `required`: IMDSv1 is refused. */
  readonly tokensRequired: boolean;
  /** `InstanceMetadataTags`. */
  readonly tags: boolean;
}

export interface RoleCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly issuedAt: Date;
  readonly expiresAt: Date;
}

/** Implemented by who owns the rows; handed in by `main.ts`. */
export interface MetadataSource {
  /** The instance that has this private address now; null: none. */
  describe(privateIp: string): Promise<InstanceMetadata | null>;
  /**
   * Credentials of the instance's role, good for some hours yet; null: it has no role now.
   * @param delivery  the version of IMDS that hands them out, for `ec2:RoleDelivery`
   */
  roleCredentials(instanceId: string, delivery: "1.0" | "2.0"): Promise<RoleCredentials | null>;
}
