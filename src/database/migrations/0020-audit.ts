import { PostgresAdapter } from "kysely";
import { type Migration, run } from "../migration.ts";

export const audit: Migration = {
  name: "0020-audit",
  up: (db) => {
    // SQLite's `integer primary key` is the table's own order, without a second index; PostgreSQL's integer ends at 2^31.
    const sequence = db.getExecutor().adapter instanceof PostgresAdapter ? "bigint" : "integer";
    return run(db, [
      // Numbered by us and not by the engine: the two engines number rows in two ways.
      `create table audit_scopes (
        id integer primary key, account_id text not null, region text not null, category text not null,
        unique (account_id, region, category))`,
      `create table audit_events (
        sequence ${sequence} primary key, scope_id integer not null references audit_scopes (id),
        event_id text not null, at_ms bigint not null, event_name text not null, event_source text not null,
        read_only integer not null, user_name text, access_key_id text, body text not null, hash text not null)`,
      // Look-up by each attribute, newest first, within an account's Region. The sequence breaks ties of time.
      `create unique index audit_events_id on audit_events (event_id)`,
      `create index audit_events_time on audit_events (scope_id, at_ms, sequence)`,
      `create index audit_events_read_only on audit_events (scope_id, read_only, at_ms, sequence)`,
      `create index audit_events_name on audit_events (scope_id, event_name, at_ms, sequence)`,
      `create index audit_events_source on audit_events (scope_id, event_source, at_ms, sequence)`,
      `create index audit_events_user on audit_events (scope_id, user_name, at_ms, sequence) where user_name is not null`,
      `create index audit_events_key on audit_events (scope_id, access_key_id, at_ms, sequence)
        where access_key_id is not null`,
      `create table audit_event_resources (
        sequence bigint not null, position integer not null, scope_id integer not null, at_ms bigint not null,
        type text not null, name text not null, arn text not null, account_id text not null,
        primary key (sequence, position))`,
      `create index audit_event_resources_type on audit_event_resources (scope_id, type, at_ms, sequence)`,
      `create index audit_event_resources_name on audit_event_resources (scope_id, name, at_ms, sequence)`,
      `create table audit_chain (
        id integer primary key check (id = 1), head_sequence bigint not null, head_hash text not null,
        pruned_sequence bigint not null, pruned_hash text not null)`,
      `insert into audit_chain (id, head_sequence, head_hash, pruned_sequence, pruned_hash) values (1, 0, '', 0, '')`,
    ]);
  },
};
