// Condition operators: one compiled test per operator and key.
//
// - Several values of the policy are alternatives; with a negated operator the request's value must match none.
// - A key that the request does not have: false, but true for negated operators and `…IfExists`.
// - `ForAllValues:` is true for a key that is absent; `ForAnyValue:` never is, whatever its operator.
// - A value that the operator cannot read (a date that is none), and a variable without a value, make the test false, with
//   negated operators too.

import type { Context } from "./context.ts";
import { type IpRange, parseIpRange } from "./ip.ts";
import { literal, pattern, splitArn } from "./pattern.ts";

/** Is the request's value one of the policy's? `null`: cannot be told, the condition is not met. */
type ValueTest = (value: string, context: Context) => boolean | null;

export type ConditionTest = (context: Context) => boolean;

interface Operator {
  readonly negated: boolean;
  compile(values: readonly string[], variables: boolean): ValueTest;
}

/** Tries every value of the policy; one that cannot be told spoils a negated test, and does not help a positive one. */
function oneOf<T>(
  negated: boolean,
  items: readonly T[],
  test: (item: T, value: string, context: Context) => boolean | null,
): ValueTest {
  return (value, context) => {
    for (const item of items) {
      const verdict = test(item, value, context);
      if (verdict === true) return true;
      if (verdict === null && negated) return null;
    }
    return false;
  };
}

const stringEquals = (negated: boolean, ignoreCase: boolean): Operator => ({
  negated,
  compile(values, variables) {
    const fold = (text: string) => (ignoreCase ? text.toLowerCase() : text);
    const templates = values.map((value) => literal(value, variables));
    if (templates.every((each) => each.fixed !== null)) {
      const fixed = new Set(templates.map((each) => fold(each.fixed ?? "")));
      return (value) => fixed.has(fold(value));
    }
    return oneOf(negated, templates, (each, value, context) => {
      const resolved = each.resolve(context);
      return resolved === null ? null : fold(resolved) === fold(value);
    });
  },
});

const stringLike = (negated: boolean): Operator => ({
  negated,
  compile: (values, variables) =>
    oneOf(
      negated,
      values.map((value) => pattern(value, variables)),
      (each, value, context) => each.resolve(context)?.matches(value) ?? null,
    ),
});

/** Each of the six parts by itself; nothing that is no ARN matches, not even `*`. */
const arnLike = (negated: boolean): Operator => ({
  negated,
  compile(values, variables) {
    const patterns = values.map((value) => splitArnPattern(value)?.map((part) => pattern(part, variables)) ?? null);
    const test = oneOf(negated, patterns, (parts, value, context) => {
      if (parts === null) return false;
      const of = splitArn(value);
      if (of === null) return null;
      for (let i = 0; i < parts.length; i++) {
        const resolved = parts[i]!.resolve(context);
        if (resolved === null) return null;
        if (!resolved.matches(of[i]!)) return false;
      }
      return true;
    });
    return (value, context) => (splitArn(value) === null ? null : test(value, context));
  },
});

/** A pattern's parts; colons inside `${…}` do not part it. `arn:aws:ec2:*` stands for all that follows. */
function splitArnPattern(text: string): string[] | null {
  const parts: string[] = [];
  let part = "";
  for (let at = 0, depth = 0; at < text.length; at++) {
    const char = text[at]!;
    if (char === "$" && text[at + 1] === "{") depth++;
    else if (char === "}" && depth > 0) depth--;
    if (char === ":" && depth === 0 && parts.length < 5) {
      parts.push(part);
      part = "";
    } else part += char;
  }
  parts.push(part);
  if (parts[0] !== "arn") return null;
  if (parts.length < 6 && parts[parts.length - 1]!.endsWith("*")) while (parts.length < 6) parts.push("*");
  return parts.length === 6 ? parts.slice(1) : null;
}

type Compare = (value: number, limit: number) => boolean;

/** Numbers, or times as milliseconds since 1970. */
const ordered = (negated: boolean, read: (text: string) => number | null, compare: Compare): Operator => ({
  negated,
  compile(values) {
    const limits = values.map(read);
    return (value) => {
      const number = read(value);
      if (number === null) return null;
      for (const limit of limits) {
        if (limit === null) {
          if (negated) return null;
        } else if (compare(number, limit)) return true;
      }
      return false;
    };
  },
});

function readNumber(text: string): number | null {
  return /^[+-]?(\d+(\.\d*)?|\.\d+)$/.test(text) ? Number(text) : null;
}

/** ISO 8601 as W3C profiles it, or seconds since 1970. */
function readDate(text: string): number | null {
  if (/^-?\d{5,}(\.\d+)?$/.test(text)) return Number(text) * 1000;
  const iso = /^\d{4}(-\d{2}(-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?)?)?$/i;
  if (!iso.test(text)) return null;
  const hasTime = text.length > 10;
  const zoned = !hasTime || /(Z|[+-]\d{2}:?\d{2})$/i.test(text) ? text : `${text}Z`;
  const time = Date.parse(zoned.replace(/([+-]\d{2})(\d{2})$/, (whole, h, m) => (hasTime ? `${h}:${m}` : whole)));
  return Number.isNaN(time) ? null : time;
}

const bool: Operator = {
  negated: false,
  compile(values) {
    const wanted = new Set(values.map((value) => value.toLowerCase()));
    return (value) => {
      const text = value.toLowerCase();
      return (text === "true" || text === "false") && wanted.has(text);
    };
  },
};

const binaryEquals: Operator = {
  negated: false,
  compile(values) {
    const wanted = new Set(values.map((value) => Buffer.from(value, "base64").toString("base64")));
    return (value) => wanted.has(Buffer.from(value, "base64").toString("base64"));
  },
};

const ipAddress = (negated: boolean): Operator => ({
  negated,
  compile(values) {
    const ranges = values.map(parseIpRange).filter((range): range is IpRange => range !== null);
    return (value) => {
      const address = parseIpRange(value);
      return address === null ? null : ranges.some((range) => range.contains(address));
    };
  },
});

const eq: Compare = (a, b) => a === b;
const orderedOperators = (kind: string, read: (text: string) => number | null): [string, Operator][] => [
  [`${kind}equals`, ordered(false, read, eq)],
  [`${kind}notequals`, ordered(true, read, eq)],
  [`${kind}lessthan`, ordered(false, read, (a, b) => a < b)],
  [`${kind}lessthanequals`, ordered(false, read, (a, b) => a <= b)],
  [`${kind}greaterthan`, ordered(false, read, (a, b) => a > b)],
  [`${kind}greaterthanequals`, ordered(false, read, (a, b) => a >= b)],
];

/** By lower-cased name: AWS takes operators in any case. */
const OPERATORS: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ["stringequals", stringEquals(false, false)],
  ["stringnotequals", stringEquals(true, false)],
  ["stringequalsignorecase", stringEquals(false, true)],
  ["stringnotequalsignorecase", stringEquals(true, true)],
  ["stringlike", stringLike(false)],
  ["stringnotlike", stringLike(true)],
  ...orderedOperators("numeric", readNumber),
  ...orderedOperators("date", readDate),
  ["bool", bool],
  ["binaryequals", binaryEquals],
  ["ipaddress", ipAddress(false)],
  ["notipaddress", ipAddress(true)],
  ["arnequals", arnLike(false)],
  ["arnlike", arnLike(false)],
  ["arnnotequals", arnLike(true)],
  ["arnnotlike", arnLike(true)],
]);

interface OperatorName {
  readonly quantifier: "all" | "any" | null;
  readonly base: string;
  readonly ifExists: boolean;
}

/** `ForAnyValue:StringLikeIfExists` in its parts; null when there is no such operator. */
function parseOperator(text: string): OperatorName | null {
  let base = text.toLowerCase();
  let quantifier: OperatorName["quantifier"] = null;
  if (base.startsWith("forallvalues:")) quantifier = "all";
  else if (base.startsWith("foranyvalue:")) quantifier = "any";
  if (quantifier !== null) base = base.slice(base.indexOf(":") + 1);
  if (base === "null") return quantifier === null ? { quantifier, base, ifExists: false } : null;
  const ifExists = base.endsWith("ifexists");
  if (ifExists) base = base.slice(0, -"ifexists".length);
  return OPERATORS.has(base) ? { quantifier, base, ifExists } : null;
}

export const isOperator = (text: string): boolean => parseOperator(text) !== null;

/**
 * Compiles one operator and key.
 * @throws Error for an operator that does not exist; `document.ts` lets none through
 */
export function compileCondition(
  operatorName: string,
  key: string,
  values: readonly string[],
  variables: boolean,
): ConditionTest {
  const name = parseOperator(operatorName);
  if (name === null) throw new Error(`not a condition operator: ${operatorName}`);
  const lookup = key.toLowerCase();
  if (name.base === "null") {
    const absent = values.some((value) => value.toLowerCase() === "true");
    const present = values.some((value) => value.toLowerCase() === "false");
    return (context) => (context.get(lookup) === undefined ? absent : present);
  }
  const operator = OPERATORS.get(name.base)!;
  const test = operator.compile(values, variables);
  const { negated } = operator;
  const meets = (value: string, context: Context): boolean => {
    const verdict = test(value, context);
    return verdict !== null && verdict !== negated;
  };
  switch (name.quantifier) {
    case "all":
      return (context) => listOf(context.get(lookup)).every((value) => meets(value, context));
    case "any":
      return (context) => listOf(context.get(lookup)).some((value) => meets(value, context));
    case null: {
      const whenAbsent = negated || name.ifExists;
      return (context) => {
        const found = context.get(lookup);
        if (found === undefined) return whenAbsent;
        if (typeof found === "string") return meets(found, context);
        // Several values where the author thought of one: any may match; a negated operator must hold for all.
        return negated ? found.every((value) => meets(value, context)) : found.some((value) => meets(value, context));
      };
    }
  }
}

const listOf = (found: string | readonly string[] | undefined): readonly string[] =>
  found === undefined ? [] : typeof found === "string" ? [found] : found;
