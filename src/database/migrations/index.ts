import type { Migration } from "../migration.ts";
import { identity } from "./0010-identity.ts";
import { audit } from "./0020-audit.ts";
import { trails } from "./0025-trails.ts";
import { ec2 } from "./0030-ec2.ts";
import { ssm } from "./0040-ssm.ts";
import { s3 } from "./0050-s3.ts";
import { organizations } from "./0060-organizations.ts";
import { detections } from "./0070-detections.ts";
import { launchTemplates } from "./0080-launch-templates.ts";
import { transferTasks } from "./0090-transfer-tasks.ts";

/** In order. Append only. */
export const migrations: readonly Migration[] = [
  identity,
  audit,
  trails,
  ec2,
  ssm,
  s3,
  organizations,
  detections,
  launchTemplates,
  transferTasks,
];
