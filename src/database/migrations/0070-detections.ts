import { type Migration, run } from "../migration.ts";

export const detections: Migration = {
  name: "0070-detections",
  up: (db) =>
    run(db, [
      // What happened before there were detections raises no alarm now.
      `create table detection_cursor (id integer primary key, cursor_sequence bigint not null)`,
      `insert into detection_cursor (id, cursor_sequence) select 1, head_sequence from audit_chain where id = 1`,
      `create table detection_matches (
        correlation_id text not null, group_key text not null, sequence bigint not null, rule_id text not null,
        at_ms bigint not null, value text not null, primary key (correlation_id, group_key, sequence, rule_id))`,
      `create index detection_matches_at on detection_matches (at_ms)`,
      `create table detection_known (
        account_id text not null, kind text not null, value text not null, primary key (account_id, kind, value))`,

      `create table findings (
        id text primary key, account_id text not null, region text not null, rule_id text not null, title text not null,
        level integer not null, group_key text not null, subject text not null, next_steps text not null,
        state text not null, note text, suppression_id text, first_at_ms bigint not null, last_at_ms bigint not null,
        events integer not null, position bigint not null, created_at text not null, changed_at text not null,
        changed_by text, notice text not null, notice_after_ms bigint not null, notice_attempts integer not null)`,
      `create index findings_account on findings (account_id, position)`,
      `create index findings_group on findings (rule_id, group_key, last_at_ms)`,
      `create index findings_notice on findings (notice, notice_after_ms)`,
      `create table finding_events (
        finding_id text not null, sequence bigint not null, event_id text not null, at_ms bigint not null,
        event_name text not null, who text not null, source_ip text not null, primary key (finding_id, sequence))`,
      `create table finding_suppressions (
        id text primary key, account_id text not null, rule_id text not null, subject text not null,
        reason text not null, created_by text not null, created_at text not null, expires_at text)`,
      `create index finding_suppressions_account on finding_suppressions (account_id, rule_id)`,

      `create table image_usage_reports (
        id text primary key, account_id text not null, region text not null, image_id text not null,
        resource_types text not null, account_ids text, state text not null, created_at text not null,
        expires_at text not null)`,
      `create index image_usage_reports_owner on image_usage_reports (account_id, region, created_at)`,
      `create table image_usage_report_entries (
        report_id text not null references image_usage_reports (id), account_id text not null,
        resource_type text not null, usage_count integer not null,
        primary key (report_id, account_id, resource_type))`,
    ]),
};
