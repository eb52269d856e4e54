// The stock AWS CLI proves a trail's files, and names exactly the one that somebody has touched. The CLI's two generations
// are tried where they are there: the newest (AWS_ENDPOINT_URL leads it here) and Debian's 2.9, which knows no such
// variable: a data path gives it another rule for S3's endpoints.
//
// What is behind the endpoint is only what the CLI asks for, over buckets in memory: the same through the public door is
// test/api/trails.test.ts.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gunzipSync, gzipSync } from "node:zlib";
import { type TrailWorld, trailWorld } from "./trail-world.fixture.ts";
import type { Trail } from "./trails.ts";

const HOUR_MS = 60 * 60 * 1000;
const DEBIANS = "/usr/bin/aws";

/** Three digests of one trail, each with a log file. */
async function provenTrail(
  t: TestContext,
): Promise<{ world: TrailWorld; trail: Trail; logs: string[]; digests: string[] }> {
  const world = await trailWorld(t);
  world.now = new Date(Math.floor(Date.now() / HOUR_MS - 4) * HOUR_MS);
  await world.trail({ prefix: "audit" });
  for (let hour = 0; hour < 3; hour++) {
    await world.event();
    await world.delivery.run("due");
    world.minutesLater(60);
    await world.delivery.run("due");
  }
  const logs = world.buckets.keys("logs", /\/CloudTrail\//);
  const digests = world.buckets.keys("logs", /\/CloudTrail-Digest\//);
  assert.deepEqual([logs.length, digests.length], [3, 3]);
  return { world, trail: await world.read("trail-1"), logs, digests };
}

interface Verdict {
  readonly code: number;
  /** `[key, verdict]` of each line about a file. */
  readonly lines: readonly (readonly [string, string])[];
}

/** Serves the trail, and runs `aws cloudtrail validate-logs` on it. */
async function validator(
  t: TestContext,
  world: TrailWorld,
  trail: Trail,
): Promise<(program?: string) => Promise<Verdict>> {
  const server = createServer((request, response) => {
    answer(world, trail, request, response).catch((error: unknown) => response.destroy(error as Error));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const scratch = mkdtempSync(join(tmpdir(), "ingot-validate-"));
  t.after(() => {
    server.close();
    server.closeAllConnections();
    rmSync(scratch, { recursive: true, force: true });
  });
  const { AWS_PROFILE: _, AWS_SESSION_TOKEN: __, ...inherited } = process.env;
  const environment = {
    ...inherited,
    AWS_ENDPOINT_URL: url,
    AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
    AWS_SECRET_ACCESS_KEY: "example",
    AWS_DEFAULT_REGION: "us-east-1",
    AWS_CONFIG_FILE: join(scratch, "config"),
    AWS_SHARED_CREDENTIALS_FILE: join(scratch, "credentials"),
    AWS_EC2_METADATA_DISABLED: "true",
  };
  return async (program = "aws") => {
    const from = new Date(Date.now() - 12 * HOUR_MS).toISOString();
    const words = ["cloudtrail", "validate-logs", "--verbose", "--trail-arn", trail.arn, "--start-time", from];
    const old = await knowsNoEndpointVariable(program);
    if (old) writeS3Rules(join(scratch, "data"), url);
    return new Promise<Verdict>((resolve, reject) => {
      execFile(
        program,
        [...words, ...(old ? ["--endpoint-url", url] : [])],
        { env: { ...environment, ...(old ? { AWS_DATA_PATH: join(scratch, "data") } : {}) } },
        (error, stdout, stderr) => {
          const code = error === null ? 0 : error.code;
          if (typeof code !== "number") return reject(error);
          const lines = [...`${stdout}\n${stderr}`.matchAll(/^(?:Digest|Log) file\ts3:\/\/logs\/(\S+)\t(.+)$/gm)];
          resolve({ code, lines: lines.map(([, key = "", verdict = ""]) => [key, verdict] as const) });
        },
      );
    });
  };
}

const versionOf = (program: string) =>
  new Promise<string | null>((resolve) => {
    execFile(program, ["--version"], (error, stdout, stderr) => resolve(error === null ? stdout || stderr : null));
  });

const installed = (await versionOf("aws")) !== null;

/** AWS_ENDPOINT_URL came with 2.13; Debian 12 has 2.9. Version 1 has it since 1.29. */
async function knowsNoEndpointVariable(program: string): Promise<boolean> {
  const [, major, minor] = /aws-cli\/(\d+)\.(\d+)/.exec((await versionOf(program)) ?? "") ?? [];
  return (major === "2" && Number(minor) < 13) || (major === "1" && Number(minor) < 29);
}

async function answer(
  world: TrailWorld,
  trail: Trail,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? "/", "http://localhost");
  const target = String(request.headers["x-amz-target"] ?? "");
  if (target.endsWith(".DescribeTrails")) {
    const { name, bucket, prefix, arn, homeRegion } = trail;
    const one = { Name: name, S3BucketName: bucket, S3KeyPrefix: prefix, TrailARN: arn, HomeRegion: homeRegion };
    response.end(JSON.stringify({ trailList: [one] }));
  } else if (target.endsWith(".ListPublicKeys")) {
    const keys = await world.delivery.publicKeys(new Date(0), new Date());
    const list = keys.map(({ der, fingerprint }) => ({ Value: der.toString("base64"), Fingerprint: fingerprint }));
    response.end(JSON.stringify({ PublicKeyList: list }));
  } else if (url.searchParams.has("location")) {
    response.end(`<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>`);
  } else if (url.pathname === "/logs") {
    const options = { prefix: url.searchParams.get("prefix") ?? "", after: url.searchParams.get("marker") ?? "" };
    const { objects } = await world.buckets.list("logs", options);
    const contents = objects.map(({ key }) => `<Contents><Key>${key}</Key></Contents>`).join("");
    response.end(`<ListBucketResult><IsTruncated>false</IsTruncated>${contents}</ListBucketResult>`);
  } else {
    const object = world.buckets.objects.get(decodeURIComponent(url.pathname.slice(1)));
    for (const [name, value] of Object.entries(object?.options.metadata ?? {})) {
      response.setHeader(`x-amz-meta-${name}`, value);
    }
    if (object === undefined) response.writeHead(404).end("<Error><Code>NoSuchKey</Code><Message>-</Message></Error>");
    else response.end(object.bytes);
  }
}

function writeS3Rules(directory: string, url: string): void {
  const folder = join(directory, "s3", "2006-03-01");
  mkdirSync(folder, { recursive: true });
  const builtIn = (name: string, type: string) => ({ builtIn: name, type, required: false, documentation: "" });
  const rules = {
    version: "1.0",
    parameters: {
      Bucket: { type: "String", required: false, documentation: "" },
      Region: builtIn("AWS::Region", "String"),
      UseFIPS: { ...builtIn("AWS::UseFIPS", "Boolean"), required: true, default: false },
      UseDualStack: { ...builtIn("AWS::UseDualStack", "Boolean"), required: true, default: false },
      Endpoint: builtIn("SDK::Endpoint", "String"),
    },
    rules: [
      {
        type: "endpoint",
        conditions: [{ fn: "isSet", argv: [{ ref: "Bucket" }] }],
        endpoint: { url: `${url}/{Bucket}`, properties: {}, headers: {} },
      },
      { type: "endpoint", conditions: [], endpoint: { url, properties: {}, headers: {} } },
    ],
  };
  writeFileSync(join(folder, "endpoint-rule-set-1.json"), JSON.stringify(rules));
}

for (const program of [...(installed ? ["aws"] : []), ...(existsSync(DEBIANS) ? [DEBIANS] : [])]) {
  test(`${program}: everything is valid`, async (t) => {
    const { world, trail, logs, digests } = await provenTrail(t);
    const { code, lines } = await (await validator(t, world, trail))(program);
    assert.equal(code, 0);
    assert.deepEqual(
      [...lines].sort(),
      [...logs, ...digests].sort().map((key) => [key, "valid"]),
    );
  });
}

/** What is done to the bucket, and which file is then named, how. */
const TAMPERINGS: readonly {
  readonly name: string;
  readonly at: "logs" | "digests";
  readonly verdict: RegExp;
  readonly tamper: (world: TrailWorld, key: string, all: { logs: string[]; digests: string[] }) => void;
}[] = [
  {
    name: "one byte of a log file",
    at: "logs",
    verdict: /^INVALID: hash value doesn't match$/,
    tamper: (world, key) => rewrite(world, key, (text) => text.replace("alice", "alicf")),
  },
  {
    name: "a log file removed",
    at: "logs",
    verdict: /^INVALID: not found$/,
    tamper: (world, key) => world.buckets.objects.delete(`logs/${key}`),
  },
  {
    name: "a log file renamed",
    at: "logs",
    verdict: /^INVALID: not found$/,
    tamper: (world, key) => move(world, key, key.replace(/_[A-Za-z0-9]{16}\./, "_0000000000000000.")),
  },
  {
    name: "a log file replaced by another of the trail's",
    at: "logs",
    verdict: /^INVALID: hash value doesn't match$/,
    tamper: (world, key, { logs }) => copy(world, logs.find((other) => other !== key) ?? "", key),
  },
  {
    name: "a log file that is no gzip any more",
    at: "logs",
    verdict: /^INVALID: invalid format$/,
    tamper(world, key) {
      const object = world.buckets.objects.get(`logs/${key}`);
      if (object !== undefined) object.bytes = Buffer.from("nothing to see here");
    },
  },
  {
    name: "one byte of a digest",
    at: "digests",
    verdict: /^INVALID: signature verification failed$/,
    tamper: (world, key) => rewrite(world, key, (text) => text.replace(/"hashValue":"./, '"hashValue":"x')),
  },
  {
    name: "a digest removed",
    at: "digests",
    verdict: /^INVALID: not found$/,
    tamper: (world, key) => world.buckets.objects.delete(`logs/${key}`),
  },
  {
    name: "a digest renamed",
    at: "digests",
    verdict: /^INVALID: not found$/,
    tamper: (world, key) => move(world, key, key.replace(/00Z\.json\.gz$/, "59Z.json.gz")),
  },
  {
    name: "a digest replaced by another of the trail's",
    at: "digests",
    verdict: /^INVALID: has been moved from its original location$/,
    tamper: (world, key, { digests }) => copy(world, digests.find((other) => other !== key) ?? "", key),
  },
];

function rewrite(world: TrailWorld, key: string, change: (text: string) => string): void {
  const object = world.buckets.objects.get(`logs/${key}`);
  assert.ok(object);
  const text = gunzipSync(object.bytes).toString();
  assert.notEqual(change(text), text);
  object.bytes = gzipSync(change(text));
}

function copy(world: TrailWorld, from: string, to: string): void {
  const object = world.buckets.objects.get(`logs/${from}`);
  assert.ok(object);
  world.buckets.objects.set(`logs/${to}`, { ...object });
}

function move(world: TrailWorld, from: string, to: string): void {
  copy(world, from, to);
  world.buckets.objects.delete(`logs/${from}`);
}

for (const { name, at, verdict, tamper } of TAMPERINGS) {
  test(`named by the CLI: ${name}`, { skip: !installed }, async (t) => {
    const { world, trail, logs, digests } = await provenTrail(t);
    const touched = { logs, digests }[at][1] ?? "";
    tamper(world, touched, { logs, digests });
    const { code, lines } = await (await validator(t, world, trail))();
    assert.equal(code, 1);
    const invalid = lines.filter(([, said]) => said !== "valid");
    assert.deepEqual(
      invalid.map(([key]) => key),
      [touched],
    );
    assert.match(invalid[0]?.[1] ?? "", verdict);
    // Whatever the touched digest named cannot be proven; all other files still are.
    const unproven = at === "digests" ? [touched, logs[1]] : [touched];
    assert.deepEqual(
      lines
        .filter(([, said]) => said === "valid")
        .map(([key]) => key)
        .sort(),
      [...logs, ...digests].filter((key) => !unproven.includes(key)).sort(),
    );
  });
}
