// Amazon's managed policies, as far as image work meets them, under their own ARNs. They are part of the program: the same
// in every account, changed by nobody.
import { createHash } from "node:crypto";
import { AWS_MANAGED } from "./policies.ts";

export interface AwsManagedPolicy {
  readonly arn: string;
  readonly name: string;
  /** `/`, `/job-function/`, `/service-role/` */
  readonly path: string;
  /** `ANPA…`, the same in every installation. */
  readonly id: string;
  readonly description: string;
  readonly version: string;
  /** JSON text. */
  readonly document: string;
}

/** When the set was written down: what clients are told as creation and update time. */
export const AWS_MANAGED_SINCE = new Date("2026-11-01T00:00:00.000Z");

const byArn: ReadonlyMap<string, AwsManagedPolicy> = new Map(
  AWS_MANAGED.map(({ path = "/", name, description, statements }) => {
    const arn = `arn:aws:iam::aws:policy${path}${name}`;
    const id = `ANPA${createHash("sha256").update(arn).digest("hex").slice(0, 17).toUpperCase()}`;
    const document = JSON.stringify({ Version: "2012-10-17", Statement: statements }, null, 4);
    return [arn, { arn, name, path, id, description, version: "v1", document }];
  }),
);

/** `null` when Amazon has no such policy, or we do not carry it. */
export const awsManagedPolicy = (arn: string): AwsManagedPolicy | null => byArn.get(arn) ?? null;

/** By name. */
export const awsManagedPolicies = (): readonly AwsManagedPolicy[] => [...byArn.values()];
