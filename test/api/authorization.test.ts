// Every action of every service, from the operations table: nobody gets past the door without being proven and permitted.
//
// The calls name nothing: whoever may not make a call hears that before anything is said of its parameters, and whoever
// may gets past it, to whatever is wrong with them.
import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import {
  CreateAccessKeyCommand,
  CreateUserCommand,
  DeleteUserPolicyCommand,
  PutUserPolicyCommand,
} from "@aws-sdk/client-iam";
import { NormalizedSchema } from "@smithy/core/schema";
import { accountId } from "../../src/base/ids.ts";
import { loadMasterKey } from "../../src/identity/master-key.ts";
import { createSessions } from "../../src/identity/sessions.ts";
import { membersOf, operationOf } from "../../src/protocol/schema.ts";
import { SERVICES, type ServiceName } from "../../src/protocol/wire.ts";
import { type AnyOperation, OPERATIONS } from "../../src/server/operations.ts";
import { type Keys, type Platform, startPlatform } from "../support/platform.ts";
import { type RawCall, send, signedHeaders } from "../support/sign.ts";

/** Who may ask these is decided by the asker's own credentials, or by a role's trust policy. */
const NO_PERMISSION_NEEDED = new Set([
  "sts:GetCallerIdentity",
  "sts:GetSessionToken",
  "sts:AssumeRole",
  "sts:AssumeRoleWithWebIdentity",
  "sts:AssumeRoleWithSAML",
]);

const QUERY_VERSION: Partial<Record<ServiceName, string>> = {
  ec2: "2016-11-15",
  iam: "2010-05-08",
  sts: "2011-06-15",
};
const TARGET: Partial<Record<ServiceName, string>> = {
  cloudtrail: "CloudTrail_20131101",
  ssm: "AmazonSSM",
  organizations: "AWSOrganizationsV20161128",
  ingot: "Ingot",
};

/** A call of the action without any parameters; labels of a path have something that is shaped like them. */
function emptyCall(service: ServiceName, name: string, operation: AnyOperation, dryRun = false): RawCall {
  const version = QUERY_VERSION[service];
  if (version !== undefined) {
    const body = new URLSearchParams({ Action: name, Version: version, ...(dryRun ? { DryRun: "true" } : {}) });
    return {
      method: "POST",
      path: "/",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: String(body),
    };
  }
  const target = TARGET[service];
  if (target !== undefined) {
    const headers = { "content-type": "application/x-amz-json-1.1", "x-amz-target": `${target}.${name}` };
    return { method: "POST", path: "/", headers, body: "{}" };
  }
  const { http } = operationOf<object, object>(operation.schema);
  if (http === undefined) throw new Error(`${service}:${name} has no HTTP binding`);
  const [path = "/", fixed = ""] = http.path.split("?");
  const query: Record<string, string> = {};
  for (const pair of fixed.split("&").filter((part) => part !== "")) {
    const [key = "", value = ""] = pair.split("=");
    query[key] = value;
  }
  const filled = path
    .replace("{BlockIndex}", "0")
    .replace(/\{(SnapshotId|SecondSnapshotId)\}/g, "snap-0123456789abcdef0")
    .replace(/\{Key\+?\}/, "key");
  // S3 tells some actions apart by what else is there.
  if (service === "s3") Object.assign(query, s3Query(name));
  const headers = service === "s3" ? s3Headers(name) : { "content-type": "application/json" };
  const where = service === "s3" && name !== "ListBuckets" ? `/no-such-bucket${filled}` : filled;
  return { method: http.method, path: where, query, headers, body: "" };
}

function s3Query(name: string): Record<string, string> {
  switch (name) {
    case "AbortMultipartUpload":
    case "CompleteMultipartUpload":
    case "ListParts":
      return { uploadId: "upload" };
    case "UploadPart":
    case "UploadPartCopy":
      return { partNumber: "1", uploadId: "upload" };
    default:
      return {};
  }
}

const s3Headers = (name: string): Record<string, string> => ({
  ...(name === "CopyObject" || name === "UploadPartCopy" ? { "x-amz-copy-source": "no-such-bucket/key" } : {}),
});

const hasDryRun = (operation: AnyOperation): boolean =>
  membersOf(NormalizedSchema.of(operationOf<object, object>(operation.schema).input)).some(
    (member) => member.name === "DryRun",
  );

/** An answer to HEAD has no body to tell a code in: its status must do. */
const REFUSED_HEAD: Readonly<Record<keyof Expected, string>> = {
  unsigned: "HTTP 403",
  forged: "HTTP 403",
  expired: "HTTP 400",
  denied: "HTTP 403",
};

interface Expected {
  readonly unsigned: string;
  readonly forged: string;
  readonly expired: string;
  readonly denied: string;
}
const PLAIN: Expected = {
  unsigned: "MissingAuthenticationToken",
  forged: "SignatureDoesNotMatch",
  expired: "ExpiredToken",
  denied: "AccessDenied",
};
const JSON_CODES: Expected = {
  unsigned: "MissingAuthenticationTokenException",
  forged: "InvalidSignatureException",
  expired: "ExpiredTokenException",
  denied: "AccessDeniedException",
};
const EXPECTED: Readonly<Record<ServiceName, Expected>> = {
  ec2: {
    unsigned: "MissingAuthenticationToken",
    forged: "AuthFailure",
    expired: "RequestExpired",
    denied: "UnauthorizedOperation",
  },
  iam: PLAIN,
  sts: PLAIN,
  s3: { ...PLAIN, unsigned: "AccessDenied" },
  cloudtrail: JSON_CODES,
  ssm: JSON_CODES,
  organizations: JSON_CODES,
  ingot: JSON_CODES,
  ebs: JSON_CODES,
};

/** What the action is called by IAM need not be its name: S3's ListBuckets is ListAllMyBuckets. */
const actionsOf = (service: ServiceName): [string, AnyOperation][] => Object.entries(OPERATIONS[service]);

/** Is it the refusal that this service has for this reason? */
function refuses(service: ServiceName, call: RawCall, why: keyof Expected, code: string | undefined): boolean {
  if (call.method === "HEAD") return code === REFUSED_HEAD[why];
  // Nothing tells an unsigned call for a bucket from one for any other service.
  if (service === "s3" && why === "unsigned" && code === PLAIN.unsigned) return true;
  return code === EXPECTED[service][why];
}

let platform: Platform;
let nobody: Keys;
let over: Keys;
let finish: () => Promise<void>;

before(async () => {
  // One platform for all: its end is this file's end.
  const ends: (() => unknown)[] = [];
  platform = await startPlatform({ after: (end: () => unknown) => ends.push(end) } as unknown as TestContext);
  finish = async () => {
    for (const end of ends.reverse()) await end();
  };
  await platform.iam.send(new CreateUserCommand({ UserName: "nobody" }));
  const { AccessKey: key } = await platform.iam.send(new CreateAccessKeyCommand({ UserName: "nobody" }));
  nobody = { accessKeyId: key?.AccessKeyId ?? "", secretAccessKey: key?.SecretAccessKey ?? "" };
  over = await expiredSession();
});
after(() => finish());

/** Temporary credentials of the root user, an hour over. */
async function expiredSession(): Promise<Keys> {
  const masterKey = await loadMasterKey(`${platform.dataDirectory}/master.key`, undefined);
  const issuedAt = Date.now() - 7_200_000;
  return createSessions(masterKey).issue({
    accountId: accountId(platform.accountId),
    principal: { kind: "root" },
    issuedAt,
    expiresAt: issuedAt + 3_600_000,
    policies: null,
    transitiveTagKeys: [],
    tags: {},
    chained: false,
  });
}

const permit = (...actions: readonly string[]) =>
  platform.iam.send(
    new PutUserPolicyCommand({
      UserName: "nobody",
      PolicyName: "minimal",
      PolicyDocument: JSON.stringify({
        Version: "2012-10-17",
        Statement: { Effect: "Allow", Action: actions, Resource: "*" },
      }),
    }),
  );

for (const service of SERVICES) {
  const each = async (work: (name: string, operation: AnyOperation) => Promise<string | undefined>) => {
    const wrong: string[] = [];
    for (const [name, operation] of actionsOf(service)) {
      const said = await work(name, operation);
      if (said !== undefined) wrong.push(`${name}: ${said}`);
    }
    assert.deepEqual(wrong, []);
  };

  describe(service, () => {
    test("an unsigned call is refused", () =>
      each(async (name, operation) => {
        // STS has two that AWS lets anybody ask, for what proves the caller is in them. Here is nobody to prove it.
        const federated = name === "AssumeRoleWithWebIdentity" || name === "AssumeRoleWithSAML";
        const call = emptyCall(service, name, operation);
        const { code } = await send(platform, call, call.headers);
        if (code === undefined) return "answered";
        if (federated) return code === "InvalidIdentityToken" ? undefined : code;
        return refuses(service, call, "unsigned", code) ? undefined : code;
      }));

    test("a forged signature is refused", () =>
      each(async (name, operation) => {
        const call = emptyCall(service, name, operation);
        const forged = { ...platform.credentials, secretAccessKey: "not the secret" };
        const { code } = await send(platform, call, await signedHeaders(platform, service, call, forged));
        return refuses(service, call, "forged", code) ? undefined : (code ?? "answered");
      }));

    test("temporary credentials that are over are refused", () =>
      each(async (name, operation) => {
        const call = emptyCall(service, name, operation);
        const { code } = await send(platform, call, await signedHeaders(platform, service, call, over));
        return refuses(service, call, "expired", code) ? undefined : (code ?? "answered");
      }));

    test("a principal without any policy is refused, whatever else is wrong", () =>
      each(async (name, operation) => {
        if (NO_PERMISSION_NEEDED.has(`${service}:${name}`)) return undefined;
        for (const dryRun of hasDryRun(operation) ? [false, true] : [false]) {
          const call = emptyCall(service, name, operation, dryRun);
          const { code } = await send(platform, call, await signedHeaders(platform, service, call, nobody));
          const denied = refuses(service, call, "denied", code);
          if (!denied) return `${code ?? "answered"}${dryRun ? " (dry run)" : ""}`;
        }
        return undefined;
      }));

    test("the minimal policy is enough to get past the door", async () => {
      await each(async (name, operation) => {
        if (NO_PERMISSION_NEEDED.has(`${service}:${name}`)) return undefined;
        await permit(operation.action);
        const call = emptyCall(service, name, operation, hasDryRun(operation));
        const { code } = await send(platform, call, await signedHeaders(platform, service, call, nobody));
        const denied = refuses(service, call, "denied", code);
        return denied ? code : undefined;
      });
      await platform.iam.send(new DeleteUserPolicyCommand({ UserName: "nobody", PolicyName: "minimal" }));
    });
  });
}
