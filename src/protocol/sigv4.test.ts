import assert from "node:assert/strict";
import { createHash, createHmac, type Hash, type Hmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { SignatureV4 } from "@smithy/signature-v4";
import { credentialError, signatureError } from "./auth-errors.ts";
import {
  type ParsedSignature,
  parseSignature,
  type SignatureReason,
  signingKeys,
  signRequest,
  verifySignature,
} from "./sigv4.ts";
import type { WireRequest } from "./wire.ts";

const SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const CREDENTIALS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: SECRET };
const SCOPE = { region: "eu-central-1", service: "ec2" };
const NOW = new Date("2026-01-31T10:20:30Z");
const minutesLater = (minutes: number, from = NOW) => new Date(from.getTime() + minutes * 60_000);

const ask: WireRequest = {
  method: "POST",
  path: "/",
  query: "",
  headers: { host: "localhost:8773", "content-type": "application/x-www-form-urlencoded" },
  body: Buffer.from("Action=DescribeImages&Owner.1=self"),
};

function signed(request: WireRequest = ask, extra: Record<string, string> = {}): WireRequest {
  const headers = { ...request.headers, ...extra };
  return { ...request, headers: signRequest({ ...request, headers }, CREDENTIALS, SCOPE, NOW) };
}

function parsed(request: WireRequest): ParsedSignature {
  const result = parseSignature(request);
  assert.ok(result.kind === "signature", result.kind === "fault" ? result.detail : "");
  return result;
}

/** The reason for which a request is refused; undefined if it is accepted. */
function refusal(
  request: WireRequest,
  now = NOW,
  secret = SECRET,
  allowUnsignedPayload = false,
): SignatureReason | undefined {
  const result = parseSignature(request);
  if (result.kind === "fault") return result.reason;
  return verifySignature(result, secret, request, now, { keys: signingKeys(10), allowUnsignedPayload })?.reason;
}

const withHeader = (request: WireRequest, name: string, value: string | undefined): WireRequest => {
  const { [name]: _, ...headers } = request.headers;
  return { ...request, headers: value === undefined ? headers : { ...headers, [name]: value } };
};
const authorization = (request: WireRequest, edit: (text: string) => string) =>
  withHeader(request, "authorization", edit(request.headers.authorization ?? ""));

interface Captured {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}
const goldenFile = new URL("../../test/golden/aws-cli-requests.json", import.meta.url);
const golden: readonly Captured[] = JSON.parse(readFileSync(goldenFile, "utf8"));

describe("requests of aws-cli v1", () => {
  for (const [index, { name, body, ...rest }] of golden.entries()) {
    test(`${index} ${name}`, () => {
      const request: WireRequest = { ...rest, body: Buffer.from(body, "base64") };
      const signature = parsed(request);
      assert.equal(signature.accessKeyId, "AKIDEXAMPLE");
      const unsigned = name === "ebs put-snapshot-block";
      assert.equal(refusal(request, signature.signedAt, SECRET, unsigned), undefined);
      if (unsigned) assert.equal(refusal(request, signature.signedAt), "payload-mismatch");
      assert.equal(refusal(request, signature.signedAt, `${SECRET}x`, unsigned), "signature-mismatch");
      const late = name.startsWith("presigned") ? "expired" : "skew";
      assert.equal(refusal(request, minutesLater(11, signature.signedAt), SECRET, unsigned), late);
      if (rest.query !== "") {
        const other = { ...request, query: rest.query.replace(/=([^&]*)/, "=$1x") };
        assert.equal(refusal(other, signature.signedAt, SECRET, unsigned), "signature-mismatch");
      }
    });
  }
});

/** As the SDK's signer wants its hash functions. */
class Sha256 {
  readonly #hash: Hash | Hmac;
  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    if (secret === undefined) this.#hash = createHash("sha256");
    else this.#hash = createHmac("sha256", typeof secret === "string" ? secret : bytesOf(secret));
  }
  update(data: string | ArrayBuffer | ArrayBufferView): void {
    this.#hash.update(typeof data === "string" ? data : bytesOf(data));
  }
  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
  reset(): void {}
}
const bytesOf = (data: ArrayBuffer | ArrayBufferView): Uint8Array =>
  data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

describe("requests that the SDK's signer signs", () => {
  const signer = new SignatureV4({ credentials: CREDENTIALS, ...SCOPE, sha256: Sha256 });
  const queries: Record<string, string | string[]>[] = [
    {},
    { a: "x y", "b+c": "1/2=é~*'()!", ä: "" },
    { z: ["2", "1"], Z: "0" },
  ];
  for (const path of [
    "/",
    "/snapshots/snap-1/blocks/0",
    "/a%20b/%C3%A9/",
    "//double//slash",
    "/a/./b/../c/",
    "/tilde~(x)*",
  ]) {
    for (const [index, query] of queries.entries()) {
      test(`${path} with query ${index}`, async () => {
        const body = "x=é";
        const base = { method: "POST", protocol: "http:", hostname: "localhost", path, query, body };
        const headers = { host: "localhost", "x-amz-target": "  A   b ", "user-agent": "me", "x-custom": "1,  2" };
        const out = await signer.sign({ ...base, headers }, { signingDate: NOW });
        const queryText = Object.entries(query)
          .flatMap(([k, v]) => [v].flat().map((one) => `${encodeURIComponent(k)}=${encodeURIComponent(one)}`))
          .join("&");
        const lower = Object.fromEntries(Object.entries(out.headers).map(([k, v]) => [k.toLowerCase(), v]));
        const request: WireRequest = {
          method: "POST",
          path,
          query: queryText,
          headers: lower,
          body: Buffer.from(body),
        };
        assert.equal(refusal(request), undefined);
        assert.equal(refusal({ ...request, path: `${path}x` }), "signature-mismatch");
      });
    }
  }

  test("presigned, with a session token", async () => {
    const session = new SignatureV4({
      credentials: { ...CREDENTIALS, sessionToken: "a/b+c=" },
      ...SCOPE,
      sha256: Sha256,
    });
    const url = await session.presign(
      {
        method: "GET",
        protocol: "http:",
        hostname: "localhost",
        path: "/",
        query: { Action: "DescribeImages" },
        headers: { host: "localhost" },
      },
      { signingDate: NOW, expiresIn: 900 },
    );
    const query = Object.entries(url.query ?? {})
      .map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(String(v))}`)
      .join("&");
    const request: WireRequest = {
      method: "GET",
      path: "/",
      query,
      headers: { host: "localhost" },
      body: Buffer.alloc(0),
    };
    assert.equal(parsed(request).sessionToken, "a/b+c=");
    assert.equal(refusal(request, minutesLater(14)), undefined);
    assert.equal(refusal(request, minutesLater(16)), "expired");
    assert.equal(refusal({ ...request, query: query.replace("a%2Fb", "a%2Fc") }), "signature-mismatch");
    assert.equal(refusal({ ...request, query: query.replace("Expires=900", "Expires=901") }), "signature-mismatch");
    assert.equal(refusal({ ...request, query: query.replace("Expires=900", "Expires=604801") }), "malformed");
    assert.equal(refusal({ ...request, query: `${query}&X-Amz-Date=20260131T102030Z` }), "malformed");
  });
});

describe("a signed request", () => {
  test("is accepted within five minutes either way", () => {
    for (const minutes of [-5, 0, 5]) assert.equal(refusal(signed(), minutesLater(minutes)), undefined);
    for (const minutes of [-5.02, 5.02]) assert.equal(refusal(signed(), minutesLater(minutes)), "skew");
  });

  test("gives the session token for look-up, and it cannot be exchanged", () => {
    const token = { "x-amz-security-token": "token-1" };
    const request = signed(ask, token);
    assert.equal(parsed(request).sessionToken, "token-1");
    assert.equal(refusal(request), undefined);
    assert.equal(refusal(withHeader(request, "x-amz-security-token", "token-2")), "signature-mismatch");
  });

  test("nothing of it can be changed", () => {
    const request = signed();
    assert.equal(refusal({ ...request, body: Buffer.from("Action=DeleteImage") }), "payload-mismatch");
    assert.equal(refusal({ ...request, method: "GET" }), "signature-mismatch");
    assert.equal(refusal({ ...request, path: "/x" }), "signature-mismatch");
    assert.equal(refusal({ ...request, query: "a=b" }), "signature-mismatch");
    assert.equal(refusal(withHeader(request, "host", "elsewhere")), "signature-mismatch");
    assert.equal(refusal(withHeader(request, "x-amz-date", "20260131T102031Z")), "signature-mismatch");
    assert.equal(refusal(authorization(request, (a) => a.replace("eu-central-1", "eu-west-1"))), "signature-mismatch");
    assert.equal(refusal(authorization(request, (a) => a.replace("/ec2/", "/iam/"))), "signature-mismatch");
  });

  test("the order of query parameters does not matter, their values do", () => {
    const request = signed({ ...ask, query: "b=2&a=1&a=0" });
    assert.equal(refusal({ ...request, query: "a=0&b=2&a=1" }), undefined);
    assert.equal(refusal({ ...request, query: "a=0&b=1&a=2" }), "signature-mismatch");
  });

  test("a header that we act on must be signed", () => {
    assert.equal(refusal(withHeader(signed(), "x-amz-target", "AmazonSSM.DeleteParameter")), "unsigned-header");
    assert.equal(refusal(withHeader(signed(), "x-amz-security-token", "t")), "unsigned-header");
    assert.equal(refusal(withHeader(signed(), "x-forwarded-for", "1.2.3.4")), undefined);
    const noHost = signRequest({ ...ask, headers: { "content-type": "x" } }, CREDENTIALS, SCOPE, NOW);
    assert.equal(refusal({ ...ask, headers: noHost }), "unsigned-header");
    assert.equal(refusal(withHeader(signed(), "content-type", undefined)), "unsigned-header");
    for (const name of ["constructor", "__proto__"]) {
      assert.equal(
        refusal(authorization(signed(), (a) => a.replace("SignedHeaders=", `SignedHeaders=${name};`))),
        "unsigned-header",
      );
    }
  });

  test("an unsigned payload is accepted only where the caller says so", () => {
    const request = signed(ask, { "x-amz-content-sha256": "UNSIGNED-PAYLOAD" });
    assert.equal(refusal(request), "payload-mismatch");
    assert.equal(refusal(request, NOW, SECRET, true), undefined);
    assert.equal(
      refusal(signed(ask, { "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" })),
      "payload-mismatch",
    );
  });

  test("what is malformed is said so", () => {
    assert.equal(refusal(ask), "missing");
    const ok = signed();
    const malformed = [
      withHeader(ask, "authorization", "Basic YTpi"),
      withHeader(ask, "authorization", "AWS4-HMAC-SHA256"),
      withHeader(ok, "x-amz-date", undefined),
      withHeader(ok, "x-amz-date", "20260231T102030Z"),
      withHeader(ok, "x-amz-date", "yesterday"),
      authorization(ok, (a) => a.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")),
      authorization(ok, (a) => a.replace(/Signature=.{4}/, "Signature=")),
      authorization(ok, (a) => a.replace("SignedHeaders=", "SignedHeaders=host;")),
      authorization(ok, (a) => a.replace("SignedHeaders=", "Other=")),
      authorization(ok, (a) => `${a}, Signature=${"0".repeat(64)}`),
      authorization(ok, (a) => a.replace("AKIDEXAMPLE", "AKID EXAMPLE")),
      { ...ok, query: "X-Amz-Algorithm=AWS4-HMAC-SHA256" },
      { ...ask, query: "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%ff" },
    ];
    for (const [index, request] of malformed.entries()) assert.equal(refusal(request), "malformed", `case ${index}`);
    assert.equal(refusal({ ...ok, query: "a=%ff" }), "malformed");
    assert.equal(refusal(authorization(ok, (a) => a.replace("aws4_request", "aws5"))), "scope");
    assert.equal(refusal(authorization(ok, (a) => a.replace("20260131", "20260130"))), "scope");
    assert.equal(refusal(authorization(ok, (a) => a.replace("eu-central-1", "EU?"))), "scope");
  });

  test("signing keys are kept, and not without limit", () => {
    const keys = signingKeys(2);
    const first = keys.of("s", "20260131", "r", "ec2");
    assert.equal(keys.of("s", "20260131", "r", "ec2"), first);
    keys.of("s", "20260131", "r", "iam");
    keys.of("s", "20260131", "r", "sts");
    const again = keys.of("s", "20260131", "r", "ec2");
    assert.notEqual(again, first);
    assert.deepEqual(again, first);
  });
});

test("each service names the failures its own way", () => {
  const fault = { kind: "fault", reason: "signature-mismatch", detail: "d" } as const;
  assert.equal(signatureError("ec2", fault).code, "AuthFailure");
  assert.equal(signatureError("ec2", fault).message, credentialError("ec2", "unknown-key").message);
  assert.equal(signatureError("sts", fault).code, "SignatureDoesNotMatch");
  assert.equal(signatureError("ebs", fault).code, "InvalidSignatureException");
  assert.equal(signatureError("ec2", { ...fault, reason: "expired" }).code, "RequestExpired");
  assert.equal(credentialError("iam", "unknown-key").code, "InvalidClientTokenId");
  assert.equal(credentialError("ssm", "inactive-key").code, "UnrecognizedClientException");
  assert.equal(credentialError("sts", "expired-token").code, "ExpiredToken");
});
