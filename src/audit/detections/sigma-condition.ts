// Sigma's conditions: `selection and not 1 of filter_*`. `not` binds tighter than `and`, `and` tighter than `or`.
//
// Besides whether a condition holds, it is known of which events it can hold at all: most rules are about one or two calls,
// and need not be asked about the others.
import { type EventNames, intersection, union } from "./event-names.ts";
import { SigmaError } from "./sigma-error.ts";

/** What each named selection said of an event. */
export type Selected = (name: string) => boolean;
export interface Condition {
  holds(selected: Selected): boolean;
  readonly eventNames: EventNames;
}

/** Deeper than any rule that a person writes. */
const MOST_DEPTH = 50;

/** @param selections  by name, the events of which each can be true @throws SigmaError */
export function parseCondition(text: string, selections: ReadonlyMap<string, EventNames>): Condition {
  const names = [...selections.keys()];
  const tokens = text.match(/\(|\)|[^\s()]+/g) ?? [];
  let at = 0;
  let depth = 0;
  const peek = (): string | undefined => tokens[at]?.toLowerCase();

  const or = (): Condition => {
    const parts = [and()];
    while (peek() === "or") {
      at++;
      parts.push(and());
    }
    if (parts.length === 1) return first(parts);
    return {
      holds: (selected) => parts.some((part) => part.holds(selected)),
      eventNames: parts.map((part) => part.eventNames).reduce(union),
    };
  };

  const and = (): Condition => {
    const parts = [not()];
    while (peek() === "and") {
      at++;
      parts.push(not());
    }
    if (parts.length === 1) return first(parts);
    return {
      holds: (selected) => parts.every((part) => part.holds(selected)),
      eventNames: parts.map((part) => part.eventNames).reduce(intersection),
    };
  };

  const not = (): Condition => {
    if (++depth > MOST_DEPTH) throw new SigmaError(`the condition is nested too deeply: ${text}`);
    try {
      if (peek() !== "not") return primary();
      at++;
      const part = not();
      return { holds: (selected) => !part.holds(selected), eventNames: null };
    } finally {
      depth--;
    }
  };

  const primary = (): Condition => {
    const token = tokens[at++];
    if (token === undefined) throw new SigmaError(`the condition ends too early: ${text}`);
    if (token === "(") {
      const inner = or();
      if (tokens[at++] !== ")") throw new SigmaError(`a bracket is not closed: ${text}`);
      return inner;
    }
    if (peek() === "of") {
      at++;
      return quantified(token, tokens[at++]);
    }
    if (!names.includes(token)) throw new SigmaError(`the condition names ${token}, which is not there: ${text}`);
    return { holds: (selected) => selected(token), eventNames: selections.get(token) ?? null };
  };

  const quantified = (quantity: string, pattern: string | undefined): Condition => {
    if (pattern === undefined) throw new SigmaError(`of what? ${text}`);
    const chosen = names.filter((name) =>
      // Names that begin with an underscore are not meant by `them`.
      pattern === "them" ? !name.startsWith("_") : wildcard(pattern).test(name),
    );
    if (chosen.length === 0) throw new SigmaError(`no selection is called ${pattern}: ${text}`);
    const eventNames = chosen.map((name) => selections.get(name) ?? null);
    if (quantity.toLowerCase() === "all") {
      return { holds: (selected) => chosen.every(selected), eventNames: eventNames.reduce(intersection) };
    }
    const least = quantity.toLowerCase() === "any" ? 1 : Number(quantity);
    if (!Number.isInteger(least) || least < 1) throw new SigmaError(`"${quantity} of" is not a number of selections`);
    return {
      holds: (selected) => chosen.filter(selected).length >= least,
      eventNames: eventNames.reduce(union),
    };
  };

  const made = or();
  if (at < tokens.length) throw new SigmaError(`"${tokens[at]}" is one word too many: ${text}`);
  return made;
}

function first<T>(parts: readonly T[]): T {
  const [one] = parts;
  if (one === undefined) throw new Error("a condition without parts");
  return one;
}

const wildcard = (pattern: string): RegExp =>
  new RegExp(`^${pattern.replaceAll(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")}$`);
