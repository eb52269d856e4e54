import { randomBytes } from "node:crypto";
import { ApiError, type ErrorCode } from "./api-error.ts";

/** Every kind of id and its EC2 prefix. Append only: prefixes live in customers' scripts and on disk. */
const PREFIX = {
  image: "ami",
  snapshot: "snap",
  volume: "vol",
  instance: "i",
  reservation: "r",
  keyPair: "key",
  securityGroup: "sg",
  securityGroupRule: "sgr",
  vpc: "vpc",
  subnet: "subnet",
  networkInterface: "eni",
  networkInterfaceAttachment: "eni-attach",
  instanceProfileAssociation: "iip-assoc",
  routeTable: "rtb",
  internetGateway: "igw",
  networkAcl: "acl",
  dhcpOptions: "dopt",
  importImageTask: "import-ami",
  importSnapshotTask: "import-snap",
  imageUsageReport: "amiur",
  launchTemplate: "lt",
  exportImageTask: "export-ami",
  storeImageTask: "store-ami",
  restoreImageTask: "restore-ami",
} as const;
export type IdKind = keyof typeof PREFIX;

/** EC2's code for an id that is not even shaped like one of its kind. */
const MALFORMED: Partial<Record<IdKind, ErrorCode>> = {
  image: "InvalidAMIID.Malformed",
  snapshot: "InvalidSnapshotID.Malformed",
  volume: "InvalidVolumeID.Malformed",
  instance: "InvalidInstanceID.Malformed",
  securityGroup: "InvalidGroupId.Malformed",
  launchTemplate: "InvalidLaunchTemplateId.Malformed",
};

declare const kind: unique symbol;
export type Id<K extends IdKind> = string & { readonly [kind]: K };
export type ImageId = Id<"image">;
export type SnapshotId = Id<"snapshot">;
export type VolumeId = Id<"volume">;
export type InstanceId = Id<"instance">;
export type ReservationId = Id<"reservation">;
export type KeyPairId = Id<"keyPair">;
export type SecurityGroupId = Id<"securityGroup">;
export type VpcId = Id<"vpc">;
export type SubnetId = Id<"subnet">;
export type NetworkInterfaceId = Id<"networkInterface">;
export type LaunchTemplateId = Id<"launchTemplate">;

/** A new id of its kind: EC2's long form, 17 hex digits, from 68 random bits. */
export function newId<K extends IdKind>(k: K): Id<K> {
  return `${PREFIX[k]}-${randomBytes(9).toString("hex").slice(0, 17)}` as Id<K>;
}

/** Is `text` shaped like an id of this kind (8 or 17 hex digits)? */
export function isId<K extends IdKind>(k: K, text: string): text is Id<K> {
  const prefix = PREFIX[k];
  if (!text.startsWith(`${prefix}-`)) return false;
  return /^([0-9a-f]{8}|[0-9a-f]{17})$/.test(text.slice(prefix.length + 1));
}

/**
 * The edge calls this once; past it, an id is well formed and of its kind.
 * @throws ApiError EC2's `Invalid…ID.Malformed`, or `InvalidParameterValue` for kinds that have none
 */
export function parseId<K extends IdKind>(k: K, text: string): Id<K> {
  if (isId(k, text)) return text;
  const code = MALFORMED[k] ?? "InvalidParameterValue";
  throw new ApiError(code, `Invalid id: "${text}" (expecting "${PREFIX[k]}-...")`);
}

declare const account: unique symbol;
/** 12 digits. */
export type AccountId = string & { readonly [account]: true };

/** Is `text` a 12-digit account id? */
export const isAccountId = (text: string): text is AccountId => /^[0-9]{12}$/.test(text);

/** @throws Error when `text` is not 12 digits. Clients' account ids are checked by the action, which knows its error. */
export function accountId(text: string): AccountId {
  if (!isAccountId(text)) throw new Error(`an account id has 12 digits, not "${text}"`);
  return text;
}

declare const region: unique symbol;
/** A Region's name, as in a credential scope: `us-east-1`. */
export type Region = string & { readonly [region]: true };
