import type { Migration } from "../migration.ts";
import { identity } from "./0010-identity.ts";
import { audit } from "./0020-audit.ts";
import { ec2 } from "./0030-ec2.ts";
import { ssm } from "./0040-ssm.ts";

/** In order. Append only. */
export const migrations: readonly Migration[] = [identity, audit, ec2, ssm];
