// Organizations' rows: global, times as ISO 8601 text. Whoever writes here raises `accounts.generation` of every member
// (`model/organization-rows.ts`): what limits and names a caller is kept for one generation.

export interface OrganizationsTable {
  /** `o-` and 10 letters or digits. */
  id: string;
  management_account_id: string;
  /** `r-` and 4 letters or digits. */
  root_id: string;
  /** 1 while service control policies are enabled. */
  service_control: number;
  /** Every change takes the row first, so that changes to one organization come one after another. */
  revision: number;
  created_at: string;
}

export interface OrganizationUnitsTable {
  /** `ou-`, the root's four characters, 8 of its own. */
  id: string;
  organization_id: string;
  /** The root or a unit. */
  parent_id: string;
  name: string;
  created_at: string;
}

/** An account is in one organization at most. */
export interface OrganizationAccountsTable {
  account_id: string;
  organization_id: string;
  parent_id: string;
  joined_method: "CREATED" | "INVITED";
  joined_at: string;
}

export interface OrganizationPoliciesTable {
  /** `p-` and 8 letters or digits. */
  id: string;
  organization_id: string;
  name: string;
  description: string;
  content: string;
  created_at: string;
}

export interface OrganizationAttachmentsTable {
  organization_id: string;
  /** The root, a unit, or an account. */
  target_id: string;
  /** `p-FullAWSAccess` has no row of its own. */
  policy_id: string;
}

export interface OrganizationRequestsTable {
  /** `car-` and 32 hex digits. */
  id: string;
  organization_id: string;
  account_name: string;
  state: "SUCCEEDED" | "FAILED";
  account_id: string | null;
  failure: string | null;
  requested_at: string;
}

export interface OrganizationTables {
  organizations: OrganizationsTable;
  organization_units: OrganizationUnitsTable;
  organization_accounts: OrganizationAccountsTable;
  organization_policies: OrganizationPoliciesTable;
  organization_attachments: OrganizationAttachmentsTable;
  organization_requests: OrganizationRequestsTable;
}
