// EC2's filters: what every Describe shares. Values of one filter are alternatives, filters must all hold; case counts.
//
//   const IMAGE_FILTERS: FilterTable<Image> = {
//     values: { "image-id": (i) => i.id, "is-public": (i) => i.isPublic, "block-device-mapping.volume-size": (i) => sizes(i) },
//     tags: (i) => i.tags,
//   };
//   const filters = compileFilters(input.Filters, IMAGE_FILTERS);
//   const ids = filters.exactValues("image-id");      // may narrow the SQL; `matches` still decides
//   rows.filter(filters.matches)
//
// Wildcards: `*` any text, `?` exactly one character, `\` takes the next character as it is. No regular expressions, so
// no pattern is slow: a match costs at most pattern × value, and what is not a pattern is one look-up in a set.

import { ApiError } from "../base/api-error.ts";

/** As in the SDK's types. */
export interface Filter {
  readonly Name?: string | undefined;
  readonly Values?: readonly string[] | undefined;
}

/** What a row can offer; booleans are compared as `true` and `false`, dates as `2026-01-31T00:00:00.000Z`. */
export type FilterValue = string | number | boolean | Date | null | undefined;

export interface Tag {
  readonly Key?: string | undefined;
  readonly Value?: string | undefined;
}

export interface FilterTable<Row> {
  /** By the filter's name. Several values: one that matches is enough. None: the filter does not hold. */
  readonly values: Readonly<Record<string, (row: Row) => FilterValue | readonly FilterValue[]>>;
  /** For `tag:<key>`, `tag-key` and `tag-value`; without it those are refused. */
  readonly tags?: (row: Row) => readonly Tag[];
}

export interface Filters<Row> {
  /** Bound: may be passed to `Array.filter`. */
  readonly matches: (row: Row) => boolean;
  /** No filter at all. */
  readonly isEmpty: boolean;
  /**
   * The values to which a filter (`state`, `tag:Name`) confines the rows: undefined where it is not given or has a
   * wildcard. Unescaped, in the client's order.
   */
  exactValues(name: string): readonly string[] | undefined;
}

/** Over all filters of one call, as EC2's message says. */
const MAX_VALUES = 200;
const MAX_FILTERS = 50;
const MAX_VALUE_LENGTH = 255;

const invalidFilter = (name: string) =>
  new ApiError("InvalidParameterValue", `The filter '${name.slice(0, 128)}' is invalid`);

/**
 * @throws ApiError `InvalidParameterValue` for an unknown name, `MissingParameter` without values,
 *   `FilterLimitExceeded` above 50 filters or 200 values
 */
export function compileFilters<Row>(filters: readonly Filter[] | undefined, table: FilterTable<Row>): Filters<Row> {
  const exact = new Map<string, readonly string[]>();
  const tests: ((row: Row) => boolean)[] = [];
  if (filters !== undefined && filters.length > MAX_FILTERS) {
    throw new ApiError(
      "FilterLimitExceeded",
      `The maximum number of filters specified on a single call is ${MAX_FILTERS}`,
    );
  }
  let count = 0;
  for (const [index, { Name: name, Values: values }] of (filters ?? []).entries()) {
    if (name === undefined || name === "") throw invalidFilter("null");
    const read = reader(name, table);
    if (values === undefined || values.length === 0) {
      throw new ApiError("MissingParameter", `The request must contain the parameter Filter.${index + 1}.Value`);
    }
    count += values.length;
    if (count > MAX_VALUES) {
      const message = `The maximum number of filter values specified on a single call is ${MAX_VALUES}`;
      throw new ApiError("FilterLimitExceeded", message);
    }
    const patterns = values.map((value) => {
      if (value.length > MAX_VALUE_LENGTH) {
        throw new ApiError(
          "InvalidParameterValue",
          `A value of the filter '${name}' is longer than ${MAX_VALUE_LENGTH} characters`,
        );
      }
      return parsePattern(value);
    });
    const literals = patterns.filter((pattern) => typeof pattern === "string");
    if (literals.length === patterns.length && !exact.has(name)) exact.set(name, literals);
    const matchesText = textTest(patterns);
    tests.push((row) => {
      const found = read(row);
      return Array.isArray(found)
        ? found.some((value) => matchesValue(value, matchesText))
        : matchesValue(found, matchesText);
    });
  }
  return {
    matches: (row) => {
      for (const test of tests) if (!test(row)) return false;
      return true;
    },
    isEmpty: tests.length === 0,
    exactValues: (name) => exact.get(name),
  };
}

function reader<Row>(name: string, table: FilterTable<Row>): (row: Row) => FilterValue | readonly FilterValue[] {
  if (Object.hasOwn(table.values, name)) {
    const read = table.values[name];
    if (read !== undefined) return read;
  }
  const { tags } = table;
  if (tags !== undefined) {
    if (name === "tag-key") return (row) => tags(row).map((tag) => tag.Key);
    if (name === "tag-value") return (row) => tags(row).map((tag) => tag.Value ?? "");
    if (name.startsWith("tag:") && name.length > 4) {
      const key = name.slice(4);
      return (row) => {
        const tag = tags(row).find((one) => one.Key === key);
        return tag === undefined ? undefined : (tag.Value ?? "");
      };
    }
  }
  throw invalidFilter(name);
}

function matchesValue(value: unknown, matchesText: (text: string) => boolean): boolean {
  if (value === undefined || value === null) return false;
  return matchesText(value instanceof Date ? value.toISOString() : String(value));
}

/** A pattern as its parts: text, and what stands for `*` and `?`. Without wildcards, simply the text. */
type Pattern = string | readonly (string | typeof ANY | typeof ONE)[];
const ANY = Symbol("*");
const ONE = Symbol("?");

function parsePattern(value: string): Pattern {
  const parts: (string | typeof ANY | typeof ONE)[] = [];
  let text = "";
  const flush = () => {
    if (text !== "") parts.push(text);
    text = "";
  };
  const characters = [...value];
  for (let i = 0; i < characters.length; i++) {
    const c = characters[i]!;
    if (c === "\\" && i + 1 < characters.length) text += characters[++i]!;
    else if (c === "*") {
      flush();
      if (parts.at(-1) !== ANY) parts.push(ANY);
    } else if (c === "?") {
      flush();
      parts.push(ONE);
    } else text += c;
  }
  if (parts.length === 0) return text;
  flush();
  return parts;
}

function textTest(patterns: readonly Pattern[]): (text: string) => boolean {
  const literals = new Set<string>();
  const globs: ((text: string) => boolean)[] = [];
  for (const pattern of patterns) {
    if (typeof pattern === "string") literals.add(pattern);
    else globs.push(globTest(pattern));
  }
  return (text) => literals.has(text) || globs.some((glob) => glob(text));
}

/** One character of a pattern: itself, or any. */
type Step = string | typeof ONE;

/**
 * Between two `*` the leftmost match is as good as any later one, so there is nothing to try again.
 * Characters are code points: `?` is one emoji, not half of it.
 */
function globTest(parts: Exclude<Pattern, string>): (text: string) => boolean {
  const runs: Step[][] = [[]];
  for (const part of parts) {
    if (part === ANY) runs.push([]);
    else if (part === ONE) runs.at(-1)!.push(ONE);
    else runs.at(-1)!.push(...part);
  }
  const first = runs[0]!;
  const last = runs.at(-1)!;
  const middle = runs.slice(1, -1);
  const shortest = runs.reduce((sum, run) => sum + run.length, 0);
  return (text) => {
    const characters = [...text];
    if (characters.length < shortest) return false;
    if (runs.length === 1) return characters.length === shortest && runAt(first, characters, 0);
    const end = characters.length - last.length;
    if (!runAt(first, characters, 0) || !runAt(last, characters, end)) return false;
    let from = first.length;
    for (const run of middle) {
      while (from + run.length <= end && !runAt(run, characters, from)) from++;
      if (from + run.length > end) return false;
      from += run.length;
    }
    return from <= end;
  };
}

function runAt(run: readonly Step[], characters: readonly string[], from: number): boolean {
  for (let i = 0; i < run.length; i++) if (run[i] !== ONE && run[i] !== characters[from + i]) return false;
  return true;
}
