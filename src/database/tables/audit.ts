// Audit: events in a hash chain, and what they are found by.
import type { Generated } from "kysely";

/** An account's events of one Region and category, as one small number: it leads every index. */
export interface AuditScopesTable {
  id: Generated<number>;
  /** Empty: calls that nobody was proven to make. */
  account_id: string;
  region: string;
  category: "Management" | "Data";
}

/** One row per record. Never updated; pruned from the old end only. `audit/chain.ts` says what the hash covers. */
export interface AuditEventsTable {
  /** 1, 2, 3… in commit order, without gaps. */
  sequence: number;
  scope_id: number;
  event_id: string;
  /** Epoch milliseconds of the call's arrival. A number and not text: it is in every index, a million times. */
  at_ms: number;
  event_name: string;
  event_source: string;
  read_only: number;
  user_name: string | null;
  access_key_id: string | null;
  /** The record, JSON. */
  body: string;
  /** Hex SHA-256 of this row and the hash before it. */
  hash: string;
}

/** Resources of events, so that they are found by name and by type. */
export interface AuditEventResourcesTable {
  sequence: number;
  /** From 0, as in the record. */
  position: number;
  scope_id: number;
  at_ms: number;
  type: string;
  name: string;
  arn: string;
  account_id: string;
}

/** The chain's two ends. One row. */
export interface AuditChainTable {
  id: 1;
  /** Of the newest event; 0 before the first. */
  head_sequence: number;
  head_hash: string;
  /** Of the newest event that was pruned away: the oldest one left names its hash as the one before. */
  pruned_sequence: number;
  pruned_hash: string;
}

/** A trail. Deleted ones stay until what they were to deliver is delivered. */
export interface AuditTrailsTable {
  id: string;
  account_id: string;
  home_region: string;
  /** One per account and Region, of those that are not deleted. */
  name: string;
  bucket: string;
  prefix: string | null;
  global_events: number;
  multi_region: number;
  /** Log file validation: digests are made. */
  validation: number;
  /** JSON: `audit/event-selectors.ts`, Selectors. */
  selectors: string;
  /** JSON: names and values. */
  tags: string;
  logging: number;
  /** ISO times, as all below. */
  started_at: string | null;
  stopped_at: string | null;
  created_at: string;
  deleted_at: string | null;
  /** Every event up to here is in a log file's row, or not the trail's. */
  cursor_sequence: number;
  attempted_at: string | null;
  delivered_at: string | null;
  /** S3's code when the latest attempt failed. */
  delivery_error: string | null;
  digest_delivered_at: string | null;
  digest_error: string | null;
}

/**
 * A log file that is due, or delivered and not yet in a digest that is delivered. Its content follows from this row: the
 * events from `first_sequence` to `last_sequence` that `rules` choose. Never changed but for its key (when something else
 * has it), and on delivery.
 */
export interface AuditLogFilesTable {
  id: string;
  trail_id: string;
  region: string;
  first_sequence: number;
  last_sequence: number;
  /** JSON: `audit/log-file.ts`, Rules. */
  rules: string;
  bucket: string;
  key: string;
  planned_at: string;
  /** Whether a digest is to name it. */
  wants_digest: number;
  state: "planned" | "delivered";
  /** Hex SHA-256 of the uncompressed file. */
  hash: string | null;
  oldest_event_at: string | null;
  newest_event_at: string | null;
  /** The digest that names it. */
  digest_id: string | null;
}

/** The chain of digests of a trail in a Region. */
export interface AuditDigestChainsTable {
  trail_id: string;
  region: string;
  /** The next digest begins here. */
  from_at: string;
  /** The digest before, as the next one names it; null: the next one starts a chain. */
  previous_bucket: string | null;
  previous_key: string | null;
  previous_hash: string | null;
  previous_signature: string | null;
}

/** A digest that is signed and not yet delivered. */
export interface AuditDigestsTable {
  id: string;
  trail_id: string;
  region: string;
  bucket: string;
  key: string;
  /** The file, uncompressed. */
  body: string;
  signature: string;
  end_at: string;
}

/** Keys that digests are signed with. Public halves are never removed: old digests are proven by them. */
export interface AuditSigningKeysTable {
  fingerprint: string;
  /** Base64 of PKCS #1 DER. */
  public_key: string;
  /** PKCS #8 DER, sealed under the master key. */
  sealed_private_key: string;
  valid_from: string;
  valid_to: string;
}

export interface AuditTables {
  audit_scopes: AuditScopesTable;
  audit_events: AuditEventsTable;
  audit_event_resources: AuditEventResourcesTable;
  audit_chain: AuditChainTable;
  audit_trails: AuditTrailsTable;
  audit_log_files: AuditLogFilesTable;
  audit_digest_chains: AuditDigestChainsTable;
  audit_digests: AuditDigestsTable;
  audit_signing_keys: AuditSigningKeysTable;
}
