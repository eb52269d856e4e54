// The names on the wire, against botocore's models: an independent reading of the same API, kept in
// test/golden/wire-names.json (written by write-wire-names.py there). And the lists that are kept in plain text for a
// quick start, against the SDK.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { NormalizedSchema } from "@smithy/core/schema";
import { ApiError, type ErrorCode } from "../base/api-error.ts";
import { ec2MemberName } from "./ec2.ts";
import { knownActions } from "./known-actions.ts";
import { FRACTIONS, kindOf, type Member, membersOf } from "./schema.ts";
import { sdkErrors, sdkOperations } from "./sdk.fixture.ts";
import { AWS_SERVICES } from "./wire.ts";

interface Names {
  readonly operations: number;
  /** Structure → its members, `Name` or `Name=wire`. */
  readonly input: Readonly<Record<string, string>>;
  readonly output: Readonly<Record<string, string>>;
}
const file = new URL("../../test/golden/wire-names.json", import.meta.url);
const golden: { ec2: Names; iam: Names; sts: Names; fractions: string[] } = JSON.parse(readFileSync(file, "utf8"));

/** Structures that are called otherwise in the newer model; the wire is the same. */
const RENAMED: Readonly<Record<string, string>> = { BlobAttributeValue: "SecureBlobAttributeValue" };

type NameOf = (member: Member) => string;

/** `Structure.Member` → name, for all structures that can be reached. */
function namesFrom(roots: readonly NormalizedSchema[], nameOf: NameOf): Map<string, string> {
  const names = new Map<string, string>();
  const seen = new Set<unknown>();
  const walk = (schema: NormalizedSchema): void => {
    if (schema.isListSchema() || schema.isMapSchema()) {
      walk(schema.getValueSchema());
      return;
    }
    if (!schema.isStructSchema() || seen.has(schema.getSchema())) return;
    seen.add(schema.getSchema());
    for (const member of membersOf(schema)) {
      names.set(`${schema.getName()}.${member.name}`, nameOf(member));
      walk(member.schema);
    }
  };
  for (const root of roots) walk(root);
  return names;
}

/** What xml-output.ts writes around a list's items, and query-input.ts expects before their indexes. */
function items(schema: NormalizedSchema): string {
  if (kindOf(schema) !== "list") return "";
  const item = schema.getValueSchema();
  return `/${item.getMergedTraits().xmlName ?? "member"}${items(item)}`;
}
const xmlName: NameOf = (member) => (member.traits.xmlName ?? member.name) + items(member.schema);
const cap = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
const uncap = (text: string) => text.charAt(0).toLowerCase() + text.slice(1);
const suffixed = (name: string, wire: string, suffix = "") => name + suffix.repeat(wire.split("/").length - 1);

describe("wire names agree with botocore's", () => {
  for (const service of ["ec2", "iam", "sts"] as const) {
    const operations = sdkOperations(service);
    const ec2 = service === "ec2";
    const check = (side: "input" | "output", nameOf: NameOf, rule: (member: string, wire: string) => string) =>
      test(`${service} ${side}`, () => {
        const names = namesFrom(
          operations.map((operation) => NormalizedSchema.of(operation[side])),
          nameOf,
        );
        const differences: string[] = [];
        let compared = 0;
        for (const [shape, members] of Object.entries(golden[service][side])) {
          for (const text of members.split(" ")) {
            const [member = "", exception] = text.split("=");
            const wire = names.get(`${RENAMED[shape] ?? shape}.${member}`);
            const expected = exception ?? rule(member, wire ?? "");
            if (wire !== expected) differences.push(`${shape}.${member}: ${wire}, botocore: ${expected}`);
            compared++;
          }
        }
        assert.deepEqual(differences, []);
        assert.ok(compared > 40, `compared ${compared}`);
      });
    const member: typeof suffixed = (name, wire) => suffixed(name, wire, "/member");
    check("input", ec2 ? ec2MemberName : xmlName, ec2 ? cap : member);
    check("output", xmlName, ec2 ? (name, wire) => suffixed(uncap(name), wire, "/item") : member);
    test(`${service} has all operations`, () => assert.ok(operations.length >= golden[service].operations));
  }

  test("numbers with a fraction", () => assert.deepEqual([...FRACTIONS].sort(), golden.fractions));
});

test("the names of all actions are the SDK's", () => {
  for (const service of AWS_SERVICES) {
    assert.deepEqual(
      [...knownActions(service)].sort(),
      sdkOperations(service)
        .map((o) => o.name)
        .sort(),
      service,
    );
  }
});

test("the codes of modelled errors have the model's HTTP status", () => {
  const differences: string[] = [];
  // The JSON services answer 400 to whatever is the client's fault (json.ts).
  for (const service of ["iam", "sts", "ebs"] as const) {
    for (const { name, status, code } of sdkErrors(service)) {
      for (const listed of new Set([name, code])) {
        const ours: number | undefined = new ApiError(listed as ErrorCode, "").httpStatus;
        if (ours !== undefined && ours !== status)
          differences.push(`${service} ${listed}: ${ours}, the model: ${status}`);
      }
    }
  }
  assert.deepEqual(differences, []);
});
