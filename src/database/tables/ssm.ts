// SSM's parameters. A parameter is its versions; the newest is what a name alone means.

/** One row per parameter. */
export interface SsmParametersTable {
  /** Owner. Empty: a public parameter (`/aws/service/…`), which every account reads. */
  account_id: string;
  region: string;
  /** With its path: `/images/web`. */
  name: string;
  /** Version of the newest; versions are never given twice while the parameter lives. */
  version: number;
  /** JSON `{key: value}`. */
  tags: string;
  /** ISO 8601. */
  created_at: string;
}

/** One row per kept version: the newest hundred, and none that a label holds is dropped. */
export interface SsmParameterVersionsTable {
  account_id: string;
  region: string;
  name: string;
  version: number;
  type: "String" | "StringList";
  value: string;
  data_type: "text" | "aws:ec2:image";
  tier: "Standard" | "Advanced";
  description: string | null;
  allowed_pattern: string | null;
  /** JSON list of texts. A label is on one version of a parameter at most. */
  labels: string;
  modified_at: string;
  /** ARN. */
  modified_by: string;
}

export interface SsmTables {
  ssm_parameters: SsmParametersTable;
  ssm_parameter_versions: SsmParameterVersionsTable;
}
