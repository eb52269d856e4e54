// Whatever bytes arrive, the answer is an input or an ApiError: never another exception, never a hang.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ApiError } from "../base/api-error.ts";
import { signatureError } from "./auth-errors.ts";
import { codecFor } from "./codec.ts";
import { compileFilters } from "./filters.ts";
import { sdkOperations } from "./sdk.fixture.ts";
import { parseSignature, signingKeys, verifySignature } from "./sigv4.ts";
import { AWS_SERVICES, SERVICES, type ServiceName, type WireRequest } from "./wire.ts";

const NUM_RUNS = Number(process.env.FUZZ_RUNS ?? 500);

/** Runs, and lets only an ApiError pass. */
function onlyApiErrors(run: () => unknown): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    assert.ok(error.httpStatus >= 400, `${error.code} has a status`);
    assert.ok(error.message.length < 4000, "messages do not grow with the request");
  }
}

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const anyText = fc.string({ unit: "binary", maxLength: 40 });
/** Text that looks enough like the real thing to get past the first checks. */
const wordy = fc
  .array(
    fc.constantFrom(
      ..."Filter Value Name Tag TagSpecification BlockDeviceMapping Ebs Owner ImageId member entry key value Tags UserName".split(
        " ",
      ),
      ..."1 2 0 01 9999 10001 -1 x . .. = & % %2E %00 %ff %C3%A9 + true 2026-01-31T00:00:00Z 1e5 __proto__ constructor".split(
        " ",
      ),
    ),
    { maxLength: 40 },
  )
  .map((words) => words.join(""));
const dotted = fc
  .array(
    fc.tuple(
      fc.array(fc.constantFrom("Filter", "Value", "Tag", "Tags", "member", "1", "2", "Name", "Ebs", "__proto__"), {
        minLength: 1,
        maxLength: 6,
      }),
      anyText,
    ),
  )
  .map((pairs) =>
    pairs.map(([parts, value]) => `${parts.join(".")}=${encodeURIComponent(value.toWellFormed())}`).join("&"),
  );
const jsonText = fc.oneof(
  fc.json({ maxDepth: 6 }),
  fc.jsonValue().map((value) => JSON.stringify({ Name: value, Tags: value, StartTime: value })),
);
const body = fc.oneof(
  bytes,
  fc.oneof(wordy, dotted, jsonText, anyText).map((text) => Buffer.from(text)),
);
const path = fc.oneof(
  fc.constantFrom(
    "/",
    "/snapshots",
    "/snapshots/snap-1/blocks/0",
    "/snapshots/%ff/blocks/%",
    "/snapshots/completion/x",
    "//",
    "",
  ),
  anyText.map((text) => `/${text}`),
);
const request: fc.Arbitrary<WireRequest> = fc.record({
  method: fc.constantFrom("GET", "POST", "PUT", "DELETE"),
  path,
  query: fc.oneof(fc.constant(""), wordy, dotted, anyText),
  headers: fc.dictionary(
    fc.constantFrom(
      "host",
      "x-amz-target",
      "x-amz-date",
      "x-amz-data-length",
      "x-amz-checksum",
      "authorization",
      "x-amz-progress",
    ),
    fc.oneof(anyText, fc.constantFrom("AmazonSSM.PutParameter", "1", "20260131T102030Z")),
  ),
  body,
});

describe("any request is read or refused", () => {
  for (const service of AWS_SERVICES) {
    test(service, () => {
      const codec = codecFor(service);
      const operations = sdkOperations(service);
      fc.assert(
        fc.property(request, fc.nat(operations.length - 1), (wire, index) => {
          const operation = operations[index];
          assert.ok(operation);
          onlyApiErrors(() => codec.route(wire));
          onlyApiErrors(() => codec.decode(operation, wire));
        }),
        { numRuns: NUM_RUNS },
      );
    });
  }
});

test("large hostile requests are read or refused", () => {
  const describeImages = sdkOperations("ec2").find((operation) => operation.name === "DescribeImages");
  assert.ok(describeImages);
  const hostile = [
    "&".repeat(1_000_000),
    "=".repeat(1_000_000),
    "a=".repeat(500_000),
    "%41".repeat(300_000),
    ".".repeat(1_000_000),
    "Filter.".repeat(140_000),
    "ImageId.1=a&".repeat(80_000),
    Array.from({ length: 60_000 }, (_, i) => `ImageId.${i}=a`).join("&"),
    Array.from({ length: 9_999 }, (_, i) => `${"Filter.1.".repeat(9)}${i}=a`).join("&"),
    `NextToken=${"x".repeat(1_000_000)}`,
    `{"a":`.repeat(200_000),
  ];
  for (const text of hostile) {
    const wire: WireRequest = { method: "POST", path: "/", query: "", headers: {}, body: Buffer.from(text) };
    onlyApiErrors(() => codecFor("ec2").decode(describeImages, wire));
    for (const service of ["ssm", "iam"] as const) {
      const operation = sdkOperations(service)[0];
      assert.ok(operation);
      onlyApiErrors(() => codecFor(service).decode(operation, { ...wire }));
    }
  }
});

test("any authorization header or presigned query is a signature or a fault, and no signature by chance", () => {
  const part = fc.constantFrom(
    "AWS4-HMAC-SHA256 ",
    "Credential=",
    "AKIDEXAMPLE/20260131/eu-central-1/ec2/aws4_request",
    ", ",
    ",",
    "SignedHeaders=",
    "host;x-amz-date",
    "constructor;host",
    "host",
    "Signature=",
    "0".repeat(64),
    ";",
    "=",
    "/",
    " ",
  );
  const header = fc.oneof(
    anyText,
    fc.array(part, { maxLength: 12 }).map((parts) => parts.join("")),
  );
  const query = fc
    .array(
      fc.tuple(
        fc.constantFrom("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token"),
        fc.oneof(part, anyText),
      ),
    )
    .map((pairs) =>
      pairs.map(([name, value]) => `X-Amz-${name}=${encodeURIComponent(value.toWellFormed())}`).join("&"),
    );
  const keys = signingKeys(10);
  fc.assert(
    fc.property(request, fc.option(header), fc.oneof(fc.constant(""), query), (wire, authorization, queryText) => {
      const headers: Record<string, string> = { ...wire.headers, host: "h", "x-amz-date": "20260131T102030Z" };
      if (authorization !== null) headers.authorization = authorization;
      const signed = { ...wire, headers, query: queryText };
      const parsed = parseSignature(signed);
      const fault =
        parsed.kind === "fault"
          ? parsed
          : verifySignature(parsed, "secret", signed, new Date("2026-01-31T10:20:30Z"), { keys });
      assert.ok(fault !== undefined);
      for (const service of SERVICES) assert.ok(signatureError(service satisfies ServiceName, fault).httpStatus >= 400);
    }),
    { numRuns: NUM_RUNS * 2 },
  );
});

test("any filter is a test or refused", () => {
  const filter = fc.record({
    Name: fc.option(fc.oneof(anyText, fc.constantFrom("a", "tag:x", "tag-key")), { nil: undefined }),
    Values: fc.option(fc.array(anyText), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(filter), anyText, (filters, value) =>
      onlyApiErrors(() =>
        compileFilters(filters, {
          values: { a: (row: string) => row },
          tags: (row) => [{ Key: "x", Value: row }],
        }).matches(value),
      ),
    ),
    { numRuns: NUM_RUNS },
  );
});
