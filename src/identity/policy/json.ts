// JSON for policy documents. `JSON.parse` keeps the last of two equal names in silence; a policy in which one statement's
// condition hides another must be refused instead, as IAM does.

export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}

/** No policy nests deeper than statement, condition, operator, key, list. */
const MOST_DEPTH = 16;

/** @throws SyntaxError saying where, also for names given twice and for nesting past 16 */
export function parseJson(text: string): Json {
  const value = JSON.parse(text) as Json;
  refuseRepeatedNames(text);
  return value;
}

/** One pass over text that is known to be JSON. */
function refuseRepeatedNames(text: string): void {
  /** Names seen in each open object; null for an open list. */
  const open: (Set<string> | null)[] = [];
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === "{" || char === "[") {
      open.push(char === "{" ? new Set() : null);
      if (open.length > MOST_DEPTH) throw new SyntaxError("nested too deeply");
    } else if (char === "}" || char === "]") open.pop();
    else if (char === '"') {
      const end = stringEnd(text, at);
      const names = open[open.length - 1];
      if (names && /^\s*:/.test(text.slice(end, end + 64))) {
        const name = JSON.parse(text.slice(at, end)) as string;
        if (names.has(name)) throw new SyntaxError(`"${name}" is given twice`);
        names.add(name);
      }
      at = end - 1;
    }
  }
}

/** Just past the closing quote of the string that opens at `from`. */
function stringEnd(text: string, from: number): number {
  let at = from + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}

/**
 * Is there a character outside the set that the API takes (tab, line ends, U+0020 to U+00FF), in a name or a string, written
 * as it is or escaped? This also keeps out the marks that stand for wildcards in compiled patterns (`pattern.ts`).
 */
export function hasForeignCharacter(value: Json): boolean {
  if (typeof value === "string") return !isPlain(value);
  if (isList(value)) return value.some(hasForeignCharacter);
  if (!isObject(value)) return false;
  return Object.entries(value).some(([name, inner]) => !isPlain(name) || hasForeignCharacter(inner));
}

function isPlain(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    const plain = (code >= 0x20 && code <= 0xff) || code === 0x09 || code === 0x0a || code === 0x0d;
    if (!plain) return false;
  }
  return true;
}

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const isList = (value: Json | undefined): value is readonly Json[] => Array.isArray(value);
