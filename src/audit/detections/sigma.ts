// Rules in Sigma's format, the part of it that rules over CloudTrail use. A YAML file has one rule or several documents.
//
//   a rule          title, id, level, logsource, detection: { selection…, condition }, fields, tags, falsepositives
//   a correlation   correlation: { type, rules, group-by, timespan, condition } over rules that are named
//
// Besides Sigma's own, a rule may have `ingot:` (Sigma lets tools add their own): what the finding says, what to do next,
// by which fields findings are told apart, and for how long the same goes into one finding.
//
// No kept library reads Sigma in JavaScript: this is ours, with Sigma's specification 2.0 as its measure. What it does not
// know (aggregations after a pipe, modifiers such as base64) is refused when the rule is read, never passed over.
import { parseAllDocuments } from "yaml";
import type { JsonObject } from "../json.ts";
import { type EventNames, union } from "./event-names.ts";
import { parseCondition } from "./sigma-condition.ts";
import { SigmaError } from "./sigma-error.ts";
import { compileSelection, eventNamesOf, type Matcher } from "./sigma-match.ts";

/** Ascending. */
export const LEVELS = ["informational", "low", "medium", "high", "critical"] as const;
export type Level = (typeof LEVELS)[number];

interface RuleBase {
  /** A UUID. */
  readonly id: string;
  /** What correlations call it. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly level: Level;
  readonly tags: readonly string[];
  readonly falsePositives: readonly string[];
  /** What whoever reads the finding should do, in order. */
  readonly next: readonly string[];
  /** Findings of one rule are told apart by the values of these fields, besides account and Region. */
  readonly groupBy: readonly string[];
  /** What matches within this time of the last event goes into the same finding. */
  readonly quietMs: number;
}

export interface EventRule extends RuleBase {
  readonly kind: "event";
  readonly matches: Matcher;
  /** It matches no others. */
  readonly eventNames: EventNames;
  /** False: only counted by correlations. */
  readonly generates: boolean;
}

export interface CorrelationRule extends RuleBase {
  readonly kind: "correlation";
  readonly type: "event_count" | "value_count" | "temporal";
  /** Ids of event rules. */
  readonly rules: readonly string[];
  readonly timespanMs: number;
  /** The field whose different values are counted. */
  readonly valueField: string | null;
  readonly least: number;
}

export type Rule = EventRule | CorrelationRule;

interface UnresolvedCorrelation extends Omit<CorrelationRule, "rules"> {
  readonly refersTo: readonly string[];
  readonly generate: boolean;
}

const HOUR_MS = 3_600_000;
/** CloudTrail's records, as Sigma calls them. */
const PRODUCT = "aws";
const SERVICE = "cloudtrail";

/**
 * Reads rules from YAML texts, or from what is in them.
 * @param files  name (for messages) and content
 * @throws SigmaError with the file's name
 */
export function parseRules(files: Iterable<readonly [name: string, content: string | readonly unknown[]]>): Rule[] {
  const events = new Map<string, EventRule>();
  const correlations: UnresolvedCorrelation[] = [];
  for (const [file, content] of files) {
    try {
      for (const one of typeof content === "string" ? documentsOf(content) : content) {
        const document = map(one, "the document");
        if ("correlation" in document) correlations.push(parseCorrelation(document));
        else {
          const rule = parseEventRule(document);
          if (events.has(rule.id)) throw new SigmaError(`the id ${rule.id} is there twice`);
          events.set(rule.id, rule);
        }
      }
    } catch (cause) {
      throw new SigmaError(`${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
  }
  return resolve(events, correlations);
}

/** Correlations refer to rules by name or id; a rule that is referred to makes findings of its own only where it says so. */
function resolve(events: Map<string, EventRule>, correlations: readonly UnresolvedCorrelation[]): Rule[] {
  const byName = new Map([...events.values()].flatMap((rule) => [[rule.name, rule.id] as const, [rule.id, rule.id]]));
  const silent = new Set<string>();
  const resolved = correlations.map(({ refersTo, generate, ...correlation }): CorrelationRule => {
    const rules = refersTo.map((name) => {
      const id = byName.get(name);
      if (id === undefined) throw new SigmaError(`${correlation.title}: there is no rule ${name}`);
      if (!generate) silent.add(id);
      return id;
    });
    return { ...correlation, rules };
  });
  return [
    ...[...events.values()].map((rule) => (silent.has(rule.id) ? { ...rule, generates: false } : rule)),
    ...resolved,
  ];
}

/** A rule file's documents as plain values. @throws SigmaError when it is no YAML */
export function documentsOf(text: string): unknown[] {
  return parseAllDocuments(text, { merge: false }).map((document) => {
    const [error] = document.errors;
    if (error !== undefined) throw new SigmaError(error.message);
    // Aliases are not followed without end: a few lines could become gigabytes.
    return document.toJS({ maxAliasCount: 20 }) as unknown;
  });
}

type Mapping = Readonly<Record<string, unknown>>;

function map(value: unknown, what: string): Mapping {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new SigmaError(`${what} is not a map`);
  return value as Mapping;
}

function text(of: Mapping, name: string, fallback?: string): string {
  const value = of[name] ?? fallback;
  if (typeof value !== "string" || (value === "" && fallback !== "")) throw new SigmaError(`${name} is missing`);
  return value.trim();
}

function texts(of: Mapping, name: string): string[] {
  const value = of[name] ?? [];
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.map((one) => {
    if (typeof one !== "string") throw new SigmaError(`${name} takes texts`);
    return one.trim();
  });
}

function parseBase(document: Mapping): RuleBase {
  const own = document.ingot === undefined ? {} : map(document.ingot, "ingot");
  const id = text(document, "id");
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) throw new SigmaError(`the id ${id} is not a UUID`);
  const level = text(document, "level", "medium");
  const known = LEVELS.find((one) => one === level);
  if (known === undefined) throw new SigmaError(`the level ${level} is not one of ${LEVELS.join(", ")}`);
  return {
    id,
    name: text(document, "name", id),
    title: text(document, "title"),
    description: text(document, "description", ""),
    level: known,
    tags: texts(document, "tags"),
    falsePositives: texts(document, "falsepositives"),
    next: texts(own, "next"),
    groupBy: texts(own, "group-by"),
    quietMs: own.quiet === undefined ? HOUR_MS : durationMs(own.quiet),
  };
}

function parseEventRule(document: Mapping): EventRule {
  const source = map(document.logsource, "logsource");
  if (source.product !== PRODUCT || source.service !== SERVICE) {
    throw new SigmaError(`the logsource is not ${PRODUCT}/${SERVICE}`);
  }
  const { condition: given, ...selections } = map(document.detection, "detection");
  if (typeof given !== "string" && !Array.isArray(given)) throw new SigmaError("condition is missing");
  if ("timeframe" in selections) throw new SigmaError("timeframe is Sigma's old form: write a correlation");
  const matchers = new Map(Object.entries(selections).map(([name, one]) => [name, compileSelection(name, one)]));
  const names = new Map(Object.entries(selections).map(([name, one]) => [name, eventNamesOf(one)]));
  const conditions = (Array.isArray(given) ? (given as unknown[]) : [given]).map((one) => {
    if (typeof one !== "string") throw new SigmaError("condition is not a text");
    if (one.includes("|"))
      throw new SigmaError("aggregations in a condition are Sigma's old form: write a correlation");
    return parseCondition(one, names);
  });
  const eventNames = conditions.map((condition) => condition.eventNames).reduce(union, new Set());
  const matches = (record: JsonObject): boolean => {
    const known = new Map<string, boolean>();
    const selected = (name: string): boolean => {
      let answer = known.get(name);
      if (answer === undefined) {
        answer = matchers.get(name)?.(record) ?? false;
        known.set(name, answer);
      }
      return answer;
    };
    return conditions.some((condition) => condition.holds(selected));
  };
  return { kind: "event", ...parseBase(document), matches, eventNames, generates: true };
}

function parseCorrelation(document: Mapping): UnresolvedCorrelation {
  const correlation = map(document.correlation, "correlation");
  const type = text(correlation, "type");
  if (type !== "event_count" && type !== "value_count" && type !== "temporal") {
    throw new SigmaError(`correlations of the type ${type} are not supported`);
  }
  if (correlation.aliases !== undefined) throw new SigmaError("aliases are not supported");
  const refersTo = texts(correlation, "rules");
  if (refersTo.length === 0) throw new SigmaError("the correlation names no rules");
  const timespanMs = durationMs(correlation.timespan);
  const base = parseBase(document);
  const { least, field } =
    type === "temporal" ? { least: refersTo.length, field: null } : parseLeast(correlation.condition);
  if ((type === "value_count") !== (field !== null))
    throw new SigmaError(`a field is for value_count, and needed there`);
  return {
    kind: "correlation",
    ...base,
    groupBy: texts(correlation, "group-by"),
    quietMs: timespanMs,
    type,
    refersTo,
    // An old spelling and the new one; the default is that only the correlation makes findings.
    generate: correlation.generate === true || document.generate === true,
    timespanMs,
    valueField: field,
    least,
  };
}

function parseLeast(given: unknown): { readonly least: number; readonly field: string | null } {
  const condition = map(given, "the correlation's condition");
  const { field = null, ...compare } = condition;
  const [operator, ...more] = Object.keys(compare);
  const limit = operator === undefined ? undefined : compare[operator];
  if (more.length > 0 || typeof limit !== "number" || !Number.isInteger(limit)) {
    throw new SigmaError("a correlation's condition is gte or gt with a whole number");
  }
  if (operator !== "gte" && operator !== "gt") throw new SigmaError(`${operator} can't be counted up to: gte or gt`);
  const least = operator === "gte" ? limit : limit + 1;
  if (least < 1 || least > 10_000) throw new SigmaError("counts from 1 to 10000");
  if (field !== null && typeof field !== "string") throw new SigmaError("field takes a text");
  return { least, field };
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: HOUR_MS, d: 24 * HOUR_MS };

/** `90s`, `15m`, `2h`, `7d`. */
function durationMs(value: unknown): number {
  const [, digits, unit] = (typeof value === "string" ? /^(\d{1,5})([smhd])$/.exec(value) : null) ?? [];
  const ms = Number(digits) * (UNIT_MS[unit ?? ""] ?? 0);
  if (!(ms > 0)) throw new SigmaError(`${String(value)} is not a time such as 15m`);
  return ms;
}
