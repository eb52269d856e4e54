// Sigma's selections over a CloudTrail record: which fields must have which values.
//
//   a map            all of its fields
//   a list of maps   any of them
//   a list of texts  any of them, anywhere in the record
//
// A field is a path (`requestParameters.launchPermission.add.items.group`); where it leads through lists, any element may
// match, as in every Sigma backend for JSON. Texts are compared without regard to case; `*` and `?` are wildcards and `\`
// takes their meaning away.
import { BlockList, isIP } from "node:net";
import type { Json, JsonObject } from "../json.ts";
import { type EventNames, union } from "./event-names.ts";
import { SigmaError } from "./sigma-error.ts";

export type Matcher = (record: JsonObject) => boolean;
type ValueMatcher = (values: readonly Json[]) => boolean;

const MODIFIERS = new Set([
  ...["contains", "startswith", "endswith", "all", "cased", "re", "i", "cidr", "exists", "gt", "gte", "lt", "lte"],
  "neq",
]);

/** Regular expressions see no more of a text. */
const MOST_TEXT = 4096;
const MOST_PATTERN = 500;

/** @throws SigmaError */
export function compileSelection(name: string, selection: unknown): Matcher {
  if (Array.isArray(selection)) {
    if (selection.length === 0) throw new SigmaError(`${name} is empty`);
    const parts = (selection as unknown[]).map((one) =>
      isMap(one) ? compileMap(name, one) : compileKeyword(name, one),
    );
    return (record) => parts.some((part) => part(record));
  }
  if (isMap(selection)) return compileMap(name, selection);
  return compileKeyword(name, selection);
}

/** Of which events a selection can be true, where that is plain to see. */
export function eventNamesOf(selection: unknown): EventNames {
  if (Array.isArray(selection)) return (selection as unknown[]).map(eventNamesOf).reduce(union, new Set<string>());
  if (!isMap(selection) || !("eventName" in selection)) return null;
  const { eventName } = selection;
  const wanted: readonly unknown[] = Array.isArray(eventName) ? eventName : [eventName];
  const names = wanted.filter((one) => typeof one === "string");
  return names.length < wanted.length || names.some(isPattern) ? null : new Set(names.map((one) => one.toLowerCase()));
}

function compileMap(name: string, map: Readonly<Record<string, unknown>>): Matcher {
  const fields = Object.entries(map).map(([key, value]) => compileField(name, key, value));
  if (fields.length === 0) throw new SigmaError(`${name} is empty`);
  return (record) => fields.every((field) => field(record));
}

function compileKeyword(name: string, value: unknown): Matcher {
  if (typeof value !== "string" && typeof value !== "number") {
    throw new SigmaError(`${name} has a value that is neither a text nor a map`);
  }
  const pattern = wildcard(`*${value}*`, false);
  return (record) => someText(record, (text) => pattern.test(text));
}

function someText(value: Json, test: (text: string) => boolean): boolean {
  if (value === null) return false;
  if (typeof value !== "object") return test(String(value));
  return (Array.isArray(value) ? value : Object.values(value)).some((one: Json) => someText(one, test));
}

function compileField(name: string, key: string, value: unknown): Matcher {
  const [field = "", ...modifiers] = key.split("|");
  const unknown = modifiers.find((modifier) => !MODIFIERS.has(modifier));
  if (unknown !== undefined) throw new SigmaError(`${name}: the modifier ${unknown} of ${field} is not supported`);
  const has = new Set(modifiers);
  const path = field.split(".");
  if (field === "" || path.includes("")) throw new SigmaError(`${name}: ${key} names no field`);
  if (has.has("exists")) {
    if (typeof value !== "boolean") throw new SigmaError(`${name}: ${key} takes true or false`);
    return (record) => valuesAt(record, path).some((one) => one !== null) === value;
  }
  const wanted: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (wanted.length === 0) throw new SigmaError(`${name}: ${key} has no value`);
  const tests = wanted.map((one) => compileValue(`${name}: ${key}`, one, has));
  const all = has.has("all");
  const negated = has.has("neq");
  return (record) => {
    const values = valuesAt(record, path);
    const matched = all ? tests.every((test) => test(values)) : tests.some((test) => test(values));
    return matched !== negated;
  };
}

function compileValue(where: string, wanted: unknown, has: ReadonlySet<string>): ValueMatcher {
  if (wanted === null) return (values) => values.every((value) => value === null);
  if (typeof wanted !== "string" && typeof wanted !== "number" && typeof wanted !== "boolean") {
    throw new SigmaError(`${where} takes texts, numbers, true, false or null`);
  }
  const compare = comparison(has);
  if (compare !== undefined) {
    if (typeof wanted !== "number") throw new SigmaError(`${where} takes a number`);
    return (values) => values.some((value) => value !== null && value !== "" && compare(Number(value), wanted));
  }
  const test = textTest(where, String(wanted), has);
  // A record may say `true` where a rule says 'true', and the other way round.
  return (values) => values.some((value) => value !== null && typeof value !== "object" && test(String(value)));
}

function comparison(has: ReadonlySet<string>): ((value: number, limit: number) => boolean) | undefined {
  if (has.has("gt")) return (value, limit) => value > limit;
  if (has.has("gte")) return (value, limit) => value >= limit;
  if (has.has("lt")) return (value, limit) => value < limit;
  if (has.has("lte")) return (value, limit) => value <= limit;
  return undefined;
}

function textTest(where: string, wanted: string, has: ReadonlySet<string>): (text: string) => boolean {
  if (has.has("re")) {
    const pattern = boundedPattern(where, wanted, has.has("i"));
    return (text) => pattern.test(text.slice(0, MOST_TEXT));
  }
  if (has.has("cidr")) {
    const network = networkOf(where, wanted);
    return (text) => {
      const version = isIP(text);
      return version !== 0 && network.check(text, version === 6 ? "ipv6" : "ipv4");
    };
  }
  const before = has.has("contains") || has.has("endswith") ? "*" : "";
  const after = has.has("contains") || has.has("startswith") ? "*" : "";
  if (before === "" && after === "" && !isPattern(wanted)) {
    if (has.has("cased")) return (text) => text === wanted;
    const lower = wanted.toLowerCase();
    return (text) => text.length === wanted.length && text.toLowerCase() === lower;
  }
  const pattern = wildcard(`${before}${wanted}${after}`, has.has("cased"));
  return (text) => pattern.test(text);
}

/** Whether a text stands for others than itself. Beyond ASCII, letters of one length have forms of another. */
const isPattern = (text: string): boolean => /[*?\\]|[^\x20-\x7e]/.test(text);

/**
 * A regular expression whose time is bounded: short, over a bounded text, without what makes a search explode (a repetition
 * inside a repeated group) or look back.
 */
function boundedPattern(where: string, source: string, ignoreCase: boolean): RegExp {
  if (source.length > MOST_PATTERN) throw new SigmaError(`${where}: the expression is longer than ${MOST_PATTERN}`);
  if (/\\[1-9]|\\k<|\(\?[<=!]/.test(source)) throw new SigmaError(`${where}: the expression looks back or ahead`);
  if (repeatsARepetition(source)) throw new SigmaError(`${where}: the expression repeats a group that repeats`);
  try {
    return new RegExp(source, ignoreCase ? "i" : "");
  } catch (cause) {
    throw new SigmaError(`${where}: not a regular expression`, { cause });
  }
}

function repeatsARepetition(source: string): boolean {
  const groups: boolean[] = [];
  let escaped = false;
  let inClass = false;
  let closed: boolean | null = null;
  for (const char of source) {
    const justClosed = closed;
    closed = null;
    if (escaped) escaped = false;
    else if (char === "\\") escaped = true;
    else if (inClass) inClass = char !== "]";
    else if (char === "[") inClass = true;
    else if (char === "(") groups.push(false);
    else if (char === ")") {
      closed = groups.pop() ?? false;
      // What repeats inside repeats for every group around it.
      if (closed && groups.length > 0) groups[groups.length - 1] = true;
    } else if (char === "*" || char === "+" || char === "{") {
      if (justClosed === true) return true;
      if (groups.length > 0) groups[groups.length - 1] = true;
    } else if (char === "|" && groups.length > 0) groups[groups.length - 1] = true;
  }
  return false;
}

function networkOf(where: string, text: string): BlockList {
  const [address = "", bits = ""] = text.split("/");
  const version = isIP(address);
  const prefix = Number(bits);
  if (version === 0 || !/^\d{1,3}$/.test(bits) || prefix > (version === 6 ? 128 : 32)) {
    throw new SigmaError(`${where}: ${text} is not a network`);
  }
  const list = new BlockList();
  list.addSubnet(address, prefix, version === 6 ? "ipv6" : "ipv4");
  return list;
}

/** Linear in the text: `*` becomes a lazy run, and one text seldom has more than two of them. */
function wildcard(pattern: string, cased: boolean): RegExp {
  const source = pattern.replaceAll(
    /\\([*?\\])|([*?])|([.+^${}()|[\]\\])/g,
    (_whole, escaped: string | undefined, special: string | undefined, literal: string | undefined) => {
      if (escaped !== undefined) return `\\${escaped}`;
      if (special !== undefined) return special === "*" ? "[^]*?" : "[^]";
      return `\\${literal}`;
    },
  );
  return new RegExp(`^${source}$`, cased ? "" : "i");
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** What a path leads to: every value where it goes through lists; none where it leads nowhere. */
export function valuesAt(record: Json, path: readonly string[]): Json[] {
  let at = record;
  for (const name of path) {
    if (Array.isArray(at)) return valuesThroughLists(record, path);
    if (at === null || typeof at !== "object" || !Object.hasOwn(at, name)) return [];
    at = (at as JsonObject)[name] ?? null;
  }
  return Array.isArray(at) ? [...flat(at)] : [at];
}

function valuesThroughLists(record: Json, path: readonly string[]): Json[] {
  let found: readonly Json[] = flat(record);
  for (const name of path) {
    const next: Json[] = [];
    for (const one of found) {
      if (one === null || typeof one !== "object" || Array.isArray(one)) continue;
      const at = one as JsonObject;
      if (Object.hasOwn(at, name)) next.push(...flat(at[name] ?? null));
    }
    found = next;
  }
  return [...found];
}

const flat = (value: Json): readonly Json[] =>
  Array.isArray(value) ? (value as readonly Json[]).flatMap(flat) : [value];
