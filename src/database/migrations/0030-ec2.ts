import { type Migration, run } from "../migration.ts";

export const ec2: Migration = {
  name: "0030-ec2",
  up: (db) =>
    run(db, [
      `create table vpcs (
        id text primary key, account_id text not null, region text not null, cidr text not null unique,
        is_default integer not null, created_at text not null)`,
      `create index vpcs_owner on vpcs (account_id, region)`,
      `create unique index vpcs_default on vpcs (account_id, region) where is_default = 1`,

      `create table subnets (
        id text primary key, vpc_id text not null references vpcs (id), account_id text not null, region text not null,
        zone text not null, cidr text not null, is_default integer not null, map_public_ip integer not null)`,
      `create index subnets_owner on subnets (account_id, region)`,

      `create table security_groups (
        id text primary key, account_id text not null, region text not null, vpc_id text not null references vpcs (id),
        name text not null, description text not null, created_at text not null, unique (vpc_id, name))`,
      `create index security_groups_owner on security_groups (account_id, region)`,
      `create table security_group_rules (
        id text primary key, group_id text not null references security_groups (id), account_id text not null,
        region text not null, is_egress integer not null, protocol text not null, from_port integer, to_port integer,
        cidr_ipv4 text, cidr_ipv6 text, prefix_list_id text, referenced_group_id text, description text)`,
      `create index security_group_rules_group on security_group_rules (group_id)`,
      `create index security_group_rules_referenced on security_group_rules (referenced_group_id)`,

      `create table key_pairs (
        id text primary key, account_id text not null, region text not null, name text not null, type text not null,
        fingerprint text not null, public_key text not null, created_at text not null,
        unique (account_id, region, name))`,

      `create table images (
        id text primary key, account_id text not null, region text not null, name text not null, description text,
        state text not null, state_reason text, architecture text not null, virtualization_type text not null,
        boot_mode text, root_device_name text not null, block_devices text not null, ena_support integer not null,
        sriov_net_support text, tpm_support text, imds_support text, uefi_data text, location text not null,
        owner_alias text, source_instance_id text, source_image_id text, source_image_region text,
        direct_kernel text, reboot integer not null, created_at text not null, deprecate_at text,
        deregistration_protection text, last_launched_at text, deregistered_at text)`,
      // A name is taken until its image is deregistered or has failed.
      `create unique index images_name on images (account_id, region, name)
        where state in ('pending', 'available', 'disabled')`,
      `create index images_owner on images (account_id, region, created_at)`,
      `create index images_region on images (region, created_at)`,
      `create index images_by_name on images (region, name, account_id)`,
      `create index images_pending on images (state) where state = 'pending'`,
      `create table image_permissions (
        image_id text not null references images (id), kind text not null, value text not null,
        primary key (image_id, kind, value))`,
      `create index image_permissions_value on image_permissions (kind, value)`,
      `create table image_snapshots (
        image_id text not null references images (id), snapshot_id text not null,
        primary key (image_id, snapshot_id))`,
      `create index image_snapshots_snapshot on image_snapshots (snapshot_id)`,

      `create table snapshots (
        id text primary key, account_id text not null, region text not null, volume_id text, description text not null,
        state text not null, state_message text, progress integer not null, size_gib integer not null,
        size_bytes bigint not null, started_at text not null, completed_at text, digest text, allocated_bytes bigint,
        origin text not null, source_snapshot_id text, capture_group text not null, direct text, lock text)`,
      `create index snapshots_owner on snapshots (account_id, region, started_at)`,
      `create index snapshots_volume on snapshots (volume_id)`,
      `create index snapshots_pending on snapshots (state) where state = 'pending'`,
      `create index snapshots_group on snapshots (capture_group)`,
      `create table snapshot_permissions (
        snapshot_id text not null references snapshots (id), kind text not null, value text not null,
        primary key (snapshot_id, kind, value))`,
      `create index snapshot_permissions_value on snapshot_permissions (kind, value)`,

      `create table instances (
        id text primary key, account_id text not null, region text not null, zone text not null,
        reservation_id text not null, launch_index integer not null, client_token text, image_id text not null,
        type text not null, state text not null, desired text not null, force integer not null,
        reboots_asked integer not null default 0, reboots_done integer not null default 0,
        state_reason_code text, state_reason_message text, transition_reason text not null, launched_at text not null,
        changed_at text not null, key_name text, public_key text, user_data text, architecture text not null,
        boot_mode text not null, root_device_name text not null, vpc_id text not null, subnet_id text not null,
        network_interface_id text not null, attachment_id text not null, mac text not null, private_ip text not null,
        public_ip text, wants_public_ip integer not null, source_dest_check integer not null, profile_arn text,
        profile_id text, profile_association_id text, http_tokens text not null, http_hop_limit integer not null,
        http_endpoint text not null, metadata_tags text not null, ebs_optimized integer not null,
        monitoring integer not null, disable_api_termination integer not null, disable_api_stop integer not null,
        shutdown_behavior text not null)`,
      `create index instances_owner on instances (account_id, region)`,
      `create index instances_image on instances (image_id)`,
      // An address is taken for as long as its instance may run again.
      `create unique index instances_private_ip on instances (vpc_id, private_ip) where state <> 'terminated'`,
      `create unique index instances_public_ip on instances (public_ip) where public_ip is not null`,
      `create index instances_alive on instances (state) where state <> 'terminated'`,
      `create table instance_security_groups (
        instance_id text not null references instances (id), group_id text not null references security_groups (id),
        primary key (instance_id, group_id))`,
      `create index instance_security_groups_group on instance_security_groups (group_id)`,

      `create table volumes (
        id text primary key, account_id text not null, region text not null, zone text not null,
        size_gib integer not null, snapshot_id text, type text not null, iops integer, throughput integer,
        state text not null, created_at text not null, deleted_at text, captured_as text, instance_id text,
        device_name text, is_root integer not null, attachment text, force_detach integer not null, attached_at text,
        delete_on_termination integer not null)`,
      `create index volumes_owner on volumes (account_id, region, created_at)`,
      `create index volumes_instance on volumes (instance_id)`,
      `create index volumes_snapshot on volumes (snapshot_id)`,
      `create table volume_modifications (
        volume_id text primary key references volumes (id), account_id text not null, region text not null,
        state text not null, status_message text, original text not null, target text not null,
        started_at text not null, ended_at text)`,
      `create index volumes_moving on volumes (state) where state in ('creating', 'deleting')`,

      `create table tags (
        resource_id text not null, resource_type text not null, account_id text not null, region text not null,
        key text not null, value text not null, primary key (resource_id, account_id, key))`,
      `create index tags_key on tags (account_id, region, key, value)`,
      `create index tags_owner on tags (account_id, region, resource_id, key)`,

      `create table client_tokens (
        account_id text not null, region text not null, action text not null, token text not null,
        parameters text not null, result text not null, created_at text not null,
        primary key (account_id, region, action, token))`,

      `create table settings (
        account_id text not null, region text not null, name text not null, value text not null,
        primary key (account_id, region, name))`,
    ]),
};
