// A call as a CloudTrail record, version 1.11: one object for the account that called, and one for each account whose
// resource it used.
import { hash } from "node:crypto";
import type { Caller } from "../model/identity/caller.ts";
import type { AuditedOperation, Json, JsonObject } from "./json.ts";
import { requestParameters, responseElements } from "./shapes.ts";
import { awsTime } from "./times.ts";
import { foreignIdentity, lookupUserName, unprovenIdentity, userIdentity } from "./user-identity.ts";

const EVENT_VERSION = "1.11";

/** CloudTrail's limit for a user agent, an error code, an error message. */
const MOST_CHARS = 1024;

/**
 * Reads and writes of blocks (EBS direct) and of objects (S3) are data events; all else is management. LookupEvents shows
 * management only.
 */
const DATA_EVENTS: Readonly<Record<string, ReadonlySet<string>>> = {
  ebs: new Set(["GetSnapshotBlock", "ListChangedBlocks", "ListSnapshotBlocks", "PutSnapshotBlock"]),
  s3: new Set([
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateMultipartUpload",
    "DeleteObject",
    "DeleteObjectTagging",
    "DeleteObjects",
    "GetObject",
    "GetObjectTagging",
    "HeadBucket",
    "HeadObject",
    "ListMultipartUploads",
    "ListObjects",
    "ListObjectsV2",
    "ListParts",
    "PutObject",
    "PutObjectTagging",
    "UploadPart",
    "UploadPartCopy",
  ]),
};

const LISTINGS = new Set(["ListChangedBlocks", "ListSnapshotBlocks"]);

export type Category = "Management" | "Data";

export const categoryOf = (service: string, action: string): Category =>
  DATA_EVENTS[service]?.has(action) === true ? "Data" : "Management";

/** Something that the call touched. */
export interface Resource {
  readonly arn: string;
  /** `AWS::EC2::Ami`. */
  readonly type: string;
  /** Empty: not known. */
  readonly accountId: string;
}

/** What is known of a call before it runs. Secrets are taken out already. */
export interface Call {
  /** A GUID. */
  readonly eventId: string;
  readonly time: Date;
  /** `ec2`. */
  readonly service: string;
  readonly action: string;
  readonly readOnly: boolean;
  readonly region: string;
  readonly sourceIp: string;
  readonly userAgent: string;
  readonly requestId: string;
  readonly identity: JsonObject;
  /** For records in accounts other than the caller's. */
  readonly foreign: JsonObject;
  readonly userName: string | null;
  readonly accessKeyId: string | null;
  /** The account whose event it is; null: nobody's, kept for the operator. */
  readonly accountId: string | null;
  readonly parameters: Json;
  /** Not a call at all, but something that a service tells the account: what it has to say. */
  readonly serviceEvent?: JsonObject;
}

/** How a call ended. */
export interface Ending {
  readonly response: Json;
  readonly errorCode?: string;
  readonly errorMessage?: string;
  readonly resources: readonly Resource[];
  /** Accounts besides the caller's that get the event. */
  readonly recipients: readonly string[];
  readonly additional?: JsonObject;
}

/** A record, and what it is found by. All of it is under the hash chain. */
export interface AuditEvent {
  readonly eventId: string;
  readonly accountId: string | null;
  readonly region: string;
  readonly category: Category;
  /** Epoch milliseconds of the call's arrival. The record itself has whole seconds. */
  readonly atMs: number;
  readonly eventName: string;
  readonly eventSource: string;
  readonly readOnly: boolean;
  readonly userName: string | null;
  readonly accessKeyId: string | null;
  readonly resources: readonly Resource[];
  /** The record as JSON text. */
  readonly body: string;
}

export interface ArrivedCall {
  readonly eventId: string;
  readonly time: Date;
  readonly service: string;
  readonly action: string;
  readonly readOnly: boolean;
  readonly region: string;
  readonly sourceIp: string;
  readonly userAgent: string;
  readonly requestId: string;
  readonly caller: Caller;
  readonly operation: AuditedOperation;
  readonly input: object;
}

/** The part of a record that is fixed when the call begins. */
export function callOf(arrived: ArrivedCall): Call {
  const { eventId, time, service, action, readOnly, region, sourceIp, userAgent, requestId, caller } = arrived;
  return {
    ...{ eventId, time, service, action, readOnly, region, sourceIp, userAgent, requestId },
    identity: userIdentity(caller),
    foreign: foreignIdentity(caller),
    userName: lookupUserName(caller),
    accessKeyId: caller.accessKeyId,
    accountId: caller.accountId,
    parameters: requestParameters(service, arrived.operation, arrived.input),
  };
}

/** A call that was refused before its caller was proven, or before anybody knew what it asks. */
export interface RefusedCall {
  readonly eventId: string;
  readonly time: Date;
  /** Empty when unknown. */
  readonly service: string;
  readonly action: string;
  readonly region: string;
  readonly sourceIp: string;
  readonly userAgent: string;
  readonly requestId: string;
  /** Who it is proven to be; else what the request claimed, and the account that this key belongs to. */
  readonly caller: Caller | null;
  readonly accessKeyId?: string | undefined;
  readonly accountId?: string | undefined;
}

export function refusedCall(refused: RefusedCall): Call {
  const { eventId, time, service, action, region, sourceIp, userAgent, requestId, caller } = refused;
  const identity = caller === null ? unprovenIdentity(refused.accessKeyId) : userIdentity(caller);
  return {
    ...{ eventId, time, service, action, readOnly: false, region, sourceIp, userAgent, requestId },
    identity,
    foreign: identity,
    userName: caller === null ? null : lookupUserName(caller),
    accessKeyId: caller?.accessKeyId ?? refused.accessKeyId ?? null,
    accountId: caller?.accountId ?? refused.accountId ?? null,
    parameters: null,
  };
}

/** Something that happened to an account's resource without a call. */
export interface ServiceEvent {
  /** A GUID. */
  readonly eventId: string;
  readonly time: Date;
  /** `ec2`. */
  readonly service: string;
  readonly name: string;
  readonly region: string;
  readonly accountId: string;
  readonly details: JsonObject;
}

/** As CloudTrail's `AwsServiceEvent`s: the service is who, and where from. */
export function serviceCall(happened: ServiceEvent): Call {
  const { eventId, time, service, name, region, accountId, details } = happened;
  const principal = `${service}.amazonaws.com`;
  const identity: JsonObject = { accountId, invokedBy: principal };
  return {
    ...{ eventId, time, service, region, accountId, identity },
    action: name,
    readOnly: false,
    sourceIp: principal,
    userAgent: principal,
    requestId: eventId,
    foreign: identity,
    userName: null,
    accessKeyId: null,
    parameters: null,
    serviceEvent: details,
  };
}

/** `responseElements` of a call that succeeded: null for reads, as in CloudTrail. */
export const responseOf = (call: Call, operation: AuditedOperation, output: object | undefined): Json =>
  call.readOnly ? null : responseElements(call.service, operation, output, call.requestId);

/**
 * An error's code as CloudTrail has it: EC2's are `Client.…` or `Server.…`, those of other services are bare.
 * @param httpStatus  that the client got
 */
export const recordedErrorCode = (service: string, code: string, httpStatus: number): string =>
  service === "ec2" ? `${httpStatus >= 500 ? "Server" : "Client"}.${code}` : code;

/**
 * The events of a finished call: the caller's, then one for each other account in `recipients`, tied by one
 * `sharedEventID`. Another account sees who used its resource and how, and nothing of the caller's own affairs: of the
 * request only what names that account's resources, of the answer nothing.
 */
export function eventsOf(call: Call, ending: Ending): AuditEvent[] {
  const others = [...new Set(ending.recipients)].filter((id) => id !== call.accountId);
  const category = categoryOf(call.service, call.action);
  if (others.length === 0) return [event(call, ending, category, {})];
  const shared = { sharedEventID: derivedId(call.eventId, "shared") };
  const own = event(call, ending, category, shared);
  // Data events are not in LookupEvents, but the owner of a snapshot is to see that another account reads it: the listing,
  // without whose tokens no block can be read, is in its history; the blocks themselves are data events there too.
  const foreign = LISTINGS.has(call.action) ? "Management" : category;
  return [own, ...others.map((accountId) => event(...foreignView(call, ending, accountId), foreign, shared))];
}

/** A GUID that follows from another: a record that is written again after a crash is known to be there by its id. */
function derivedId(eventId: string, purpose: string): string {
  const hex = hash("sha256", `${eventId} ${purpose}`);
  const variant = "89ab"[Number.parseInt(hex.charAt(16), 16) & 3];
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `${variant}${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join("-");
}

function foreignView(call: Call, ending: Ending, accountId: string): [Call, Ending] {
  const resources = ending.resources.filter((resource) => resource.accountId === accountId);
  const names = new Set(resources.flatMap((resource) => [resource.arn, resourceName(resource.arn)]));
  return [
    {
      ...call,
      eventId: derivedId(call.eventId, accountId),
      accountId,
      identity: call.foreign,
      accessKeyId: null,
      parameters: onlyNames(call.parameters, names),
    },
    { ...ending, resources, response: null },
  ];
}

/** `value` without every text that is not one of `names`; null when nothing is left. */
function onlyNames(value: Json, names: ReadonlySet<string>): Json {
  if (typeof value === "string") return names.has(value) ? value : null;
  if (value === null || typeof value !== "object") return null;
  if (Array.isArray(value)) {
    const kept = (value as readonly Json[]).map((one) => onlyNames(one, names)).filter((one) => one !== null);
    return kept.length === 0 ? null : kept;
  }
  const kept = Object.entries(value)
    .map(([name, one]) => [name, onlyNames(one, names)] as const)
    .filter((entry) => entry[1] !== null);
  return kept.length === 0 ? null : Object.fromEntries(kept);
}

function event(call: Call, ending: Ending, category: Category, shared: JsonObject): AuditEvent {
  const eventSource = `${call.service === "" ? "unknown" : call.service}.amazonaws.com`;
  const body: JsonObject = {
    eventVersion: EVENT_VERSION,
    userIdentity: call.identity,
    eventTime: awsTime(call.time),
    eventSource,
    eventName: call.action,
    awsRegion: call.region,
    sourceIPAddress: call.sourceIp,
    userAgent: call.userAgent.slice(0, MOST_CHARS),
    ...(ending.errorCode === undefined ? {} : { errorCode: ending.errorCode.slice(0, MOST_CHARS) }),
    ...(ending.errorMessage === undefined ? {} : { errorMessage: ending.errorMessage.slice(0, MOST_CHARS) }),
    requestParameters: call.parameters,
    responseElements: ending.response,
    ...(ending.additional === undefined ? {} : { additionalEventData: ending.additional }),
    requestID: call.requestId,
    eventID: call.eventId,
    readOnly: call.readOnly,
    ...(ending.resources.length === 0
      ? {}
      : {
          resources: ending.resources.map(({ arn, type, accountId }) => ({
            ...(accountId === "" ? {} : { accountId }),
            type,
            ARN: arn,
          })),
        }),
    eventType: call.serviceEvent === undefined ? "AwsApiCall" : "AwsServiceEvent",
    managementEvent: category === "Management",
    ...(call.accountId === null ? {} : { recipientAccountId: call.accountId }),
    ...shared,
    ...(call.serviceEvent === undefined ? {} : { serviceEventDetails: call.serviceEvent }),
    eventCategory: category,
  };
  return {
    eventId: call.eventId,
    accountId: call.accountId,
    region: call.region,
    category,
    atMs: call.time.getTime(),
    eventName: call.action,
    eventSource,
    readOnly: call.readOnly,
    userName: call.userName,
    accessKeyId: call.accessKeyId,
    resources: ending.resources,
    body: JSON.stringify(body),
  };
}

/** What LookupEvents calls a resource: `ami-…` of an image's ARN, a user's name, a parameter's path. */
export function resourceName(arn: string): string {
  if (!arn.startsWith("arn:")) return arn;
  const resource = arn.split(":").slice(5).join(":");
  const slash = resource.indexOf("/");
  if (slash < 0) return resource;
  // SSM's `parameter/path/name` is the parameter `/path/name`; IAM's `user/path/alice` is the user `alice`.
  if (arn.startsWith("arn:aws:ssm:") && resource.startsWith("parameter/")) {
    const name = resource.slice(slash);
    return name.lastIndexOf("/") === 0 ? name.slice(1) : name;
  }
  if (arn.startsWith("arn:aws:iam:")) return resource.slice(resource.lastIndexOf("/") + 1);
  return resource.slice(slash + 1);
}
