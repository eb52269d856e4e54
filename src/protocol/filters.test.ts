import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ApiError } from "../base/api-error.ts";
import { compileFilters, type Filter, type FilterTable } from "./filters.ts";

interface Row {
  readonly id: string;
  readonly name?: string;
  readonly isPublic?: boolean;
  readonly sizes?: readonly number[];
  readonly at?: Date;
  readonly tags?: readonly { Key: string; Value?: string }[];
}
const TABLE: FilterTable<Row> = {
  values: {
    "image-id": (row) => row.id,
    name: (row) => row.name,
    "is-public": (row) => row.isPublic,
    "volume-size": (row) => row.sizes ?? [],
    "creation-date": (row) => row.at,
  },
  tags: (row) => row.tags ?? [],
};

const rows: readonly Row[] = [
  { id: "ami-1", name: "debian-12", isPublic: true, sizes: [8, 100], tags: [{ Key: "env", Value: "prod" }] },
  { id: "ami-2", name: "Debian-12", isPublic: false, sizes: [8], tags: [{ Key: "env", Value: "" }, { Key: "x*" }] },
  { id: "ami-3", name: "a*b?c\\d", at: new Date("2026-01-31T10:20:30Z") },
  { id: "ami-4" },
];
const found = (...filters: Filter[]) => rows.filter(compileFilters(filters, TABLE).matches).map((row) => row.id);
const by = (Name: string, ...Values: string[]): Filter => ({ Name, Values });

describe("filters", () => {
  test("none let every row pass", () => {
    assert.equal(compileFilters<Row>(undefined, TABLE).isEmpty, true);
    assert.deepEqual(found(), ["ami-1", "ami-2", "ami-3", "ami-4"]);
  });

  test("values are alternatives, filters must all hold", () => {
    assert.deepEqual(found(by("image-id", "ami-1", "ami-3")), ["ami-1", "ami-3"]);
    assert.deepEqual(found(by("image-id", "ami-1", "ami-3"), by("is-public", "true")), ["ami-1"]);
    assert.deepEqual(found(by("name", "debian*"), by("name", "*12")), ["ami-1"]);
  });

  test("case counts", () => {
    assert.deepEqual(found(by("name", "debian-12")), ["ami-1"]);
    assert.deepEqual(found(by("is-public", "True")), []);
  });

  test("any of a row's values will do, and a row without any is not found", () => {
    assert.deepEqual(found(by("volume-size", "100")), ["ami-1"]);
    assert.deepEqual(found(by("volume-size", "8")), ["ami-1", "ami-2"]);
    assert.deepEqual(found(by("name", "*")), ["ami-1", "ami-2", "ami-3"]);
  });

  test("dates match by their text", () => assert.deepEqual(found(by("creation-date", "2026-01-31T*")), ["ami-3"]));

  test("tags: by key and value, any key, any value, empty values", () => {
    assert.deepEqual(found(by("tag:env", "prod")), ["ami-1"]);
    assert.deepEqual(found(by("tag:env", "")), ["ami-2"]);
    assert.deepEqual(found(by("tag:env", "*")), ["ami-1", "ami-2"]);
    assert.deepEqual(found(by("tag:x*", "")), ["ami-2"]);
    assert.deepEqual(found(by("tag-key", "e?v")), ["ami-1", "ami-2"]);
    assert.deepEqual(found(by("tag-value", "prod", "nothing")), ["ami-1"]);
  });

  test("a backslash takes the next character as it is", () => {
    assert.deepEqual(found(by("name", "a\\*b\\?c\\\\d")), ["ami-3"]);
    assert.deepEqual(found(by("name", "a\\*b?c*")), ["ami-3"]);
    assert.deepEqual(found(by("name", "a\\*\\b\\x?c*")), []);
    assert.deepEqual(compileFilters([by("name", "a\\*b")], TABLE).exactValues("name"), ["a*b"]);
  });

  test("exact values may narrow a query, patterns may not", () => {
    const filters = compileFilters(
      [by("image-id", "ami-1", "ami-2"), by("name", "x", "y*"), by("tag:env", "a")],
      TABLE,
    );
    assert.deepEqual(filters.exactValues("image-id"), ["ami-1", "ami-2"]);
    assert.equal(filters.exactValues("name"), undefined);
    assert.deepEqual(filters.exactValues("tag:env"), ["a"]);
    assert.equal(filters.exactValues("is-public"), undefined);
  });

  test("what is wrong is refused in EC2's words", () => {
    const refusal = (...filters: Filter[]) => {
      try {
        compileFilters(filters, TABLE);
      } catch (error) {
        if (error instanceof ApiError) return `${error.code}: ${error.message}`;
        throw error;
      }
      return undefined;
    };
    assert.equal(refusal(by("colour", "red")), "InvalidParameterValue: The filter 'colour' is invalid");
    assert.equal(refusal(by("constructor", "x")), "InvalidParameterValue: The filter 'constructor' is invalid");
    assert.equal(refusal(by("tag:", "x")), "InvalidParameterValue: The filter 'tag:' is invalid");
    assert.equal(refusal({ Values: ["x"] }), "InvalidParameterValue: The filter 'null' is invalid");
    assert.equal(
      refusal(by("name", "x"), { Name: "name" }),
      "MissingParameter: The request must contain the parameter Filter.2.Value",
    );
    const many = (n: number) => Array.from({ length: n }, (_, i) => `v${i}`);
    assert.equal(refusal(by("name", ...many(200))), undefined);
    assert.match(refusal(by("name", ...many(150)), by("image-id", ...many(51))) ?? "", /^FilterLimitExceeded: .* 200$/);
    assert.match(refusal(...many(51).map(() => by("name", "x"))) ?? "", /^FilterLimitExceeded/);
    assert.match(refusal(by("name", "x".repeat(256))) ?? "", /^InvalidParameterValue/);
    assert.throws(() => compileFilters([by("tag:a", "b")], { values: {} }), { code: "InvalidParameterValue" });
  });
});

/** The same question, answered by trying everything. */
function slowMatch(pattern: readonly string[], text: readonly string[]): boolean {
  const [head, ...rest] = pattern;
  if (head === undefined) return text.length === 0;
  if (head === "*") return slowMatch(rest, text) || (text.length > 0 && slowMatch(pattern, text.slice(1)));
  if (text.length === 0) return false;
  return (head === "?" || head === text[0]) && slowMatch(rest, text.slice(1));
}

test("wildcards agree with a matcher that tries everything", () => {
  const pattern = fc.array(fc.constantFrom("a", "b", "😀", "*", "?"), { maxLength: 8 });
  const text = fc.array(fc.constantFrom("a", "b", "😀"), { maxLength: 8 });
  fc.assert(
    fc.property(pattern, text, (p, t) => {
      const row: Row = { id: t.join("") };
      assert.equal(compileFilters([by("image-id", p.join(""))], TABLE).matches(row), slowMatch(p, t));
    }),
    { numRuns: 2000 },
  );
});

test("no pattern is slow: its work grows with pattern times value", () => {
  const filters = compileFilters([by("name", `${"*a".repeat(100)}b`)], TABLE);
  assert.equal(filters.matches({ id: "x", name: "a".repeat(200_000) }), false);
});
