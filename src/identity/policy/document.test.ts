// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables look like that
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ApiError } from "../../base/api-error.ts";
import { evaluate } from "../evaluate.ts";
import { compilePolicy } from "./compile.ts";
import { contextOf } from "./context.ts";
import { type DocumentKind, parsePolicy } from "./document.ts";

const ok = { Effect: "Allow", Action: "ec2:*", Resource: "*" };
const text = (statement: object | object[], more: object = {}): string =>
  JSON.stringify({ Version: "2012-10-17", Statement: statement, ...more });

const refusals: readonly (readonly [name: string, document: string, message: RegExp, kind?: DocumentKind])[] = [
  ["not JSON", "{", /^Syntax errors in policy\./],
  ["nothing", "", /^Syntax errors in policy\./],
  ["a list", "[]", /A policy is a JSON object/],
  ["no statement", JSON.stringify({ Version: "2012-10-17" }), /at least one statement/],
  ["no statement in it", text([]), /at least one statement/],
  [
    "a version that never was",
    JSON.stringify({ Version: "2020-01-01", Statement: ok }),
    /"2012-10-17" or "2008-10-17"/,
  ],
  [
    "an old version for a managed policy",
    JSON.stringify({ Statement: ok }),
    /must be version 2012-10-17 or greater/,
    "managed",
  ],
  ["an element that is none", text(ok, { Foo: 1 }), /no such element\. \(at Foo\)/],
  [
    "an element of a statement that is none",
    text([ok, { ...ok, Foo: 1 }]),
    /no such element\. \(at Statement\[1\]\.Foo\)/,
  ],
  ["element names in another case", text({ effect: "Allow", Action: "*", Resource: "*" }), /Statement\.effect/],
  ["no effect", text({ Action: "*", Resource: "*" }), /Missing required field Effect/],
  ["another effect", text({ ...ok, Effect: "Maybe" }), /Invalid effect: Maybe/],
  ["no action", text({ Effect: "Allow", Resource: "*" }), /Policy statement must contain actions\./],
  ["an empty list of actions", text({ ...ok, Action: [] }), /Policy statement must contain actions\./],
  ["action and its opposite", text({ ...ok, NotAction: "iam:*" }), /Action and NotAction exclude each other/],
  ["an action without a service", text({ ...ok, Action: "StopInstances" }), /must be prefaced by a vendor/],
  ["an action with two colons", text({ ...ok, Action: "ec2:Stop:Instances" }), /can contain only one colon/],
  ["a wildcard for the service", text({ ...ok, Action: "e*:Stop" }), /Vendor e\* is not valid/],
  ["a space in an action", text({ ...ok, Action: "ec2:Stop Instances" }), /is not the name of an action/],
  ["an action that is a number", text({ ...ok, Action: ["ec2:*", 5] }), /at Statement\.Action\[1\]/],
  ["no resource", text({ Effect: "Allow", Action: "*" }), /Policy statement must contain resources\./],
  ["a resource that is no ARN", text({ ...ok, Resource: "i-1" }), /Resource i-1 must be in ARN format or "\*"\./],
  ["a resource cut short", text({ ...ok, Resource: "arn:aws:ec2:x" }), /must be in ARN format/],
  ["another partition", text({ ...ok, Resource: "arn:azure:ec2:::x" }), /Partition "azure" is not valid/],
  ["IAM in a Region", text({ ...ok, Resource: "arn:aws:iam:us-east-1::user/x" }), /cannot contain region information/],
  ["a principal on a user", text({ ...ok, Principal: "*" }), /should not specify a principal/],
  [
    "the same Sid twice",
    text([
      { ...ok, Sid: "a" },
      { ...ok, Sid: "a" },
    ]),
    /\(SID\) in a single policy must be unique/,
  ],
  ["a Sid with a space", text({ ...ok, Sid: "a b" }), /must be alpha-numeric/],
  [
    "an operator that is none",
    text({ ...ok, Condition: { StringEqual: { "aws:username": "x" } } }),
    /Invalid Condition type : StringEqual/,
  ],
  [
    "IfExists of Null",
    text({ ...ok, Condition: { NullIfExists: { "aws:username": "true" } } }),
    /Invalid Condition type/,
  ],
  [
    "a key without a service",
    text({ ...ok, Condition: { StringEquals: { username: "x" } } }),
    /must be prefaced by a vendor/,
  ],
  [
    "a value that is an object",
    text({ ...ok, Condition: { StringEquals: { "aws:username": {} } } }),
    /Condition\.StringEquals\.aws:username/,
  ],
  ["a condition that is a list", text({ ...ok, Condition: [] }), /An object is expected/],
  [
    "one name twice",
    `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Effect":"Deny","Action":"*","Resource":"*"}}`,
    /"Effect" is given twice/,
  ],
  [
    "one name twice, once escaped",
    `{"Version":"2012-10-17","Statement":{"Effect":"Allow","\\u0045ffect":"Deny","Action":"*","Resource":"*"}}`,
    /"Effect" is given twice/,
  ],
  ["a character outside the set", text({ ...ok, Sid: "日" }), /characters that are not valid/],
  [
    "our mark for a star, escaped",
    text({ ...ok, Resource: "arn:aws:ec2:*:*:\u0000" }),
    /characters that are not valid/,
  ],
  [
    "trust without a principal",
    text({ Effect: "Allow", Action: "sts:AssumeRole" }),
    /Missing required field Principal/,
    "trust",
  ],
  [
    "trust with a resource",
    text({ Effect: "Allow", Principal: "*", Action: "sts:AssumeRole", Resource: "*" }),
    /Has prohibited field Resource/,
    "trust",
  ],
  [
    "trust for other actions",
    text({ Effect: "Allow", Principal: "*", Action: "ec2:*" }),
    /may only specify STS AssumeRole actions/,
    "trust",
  ],
  [
    "trust in part of an account",
    text({ Effect: "Allow", Principal: { AWS: "arn:aws:iam::111111111111:user/*" }, Action: "sts:AssumeRole" }),
    /Invalid principal in policy: "AWS":"arn:aws:iam::111111111111:user\/\*"/,
    "trust",
  ],
  [
    "trust in all but one",
    text({ Effect: "Allow", NotPrincipal: { AWS: "111111111111" }, Action: "sts:AssumeRole" }),
    /NotPrincipal/,
    "trust",
  ],
];

for (const [name, document, message, kind = "inline"] of refusals) {
  test(`refused: ${name}`, () => {
    assert.throws(
      () => parsePolicy(document, kind),
      (error: unknown) => {
        assert.ok(error instanceof ApiError);
        assert.equal(error.code, "MalformedPolicyDocument");
        assert.match(error.message, message);
        return true;
      },
    );
  });
}

/** JSON that looks like a policy more often than not, and breaks in every place. */
const name = fc.constantFrom(
  "Version",
  "Statement",
  "Effect",
  "Action",
  "NotAction",
  "Resource",
  "Condition",
  "Principal",
  "StringLike",
  "aws:username",
  "__proto__",
  "constructor",
  "toString",
);
const scalar = fc.oneof(
  fc.constantFrom(
    "2012-10-17",
    "Allow",
    "Deny",
    "*",
    "ec2:*",
    "arn:aws:ec2:*",
    "${aws:username}",
    "${",
    "${a,'",
    "arn:::::",
    "::::::",
    "*".repeat(50),
    "*a".repeat(40),
  ),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
);
const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 6 },
    { weight: 4, arbitrary: scalar },
    { weight: 2, arbitrary: fc.array(tie("tree"), { maxLength: 4 }) },
    { weight: 3, arbitrary: fc.array(fc.tuple(name, tie("tree")), { maxLength: 5 }).map(Object.fromEntries) },
  ),
}));
const mostly = (...values: unknown[]) =>
  fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...values) }, { weight: 1, arbitrary: tree });
const nearly = fc.record({
  Version: fc.constant("2012-10-17"),
  Statement: fc.record(
    {
      Effect: mostly("Allow", "Deny"),
      Action: mostly("*", "ec2:*", ["ec2:Run?nstances*", "iam:*"]),
      Resource: mostly("*", "arn:aws:ec2:*:*:instance/${aws:username}", "arn:aws:ec2:*"),
      Condition: mostly({ StringLike: { "aws:username": ["*", "${aws:username, '}'}"] } }, { Null: { "a:b": true } }),
    },
    { requiredKeys: ["Effect", "Action", "Resource"] },
  ),
});

const kinds: readonly DocumentKind[] = ["inline", "managed", "trust", "session", "organization", "resource"];

test("whatever the document, it is taken or refused, and what is taken can be asked", () => {
  let taken = 0;
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        tree.map((each) => JSON.stringify(each) ?? ""),
        nearly.map((each) => JSON.stringify(each)),
      ),
      fc.constantFrom(...kinds),
      (document, kind) => {
        try {
          const policy = compilePolicy(document, kind);
          taken++;
          evaluate(
            {
              subject: { kind: "user", accountId: "1", arn: "a", principalArn: "a", uniqueId: "u" },
              action: "ec2:RunInstances",
              resource: "arn:aws:ec2:us-east-1:1:instance/i-1",
              context: contextOf({ "aws:username": "x" }),
            },
            { identity: [{ name: "p", policy }], boundary: null, session: null, organization: [] },
          );
        } catch (error) {
          assert.ok(error instanceof ApiError, String(error));
          assert.equal(error.code, "MalformedPolicyDocument");
        }
      },
    ),
    { numRuns: 3000 },
  );
  assert.ok(taken > 0, "the generator makes some that are taken");
});

test("wildcards made to be slow are not: the work grows with pattern times text, not with its powers", () => {
  const hostile = `arn:aws:ec2:us-east-1:111111111111:${"*a".repeat(1000)}*b`;
  const resource = `arn:aws:ec2:us-east-1:111111111111:${"a".repeat(2000)}`;
  const policy = compilePolicy(text({ ...ok, Resource: hostile }), "inline");
  const decision = evaluate(
    {
      subject: { kind: "user", accountId: "1", arn: "a", principalArn: "a", uniqueId: "u" },
      action: "ec2:RunInstances",
      resource,
      context: contextOf({}),
    },
    { identity: [{ name: "p", policy }], boundary: null, session: null, organization: [] },
  );
  // A backtracking matcher would not come back within the age of the universe: that it answers is the assertion.
  assert.equal(decision.allowed, false);
});

test("a policy that nests without end is refused, not followed", () => {
  const deep = `${'{"Statement":'.repeat(5000)}1${"}".repeat(5000)}`;
  assert.throws(() => parsePolicy(deep, "inline"), ApiError);
  const lists = `{"Version":"2012-10-17","Statement":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
  assert.throws(() => parsePolicy(lists, "inline"), ApiError);
});
