import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { FILE, iamReference } from "./iam-reference.ts";

test("the types of permissions and condition keys are those of AWS's reference as installed", async () => {
  assert.ok(
    readFileSync(FILE, "utf8") === (await iamReference()),
    "src/model/iam-reference.ts is out of date: run `node script/iam-reference.ts`",
  );
});
