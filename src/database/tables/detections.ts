// What the audit events gave cause for, and reports on the use of images.

/** Events up to here have been looked at. One row; moves in the transaction that writes what was found. */
export interface DetectionCursorTable {
  id: 1;
  cursor_sequence: number;
}

/** Events that a correlation still counts: one per event and rule that it matched. */
export interface DetectionMatchesTable {
  correlation_id: string;
  /** JSON: account, Region, and the values of the rule's fields. */
  group_key: string;
  sequence: number;
  rule_id: string;
  at_ms: number;
  /** What value_count counts; else empty. */
  value: string;
}

/** What an account has done before: `share`, with whom. */
export interface DetectionKnownTable {
  account_id: string;
  kind: "share";
  value: string;
}

export interface FindingsTable {
  /** A UUID. */
  id: string;
  /** Empty: of calls that nobody was proven to make; the operator's. */
  account_id: string;
  region: string;
  rule_id: string;
  /** As the rule was when it matched. */
  title: string;
  /** 0 informational … 4 critical. */
  level: number;
  group_key: string;
  /** JSON: the fields that tell it from others, and their values. */
  subject: string;
  /** JSON: sentences. */
  next_steps: string;
  state: "open" | "acknowledged" | "closed" | "suppressed";
  note: string | null;
  suppression_id: string | null;
  first_at_ms: number;
  last_at_ms: number;
  /** How many; the first 100 are in `finding_events`. */
  events: number;
  /** Of the event that made it: findings are listed by it. */
  position: number;
  created_at: string;
  changed_at: string;
  /** ARN of whoever changed its state. */
  changed_by: string | null;
  /** The webhook's part. `none`: it is not to be told. */
  notice: "due" | "sent" | "failed" | "none";
  notice_after_ms: number;
  notice_attempts: number;
}

export interface FindingEventsTable {
  finding_id: string;
  sequence: number;
  event_id: string;
  at_ms: number;
  event_name: string;
  who: string;
  source_ip: string;
}

/** Findings of this rule whose subject has all these values are not raised. */
export interface FindingSuppressionsTable {
  id: string;
  account_id: string;
  rule_id: string;
  /** JSON: fields and values; empty: all of the rule's. */
  subject: string;
  reason: string;
  created_by: string;
  created_at: string;
  expires_at: string | null;
}

export interface ImageUsageReportsTable {
  id: string;
  account_id: string;
  region: string;
  image_id: string;
  /** JSON: what was asked for, as it is shown. */
  resource_types: string;
  /** JSON; null: all accounts. */
  account_ids: string | null;
  state: "available";
  created_at: string;
  expires_at: string;
}

export interface ImageUsageReportEntriesTable {
  report_id: string;
  account_id: string;
  resource_type: string;
  usage_count: number;
}

export interface DetectionTables {
  detection_cursor: DetectionCursorTable;
  detection_matches: DetectionMatchesTable;
  detection_known: DetectionKnownTable;
  findings: FindingsTable;
  finding_events: FindingEventsTable;
  finding_suppressions: FindingSuppressionsTable;
  image_usage_reports: ImageUsageReportsTable;
  image_usage_report_entries: ImageUsageReportEntriesTable;
}
