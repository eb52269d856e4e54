import type { Migration } from "../migrate.ts";
import { ec2 } from "./0030-ec2.ts";

/** In order. Append only. */
export const migrations: readonly Migration[] = [ec2];
