import type { Ec2Tables } from "./tables/ec2.ts";

/** Every table, by area: each file in `tables/` says what its rows hold. */
export interface Schema extends Ec2Tables {}
