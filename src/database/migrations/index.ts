import type { Migration } from "../migrate.ts";
import { identity } from "./0010-identity.ts";
import { ec2 } from "./0030-ec2.ts";

/** In order. Append only. */
export const migrations: readonly Migration[] = [identity, ec2];
