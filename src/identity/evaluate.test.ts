// biome-ignore-all lint/suspicious/noTemplateCurlyInString: policy variables look like that
// Tricky policies, one per row: a row's name says the rule, its last column what AWS decides.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConditionKeys } from "../model/access.ts";
import { type Decision, evaluate, type Layer, type PolicySet } from "./evaluate.ts";
import { compilePolicy } from "./policy/compile.ts";
import { contextOf } from "./policy/context.ts";
import type { DocumentKind } from "./policy/document.ts";
import type { Subject } from "./policy/principal.ts";

const ACCOUNT = "111111111111";
const OTHER = "222222222222";
const USER: Subject = {
  kind: "user",
  accountId: ACCOUNT,
  arn: `arn:aws:iam::${ACCOUNT}:user/bob`,
  principalArn: `arn:aws:iam::${ACCOUNT}:user/bob`,
  uniqueId: "AIDABOB",
};
const SESSION: Subject = {
  kind: "assumed-role",
  accountId: ACCOUNT,
  arn: `arn:aws:sts::${ACCOUNT}:assumed-role/web/s1`,
  principalArn: `arn:aws:iam::${ACCOUNT}:role/web`,
  uniqueId: "AROAWEB",
};
const ROOT: Subject = {
  kind: "root",
  accountId: ACCOUNT,
  arn: `arn:aws:iam::${ACCOUNT}:root`,
  principalArn: `arn:aws:iam::${ACCOUNT}:root`,
  uniqueId: ACCOUNT,
};
const FEDERATED: Subject = {
  kind: "federated-user",
  accountId: ACCOUNT,
  arn: `arn:aws:sts::${ACCOUNT}:federated-user/guest`,
  principalArn: USER.arn,
  uniqueId: "AIDABOB",
};
const INSTANCE = `arn:aws:ec2:us-east-1:${ACCOUNT}:instance/i-0abc`;
const IMAGE = "arn:aws:ec2:us-east-1::image/ami-0abc";

type StatementText = Readonly<Record<string, unknown>>;
const policy = (kind: DocumentKind, statements: readonly StatementText[], version = "2012-10-17") => ({
  name: kind,
  policy: compilePolicy(JSON.stringify({ Version: version, Statement: statements }), kind),
});
const yes = (more: StatementText = {}): StatementText => ({ Effect: "Allow", Action: "*", Resource: "*", ...more });
const no = (more: StatementText = {}): StatementText => ({ Effect: "Deny", Action: "*", Resource: "*", ...more });

interface Question {
  readonly action?: string;
  readonly resource?: string;
  readonly keys?: ConditionKeys;
  readonly version?: string;
}
const ask = (statements: readonly StatementText[], question: Question = {}): Decision =>
  evaluate(
    {
      subject: USER,
      action: question.action ?? "ec2:StopInstances",
      resource: question.resource ?? INSTANCE,
      context: contextOf(question.keys ?? {}),
    },
    {
      identity: [policy("inline", statements, question.version)],
      boundary: null,
      session: null,
      organization: [],
    },
  );

type Row = readonly [name: string, statements: readonly StatementText[], question: Question, allowed: boolean];

function rows(group: string, table: readonly Row[]): void {
  for (const [name, statements, question, allowed] of table) {
    test(`${group}: ${name}`, () => assert.equal(ask(statements, question).allowed, allowed));
  }
}

rows("action", [
  ["its name", [yes({ Action: "ec2:StopInstances" })], {}, true],
  ["another's name", [yes({ Action: "ec2:StartInstances" })], {}, false],
  ["in any case", [yes({ Action: "EC2:stopINSTANCES" })], {}, true],
  ["one of a list", [yes({ Action: ["ec2:StartInstances", "ec2:StopInstances"] })], {}, true],
  ["star for all of a service", [yes({ Action: "ec2:*" })], {}, true],
  ["star of another service", [yes({ Action: "iam:*" })], {}, false],
  ["star at the end", [yes({ Action: "ec2:Stop*" })], {}, true],
  ["star at the start of the name", [yes({ Action: "ec2:*Instances" })], {}, true],
  ["stars within", [yes({ Action: "ec2:S*p*n*s" })], {}, true],
  ["stars within that need more than there is", [yes({ Action: "ec2:S*p*x*s" })], {}, false],
  ["a star may stand for nothing", [yes({ Action: "ec2:StopInstances*" })], {}, true],
  ["question mark for one character", [yes({ Action: "ec2:Stop?nstances" })], {}, true],
  ["question mark is never nothing", [yes({ Action: "ec2:StopInstances?" })], {}, false],
  ["question marks and stars", [yes({ Action: "ec2:?top*?s" })], {}, true],
  ["a prefix alone is no match", [yes({ Action: "ec2:Stop" })], {}, false],
  ["*:* is everything", [yes({ Action: "*:*" })], {}, true],
  ["NotAction leaves all others", [yes({ Action: undefined, NotAction: "iam:*" })], {}, true],
  ["NotAction leaves out what it names", [yes({ Action: undefined, NotAction: ["iam:*", "ec2:Stop*"] })], {}, false],
  ["NotAction * leaves nothing", [yes({ Action: undefined, NotAction: "*" })], {}, false],
  ["NotAction in any case", [yes({ Action: undefined, NotAction: "EC2:STOPINSTANCES" })], {}, false],
  ["Deny with NotAction denies the rest", [yes(), no({ Action: undefined, NotAction: "iam:*" })], {}, false],
  ["Deny with NotAction spares what it names", [yes(), no({ Action: undefined, NotAction: "ec2:*" })], {}, true],
]);

rows("resource", [
  ["its ARN", [yes({ Resource: INSTANCE })], {}, true],
  ["another's ARN", [yes({ Resource: `${INSTANCE}d` })], {}, false],
  ["case counts", [yes({ Resource: INSTANCE.replace("i-0abc", "I-0ABC") })], {}, false],
  ["star in the last part", [yes({ Resource: `arn:aws:ec2:us-east-1:${ACCOUNT}:instance/*` })], {}, true],
  ["stars for Region and account", [yes({ Resource: "arn:aws:ec2:*:*:instance/*" })], {}, true],
  ["star for part of a part", [yes({ Resource: `arn:aws:ec2:us-*-1:${ACCOUNT}:inst*/i-*` })], {}, true],
  ["a star in the middle of a part stays there", [yes({ Resource: "arn:aws:ec2:us*1:instance/i-0abc" })], {}, false],
  ["another account's", [yes({ Resource: `arn:aws:ec2:us-east-1:${OTHER}:instance/*` })], {}, false],
  ["another Region's", [yes({ Resource: `arn:aws:ec2:eu-west-1:${ACCOUNT}:instance/*` })], {}, false],
  ["a star at the end reaches over colons", [yes({ Resource: "arn:aws:ec2:*" })], {}, true],
  ["a star at the end, earlier still", [yes({ Resource: "arn:aws:*" })], {}, true],
  ["a pattern that breaks off without a star", [yes({ Resource: "arn:aws:ec2:*:instance/i-0abc" })], {}, false],
  ["another type", [yes({ Resource: "arn:aws:ec2:*:*:volume/*" })], {}, false],
  ["question mark", [yes({ Resource: `arn:aws:ec2:us-east-?:${ACCOUNT}:instance/i-0ab?` })], {}, true],
  ["images have no account", [yes({ Resource: "arn:aws:ec2:us-east-1::image/*" })], { resource: IMAGE }, true],
  ["a star for no account", [yes({ Resource: "arn:aws:ec2:*:*:image/*" })], { resource: IMAGE }, true],
  [
    "an account for an image is none",
    [yes({ Resource: `arn:aws:ec2:*:${ACCOUNT}:image/*` })],
    { resource: IMAGE },
    false,
  ],
  [
    "a name with colons is no way into another account",
    [yes({ Resource: `arn:aws:ssm:*:${ACCOUNT}:parameter/*` })],
    { action: "ssm:GetParameter", resource: `arn:aws:ssm:us-east-1:${OTHER}:parameter/x:${ACCOUNT}:parameter/y` },
    false,
  ],
  [
    "only * is for actions without a resource",
    [yes({ Resource: "arn:aws:ec2:*:*:*" })],
    { action: "ec2:DescribeImages", resource: "*" },
    false,
  ],
  ["* for actions without a resource", [yes()], { action: "ec2:DescribeImages", resource: "*" }, true],
  ["one of a list", [yes({ Resource: ["arn:aws:s3:::b", INSTANCE] })], {}, true],
  ["NotResource leaves others", [yes({ Resource: undefined, NotResource: IMAGE })], {}, true],
  [
    "NotResource leaves out what it names",
    [yes({ Resource: undefined, NotResource: "arn:aws:ec2:*:*:instance/*" })],
    {},
    false,
  ],
  ["NotResource of a list", [yes({ Resource: undefined, NotResource: [IMAGE, INSTANCE] })], {}, false],
  ["NotResource and no resource", [yes({ Resource: undefined, NotResource: IMAGE })], { resource: "*" }, true],
  ["Deny with NotResource", [yes(), no({ Resource: undefined, NotResource: INSTANCE })], {}, true],
  ["Deny with NotResource elsewhere", [yes(), no({ Resource: undefined, NotResource: IMAGE })], {}, false],
]);

const when = (condition: StatementText): readonly StatementText[] => [yes({ Condition: condition })];
const key = (value: string | readonly string[]): Question => ({ keys: { "aws:PrincipalTag/k": value } });
const K = "aws:PrincipalTag/k";

rows("strings", [
  ["StringEquals", when({ StringEquals: { [K]: "a" } }), key("a"), true],
  ["StringEquals: case counts", when({ StringEquals: { [K]: "a" } }), key("A"), false],
  ["StringEquals: one of several", when({ StringEquals: { [K]: ["a", "b"] } }), key("b"), true],
  ["StringEquals: * is a character", when({ StringEquals: { [K]: "a*" } }), key("ab"), false],
  ["StringEquals: * is that character", when({ StringEquals: { [K]: "a*" } }), key("a*"), true],
  ["StringEquals: absent key", when({ StringEquals: { [K]: "a" } }), {}, false],
  ["StringEquals: empty value", when({ StringEquals: { [K]: "" } }), key(""), true],
  ["StringNotEquals", when({ StringNotEquals: { [K]: "a" } }), key("b"), true],
  ["StringNotEquals: equal", when({ StringNotEquals: { [K]: "a" } }), key("a"), false],
  ["StringNotEquals: none of several", when({ StringNotEquals: { [K]: ["a", "b"] } }), key("b"), false],
  ["StringNotEquals: absent key", when({ StringNotEquals: { [K]: "a" } }), {}, true],
  ["StringEqualsIgnoreCase", when({ StringEqualsIgnoreCase: { [K]: "aBc" } }), key("AbC"), true],
  ["StringNotEqualsIgnoreCase", when({ StringNotEqualsIgnoreCase: { [K]: "aBc" } }), key("AbC"), false],
  ["StringLike: star", when({ StringLike: { [K]: "a*c" } }), key("abbbc"), true],
  ["StringLike: star over slashes and colons", when({ StringLike: { [K]: "a*c" } }), key("a/b:c"), true],
  ["StringLike: question mark", when({ StringLike: { [K]: "a?c" } }), key("abc"), true],
  ["StringLike: case counts", when({ StringLike: { [K]: "a*" } }), key("Ab"), false],
  ["StringLike: the whole value", when({ StringLike: { [K]: "b" } }), key("abc"), false],
  ["StringNotLike", when({ StringNotLike: { [K]: "a*" } }), key("b"), true],
  ["StringNotLike: one of several matches", when({ StringNotLike: { [K]: ["x*", "b*"] } }), key("bc"), false],
  ["StringNotLike: absent key", when({ StringNotLike: { [K]: "a*" } }), {}, true],
  ["operators in any case", when({ stringequals: { [K]: "a" } }), key("a"), true],
  ["keys in any case", when({ StringEquals: { "AWS:principaltag/K": "a" } }), key("a"), true],
  ["a number as a string", when({ StringEquals: { [K]: 5 } }), key("5"), true],
  ["true as a string", when({ StringEquals: { [K]: true } }), key("true"), true],
  ["several keys: all", when({ StringEquals: { [K]: "a", "aws:username": "bob" } }), key("a"), false],
  ["several operators: all", when({ StringEquals: { [K]: "ab" }, StringLike: { [K]: "a*" } }), key("ab"), true],
  ["no condition in it", when({}), {}, true],
]);

const number = (value: string): Question => ({ keys: { "s3:max-keys": value } });
const N = "s3:max-keys";
rows("numbers", [
  ["NumericEquals", when({ NumericEquals: { [N]: "10" } }), number("10.0"), true],
  ["NumericEquals: number in the policy", when({ NumericEquals: { [N]: 10 } }), number("10"), true],
  ["NumericNotEquals", when({ NumericNotEquals: { [N]: "10" } }), number("11"), true],
  ["NumericNotEquals: absent", when({ NumericNotEquals: { [N]: "10" } }), {}, true],
  ["NumericLessThan", when({ NumericLessThan: { [N]: "10" } }), number("9.5"), true],
  ["NumericLessThan: equal", when({ NumericLessThan: { [N]: "10" } }), number("10"), false],
  ["NumericLessThan: not as text", when({ NumericLessThan: { [N]: "10" } }), number("9"), true],
  ["NumericLessThanEquals", when({ NumericLessThanEquals: { [N]: "10" } }), number("10"), true],
  ["NumericGreaterThan", when({ NumericGreaterThan: { [N]: "-1" } }), number("0"), true],
  ["NumericGreaterThanEquals", when({ NumericGreaterThanEquals: { [N]: "10" } }), number("9"), false],
  ["one of several limits", when({ NumericLessThan: { [N]: ["1", "20"] } }), number("10"), true],
  ["no number", when({ NumericLessThan: { [N]: "10" } }), number("many"), false],
  ["no number, negated", when({ NumericNotEquals: { [N]: "10" } }), number("many"), false],
  ["hexadecimal is no number", when({ NumericEquals: { [N]: "16" } }), number("0x10"), false],
  ["nothing is no number", when({ NumericEquals: { [N]: "0" } }), number(""), false],
]);

const at = (value: string): Question => ({ keys: { "aws:CurrentTime": value } });
const T = "aws:CurrentTime";
rows("dates", [
  ["DateLessThan", when({ DateLessThan: { [T]: "2026-01-02T00:00:00Z" } }), at("2026-01-01T23:59:59Z"), true],
  ["DateLessThan: later", when({ DateLessThan: { [T]: "2026-01-02T00:00:00Z" } }), at("2026-01-02T00:00:00Z"), false],
  ["DateGreaterThan: a day", when({ DateGreaterThan: { [T]: "2026-01-01" } }), at("2026-01-01T00:00:01Z"), true],
  [
    "DateEquals: another zone",
    when({ DateEquals: { [T]: "2026-01-01T01:00:00+01:00" } }),
    at("2026-01-01T00:00:00.000Z"),
    true,
  ],
  ["DateNotEquals", when({ DateNotEquals: { [T]: "2026-01-01" } }), at("2026-01-02T00:00:00Z"), true],
  [
    "DateLessThanEquals",
    when({ DateLessThanEquals: { [T]: "2026-01-01T00:00:00Z" } }),
    at("2026-01-01T00:00:00Z"),
    true,
  ],
  [
    "DateGreaterThanEquals",
    when({ DateGreaterThanEquals: { [T]: "2026-01-01T00:00:00Z" } }),
    at("2025-12-31T23:59:59Z"),
    false,
  ],
  ["seconds since 1970 in the policy", when({ DateLessThan: { [T]: "1767312000" } }), at("2026-01-01T00:00:00Z"), true],
  [
    "seconds since 1970 in the request",
    when({ DateGreaterThan: { "aws:EpochTime": "2026-01-01" } }),
    { keys: { "aws:EpochTime": "1767312000" } },
    true,
  ],
  ["a year", when({ DateGreaterThan: { [T]: "2025" } }), at("2026-01-01T00:00:00Z"), true],
  ["no date", when({ DateLessThan: { [T]: "tomorrow" } }), at("2026-01-01T00:00:00Z"), false],
  ["no such day", when({ DateGreaterThan: { [T]: "2026-13-45" } }), at("2026-01-01T00:00:00Z"), false],
]);

const from = (value: string): Question => ({ keys: { "aws:SourceIp": value } });
const IP = "aws:SourceIp";
rows("addresses", [
  ["IpAddress: in the range", when({ IpAddress: { [IP]: "10.0.0.0/8" } }), from("10.255.0.1"), true],
  ["IpAddress: outside", when({ IpAddress: { [IP]: "10.0.0.0/8" } }), from("11.0.0.1"), false],
  ["IpAddress: one address", when({ IpAddress: { [IP]: "10.1.2.3" } }), from("10.1.2.3"), true],
  ["IpAddress: range with host bits", when({ IpAddress: { [IP]: "10.1.2.3/8" } }), from("10.9.9.9"), true],
  ["IpAddress: /0", when({ IpAddress: { [IP]: "0.0.0.0/0" } }), from("8.8.8.8"), true],
  ["IpAddress: IPv6", when({ IpAddress: { [IP]: "2001:db8::/32" } }), from("2001:0DB8:0:0::1"), true],
  ["IpAddress: IPv6 outside", when({ IpAddress: { [IP]: "2001:db8::/32" } }), from("2001:db9::1"), false],
  [
    "IpAddress: IPv6 in one spelling and another",
    when({ IpAddress: { [IP]: "::ffff:10.0.0.1" } }),
    from("::ffff:a00:1"),
    true,
  ],
  ["IpAddress: /0 of IPv4 is no IPv6", when({ IpAddress: { [IP]: "0.0.0.0/0" } }), from("::1"), false],
  ["IpAddress: several ranges", when({ IpAddress: { [IP]: ["192.0.2.0/24", "10.0.0.0/8"] } }), from("10.0.0.1"), true],
  ["NotIpAddress", when({ NotIpAddress: { [IP]: "10.0.0.0/8" } }), from("11.0.0.1"), true],
  ["NotIpAddress: within", when({ NotIpAddress: { [IP]: "10.0.0.0/8" } }), from("10.0.0.1"), false],
  ["NotIpAddress: IPv6 is not in it", when({ NotIpAddress: { [IP]: "10.0.0.0/8" } }), from("::1"), true],
  ["NotIpAddress: absent", when({ NotIpAddress: { [IP]: "10.0.0.0/8" } }), {}, true],
  ["no address", when({ IpAddress: { [IP]: "10.0.0.0/8" } }), from("ten"), false],
]);

const source = (value: string): Question => ({ keys: { "aws:SourceArn": value } });
const S = "aws:SourceArn";
rows("ARNs", [
  ["ArnEquals takes wildcards too", when({ ArnEquals: { [S]: "arn:aws:ec2:*:*:instance/*" } }), source(INSTANCE), true],
  ["ArnLike: part by part", when({ ArnLike: { [S]: `arn:aws:ec2:*:${ACCOUNT}:instance/*` } }), source(INSTANCE), true],
  [
    "ArnLike: a star stays in its part",
    when({ ArnLike: { [S]: "arn:aws:ec2:*:instance/*" } }),
    source(INSTANCE),
    false,
  ],
  ["ArnLike: * is no pattern of ARNs", when({ ArnLike: { [S]: "*" } }), source(INSTANCE), false],
  ["ArnLike: case counts", when({ ArnLike: { [S]: INSTANCE.toUpperCase() } }), source(INSTANCE), false],
  ["ArnNotEquals", when({ ArnNotEquals: { [S]: "arn:aws:ec2:*:*:image/*" } }), source(INSTANCE), true],
  ["ArnNotLike: like", when({ ArnNotLike: { [S]: "arn:aws:ec2:*:*:instance/*" } }), source(INSTANCE), false],
  ["ArnNotLike: absent", when({ ArnNotLike: { [S]: "arn:aws:ec2:*:*:instance/*" } }), {}, true],
  [
    "ArnLike: no ARN in the request",
    when({ ArnLike: { [S]: "arn:aws:ec2:*:*:instance/*" } }),
    source("instance"),
    false,
  ],
  [
    "ArnLike with a variable that has colons in its name",
    when({ ArnLike: { [S]: "arn:aws:ec2:*:*:instance/${aws:username}" } }),
    { keys: { "aws:SourceArn": INSTANCE, "aws:username": "i-0abc" } },
    true,
  ],
]);

rows("Bool, Null, Binary", [
  ["Bool", when({ Bool: { "aws:SecureTransport": "true" } }), { keys: { "aws:SecureTransport": "true" } }, true],
  [
    "Bool in any case",
    when({ Bool: { "aws:SecureTransport": "TRUE" } }),
    { keys: { "aws:SecureTransport": "true" } },
    true,
  ],
  [
    "Bool given as a JSON boolean",
    when({ Bool: { "aws:SecureTransport": false } }),
    { keys: { "aws:SecureTransport": "false" } },
    true,
  ],
  [
    "Bool: the other",
    when({ Bool: { "aws:SecureTransport": "false" } }),
    { keys: { "aws:SecureTransport": "true" } },
    false,
  ],
  ["Bool: absent is not false", when({ Bool: { "aws:MultiFactorAuthPresent": "false" } }), {}, false],
  ["BoolIfExists: absent", when({ BoolIfExists: { "aws:MultiFactorAuthPresent": "false" } }), {}, true],
  [
    "BoolIfExists: present",
    when({ BoolIfExists: { "aws:MultiFactorAuthPresent": "true" } }),
    { keys: { "aws:MultiFactorAuthPresent": "false" } },
    false,
  ],
  [
    "Bool: neither",
    when({ Bool: { "aws:SecureTransport": "yes" } }),
    { keys: { "aws:SecureTransport": "yes" } },
    false,
  ],
  ["Null true: absent", when({ Null: { [K]: "true" } }), {}, true],
  ["Null true: present", when({ Null: { [K]: "true" } }), key("a"), false],
  ["Null false: present", when({ Null: { [K]: "false" } }), key(""), true],
  ["Null false: absent", when({ Null: { [K]: false } }), {}, false],
  ["Null both", when({ Null: { [K]: ["true", "false"] } }), {}, true],
  ["BinaryEquals", when({ BinaryEquals: { [K]: "QmluYXJ5" } }), key("QmluYXJ5"), true],
  ["BinaryEquals: other bytes", when({ BinaryEquals: { [K]: "QmluYXJ5" } }), key("QmluYXJ6"), false],
]);

rows("IfExists", [
  ["absent", when({ StringEqualsIfExists: { [K]: "a" } }), {}, true],
  ["present and equal", when({ StringEqualsIfExists: { [K]: "a" } }), key("a"), true],
  ["present and not equal", when({ StringEqualsIfExists: { [K]: "a" } }), key("b"), false],
  ["with numbers", when({ NumericLessThanIfExists: { [N]: "1" } }), {}, true],
  ["with addresses", when({ IpAddressIfExists: { [IP]: "10.0.0.0/8" } }), from("11.0.0.1"), false],
  ["with ARNs", when({ ArnLikeIfExists: { [S]: "arn:aws:ec2:*:*:image/*" } }), {}, true],
  [
    "Deny with a negated one spares the absent key not",
    [yes(), no({ Condition: { StringNotEqualsIfExists: { [K]: "a" } } })],
    {},
    false,
  ],
]);

const tags = (...values: string[]): Question => ({ keys: { "aws:TagKeys": values } });
const TK = "aws:TagKeys";
rows("sets", [
  ["ForAllValues: all of them", when({ "ForAllValues:StringEquals": { [TK]: ["a", "b", "c"] } }), tags("a", "b"), true],
  ["ForAllValues: one is not", when({ "ForAllValues:StringEquals": { [TK]: ["a", "b"] } }), tags("a", "x"), false],
  ["ForAllValues: absent", when({ "ForAllValues:StringEquals": { [TK]: ["a"] } }), {}, true],
  [
    "ForAllValues negated: none of them",
    when({ "ForAllValues:StringNotEquals": { [TK]: ["x"] } }),
    tags("a", "b"),
    true,
  ],
  [
    "ForAllValues negated: one of them",
    when({ "ForAllValues:StringNotEquals": { [TK]: ["a"] } }),
    tags("a", "b"),
    false,
  ],
  ["ForAnyValue: one of them", when({ "ForAnyValue:StringEquals": { [TK]: ["a"] } }), tags("a", "b"), true],
  ["ForAnyValue: none of them", when({ "ForAnyValue:StringEquals": { [TK]: ["x"] } }), tags("a", "b"), false],
  ["ForAnyValue: absent", when({ "ForAnyValue:StringEquals": { [TK]: ["a"] } }), {}, false],
  [
    "ForAnyValue negated: one that is not",
    when({ "ForAnyValue:StringNotEquals": { [TK]: ["a"] } }),
    tags("a", "b"),
    true,
  ],
  ["ForAnyValue negated: absent", when({ "ForAnyValue:StringNotEquals": { [TK]: ["a"] } }), {}, false],
  ["ForAnyValue with a pattern", when({ "ForAnyValue:StringLike": { [TK]: "te*" } }), tags("a", "team"), true],
  ["ForAllValues of one value", when({ "ForAllValues:StringEquals": { [K]: "a" } }), key("a"), true],
  ["set operators in any case", when({ "forallvalues:StringEquals": { [TK]: "a" } }), tags("a"), true],
  [
    "only these tags, and at least one",
    when({ "ForAllValues:StringEquals": { [TK]: "a" }, Null: { [TK]: "false" } }),
    {},
    false,
  ],
]);

const user: Question = { keys: { "aws:username": "i-0abc", [K]: "i-0abc", "aws:userid": "a*" } };
rows("variables", [
  ["in a resource", [yes({ Resource: "arn:aws:ec2:*:*:instance/${aws:username}" })], user, true],
  [
    "in a resource, another's",
    [yes({ Resource: "arn:aws:ec2:*:*:instance/${aws:username}" })],
    { keys: { "aws:username": "x" } },
    false,
  ],
  ["absent in a resource", [yes({ Resource: "arn:aws:ec2:*:*:instance/${aws:username}" })], {}, false],
  ["default in a resource", [yes({ Resource: "arn:aws:ec2:*:*:instance/${aws:username, 'i-0abc'}" })], {}, true],
  ["default not needed", [yes({ Resource: "arn:aws:ec2:*:*:instance/${aws:username, 'x'}" })], user, true],
  [
    "absent in NotResource widens nothing",
    [yes({ Resource: undefined, NotResource: "arn:aws:ec2:*:*:instance/${aws:username}" })],
    {},
    false,
  ],
  ["in a condition", when({ StringEquals: { [K]: "${aws:username}" } }), user, true],
  ["key in any case", when({ StringEquals: { [K]: "${AWS:UserName}" } }), user, true],
  ["absent in a condition", when({ StringEquals: { [K]: "${aws:PrincipalTag/x}" } }), user, false],
  ["absent in a negated condition", when({ StringNotEquals: { [K]: "${aws:PrincipalTag/x}" } }), user, false],
  ["absent beside another value", when({ StringEquals: { [K]: ["${aws:PrincipalTag/x}", "i-0abc"] } }), user, true],
  [
    "a value's star is a character",
    when({ StringLike: { [K]: "${aws:userid}" } }),
    { keys: { "aws:userid": "a*", [K]: "abc" } },
    false,
  ],
  [
    "a value's star matches itself",
    when({ StringLike: { [K]: "${aws:userid}" } }),
    { keys: { "aws:userid": "a*", [K]: "a*" } },
    true,
  ],
  [
    "a value's star in a resource",
    [yes({ Resource: "arn:aws:ec2:*:*:instance/${aws:userid}" })],
    { keys: { "aws:userid": "*" } },
    false,
  ],
  ["star beside a variable", [yes({ Resource: "arn:aws:ec2:*:*:*/${aws:username}" })], user, true],
  ["${*} is a star", when({ StringLike: { [K]: "a${*}" } }), key("a*"), true],
  ["${*} is no wildcard", when({ StringLike: { [K]: "a${*}" } }), key("ab"), false],
  ["${?} is a question mark", when({ StringLike: { [K]: "a${?}" } }), key("a?"), true],
  ["${$} is a dollar sign", when({ StringEquals: { [K]: "${$}x" } }), key("$x"), true],
  [
    "several values are no value",
    when({ StringEquals: { [K]: "${aws:TagKeys}" } }),
    { keys: { [K]: "a", [TK]: ["a"] } },
    false,
  ],
  [
    "not in the older version",
    when({ StringEquals: { [K]: "${aws:username}" } }),
    { ...user, version: "2008-10-17" },
    false,
  ],
  [
    "itself in the older version",
    when({ StringEquals: { [K]: "${aws:username}" } }),
    { keys: { [K]: "${aws:username}" }, version: "2008-10-17" },
    true,
  ],
  ["not closed is itself", when({ StringEquals: { [K]: "${aws:username" } }), key("${aws:username"), true],
  [
    "two in one",
    when({ StringEquals: { [K]: "${aws:username}-${aws:username}" } }),
    { keys: { "aws:username": "a", [K]: "a-a" } },
    true,
  ],
  ["a brace in a default", when({ StringEquals: { [K]: "${aws:username, '}'}" } }), key("}"), true],
  [
    "not with numbers",
    when({ NumericEquals: { [N]: "${aws:username}" } }),
    { keys: { [N]: "5", "aws:username": "5" } },
    false,
  ],
]);

rows("precedence in one policy", [
  ["nothing allows", [yes({ Action: "s3:*" })], {}, false],
  ["deny wins over allow", [yes(), no()], {}, false],
  ["deny wins wherever it stands", [no(), yes()], {}, false],
  ["deny elsewhere", [yes(), no({ Action: "iam:*" })], {}, true],
  ["deny with a condition that is not met", [yes(), no({ Condition: { StringEquals: { [K]: "a" } } })], {}, true],
  ["deny alone allows nothing", [no({ Action: "iam:*" })], {}, false],
]);

interface Layers {
  readonly subject?: Subject;
  readonly identity?: readonly StatementText[];
  readonly boundary?: readonly StatementText[];
  readonly session?: readonly StatementText[];
  readonly organization?: readonly (readonly StatementText[])[];
  /** Of a resource of this account, or of `owner`. */
  readonly resource?: readonly StatementText[];
  readonly owner?: string;
  readonly required?: boolean;
}
const BUCKET = "arn:aws:s3:::bucket/object";

function decide(layers: Layers): Decision {
  const set: PolicySet = {
    identity: layers.identity === undefined ? [] : [policy("inline", layers.identity)],
    boundary: layers.boundary === undefined ? null : policy("managed", layers.boundary),
    session:
      layers.session === undefined ? null : layers.session.length === 0 ? [] : [policy("session", layers.session)],
    organization: (layers.organization ?? []).map((level) => [policy("organization", level)]),
  };
  return evaluate(
    {
      subject: layers.subject ?? USER,
      action: "s3:GetObject",
      resource: BUCKET,
      context: contextOf({}),
      resourcePolicy:
        layers.resource === undefined
          ? undefined
          : {
              accountId: layers.owner ?? ACCOUNT,
              policy: policy("resource", layers.resource),
              required: layers.required ?? false,
            },
    },
    set,
  );
}

const to = (principal: unknown, effect = "Allow"): StatementText => ({
  Effect: effect,
  Principal: principal,
  Action: "s3:*",
  Resource: "*",
});
const S3 = yes({ Action: "s3:*" });
const NO_S3 = no({ Action: "s3:*" });
const ELSE = yes({ Action: "iam:*" });
const byArn = (subject: Subject) => ({ AWS: subject.kind === "service" ? "*" : subject.principalArn });

const layered: readonly (readonly [name: string, layers: Layers, verdict: "allowed" | `${"no" | "deny"} ${Layer}`])[] =
  [
    ["identity alone", { identity: [S3] }, "allowed"],
    ["identity denies", { identity: [S3, NO_S3] }, "deny identity"],
    ["boundary allows too", { identity: [S3], boundary: [S3] }, "allowed"],
    ["boundary does not allow", { identity: [S3], boundary: [ELSE] }, "no boundary"],
    ["boundary grants nothing", { identity: [ELSE], boundary: [S3] }, "no identity"],
    ["boundary denies", { identity: [S3], boundary: [S3, NO_S3] }, "deny boundary"],
    ["session allows too", { subject: SESSION, identity: [S3], session: [S3] }, "allowed"],
    ["session does not allow", { subject: SESSION, identity: [S3], session: [ELSE] }, "no session"],
    ["session without a policy in it", { subject: SESSION, identity: [S3], session: [] }, "no session"],
    ["session denies", { subject: SESSION, identity: [S3], session: [S3, NO_S3] }, "deny session"],
    ["session grants nothing", { subject: SESSION, identity: [ELSE], session: [S3] }, "no identity"],
    ["boundary before session", { subject: SESSION, identity: [S3], boundary: [ELSE], session: [ELSE] }, "no boundary"],
    ["organization allows too", { identity: [S3], organization: [[S3], [S3]] }, "allowed"],
    ["one level of the organization does not", { identity: [S3], organization: [[S3], [ELSE]] }, "no organization"],
    ["organization denies", { identity: [S3], organization: [[S3], [S3, NO_S3]] }, "deny organization"],
    ["organization grants nothing", { identity: [ELSE], organization: [[S3]] }, "no identity"],
    ["organization before identity", { identity: [ELSE], organization: [[ELSE]] }, "no organization"],
    ["a deny anywhere before what is not allowed", { identity: [NO_S3], organization: [[ELSE]] }, "deny identity"],
    ["organization's deny is told first", { identity: [NO_S3], organization: [[NO_S3]] }, "deny organization"],
    ["root needs no policy", { subject: ROOT }, "allowed"],
    ["root is held by the organization", { subject: ROOT, organization: [[ELSE]] }, "no organization"],
    ["root is denied by a resource", { subject: ROOT, resource: [to("*", "Deny")] }, "deny resource"],
    ["root's session is held by its policy", { subject: ROOT, session: [ELSE] }, "no session"],
    ["resource grants to a user by ARN", { resource: [to(byArn(USER))] }, "allowed"],
    ["... whatever the boundary leaves out", { boundary: [ELSE], resource: [to(byArn(USER))] }, "allowed"],
    ["... but not against its denial", { boundary: [NO_S3], resource: [to(byArn(USER))] }, "deny boundary"],
    ["... nor the identity's", { identity: [NO_S3], resource: [to(byArn(USER))] }, "deny identity"],
    ["... nor without the organization", { organization: [[ELSE]], resource: [to(byArn(USER))] }, "no organization"],
    ["resource grants to the account: the account decides", { resource: [to({ AWS: ACCOUNT })] }, "no identity"],
    [
      "resource grants to the account by ARN",
      { resource: [to({ AWS: `arn:aws:iam::${ACCOUNT}:root` })] },
      "no identity",
    ],
    [
      "resource grants to the account, and the account allows",
      { identity: [S3], resource: [to({ AWS: ACCOUNT })] },
      "allowed",
    ],
    ["resource grants to a role by ARN", { subject: SESSION, resource: [to(byArn(SESSION))] }, "allowed"],
    ["... within its boundary", { subject: SESSION, boundary: [ELSE], resource: [to(byArn(SESSION))] }, "no boundary"],
    ["... and its session policy", { subject: SESSION, session: [ELSE], resource: [to(byArn(SESSION))] }, "no session"],
    [
      "resource grants to the session itself",
      { subject: SESSION, resource: [to({ AWS: SESSION.kind === "assumed-role" ? SESSION.arn : "" })] },
      "allowed",
    ],
    [
      "... whatever boundary and session leave out",
      {
        subject: SESSION,
        boundary: [ELSE],
        session: [ELSE],
        resource: [to({ AWS: SESSION.kind === "assumed-role" ? SESSION.arn : "" })],
      },
      "allowed",
    ],
    ["resource grants to everybody", { resource: [to("*")] }, "allowed"],
    [
      "... whatever a role's boundary leaves out",
      { subject: SESSION, boundary: [ELSE], resource: [to("*")] },
      "allowed",
    ],
    ["... within the session", { subject: SESSION, session: [ELSE], resource: [to("*")] }, "no session"],
    ["... but not against a denial", { identity: [NO_S3], resource: [to("*")] }, "deny identity"],
    ["resource grants to another", { resource: [to({ AWS: `arn:aws:iam::${ACCOUNT}:user/eve` })] }, "no identity"],
    ["resource grants to a service", { resource: [to({ Service: "ec2.amazonaws.com" })] }, "no identity"],
    ["resource denies the account", { identity: [S3], resource: [to({ AWS: ACCOUNT }, "Deny")] }, "deny resource"],
    ["resource denies another account", { identity: [S3], resource: [to({ AWS: OTHER }, "Deny")] }, "allowed"],
    [
      "NotPrincipal spares whom it names",
      { identity: [S3], resource: [{ ...to("*", "Deny"), Principal: undefined, NotPrincipal: byArn(USER) }] },
      "allowed",
    ],
    [
      "NotPrincipal denies the others",
      { identity: [S3], resource: [{ ...to("*", "Deny"), Principal: undefined, NotPrincipal: { AWS: OTHER } }] },
      "deny resource",
    ],
    [
      "another account's resource: identity alone",
      { identity: [S3], owner: OTHER, resource: [to({ AWS: OTHER })] },
      "no resource",
    ],
    ["another account's resource: resource alone", { owner: OTHER, resource: [to({ AWS: ACCOUNT })] }, "no identity"],
    [
      "another account's resource: resource alone, by ARN",
      { owner: OTHER, resource: [to(byArn(USER))] },
      "no identity",
    ],
    ["another account's resource: both", { identity: [S3], owner: OTHER, resource: [to({ AWS: ACCOUNT })] }, "allowed"],
    [
      "another account's resource: both, bounded",
      { identity: [S3], boundary: [ELSE], owner: OTHER, resource: [to(byArn(USER))] },
      "no boundary",
    ],
    [
      "another account's resource: root",
      { subject: ROOT, owner: OTHER, resource: [to({ AWS: OTHER })] },
      "no resource",
    ],
    [
      "another account's resource: root, trusted",
      { subject: ROOT, owner: OTHER, resource: [to({ AWS: ACCOUNT })] },
      "allowed",
    ],
    ["trust must allow", { identity: [S3], required: true, resource: [to({ AWS: OTHER })] }, "no resource"],
    [
      "trust in the account needs the account's leave",
      { required: true, resource: [to({ AWS: ACCOUNT })] },
      "no identity",
    ],
    ["trust in the user needs nothing else", { required: true, resource: [to(byArn(USER))] }, "allowed"],
    [
      "a service is allowed by the resource",
      {
        subject: { kind: "service", service: "ec2.amazonaws.com" },
        required: true,
        resource: [to({ Service: "ec2.amazonaws.com" })],
      },
      "allowed",
    ],
    [
      "a service that is not named",
      {
        subject: { kind: "service", service: "ssm.amazonaws.com" },
        required: true,
        resource: [to({ Service: "ec2.amazonaws.com" })],
      },
      "no resource",
    ],
    [
      "a federated user has what user and session share",
      { subject: FEDERATED, identity: [S3], session: [S3] },
      "allowed",
    ],
    [
      "a federated user without a policy has nothing",
      { subject: FEDERATED, identity: [S3], session: [] },
      "no session",
    ],
    [
      "a federated user named by ARN",
      {
        subject: FEDERATED,
        session: [],
        resource: [to({ AWS: FEDERATED.kind === "federated-user" ? FEDERATED.arn : "" })],
      },
      "allowed",
    ],
    [
      "a federated user's user named by ARN: within the session",
      { subject: FEDERATED, session: [ELSE], resource: [to(byArn(FEDERATED))] },
      "no session",
    ],
  ];

for (const [name, layers, verdict] of layered) {
  test(`layers: ${name}`, () => {
    const decision = decide(layers);
    const told = decision.allowed
      ? "allowed"
      : `${decision.reason === "explicitDeny" ? "deny" : "no"} ${decision.layer}`;
    assert.equal(told, verdict);
  });
}

test("a decision names the statement that made it", () => {
  const decision = ask([yes({ Action: "iam:*" }), yes({ Sid: "Stop", Action: "ec2:*" })]);
  assert.deepEqual(decision, {
    allowed: true,
    reason: "allowed",
    layer: "identity",
    statement: { policy: "inline", sid: "Stop", index: 1 },
  });
});
