// Where each statement stands in a document's text, to point a person at it.

/** From 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface Span {
  readonly start: Position;
  readonly end: Position;
}

/** @param text  a document that `parsePolicy` takes; spans in the order of its statements */
export function statementSpans(text: string): Span[] {
  const spans: Span[] = [];
  let depth = 0;
  let list = false;
  let inStatement = false;
  let start = -1;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '"') {
      const from = at;
      at++;
      while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
      if (depth === 1 && text.slice(from, at + 1) === '"Statement"' && /^\s*:/.test(text.slice(at + 1, at + 65))) {
        inStatement = true;
      }
      continue;
    }
    if (char === "{" || char === "[") {
      if (inStatement && char === "[" && depth === 1) list = true;
      if (inStatement && char === "{" && depth === (list ? 2 : 1)) start = at;
      depth++;
    } else if (char === "}" || char === "]") {
      depth--;
      if (start !== -1 && depth === (list ? 2 : 1)) {
        spans.push({ start: positionOf(text, start), end: positionOf(text, at) });
        start = -1;
        if (!list) inStatement = false;
      } else if (list && depth === 1) {
        inStatement = false;
        list = false;
      }
    }
  }
  return spans;
}

function positionOf(text: string, at: number): Position {
  const before = text.slice(0, at);
  const lastBreak = before.lastIndexOf("\n");
  return { line: before.split("\n").length, column: at - lastBreak };
}
