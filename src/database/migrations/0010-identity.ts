import { type Migration, run } from "../migration.ts";

export const identity: Migration = {
  name: "0010-identity",
  up: (db) =>
    run(db, [
      `create table accounts (
        id text primary key, name text not null, email text not null, alias text unique, status text not null,
        generation bigint not null, created_at text not null)`,

      `create table users (
        id text primary key, account_id text not null references accounts (id), name text not null,
        name_key text not null, path text not null, boundary_arn text, tags text not null, created_at text not null,
        unique (account_id, name_key))`,
      `create index users_boundary on users (boundary_arn)`,

      `create table user_groups (
        id text primary key, account_id text not null references accounts (id), name text not null,
        name_key text not null, path text not null, created_at text not null, unique (account_id, name_key))`,
      `create table group_members (
        group_id text not null references user_groups (id), user_id text not null references users (id),
        account_id text not null, primary key (group_id, user_id))`,
      `create index group_members_user on group_members (user_id)`,

      `create table roles (
        id text primary key, account_id text not null references accounts (id), name text not null,
        name_key text not null, path text not null, description text, trust_policy text not null,
        trust_ids text not null, max_session_seconds integer not null, boundary_arn text, tags text not null,
        created_at text not null, last_used_at text, last_used_region text, unique (account_id, name_key))`,
      `create index roles_boundary on roles (boundary_arn)`,

      `create table instance_profiles (
        id text primary key, account_id text not null references accounts (id), name text not null,
        name_key text not null, path text not null, role_id text references roles (id), tags text not null,
        created_at text not null, unique (account_id, name_key))`,
      `create index instance_profiles_role on instance_profiles (role_id)`,

      `create table policies (
        id text primary key, account_id text not null references accounts (id), arn text not null unique,
        name text not null, name_key text not null, path text not null, description text,
        default_version integer not null, last_version integer not null, tags text not null,
        created_at text not null, updated_at text not null, unique (account_id, name_key))`,
      `create table policy_versions (
        policy_id text not null references policies (id), version integer not null, document text not null,
        created_at text not null, primary key (policy_id, version))`,
      `create table policy_attachments (
        principal_id text not null, policy_arn text not null, account_id text not null, attached_at text not null,
        primary key (principal_id, policy_arn))`,
      `create index policy_attachments_policy on policy_attachments (policy_arn, account_id)`,
      `create table inline_policies (
        principal_id text not null, name text not null, account_id text not null, document text not null,
        primary key (principal_id, name))`,

      `create table access_keys (
        id text primary key, account_id text not null references accounts (id), user_id text references users (id),
        sealed_secret text not null, status text not null, created_at text not null, last_used_at text,
        last_used_service text, last_used_region text)`,
      `create index access_keys_user on access_keys (account_id, user_id)`,
    ]),
};
