// EC2's rows. Times are ISO 8601 text (UTC, ms), flags are 0 and 1, JSON is text. `account_id` and `region` own a row.
import type { Generated } from "kysely";

type Flag = 0 | 1;

export interface VpcsTable {
  id: string;
  account_id: string;
  region: string;
  /** Unique over the data directory: guests of all VPCs share one fabric. */
  cidr: string;
  is_default: Flag;
  created_at: string;
}

export interface SubnetsTable {
  id: string;
  vpc_id: string;
  account_id: string;
  region: string;
  zone: string;
  cidr: string;
  is_default: Flag;
  map_public_ip: Flag;
}

export interface SecurityGroupsTable {
  id: string;
  account_id: string;
  region: string;
  vpc_id: string;
  name: string;
  description: string;
  created_at: string;
}

export interface SecurityGroupRulesTable {
  id: string;
  group_id: string;
  account_id: string;
  region: string;
  is_egress: Flag;
  /** `tcp`, `udp`, `icmp`, `icmpv6`, a number, or `-1` for all, as EC2 writes it. */
  protocol: string;
  from_port: number | null;
  to_port: number | null;
  /** Exactly one of the four is set. */
  cidr_ipv4: string | null;
  cidr_ipv6: string | null;
  prefix_list_id: string | null;
  referenced_group_id: string | null;
  description: string | null;
}

export interface KeyPairsTable {
  id: string;
  account_id: string;
  region: string;
  name: string;
  type: "rsa" | "ed25519";
  fingerprint: string;
  /** OpenSSH's one-line form. The private half is never kept. */
  public_key: string;
  created_at: string;
}

export interface ImagesTable {
  id: string;
  account_id: string;
  region: string;
  name: string;
  description: string | null;
  state: "pending" | "available" | "failed" | "deregistered" | "disabled";
  state_reason: string | null;
  architecture: string;
  virtualization_type: "hvm" | "paravirtual";
  /** What RegisterImage was told; null: legacy-bios. */
  boot_mode: "legacy-bios" | "uefi" | "uefi-preferred" | null;
  root_device_name: string;
  /** JSON: `BlockDevice[]` of model/block-device.ts. */
  block_devices: string;
  ena_support: Flag;
  sriov_net_support: string | null;
  tpm_support: string | null;
  imds_support: string | null;
  uefi_data: string | null;
  /** `account/name`. */
  location: string;
  owner_alias: string | null;
  source_instance_id: string | null;
  source_image_id: string | null;
  source_image_region: string | null;
  /** For images that Ingot builds itself: JSON, `DirectKernel` of model/image.ts. */
  direct_kernel: string | null;
  /** CreateImage: whether the guest is to be shut down for the capture. */
  reboot: Flag;
  created_at: string;
  deprecate_at: string | null;
  deregistration_protection: string | null;
  last_launched_at: string | null;
  deregistered_at: string | null;
}

export interface ImagePermissionsTable {
  image_id: string;
  kind: "user" | "group" | "organization" | "organizational-unit";
  /** An account id, `all`, or an ARN. */
  value: string;
}

/** The snapshots in a living image's mapping: what keeps them from being deleted. */
export interface ImageSnapshotsTable {
  image_id: string;
  snapshot_id: string;
}

export interface SnapshotsTable {
  id: string;
  account_id: string;
  region: string;
  volume_id: string | null;
  description: string;
  state: "pending" | "completed" | "error";
  state_message: string | null;
  progress: number;
  size_gib: number;
  /** Exact size of the disk that was captured, ≤ size_gib. */
  size_bytes: number;
  started_at: string;
  completed_at: string | null;
  /** Merkle root of the content, hex. */
  digest: string | null;
  /** Bytes that are not zero. */
  allocated_bytes: number | null;
  /** How its bytes come: read from a volume, shared with another snapshot, written by EBS direct, imported from a file. */
  origin: "volume" | "copy" | "direct" | "import";
  source_snapshot_id: string | null;
  /** All snapshots of one group show the same instant: the image id of a CreateImage, else the snapshot's own id. */
  capture_group: string;
  /** EBS direct: JSON of what StartSnapshot was told (parent, timeout, client token). */
  direct: string | null;
  /** LockSnapshot: JSON of the lock. */
  lock: string | null;
}

export interface SnapshotPermissionsTable {
  snapshot_id: string;
  kind: "user" | "group";
  value: string;
}

export interface VolumesTable {
  id: string;
  account_id: string;
  region: string;
  zone: string;
  size_gib: number;
  snapshot_id: string | null;
  type: string;
  iops: number | null;
  throughput: number | null;
  state: "creating" | "available" | "in-use" | "deleting" | "deleted" | "error";
  created_at: string;
  deleted_at: string | null;
  /** The last snapshot that was taken of it and completed: the base of the next capture. */
  captured_as: string | null;
  /** The instance that holds it, whatever the attachment's state. */
  instance_id: string | null;
  device_name: string | null;
  is_root: Flag;
  attachment: "attaching" | "attached" | "detaching" | "busy" | null;
  force_detach: Flag;
  attached_at: string | null;
  delete_on_termination: Flag;
}

/** The last ModifyVolume of each volume. */
export interface VolumeModificationsTable {
  volume_id: string;
  account_id: string;
  region: string;
  state: "modifying" | "optimizing" | "completed" | "failed";
  status_message: string | null;
  /** JSON: `VolumeShape` before and after. */
  original: string;
  target: string;
  started_at: string;
  ended_at: string | null;
}

export interface InstancesTable {
  id: string;
  account_id: string;
  region: string;
  zone: string;
  reservation_id: string;
  launch_index: number;
  client_token: string | null;
  image_id: string;
  type: string;
  state: "pending" | "running" | "shutting-down" | "terminated" | "stopping" | "stopped";
  /** What the owner wants; the host makes it so. */
  desired: "running" | "stopped" | "terminated";
  /** Stop and terminate without waiting for the guest. */
  force: Flag;
  /** Counts RebootInstances; the host has done `reboots_done` of them. */
  reboots_asked: Generated<number>;
  reboots_done: Generated<number>;
  state_reason_code: string | null;
  state_reason_message: string | null;
  /** EC2's sentence: `User initiated (2026-11-24 08:00:00 GMT)`. */
  transition_reason: string;
  launched_at: string;
  /** When it became running, stopped or terminated. */
  changed_at: string;
  key_name: string | null;
  /** OpenSSH form, fixed at launch: deleting the key pair changes nothing for the instance. */
  public_key: string | null;
  /** base64. */
  user_data: string | null;
  architecture: string;
  boot_mode: "legacy-bios" | "uefi";
  root_device_name: string;
  vpc_id: string;
  subnet_id: string;
  network_interface_id: string;
  attachment_id: string;
  mac: string;
  private_ip: string;
  /** Given at each start where asked for, gone when stopped. */
  public_ip: string | null;
  wants_public_ip: Flag;
  source_dest_check: Flag;
  profile_arn: string | null;
  profile_id: string | null;
  profile_association_id: string | null;
  http_tokens: "optional" | "required";
  http_hop_limit: number;
  http_endpoint: "enabled" | "disabled";
  metadata_tags: "enabled" | "disabled";
  ebs_optimized: Flag;
  monitoring: Flag;
  disable_api_termination: Flag;
  disable_api_stop: Flag;
  shutdown_behavior: "stop" | "terminate";
}

export interface InstanceSecurityGroupsTable {
  instance_id: string;
  group_id: string;
}

export interface TagsTable {
  resource_id: string;
  resource_type: string;
  account_id: string;
  region: string;
  key: string;
  value: string;
}

/** Idempotency: what a client token was answered. */
export interface ClientTokensTable {
  account_id: string;
  region: string;
  action: string;
  token: string;
  /** SHA-256 of the parameters. */
  parameters: string;
  /** The id that the first call was given. */
  result: string;
  created_at: string;
}

/** Account settings per Region, such as the block of public sharing. */
export interface SettingsTable {
  account_id: string;
  region: string;
  name: string;
  value: string;
}

export interface LaunchTemplatesTable {
  id: string;
  account_id: string;
  region: string;
  name: string;
  default_version: number;
  /** Counts on: the number of a version that was deleted is not given again. */
  next_version: number;
  created_at: string;
  /** ARN of who made it. */
  created_by: string;
}

export interface LaunchTemplateVersionsTable {
  template_id: string;
  version: number;
  description: string | null;
  /** JSON: `RequestLaunchTemplateData` of the SDK, times as ISO 8601. */
  data: string;
  /** The image that the data names by its id; null where it names none, or a parameter. */
  image_id: string | null;
  created_at: string;
  created_by: string;
}

/** Disks on their way between a bucket and the store: model/transfer-task.ts. */
export interface TransferTasksTable {
  /** `import-ami-…`, `import-snap-…`, `export-ami-…`; store and restore tasks have no id of EC2's, only ours. */
  id: string;
  kind: "import-image" | "import-snapshot" | "export-image" | "store-image" | "restore-image";
  account_id: string;
  region: string;
  state: "active" | "cancelling" | "cancelled" | "completed" | "failed";
  /** What an active one is doing, in EC2's words: `pending`, `converting`. */
  stage: string;
  /** Per cent. */
  progress: number;
  failure: string | null;
  /** JSON: what Describe shows of the request. */
  shown: string;
  /** JSON: what is to be done. */
  work: string;
  /** JSON: ids of snapshots whose content an open task needs or makes, whether or not they have a row. */
  holds: string;
  /** Made, exported, stored or restored. */
  image_id: string | null;
  bucket: string;
  created_at: string;
  ended_at: string | null;
}

export interface Ec2Tables {
  transfer_tasks: TransferTasksTable;
  launch_templates: LaunchTemplatesTable;
  launch_template_versions: LaunchTemplateVersionsTable;
  vpcs: VpcsTable;
  subnets: SubnetsTable;
  security_groups: SecurityGroupsTable;
  security_group_rules: SecurityGroupRulesTable;
  key_pairs: KeyPairsTable;
  images: ImagesTable;
  image_permissions: ImagePermissionsTable;
  image_snapshots: ImageSnapshotsTable;
  snapshots: SnapshotsTable;
  snapshot_permissions: SnapshotPermissionsTable;
  volumes: VolumesTable;
  volume_modifications: VolumeModificationsTable;
  instances: InstancesTable;
  instance_security_groups: InstanceSecurityGroupsTable;
  tags: TagsTable;
  client_tokens: ClientTokensTable;
  settings: SettingsTable;
}
