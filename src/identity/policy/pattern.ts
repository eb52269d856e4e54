// Wildcards and policy variables, as AWS matches them.
//
// `*` is any run of characters, `?` any one. `${key}` and `${key, 'default'}` stand for a condition key's value, whose own
// `*` and `?` are plain characters; `${*}`, `${?}` and `${$}` are those characters themselves. A variable whose key is
// absent, or has several values, has no value: what contains it matches nothing.
//
// No regular expressions: matching is O(pattern × text) at worst, whatever a policy's author writes.
import type { Context } from "./context.ts";

/** Wildcards inside compiled patterns. Policy documents cannot contain these two characters (`document.ts`). */
const STAR = "\u0000";
const ANY_ONE = "\u0001";

/** A compiled wildcard pattern. */
export interface Glob {
  matches(text: string): boolean;
  /** Matches whatever text it is given. */
  readonly everything: boolean;
}

const EVERYTHING: Glob = { matches: () => true, everything: true };

/** Compiles text in which `STAR` and `ANY_ONE` are the wildcards. */
function globOf(pattern: string): Glob {
  const hasAnyOne = pattern.includes(ANY_ONE);
  const firstStar = pattern.indexOf(STAR);
  if (firstStar === -1 && !hasAnyOne) return { matches: (text) => text === pattern, everything: false };
  const parts = pattern.split(STAR).filter((part, at, all) => part !== "" || at === 0 || at === all.length - 1);
  if (!hasAnyOne && parts.every((part) => part === "")) return EVERYTHING;
  const first = parts[0]!;
  if (!hasAnyOne && parts.length === 2 && parts[1] === "") {
    return { matches: (text) => text.startsWith(first), everything: false };
  }
  if (!hasAnyOne && parts.length === 2) {
    const last = parts[1]!;
    const least = first.length + last.length;
    return {
      matches: (text) => text.length >= least && text.endsWith(last) && text.startsWith(first),
      everything: false,
    };
  }
  return { matches: (text) => matchesParts(parts, text), everything: false };
}

/** The first part begins the text, the last ends it, the others follow each other, each as far left as it can. */
function matchesParts(parts: readonly string[], text: string): boolean {
  const first = parts[0]!;
  if (!partAt(first, text, 0)) return false;
  if (parts.length === 1) return first.length === text.length;
  const last = parts[parts.length - 1]!;
  const end = text.length - last.length;
  let at = first.length;
  if (end < at || !partAt(last, text, end)) return false;
  for (let i = 1; i < parts.length - 1; i++) {
    const part = parts[i]!;
    at = findPart(part, text, at, end);
    if (at === -1) return false;
    at += part.length;
  }
  return true;
}

function partAt(part: string, text: string, at: number): boolean {
  if (!part.includes(ANY_ONE)) return text.startsWith(part, at);
  if (at + part.length > text.length) return false;
  for (let i = 0; i < part.length; i++) {
    const char = part[i]!;
    if (char !== ANY_ONE && char !== text[at + i]) return false;
  }
  return true;
}

/** Where `part` occurs first in `text[from, end)`, or -1. */
function findPart(part: string, text: string, from: number, end: number): number {
  if (!part.includes(ANY_ONE)) {
    const at = text.indexOf(part, from);
    return at === -1 || at + part.length > end ? -1 : at;
  }
  for (let at = from; at + part.length <= end; at++) if (partAt(part, text, at)) return at;
  return -1;
}

/** A pattern without variables: `ec2:Describe*`. */
export const glob = (pattern: string): Glob => globOf(pattern.replaceAll("*", STAR).replaceAll("?", ANY_ONE));

interface Variable {
  /** Lower case. */
  readonly key: string;
  readonly fallback: string | null;
}

/** Text of a policy in which variables may stand. */
export interface Template {
  /** The text when it has no variables, else null. */
  readonly fixed: string | null;
  /** The text for this request, or null when a variable has no value. */
  resolve(context: Context): string | null;
}

/**
 * Compiles `text`.
 * @param wildcards  whether `*` and `?` are wildcards here; if not they are themselves
 * @param variables  false in documents of version 2008-10-17, where `${` is itself
 */
function template(text: string, wildcards: boolean, variables: boolean): Template {
  const mark = (plain: string) => (wildcards ? plain.replaceAll("*", STAR).replaceAll("?", ANY_ONE) : plain);
  const pieces: (string | Variable)[] = [];
  let at = 0;
  while (variables) {
    const open = text.indexOf("${", at);
    const close = open === -1 ? -1 : closingBrace(text, open + 2);
    if (close === -1) break;
    pieces.push(mark(text.slice(at, open)));
    const inner = text.slice(open + 2, close);
    pieces.push(inner === "*" || inner === "?" || inner === "$" ? inner : variable(inner));
    at = close + 1;
  }
  pieces.push(mark(text.slice(at)));
  if (pieces.every((piece) => typeof piece === "string")) {
    const fixed = pieces.join("");
    return { fixed, resolve: () => fixed };
  }
  return { fixed: null, resolve: (context) => substitute(pieces, context) };
}

/** A default in quotes may hold a brace. */
function closingBrace(text: string, from: number): number {
  let quoted = false;
  for (let at = from; at < text.length; at++) {
    if (text[at] === "'") quoted = !quoted;
    else if (text[at] === "}" && !quoted) return at;
  }
  return -1;
}

function variable(inner: string): Variable {
  const comma = inner.indexOf(",");
  if (comma === -1) return { key: inner.trim().toLowerCase(), fallback: null };
  const quoted = inner.slice(comma + 1).trim();
  const isQuoted = quoted.length >= 2 && quoted.startsWith("'") && quoted.endsWith("'");
  return { key: inner.slice(0, comma).trim().toLowerCase(), fallback: isQuoted ? quoted.slice(1, -1) : null };
}

function substitute(pieces: readonly (string | Variable)[], context: Context): string | null {
  let text = "";
  for (const piece of pieces) {
    if (typeof piece === "string") {
      text += piece;
      continue;
    }
    const found = context.get(piece.key);
    const value = found === undefined ? piece.fallback : typeof found === "string" ? found : null;
    // A value that holds our wildcard marks would act as a wildcard: it is no value at all.
    if (value === null || value.includes(STAR) || value.includes(ANY_ONE)) return null;
    text += value;
  }
  return text;
}

/** Literal text with variables, for `StringEquals`. */
export const literal = (text: string, variables: boolean): Template => template(text, false, variables);

/** A wildcard pattern with variables, for `StringLike`. `null` when a variable has no value. */
export interface Pattern {
  readonly fixed: Glob | null;
  resolve(context: Context): Glob | null;
}

export function pattern(text: string, variables: boolean): Pattern {
  const source = template(text, true, variables);
  if (source.fixed !== null) {
    const fixed = globOf(source.fixed);
    return { fixed, resolve: () => fixed };
  }
  return {
    fixed: null,
    resolve(context) {
      const resolved = source.resolve(context);
      return resolved === null ? null : globOf(resolved);
    },
  };
}

/** A pattern of ARNs. */
export interface ArnGlob {
  /** @param parts  `splitArn(arn)`, or null when it is not an ARN */
  matches(arn: string, parts: ArnParts | null): boolean;
}

/** partition, service, region, account and resource: what follows `arn:`. */
export type ArnParts = readonly [partition: string, service: string, region: string, account: string, resource: string];

/** @returns null when `arn` is not `arn:` with six parts */
export function splitArn(arn: string): ArnParts | null {
  if (!arn.startsWith("arn:")) return null;
  const cuts: number[] = [];
  for (let at = 4; cuts.length < 4; ) {
    const colon = arn.indexOf(":", at);
    if (colon === -1) return null;
    cuts.push(colon);
    at = colon + 1;
  }
  const [a, b, c, d] = cuts as [number, number, number, number];
  return [arn.slice(4, a), arn.slice(a + 1, b), arn.slice(b + 1, c), arn.slice(c + 1, d), arn.slice(d + 1)];
}

/**
 * Each of an ARN's six parts is matched by itself, so that a resource's name (which its owner chooses, colons included)
 * never passes for another account. A pattern may break off early with a `*`, which then reaches over the colons that
 * follow: `arn:aws:ec2:*` is every resource of EC2.
 */
function arnGlobOf(marked: string): ArnGlob {
  if (marked === STAR) return { matches: () => true };
  if (!marked.includes(STAR) && !marked.includes(ANY_ONE)) return { matches: (arn) => arn === marked };
  const literalHead = marked.slice(0, -1);
  if (marked.endsWith(STAR) && !literalHead.includes(STAR) && !literalHead.includes(ANY_ONE)) {
    return { matches: (arn) => arn.startsWith(literalHead) };
  }
  if (!marked.startsWith("arn:")) return { matches: () => false };
  const given = marked.slice(4).split(":");
  const parts = [...given.slice(0, 4), ...(given.length > 4 ? [given.slice(4).join(":")] : [])];
  if (parts.length < 5 && !marked.endsWith(STAR)) return { matches: () => false };
  const last = parts.length - 1;
  const lastGlob = globOf(parts[last]!);
  // Only the parts that can say no.
  const others = parts
    .slice(0, last)
    .map((part, at) => ({ at, glob: globOf(part) }))
    .filter((each) => !each.glob.everything);
  return {
    matches(_arn, of) {
      if (of === null) return false;
      // The last first: it tells patterns apart most often.
      if (!lastGlob.matches(last === 4 ? of[4] : of.slice(last).join(":"))) return false;
      for (const each of others) if (!each.glob.matches(of[each.at]!)) return false;
      return true;
    },
  };
}

export interface ArnPattern {
  readonly fixed: ArnGlob | null;
  resolve(context: Context): ArnGlob | null;
}

/** A pattern for `Resource`, where `*` alone is anything. */
export function arnPattern(text: string, variables: boolean): ArnPattern {
  const source = template(text, true, variables);
  if (source.fixed !== null) {
    const fixed = arnGlobOf(source.fixed);
    return { fixed, resolve: () => fixed };
  }
  return {
    fixed: null,
    resolve(context) {
      const resolved = source.resolve(context);
      return resolved === null ? null : arnGlobOf(resolved);
    },
  };
}
