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

export interface AuditTables {
  audit_scopes: AuditScopesTable;
  audit_events: AuditEventsTable;
  audit_event_resources: AuditEventResourcesTable;
  audit_chain: AuditChainTable;
}
