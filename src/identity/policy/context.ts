import type { ConditionKeys } from "../../model/access.ts";

/** The condition keys of one question to the policies. Names are looked up in lower case. */
export interface Context {
  /** @param key  lower case */
  get(key: string): string | readonly string[] | undefined;
}

/** Keys of one layer by lower-cased name. */
export function contextOf(keys: ConditionKeys): ReadonlyMap<string, string | readonly string[]> {
  const map = new Map<string, string | readonly string[]>();
  for (const [name, value] of Object.entries(keys)) {
    if (value !== undefined) map.set(name.toLowerCase(), value);
  }
  return map;
}

/** Keys of the resource over keys that the whole request shares. */
export function layered(over: Context, under: Context): Context {
  return { get: (key) => over.get(key) ?? under.get(key) };
}
