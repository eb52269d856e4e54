// Sigma's conditions: `selection and not 1 of filter_*`. `not` binds tighter than `and`, `and` tighter than `or`.
import { SigmaError } from "./sigma-error.ts";

/** What each named selection said of an event. */
export type Selected = (name: string) => boolean;
export type Condition = (selected: Selected) => boolean;

/** Deeper than any rule that a person writes. */
const MOST_DEPTH = 50;

/** @param names  of the selections that there are @throws SigmaError */
export function parseCondition(text: string, names: readonly string[]): Condition {
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
    return parts.length === 1 ? first(parts) : (selected) => parts.some((part) => part(selected));
  };

  const and = (): Condition => {
    const parts = [not()];
    while (peek() === "and") {
      at++;
      parts.push(not());
    }
    return parts.length === 1 ? first(parts) : (selected) => parts.every((part) => part(selected));
  };

  const not = (): Condition => {
    if (++depth > MOST_DEPTH) throw new SigmaError(`the condition is nested too deeply: ${text}`);
    try {
      if (peek() !== "not") return primary();
      at++;
      const part = not();
      return (selected) => !part(selected);
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
    return (selected) => selected(token);
  };

  const quantified = (quantity: string, pattern: string | undefined): Condition => {
    if (pattern === undefined) throw new SigmaError(`of what? ${text}`);
    const chosen = names.filter((name) =>
      // Names that begin with an underscore are not meant by `them`.
      pattern === "them" ? !name.startsWith("_") : wildcard(pattern).test(name),
    );
    if (chosen.length === 0) throw new SigmaError(`no selection is called ${pattern}: ${text}`);
    if (quantity.toLowerCase() === "all") return (selected) => chosen.every(selected);
    const least = quantity.toLowerCase() === "any" ? 1 : Number(quantity);
    if (!Number.isInteger(least) || least < 1) throw new SigmaError(`"${quantity} of" is not a number of selections`);
    return (selected) => chosen.filter(selected).length >= least;
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
