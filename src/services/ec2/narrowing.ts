// What of a call's filters the database can do beforehand. It may let through more than the filters do, never less: they
// are asked of every row that is read.
import type { Filter } from "@aws-sdk/client-ec2";
import type { Filters } from "../../protocol/filters.ts";

/** Tags that must be there, with one of some exact values. */
export function exactTags<Row>(
  given: readonly Filter[] | undefined,
  filters: Filters<Row>,
): { readonly key: string; readonly values: readonly string[] }[] {
  return (given ?? []).flatMap(({ Name: name }) => {
    if (name === undefined || !name.startsWith("tag:")) return [];
    const values = filters.exactValues(name);
    return values === undefined ? [] : [{ key: name.slice(4), values }];
  });
}

/** A filter's patterns for SQL's LIKE with `\` as its escape; undefined where the filter is not given. */
export function likePatterns(given: readonly Filter[] | undefined, name: string): string[] | undefined {
  const filter = (given ?? []).find((candidate) => candidate.Name === name);
  return filter?.Values?.map(likePattern);
}

/** EC2's `*`, `?` and `\` in SQL's words. SQLite's LIKE ignores the case of ASCII letters, which lets through more. */
export function likePattern(pattern: string): string {
  return pattern.replaceAll(
    /\\([\s\S])|([*?%_\\])/g,
    (_whole, escaped: string | undefined, special: string | undefined) => {
      if (escaped !== undefined) return /[%_\\]/.test(escaped) ? `\\${escaped}` : escaped;
      if (special === "*") return "%";
      return special === "?" ? "_" : `\\${special}`;
    },
  );
}
