// Identity's rows. IAM is global: rows belong to an account and to no Region. Times are ISO 8601 text (UTC, ms), tags JSON
// text. Names are unique per account whatever their case (`name_key` is the lower-cased name).
//
// Whoever writes here also raises `accounts.generation` in the same transaction (`model/identity/account.ts`): caches of
// compiled policies, in this process and in others, are kept for one generation only.

export interface AccountsTable {
  /** 12 digits. */
  id: string;
  name: string;
  email: string;
  /** Unique over all accounts. */
  alias: string | null;
  status: "ACTIVE" | "SUSPENDED";
  /** Grows with every change to the account's identities and policies. */
  generation: number;
  created_at: string;
}

export interface UsersTable {
  /** `AIDA…`. A user made again under an old name is someone else. */
  id: string;
  account_id: string;
  name: string;
  name_key: string;
  path: string;
  boundary_arn: string | null;
  tags: string;
  created_at: string;
}

export interface UserGroupsTable {
  /** `AGPA…` */
  id: string;
  account_id: string;
  name: string;
  name_key: string;
  path: string;
  created_at: string;
}

export interface GroupMembersTable {
  group_id: string;
  user_id: string;
  account_id: string;
}

export interface RolesTable {
  /** `AROA…` */
  id: string;
  account_id: string;
  name: string;
  name_key: string;
  path: string;
  description: string | null;
  trust_policy: string;
  /** JSON object: ARN of each user or role that the trust policy names → its unique id when the policy was written. */
  trust_ids: string;
  max_session_seconds: number;
  boundary_arn: string | null;
  tags: string;
  created_at: string;
  last_used_at: string | null;
  last_used_region: string | null;
}

export interface InstanceProfilesTable {
  /** `AIPA…` */
  id: string;
  account_id: string;
  name: string;
  name_key: string;
  path: string;
  role_id: string | null;
  tags: string;
  created_at: string;
}

/** Customer managed policies. Amazon's own are files of the program (`identity/aws-managed/`). */
export interface PoliciesTable {
  /** `ANPA…` */
  id: string;
  account_id: string;
  arn: string;
  name: string;
  name_key: string;
  path: string;
  description: string | null;
  default_version: number;
  /** Number of the newest version ever made: numbers are never used again. */
  last_version: number;
  tags: string;
  created_at: string;
  updated_at: string;
}

export interface PolicyVersionsTable {
  policy_id: string;
  version: number;
  document: string;
  created_at: string;
}

export interface PolicyAttachmentsTable {
  /** Id of the user, group or role. */
  principal_id: string;
  policy_arn: string;
  account_id: string;
  attached_at: string;
}

export interface InlinePoliciesTable {
  /** Id of the user, group or role. */
  principal_id: string;
  name: string;
  account_id: string;
  document: string;
}

export interface AccessKeysTable {
  /** `AKIA…` */
  id: string;
  account_id: string;
  /** `null`: the account's root user. */
  user_id: string | null;
  /** Sealed under the master key, bound to `id`. */
  sealed_secret: string;
  status: "Active" | "Inactive";
  created_at: string;
  last_used_at: string | null;
  last_used_service: string | null;
  last_used_region: string | null;
}

export interface IdentityTables {
  accounts: AccountsTable;
  users: UsersTable;
  user_groups: UserGroupsTable;
  group_members: GroupMembersTable;
  roles: RolesTable;
  instance_profiles: InstanceProfilesTable;
  policies: PoliciesTable;
  policy_versions: PolicyVersionsTable;
  policy_attachments: PolicyAttachmentsTable;
  inline_policies: InlinePoliciesTable;
  access_keys: AccessKeysTable;
}
