// ARNs as IAM's service authorization reference has them. Images and snapshots carry no account: whoever owns one, the
// policy names it the same way.
import type { ImageId, Region, SnapshotId } from "../base/ids.ts";
import type { ResourceType } from "./iam-reference.ts";

export const imageArn = (region: Region, id: ImageId | "*"): string => `arn:aws:ec2:${region}::image/${id}`;
export const snapshotArn = (region: Region, id: SnapshotId | "*"): string => `arn:aws:ec2:${region}::snapshot/${id}`;

type NameOf<T> = T extends `ec2:${infer Name}` ? Name : never;
/** Only what the reference knows. */
type Known<T extends NameOf<ResourceType>> = T;

/** Types of EC2 resources whose ARN carries the account. */
export type OwnedResourceType = Known<
  | "instance"
  | "volume"
  | "key-pair"
  | "security-group"
  | "security-group-rule"
  | "subnet"
  | "vpc"
  | "network-interface"
  | "image-usage-report"
  | "import-image-task"
  | "import-snapshot-task"
  | "export-image-task"
  | "launch-template"
>;

/** `arn:aws:ec2:REGION:ACCOUNT:TYPE/ID`; `id` may be `*` for one that is yet to be made. */
export const ec2Arn = (region: Region, accountId: string, type: OwnedResourceType, id: string): string =>
  `arn:aws:ec2:${region}:${accountId}:${type}/${id}`;
