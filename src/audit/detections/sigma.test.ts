import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../json.ts";
import { loadRules, shippedRules } from "./rule-files.ts";
import { parseRules } from "./sigma.ts";

const HEAD = `
title: t
id: 11111111-1111-4111-8111-111111111111
logsource: { product: aws, service: cloudtrail }
`;

function matches(detection: string, record: JsonObject): boolean {
  const [rule] = parseRules([["t.yml", `${HEAD}detection:\n${detection.replace(/^/gm, "  ")}`]]);
  assert.equal(rule?.kind, "event");
  if (rule?.kind !== "event") return false;
  const matched = rule.matches(record);
  // A rule is not asked about events whose names it can't match: it must not match one of those.
  if (matched && rule.eventNames !== null) assert.ok(rule.eventNames.has(String(record.eventName).toLowerCase()));
  return matched;
}

const NAMES: readonly (readonly [string, readonly string[] | null])[] = [
  ["s:\n  eventName: [A, b]\ncondition: s", ["a", "b"]],
  ["s:\n  eventName: A*\ncondition: s", null],
  ["s:\n  eventName|contains: A\ncondition: s", null],
  ["s:\n  - eventName: A\n  - eventName: B\n    x: y\ncondition: s", ["a", "b"]],
  ["s:\n  - eventName: A\n  - x: y\ncondition: s", null],
  ["s:\n  eventName: A\nt:\n  x: y\ncondition: s and not t", ["a"]],
  ["s:\n  eventName: A\nt:\n  x: y\ncondition: s or t", null],
  ["s:\n  eventName: [A, B]\nt:\n  eventName: [B, C]\ncondition: s and t", ["b"]],
  ["s:\n  eventName: [A, B]\nt:\n  eventName: C\ncondition: 1 of them", ["a", "b", "c"]],
  ["s:\n  eventName: A\ncondition: not s", null],
];

for (const [detection, expected] of NAMES) {
  test(`is asked about ${expected ?? "any"}: ${detection.replaceAll("\n", " ")}`, () => {
    const [rule] = parseRules([["t.yml", `${HEAD}detection:\n${detection.replace(/^/gm, "  ")}`]]);
    assert.ok(rule?.kind === "event");
    assert.deepEqual(rule.eventNames === null ? null : [...rule.eventNames].sort(), expected);
  });
}

const RECORD: JsonObject = {
  eventName: "RunInstances",
  sourceIPAddress: "10.1.2.3",
  errorCode: "Client.UnauthorizedOperation",
  requestParameters: { set: { items: [{ id: "a-1", n: 3 }, { id: "B-2" }] }, yes: true, path: "a*b", nothing: null },
};

const CASES: readonly (readonly [string, boolean])[] = [
  ["s:\n  eventName: runinstances\ncondition: s", true],
  ["s:\n  eventName|cased: runinstances\ncondition: s", false],
  ["s:\n  eventName: Run*\ncondition: s", true],
  ["s:\n  eventName: Run?nstances\ncondition: s", true],
  ["s:\n  requestParameters.path: 'a\\*b'\ncondition: s", true],
  ["s:\n  requestParameters.set.items.id: b-2\ncondition: s", true],
  ["s:\n  requestParameters.set.items.id|all: [a-1, b-2]\ncondition: s", true],
  ["s:\n  requestParameters.set.items.id|all: [a-1, c-3]\ncondition: s", false],
  ["s:\n  requestParameters.set.items.id|contains|all: ['-', '1']\ncondition: s", true],
  ["s:\n  requestParameters.set.items.n|gte: 3\ncondition: s", true],
  ["s:\n  requestParameters.set.items.n|gt: 3\ncondition: s", false],
  ["s:\n  requestParameters.yes: 'true'\ncondition: s", true],
  ["s:\n  requestParameters.nothing: null\ncondition: s", true],
  ["s:\n  errorCode: null\ncondition: s", false],
  ["s:\n  absent|exists: false\ncondition: s", true],
  ["s:\n  errorCode|endswith: Operation\ncondition: s", true],
  ["s:\n  errorCode|startswith: client.\ncondition: s", true],
  ["s:\n  errorCode|re: '^Client\\.U[a-z]+O'\ncondition: s", true],
  ["s:\n  errorCode|re: '^client'\ncondition: s", false],
  ["s:\n  errorCode|re|i: '^client'\ncondition: s", true],
  ["s:\n  sourceIPAddress|cidr: [192.168.0.0/16, 10.0.0.0/8]\ncondition: s", true],
  ["s:\n  sourceIPAddress|cidr: 192.168.0.0/16\ncondition: s", false],
  ["s:\n  - eventName: x\n  - errorCode|contains: Unauth\ncondition: s", true],
  ["s:\n  - unauthorized\ncondition: s", true],
  ["a:\n  eventName: RunInstances\nf_1:\n  errorCode|contains: Unauth\ncondition: a and not 1 of f_*", false],
  ["a:\n  eventName: x\nb:\n  errorCode|contains: Unauth\ncondition: a or b and not a", true],
  ["a:\n  eventName: x\nb:\n  errorCode|contains: Unauth\ncondition: all of them", false],
  ["a:\n  eventName: x\nb:\n  errorCode|contains: Unauth\ncondition: (a or b) and not (a and b)", true],
];

for (const [detection, expected] of CASES) {
  test(`${expected ? "matches" : "does not match"}: ${detection.replaceAll("\n", " ")}`, () => {
    assert.equal(matches(detection, RECORD), expected);
  });
}

const REFUSED: readonly (readonly [string, RegExp])[] = [
  ["s:\n  a|base64: x\ncondition: s", /modifier base64/],
  ["s:\n  a: x\ncondition: s and t", /names t/],
  ["s:\n  a: x\ncondition: s | count() > 5", /write a correlation/],
  ["s:\n  a: x\ntimeframe: 5m\ncondition: s", /write a correlation/],
  ["s:\n  a: x\ncondition: (s", /not closed/],
  ["s:\n  a|re: '(a+)+$'\ncondition: s", /repeats a group/],
  ["s:\n  a|re: '(a|aa)*$'\ncondition: s", /repeats a group/],
  ["s:\n  a|re: '(?=a)'\ncondition: s", /looks back or ahead/],
  ["s:\n  a|cidr: 10.0.0.0\ncondition: s", /not a network/],
  ["s: {}\ncondition: s", /empty/],
];

for (const [detection, why] of REFUSED) {
  test(`refused: ${detection.replaceAll("\n", " ")}`, () => {
    assert.throws(() => matches(detection, RECORD), why);
  });
}

test("a correlation names its rules by name, and keeps them from making findings of their own", () => {
  const base = `name: base${HEAD}detection:\n  s:\n    a: x\n  condition: s\n`;
  const correlation = `---\ntitle: c\nid: 22222222-2222-4222-8222-222222222222\ncorrelation:\n  type: event_count\n  rules: [base]\n  group-by: [a]\n  timespan: 5m\n  condition: { gt: 3 }\n`;
  const [first, second] = parseRules([["t.yml", base + correlation]]);
  assert.ok(first?.kind === "event" && !first.generates);
  assert.ok(second?.kind === "correlation");
  assert.equal(second?.kind === "correlation" && second.least, 4);
  assert.throws(() => parseRules([["t.yml", correlation]]), /there is no rule base/);
});

test("the rules that are shipped: each says what to do, and all ids differ", () => {
  const rules = loadRules([shippedRules()]);
  assert.equal(new Set(rules.map(({ id }) => id)).size, rules.length);
  for (const rule of rules) {
    if (rule.kind === "correlation" || rule.generates) assert.ok(rule.next.length > 0, rule.title);
  }
});
