// Of which calls something can be true: what rules are looked up by.

/** `eventName`s in lower case; null: of any. */
export type EventNames = ReadonlySet<string> | null;

export function union(a: EventNames, b: EventNames): EventNames {
  return a === null || b === null ? null : new Set([...a, ...b]);
}

export function intersection(a: EventNames, b: EventNames): EventNames {
  if (a === null) return b;
  return b === null ? a : new Set([...a].filter((name) => b.has(name)));
}
