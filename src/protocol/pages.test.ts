import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ApiError } from "../base/api-error.ts";
import { type PageScope, pageLimit, pageTokens, refusePagesOfIds, takePage } from "./pages.ts";
import { SERVICES } from "./wire.ts";

const tokens = pageTokens(Buffer.alloc(32, 7));
const scope: PageScope = {
  service: "ec2",
  action: "DescribeImages",
  owner: ["123456789012", "eu-central-1"],
  parameters: { Owners: ["self"], Filters: [{ Name: "state", Values: ["available"] }], MaxResults: 5 },
};

describe("page tokens", () => {
  test("give back the position, also for another page size", () => {
    const token = tokens.seal(scope, "ami-é😀");
    assert.equal(tokens.open(scope, token), "ami-é😀");
    assert.equal(
      tokens.open({ ...scope, parameters: { ...scope.parameters, MaxResults: 9, NextToken: token } }, token),
      "ami-é😀",
    );
    assert.equal(tokens.open(scope, undefined), undefined);
  });

  test("belong to one request of one owner", () => {
    const token = tokens.seal(scope, "p");
    const others: PageScope[] = [
      { ...scope, action: "DescribeSnapshots" },
      { ...scope, service: "ebs" },
      { ...scope, owner: ["210987654321", "eu-central-1"] },
      { ...scope, parameters: { ...scope.parameters, Owners: ["amazon"] } },
      { ...scope, parameters: {} },
    ];
    for (const other of others) assert.throws(() => tokens.open(other, token), ApiError);
    assert.throws(() => pageTokens(Buffer.alloc(32, 8)).open(scope, token), ApiError);
  });

  test("cannot be altered", () => {
    const token = tokens.seal(scope, "ami-1");
    for (let i = 0; i < token.length; i++) {
      const other = token[i] === "A" ? "B" : "A";
      const altered = token.slice(0, i) + other + token.slice(i + 1);
      // The last digit of base64 may hold bits that stand for nothing.
      if (Buffer.from(altered, "base64url").equals(Buffer.from(token, "base64url"))) continue;
      assert.throws(() => tokens.open(scope, altered), ApiError, `digit ${i}`);
    }
  });

  test("garbage is refused in each service's words", () => {
    const code = (service: PageScope["service"], token: string) => {
      try {
        tokens.open({ ...scope, service }, token);
      } catch (error) {
        return error instanceof ApiError ? error.code : error;
      }
      return undefined;
    };
    assert.deepEqual(
      SERVICES.map((service) => code(service, "x")),
      [
        "InvalidParameterValue",
        "ValidationError",
        "ValidationError",
        "InvalidNextTokenException",
        "InvalidNextToken",
        "ValidationException",
        "InvalidArgument",
        "InvalidInputException",
        "ValidationException",
      ],
    );
    fc.assert(
      fc.property(
        fc.string({ unit: "binary" }),
        (text) => text === "" || code("ec2", text) === "InvalidParameterValue",
      ),
    );
    assert.equal(code("ec2", "A".repeat(1e6)), "InvalidParameterValue");
  });
});

describe("page sizes", () => {
  const limits = { min: 5, max: 1000 };
  test("within the limits are taken", () => {
    assert.equal(pageLimit("ec2", "MaxResults", undefined, limits), undefined);
    for (const n of [5, 1000]) assert.equal(pageLimit("ec2", "MaxResults", n, limits), n);
  });
  test("outside are refused in each service's words", () => {
    assert.throws(() => pageLimit("ec2", "MaxResults", 1, limits), {
      code: "InvalidParameterValue",
      message: "Value ( 1 ) for parameter maxResults is invalid. Expecting a value greater than 5.",
    });
    assert.throws(() => pageLimit("ec2", "MaxResults", 1001, limits), { code: "InvalidParameterValue" });
    assert.throws(() => pageLimit("ssm", "MaxResults", 100, { min: 1, max: 50 }), {
      code: "ValidationException",
      message:
        "1 validation error detected: Value '100' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 50",
    });
    assert.throws(() => pageLimit("iam", "MaxItems", 0, { min: 1, max: 1000 }), { code: "ValidationError" });
    assert.throws(() => pageLimit("cloudtrail", "MaxResults", 51, { min: 1, max: 50 }), {
      code: "InvalidMaxResultsException",
    });
  });
  test("do not go with ids", () => {
    refusePagesOfIds("volumeSet", undefined, { MaxResults: 5 });
    refusePagesOfIds("volumeSet", ["vol-1"], {});
    assert.throws(() => refusePagesOfIds("volumeSet", ["vol-1"], { MaxResults: 5 }), {
      code: "InvalidParameterCombination",
      message: "The parameter volumeSet cannot be used with the parameter maxResults",
    });
  });
  test("cut a list, and say what the next page follows", () => {
    assert.deepEqual(takePage([1, 2, 3], 2), { page: [1, 2], next: 2 });
    assert.deepEqual(takePage([1, 2], 2), { page: [1, 2], next: undefined });
    assert.deepEqual(takePage([1, 2], undefined), { page: [1, 2], next: undefined });
  });
});
