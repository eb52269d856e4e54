import type { AuditTables } from "./tables/audit.ts";
import type { DetectionTables } from "./tables/detections.ts";
import type { Ec2Tables } from "./tables/ec2.ts";
import type { IdentityTables } from "./tables/identity.ts";
import type { OrganizationTables } from "./tables/organizations.ts";
import type { S3Tables } from "./tables/s3.ts";
import type { SsmTables } from "./tables/ssm.ts";

/** Every table, by area: each file in `tables/` says what its rows hold. */
export interface Schema
  extends IdentityTables,
    AuditTables,
    DetectionTables,
    Ec2Tables,
    S3Tables,
    SsmTables,
    OrganizationTables {}
