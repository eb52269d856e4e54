import { type Migration, run } from "../migration.ts";

export const trails: Migration = {
  name: "0025-trails",
  up: (db) =>
    run(db, [
      `create table audit_trails (
        id text primary key, account_id text not null, home_region text not null, name text not null,
        bucket text not null, prefix text, global_events integer not null, multi_region integer not null,
        validation integer not null, selectors text not null, tags text not null, logging integer not null,
        started_at text, stopped_at text, created_at text not null, deleted_at text, cursor_sequence bigint not null,
        attempted_at text, delivered_at text, delivery_error text, digest_delivered_at text, digest_error text)`,
      `create unique index audit_trails_name on audit_trails (account_id, home_region, name) where deleted_at is null`,
      `create table audit_log_files (
        id text primary key, trail_id text not null, region text not null, first_sequence bigint not null,
        last_sequence bigint not null, rules text not null, bucket text not null, key text not null,
        planned_at text not null, wants_digest integer not null, state text not null, hash text,
        oldest_event_at text, newest_event_at text, digest_id text)`,
      `create index audit_log_files_trail on audit_log_files (trail_id, region)`,
      `create table audit_digest_chains (
        trail_id text not null, region text not null, from_at text not null, previous_bucket text, previous_key text,
        previous_hash text, previous_signature text, primary key (trail_id, region))`,
      `create table audit_digests (
        id text primary key, trail_id text not null, region text not null, bucket text not null, key text not null,
        body text not null, signature text not null, end_at text not null, unique (trail_id, region))`,
      `create table audit_signing_keys (
        fingerprint text primary key, public_key text not null, sealed_private_key text not null,
        valid_from text not null, valid_to text not null)`,
    ]),
};
