import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import test from "node:test";
import fc from "fast-check";
import { compileFilters } from "../../protocol/filters.ts";
import { likePattern } from "./narrowing.ts";

test("LIKE lets through whatever the filter does", (t) => {
  const database = new DatabaseSync(":memory:");
  t.after(() => database.close());
  const like = database.prepare("select ? like ? escape '\\' as yes");
  const text = fc.string({ unit: fc.constantFrom("a", "b", "%", "_", "\\", "*", "?", "é"), maxLength: 6 });
  fc.assert(
    fc.property(text, text, (pattern, value) => {
      const filters = compileFilters([{ Name: "name", Values: [pattern] }], { values: { name: (row: string) => row } });
      if (filters.matches(value)) assert.equal(like.get(value, likePattern(pattern))?.yes, 1);
    }),
    {
      numRuns: 2000,
      examples: [
        ["a*b", "a%b"],
        ["\\*", "*"],
        ["a\\", "a\\"],
        ["%", "%"],
        ["\\%", "%"],
      ],
    },
  );
});
