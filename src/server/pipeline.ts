// The one door: every call walks through here, whoever makes it.
//
//   authenticate → route → decode → resolve → authorise → (DryRun) → open the audit entry → run → close it → encode
//
// The body of an S3 object is read by `run` alone, and proven while it is read; everything before knows the headers only.
//
// Nothing else authorises, nothing else audits. What a client sees first when several things are wrong follows from this
// order: who it is, what it asks for, how it asks, whether it may, whether it can be done.
import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import type { OpenCall } from "../audit/trail.ts";
import { ApiError, type ErrorCode } from "../base/api-error.ts";
import type { Clock } from "../base/clock.ts";
import { chain, isDiskFull } from "../base/errors.ts";
import type { Region } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { Database } from "../database/database.ts";
import { requestKeys } from "../identity/caller-keys.ts";
import type { Action, ConditionKeys, Grant, ResourceCheck } from "../model/access.ts";
import type { Caller } from "../model/identity/caller.ts";
import { accountOfAccessKey } from "../model/identity/ids.ts";
import { DEFAULT_REGION, isRegion } from "../model/regions.ts";
import { credentialError, signatureError } from "../protocol/auth-errors.ts";
import { codecFor } from "../protocol/codec.ts";
import { knownActions } from "../protocol/known-actions.ts";
import { openPayload, type Payload } from "../protocol/payload.ts";
import { bucketOfHost } from "../protocol/s3-address.ts";
import { operationOf } from "../protocol/schema.ts";
import { type ParsedSignature, parseSignature, payloadOf, signingKeys, verifySignature } from "../protocol/sigv4.ts";
import {
  SERVICES,
  type ServiceCodec,
  type ServiceName,
  type WireRequest,
  type WireResponse,
} from "../protocol/wire.ts";
import type { Parts, RequestContext } from "../services/context.ts";
import type { Resolution } from "../services/operation.ts";
import { federationRefusal } from "../services/sts/assume-role.ts";
import { auditedResources } from "./audited-resources.ts";
import type { Answering, IncomingCall } from "./http.ts";
import { type AnyOperation, findOperation } from "./operations.ts";
import { receive } from "./receive.ts";

/** Signing keys are per secret, day, Region and service. */
const SIGNING_KEYS_KEPT = 2_000;

export interface PipelineParts extends Parts {
  readonly database: Database;
  readonly clock: Clock;
  readonly log: Log;
}

/** Makes what answers calls. It never throws: whatever goes wrong becomes an answer. */
export function createPipeline(parts: PipelineParts): Answering {
  const keys = signingKeys(SIGNING_KEYS_KEPT);

  return { answer: answerCall, streams: (request) => serviceOf(parseSignature(request), request) === "s3" };

  async function answerCall(call: IncomingCall): Promise<WireResponse> {
    const parsed = parseSignature(call.request);
    const service = serviceOf(parsed, call.request);
    const codec = codecFor(service);
    const request: OpenRequest = { call, service, codec, time: parts.clock.now(), caller: null };
    try {
      if (parsed.kind === "fault") {
        const unsigned = service === "sts" && parsed.reason === "missing";
        throw (unsigned ? federationRefusal(actionOf(codec, call.request)) : null) ?? signatureError(service, parsed);
      }
      if (parsed.service !== service) {
        throw new ApiError(
          "UnknownOperationException",
          `The service '${parsed.service}' is not one that Ingot answers: it has ${SERVICES.join(", ")}.`,
        );
      }
      const proven = await authenticate(parsed, request);
      request.caller = proven.caller;
      return await answer(request, parsed, proven);
    } catch (error) {
      const refused = told(error, request);
      if (!(error instanceof Recorded)) await recordRefusal(request, parsed, refused);
      return codec.encodeError(refused, call.requestId);
    }
  }

  async function authenticate(parsed: ParsedSignature, { call, service, time }: OpenRequest): Promise<Proven> {
    const found = await parts.identity.credentials.find(parsed.accessKeyId, parsed.sessionToken, time);
    if (found.kind !== "found") throw credentialError(service, found.kind);
    const fault = verifySignature(parsed, found.secretAccessKey, call.request, time, {
      keys,
      // Blocks carry a checksum of their own, which the action verifies.
      allowUnsignedPayload: service === "ebs" && call.request.method === "PUT",
    });
    if (fault !== undefined) throw signatureError(service, fault);
    parts.identity.lastUsed.note(found.caller, service, parsed.region, time);
    if (call.request.stream === undefined) return { caller: found.caller, payload: undefined };
    const signed = payloadOf(parsed, found.secretAccessKey, call.request, keys);
    if (signed === undefined) {
      throw new ApiError(
        "InvalidArgument",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
      );
    }
    return { caller: found.caller, payload: openPayload(call.request, signed) };
  }

  async function answer(
    request: OpenRequest,
    parsed: ParsedSignature,
    { caller, payload }: Proven,
  ): Promise<WireResponse> {
    const { call, service, codec, time } = request;
    const { action } = codec.route(call.request);
    const operation = findOperation(service, action);
    if (operation === undefined) throw notAnswered(service, action);
    const schema = operationOf<object, object>(operation.schema);
    const region = regionOf(parsed, service);
    let input: object;
    try {
      const received = payload === undefined ? call.request : await receive(schema, call.request, payload);
      input = codec.decode(schema, received);
    } catch (error) {
      await mustHaveSomeLeave(caller, operation.action, error);
      throw error;
    }
    const ctx: RequestContext = {
      caller,
      region,
      requestId: call.requestId,
      sourceIp: call.sourceIp,
      userAgent: call.request.headers["user-agent"] ?? "",
      database: parts.database,
      log: parts.log,
      now: () => parts.clock.now(),
      parts,
    };
    const opening: OpenCall = {
      eventId: randomUUID(),
      time,
      service,
      action: schema.name,
      readOnly: operation.access === "read",
      region,
      sourceIp: ctx.sourceIp,
      userAgent: ctx.userAgent,
      requestId: call.requestId,
      caller,
      operation: schema,
      input,
    };
    const output = await authorisedRun(request, ctx, operation, input, opening);
    return codec.encode(schema, output as object, call.requestId);
  }

  /** Everything from here on ends in an audit record of its own, whatever happens. */
  async function authorisedRun(
    request: OpenRequest,
    ctx: RequestContext,
    operation: AnyOperation,
    input: object,
    opening: OpenCall,
  ): Promise<unknown> {
    let resolved: Resolution;
    let grant: Grant;
    // A write's intent goes to the disk while the call is looked up and authorised. What can't be recorded is not done.
    const begun = parts.audit.begin(opening);
    let named: Pick<OpenCall, "resources" | "recipients"> = {};
    try {
      const shared = requestKeys({
        now: request.time,
        sourceIp: ctx.sourceIp,
        userAgent: ctx.userAgent,
        region: ctx.region,
        secure: false,
      });
      resolved = await resolve(ctx, operation, input, shared);
      named = {
        resources: resolved.resources ?? auditedResources(resolved.checks, ctx.caller.accountId),
        ...(resolved.recipients === undefined ? {} : { recipients: resolved.recipients }),
      };
      grant = resolved.grant ?? (await authorise(ctx, request.service, resolved.checks, shared));
      if ("DryRun" in input && input.DryRun === true) {
        throw new ApiError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.");
      }
    } catch (error) {
      const refused = told(error, request);
      await parts.audit.close({ ...begun, ...named }, failure(refused));
      throw new Recorded(refused, error);
    }
    const entry = await parts.audit.commit(begun, named);
    let output: unknown;
    try {
      output = await operation.run(ctx, input as never, resolved as never, grant);
    } catch (error) {
      const refused = told(error, request);
      await parts.audit.close(entry, failure(refused));
      throw new Recorded(refused, error);
    }
    try {
      await parts.audit.close(entry, { kind: "success", output: (output ?? undefined) as object | undefined });
    } catch (error) {
      discard(output);
      throw error;
    }
    return output;
  }

  /**
   * What the call names. A refusal that gives away whether something exists is only for those who may act on it; any
   * other, only for those who may do such a thing at all.
   */
  async function resolve(
    ctx: RequestContext,
    operation: AnyOperation,
    input: object,
    shared: ConditionKeys,
  ): Promise<Resolution> {
    try {
      return await operation.resolve(ctx, input as never);
    } catch (error) {
      if (error instanceof ApiError && error.resourceArn !== undefined) {
        const service = operation.action.slice(0, operation.action.indexOf(":"));
        await authorise(ctx, service, [{ action: operation.action, resource: error.resourceArn, keys: {} }], shared);
      } else await mustHaveSomeLeave(ctx.caller, operation.action, error);
      throw error;
    }
  }

  /** Before a caller hears what is wrong with a call: whoever may not make it hears that, and nothing else. */
  async function mustHaveSomeLeave(caller: Caller, action: Action, error: unknown): Promise<void> {
    // A denial of `resolve` itself is as good as ours. What is our own fault is no secret either.
    if (!(error instanceof ApiError) || error.code === "UnauthorizedOperation") return;
    const denial = await parts.identity.authorizer.mayAtAll(action.slice(0, action.indexOf(":")), caller, action);
    if (denial !== null) throw denial;
  }

  async function authorise(
    ctx: RequestContext,
    service: string,
    checks: readonly ResourceCheck[],
    shared: ConditionKeys,
  ): Promise<Grant> {
    const { authorizer } = parts.identity;
    const verdict = await authorizer.authorize(ctx.caller, checks, shared);
    if (verdict.granted) return verdict.grant;
    throw authorizer.denial(service, ctx.caller, verdict);
  }

  /** The refusal as the client hears it; what is our own fault is told to our log. */
  function told(error: unknown, { call, service }: OpenRequest): ApiError {
    if (error instanceof Recorded) return error.refusal;
    if (error instanceof ApiError) {
      if (error.cause !== undefined)
        parts.log.warn({ requestId: call.requestId, error: chain(error) }, "refused a call");
      return error;
    }
    if (isDiskFull(error)) {
      parts.log.error({ requestId: call.requestId, error: chain(error) }, "a call failed: the disk is full");
      return new ApiError(
        "ServiceUnavailable",
        "The request has failed due to a temporary failure of the server: its disk is full.",
      );
    }
    const stack = error instanceof Error ? error.stack : undefined;
    parts.log.error({ requestId: call.requestId, error: chain(error), stack }, "a call failed");
    return new ApiError(OUR_FAULT[service], "An internal error has occurred");
  }

  /** Calls that end before anybody is proven, or before they are understood, are recorded too. */
  async function recordRefusal(
    { call, service, codec, time, caller }: OpenRequest,
    parsed: ReturnType<typeof parseSignature>,
    refused: ApiError,
  ): Promise<void> {
    try {
      await parts.audit.recordRefusal({
        eventId: randomUUID(),
        time,
        service,
        action: actionOf(codec, call.request),
        region: parsed.kind === "signature" && isRegion(parsed.region) ? parsed.region : DEFAULT_REGION,
        sourceIp: call.sourceIp,
        userAgent: call.request.headers["user-agent"] ?? "",
        requestId: call.requestId,
        caller,
        ...(parsed.kind === "signature"
          ? { accessKeyId: parsed.accessKeyId, accountId: accountOfAccessKey(parsed.accessKeyId) ?? undefined }
          : {}),
        code: refused.code,
        httpStatus: refused.httpStatus,
        message: refused.message,
      });
    } catch (error) {
      parts.log.error({ requestId: call.requestId, error: chain(error) }, "could not record a refused call");
    }
  }
}

/** An answer that nobody will read: what it holds open is closed. */
function discard(output: unknown): void {
  for (const value of Object.values(output ?? {})) if (value instanceof Readable) value.destroy();
}

/** Who calls, and the body where it is still to be read. */
interface Proven {
  readonly caller: Caller;
  readonly payload: Payload | undefined;
}

/** A call on its way. */
interface OpenRequest {
  readonly call: IncomingCall;
  readonly service: ServiceName;
  readonly codec: ServiceCodec;
  readonly time: Date;
  /** Once it is proven. */
  caller: Caller | null;
}

/** Carries a refusal that the audit trail has already. */
class Recorded extends Error {
  readonly refusal: ApiError;
  constructor(refusal: ApiError, cause: unknown) {
    super(refusal.message, { cause });
    this.refusal = refusal;
  }
}

const failure = (error: ApiError) => ({
  kind: "error" as const,
  code: error.code,
  httpStatus: error.httpStatus,
  message: error.message,
});

const OUR_FAULT: Readonly<Record<ServiceName, ErrorCode>> = {
  ec2: "InternalError",
  iam: "InternalFailure",
  sts: "InternalFailure",
  cloudtrail: "InternalFailure",
  ssm: "InternalFailure",
  organizations: "ServiceException",
  ingot: "InternalFailure",
  ebs: "InternalServerException",
  s3: "InternalError",
};

/** The scope's word; without one, what the request looks like, so that even a refusal is in a form that its sender reads. */
function serviceOf(parsed: ReturnType<typeof parseSignature>, request: WireRequest): ServiceName {
  if (parsed.kind === "signature") {
    const named = SERVICES.find((service) => service === parsed.service);
    if (named !== undefined) return named;
  }
  // STS has calls that nobody signs.
  if (request.method === "POST" && /(^|&)Version=2011-06-15(&|$)/.test(request.body.toString("latin1", 0, 4096)))
    return "sts";
  const target = request.headers["x-amz-target"] ?? "";
  if (target.startsWith("AmazonSSM")) return "ssm";
  if (target.startsWith("AWSOrganizations")) return "organizations";
  if (target.startsWith("Ingot.")) return "ingot";
  if (target !== "") return "cloudtrail";
  if (request.path.startsWith("/snapshots")) return "ebs";
  // The others are asked at the root.
  if (request.path !== "/" || bucketOfHost(request.headers.host ?? "") !== undefined) return "s3";
  return "ec2";
}

/** IAM, STS and Organizations are the same everywhere; all else belongs to the Region that the call was signed for. */
function regionOf(parsed: ParsedSignature, service: ServiceName): Region {
  // Their events are us-east-1's, wherever the client believes to be.
  if (service === "iam" || service === "organizations") return DEFAULT_REGION;
  if (isRegion(parsed.region)) return parsed.region;
  // S3's clients may sign for a Region of their own making when the endpoint is not Amazon's.
  if (service === "sts" || service === "s3") return DEFAULT_REGION;
  throw new ApiError(
    service === "ec2" ? "AuthFailure" : "UnrecognizedClientException",
    `'${parsed.region}' is not a Region: sign for one that DescribeRegions names.`,
  );
}

/** What AWS has and Ingot does not, is told from what nobody has. */
function notAnswered(service: ServiceName, action: string): ApiError {
  const known = knownActions(service).has(action);
  switch (service) {
    case "ec2":
    case "iam":
    case "sts":
      return known
        ? new ApiError(
            "UnsupportedOperation",
            `The functionality you requested is not available: Ingot does not answer ${action}.`,
          )
        : new ApiError("InvalidAction", `The action ${action} is not valid for this web service.`);
    case "cloudtrail":
    case "ssm":
    case "organizations":
    case "ingot":
    case "ebs":
      return new ApiError(
        "UnknownOperationException",
        known ? `Ingot does not answer ${action}.` : `There is no operation ${action}.`,
      );
    case "s3":
      return new ApiError(
        "NotImplemented",
        `A header or query you provided implies functionality that is not implemented: Ingot does not answer ${action}.`,
      );
  }
}

function actionOf(codec: ServiceCodec, request: WireRequest): string {
  try {
    return codec.route(request).action;
  } catch {
    return "Unknown";
  }
}
