// The tree of an instance's metadata: what each path under a version holds. Pure but for the leaves that are made when
// they are read (role credentials, signatures).
//
// A directory lists its children, one a line, directories with a slash at the end.
// Gaps, on purpose: spot, auto scaling, elastic GPUs, managed SSH keys and identity-credentials are absent, as they are on
// an instance that has nothing to do with them.

import { identityDocument } from "./identity-document.ts";
import type { InstanceMetadata, RoleCredentials } from "./instance-metadata.ts";
import { base64Lines, type Signer } from "./signer.ts";

export type Node = Leaf | Directory;
/** Text, bytes, or what gives them when read; null then: nothing is there. */
export type Leaf = string | Uint8Array | (() => Promise<string | null>);
export interface Directory {
  readonly children: ReadonlyMap<string, Node>;
  /** How a child is listed, where that is not its name: `0=my-key`. */
  readonly listedAs?: (name: string) => string;
  /** Children are listed without a slash: only those right under a version. */
  readonly bare?: boolean;
}

export interface TreeParts {
  readonly signer: Signer;
  /** Credentials of the instance's role now. */
  credentials(): Promise<RoleCredentials | null>;
}

/** Every version that EC2 answers to, oldest first. `latest` is the newest. */
export const VERSIONS = [
  "1.0",
  "2007-01-19",
  "2007-03-01",
  "2007-08-29",
  "2007-10-10",
  "2007-12-15",
  "2008-02-01",
  "2008-09-01",
  "2009-04-04",
  "2011-01-01",
  "2011-05-01",
  "2012-01-12",
  "2014-02-25",
  "2014-11-05",
  "2015-10-20",
  "2016-04-19",
  "2016-06-30",
  "2016-09-02",
  "2018-03-28",
  "2018-08-17",
  "2018-09-24",
  "2019-10-01",
  "2020-10-27",
  "2021-01-03",
  "2021-03-23",
  "2021-07-15",
  "2022-09-24",
  "2024-04-11",
  "latest",
] as const;

/** Version in which a category appeared; others have been there from 1.0 on. */
const SINCE: Readonly<Record<string, string>> = {
  "ancestor-ami-ids": "2007-10-10",
  "block-device-mapping": "2007-12-15",
  dynamic: "2009-04-04",
  events: "2018-08-17",
  hibernation: "2018-09-24",
  iam: "2012-01-12",
  "instance-action": "2008-09-01",
  "instance-life-cycle": "2019-10-01",
  "instance-type": "2007-08-29",
  "local-hostname": "2007-01-19",
  mac: "2011-01-01",
  metrics: "2011-05-01",
  network: "2011-01-01",
  placement: "2008-02-01",
  profile: "2009-04-04",
  "public-hostname": "2007-01-19",
  "public-ipv4": "2007-01-19",
  services: "2014-02-25",
  system: "2022-09-24",
  tags: "2021-03-23",
};

const directory = (
  children: Readonly<Record<string, Node | null>>,
  rest: Omit<Directory, "children"> = {},
): Directory => ({
  children: new Map(Object.entries(children).filter((entry): entry is [string, Node] => entry[1] !== null)),
  ...rest,
});

/** Only what the version knows. `latest` sorts after every date. */
const known = (version: string, children: Readonly<Record<string, Node | null>>): Directory =>
  directory(Object.fromEntries(Object.entries(children).filter(([name]) => (SINCE[name] ?? "1.0") <= version)));

/** What is right under a version. */
export function versionTree(version: string, instance: InstanceMetadata, parts: TreeParts): Directory {
  const under = known(version, {
    dynamic: directory({ "instance-identity": identity(instance, parts.signer) }),
    "meta-data": metaData(version, instance, parts),
    "user-data": instance.userData,
  });
  return { ...under, bare: true };
}

function identity(instance: InstanceMetadata, signer: Signer): Directory {
  const document = identityDocument(instance);
  const content = Buffer.from(document);
  // EC2's `pkcs7` is DSA with SHA-1, kept for old verifiers; here both are RSA with SHA-256.
  const pkcs7 = async () => base64Lines(signer.pkcs7(content));
  return directory({
    document,
    pkcs7,
    rsa2048: pkcs7,
    signature: async () => base64Lines(signer.signature(content)),
  });
}

function metaData(version: string, instance: InstanceMetadata, parts: TreeParts): Directory {
  const { ancestorImageIds, keyPair, instanceProfile, securityGroups } = instance;
  return known(version, {
    "ami-id": instance.imageId,
    "ami-launch-index": String(instance.launchIndex),
    "ami-manifest-path": "(unknown)",
    "ancestor-ami-ids": ancestorImageIds.length === 0 ? null : ancestorImageIds.join("\n"),
    "block-device-mapping": blockDevices(instance),
    events: directory({ maintenance: directory({ history: "[]", scheduled: "[]" }) }),
    hibernation: directory({ configured: "false" }),
    hostname: instance.privateDnsName,
    iam: instanceProfile === null ? null : iam(instance, parts),
    "instance-action": "none",
    "instance-id": instance.instanceId,
    "instance-life-cycle": "on-demand",
    "instance-type": instance.instanceType,
    "local-hostname": instance.privateDnsName,
    "local-ipv4": instance.privateIp,
    mac: instance.mac,
    metrics: directory({ vhostmd: '<?xml version="1.0" encoding="UTF-8"?>' }),
    network: directory({ interfaces: directory({ macs: directory({ [instance.mac]: networkInterface(instance) }) }) }),
    placement: directory({
      "availability-zone": instance.availabilityZone,
      "availability-zone-id": instance.availabilityZoneId,
      region: instance.region,
    }),
    profile: "default-hvm",
    "public-hostname": instance.publicDnsName,
    "public-ipv4": instance.publicIp,
    "public-keys":
      keyPair === null
        ? null
        : directory({ 0: directory({ "openssh-key": keyPair.publicKey }) }, { listedAs: () => `0=${keyPair.name}` }),
    "reservation-id": instance.reservationId,
    "security-groups": securityGroups.map((group) => group.name).join("\n"),
    services: directory({ domain: "amazonaws.com", partition: "aws" }),
    system: "nitro",
    tags: instance.options.tags ? directory({ instance: directory(instance.tags) }) : null,
  });
}

function blockDevices({ rootDeviceName, dataDeviceNames }: InstanceMetadata): Directory {
  const children: Record<string, string> = { ami: rootDeviceName, root: rootDeviceName };
  for (const [index, name] of dataDeviceNames.entries()) children[`ebs${index + 1}`] = name.replace(/^\/dev\//, "");
  return directory(children);
}

const seconds = (time: Date): string => `${time.toISOString().slice(0, 19)}Z`;

/** EC2 writes its JSON leaves with a space on both sides of the colon. */
const spaced = (value: Readonly<Record<string, string>>): string =>
  `{\n${Object.entries(value)
    .map(([name, one]) => `  "${name}" : ${JSON.stringify(one)}`)
    .join(",\n")}\n}`;

function iam(instance: InstanceMetadata, parts: TreeParts): Directory {
  const profile = instance.instanceProfile;
  const role = profile?.roleName;
  const credentials = async (): Promise<string | null> => {
    const found = await parts.credentials();
    if (found === null) return null;
    return spaced({
      Code: "Success",
      LastUpdated: seconds(found.issuedAt),
      Type: "AWS-HMAC",
      AccessKeyId: found.accessKeyId,
      SecretAccessKey: found.secretAccessKey,
      Token: found.sessionToken,
      Expiration: seconds(found.expiresAt),
    });
  };
  const info = async (): Promise<string | null> => {
    if (profile === null) return null;
    const found = role === undefined ? null : await parts.credentials();
    return spaced({
      Code: found === null ? "InstanceProfileNotFound" : "Success",
      LastUpdated: seconds(found?.issuedAt ?? instance.launchTime),
      InstanceProfileArn: profile.arn,
      InstanceProfileId: profile.id,
    });
  };
  return directory({ info, "security-credentials": role === undefined ? null : directory({ [role]: credentials }) });
}

function networkInterface(instance: InstanceMetadata): Directory {
  const { publicIp } = instance;
  return directory({
    "device-number": "0",
    "interface-id": instance.networkInterfaceId,
    "ipv4-associations": publicIp === null ? null : directory({ [publicIp]: instance.privateIp }),
    "local-hostname": instance.privateDnsName,
    "local-ipv4s": instance.privateIp,
    mac: instance.mac,
    "network-card": "0",
    "owner-id": instance.accountId,
    "public-hostname": instance.publicDnsName,
    "public-ipv4s": publicIp,
    "security-group-ids": instance.securityGroups.map((group) => group.id).join("\n"),
    "security-groups": instance.securityGroups.map((group) => group.name).join("\n"),
    "subnet-id": instance.subnetId,
    "subnet-ipv4-cidr-block": instance.subnetCidr,
    "vpc-id": instance.vpcId,
    "vpc-ipv4-cidr-block": instance.vpcCidr,
    "vpc-ipv4-cidr-blocks": instance.vpcCidr,
  });
}

/**
 * What a path gives, from its version on. Doubled and trailing slashes do not matter.
 * @returns null: nothing is there
 */
export function find(root: Directory, segments: readonly string[]): Node | null {
  let node: Node = root;
  for (const segment of segments) {
    if (!isDirectory(node)) return null;
    const child = node.children.get(segment);
    if (child === undefined) return null;
    node = child;
  }
  return node;
}

export const isDirectory = (node: Node): node is Directory =>
  typeof node === "object" && !(node instanceof Uint8Array) && "children" in node;

/** The children, one a line, sorted. */
export function listing({ children, listedAs, bare }: Directory): string {
  const names = [...children].map(([name, node]) => {
    if (listedAs !== undefined) return listedAs(name);
    return isDirectory(node) && bare !== true ? `${name}/` : name;
  });
  return names.sort().join("\n");
}
