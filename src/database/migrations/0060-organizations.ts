import { type Migration, run } from "../migration.ts";

export const organizations: Migration = {
  name: "0060-organizations",
  up: (db) =>
    run(db, [
      `create table organizations (
        id text primary key, management_account_id text not null unique references accounts (id),
        root_id text not null unique, service_control integer not null, revision bigint not null,
        created_at text not null)`,
      `create table organization_units (
        id text primary key, organization_id text not null references organizations (id), parent_id text not null,
        name text not null, created_at text not null, unique (parent_id, name))`,
      `create index organization_units_organization on organization_units (organization_id)`,
      `create table organization_accounts (
        account_id text primary key references accounts (id),
        organization_id text not null references organizations (id), parent_id text not null,
        joined_method text not null, joined_at text not null)`,
      `create index organization_accounts_parent on organization_accounts (organization_id, parent_id)`,
      `create table organization_policies (
        id text primary key, organization_id text not null references organizations (id), name text not null,
        description text not null, content text not null, created_at text not null, unique (organization_id, name))`,
      `create table organization_attachments (
        organization_id text not null references organizations (id), target_id text not null, policy_id text not null,
        primary key (target_id, policy_id))`,
      `create index organization_attachments_policy on organization_attachments (organization_id, policy_id)`,
      `create table organization_requests (
        id text primary key, organization_id text not null references organizations (id), account_name text not null,
        state text not null, account_id text, failure text, requested_at text not null)`,
    ]),
};
