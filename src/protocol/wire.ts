// What crosses the wire, before anything is understood and after everything is decided.
//
// One request goes: `codecFor(service).route` (which action?) → `verify` in sigv4.ts (who?) → `decode` (the SDK's own
// typed input) → … → `encode` or `encodeError`. Nothing here does I/O.

import type { Readable } from "node:stream";
import type { ApiError } from "../base/api-error.ts";
import type { Operation } from "./schema.ts";

/** The services we speak, by the name in a credential's scope. */
export const AWS_SERVICES = ["ec2", "iam", "sts", "cloudtrail", "ssm", "ebs", "s3", "organizations"] as const;
/** `ingot` is our own: what an operator and an owner need beyond AWS (services/ingot/schema.ts). */
export const SERVICES = [...AWS_SERVICES, "ingot"] as const;
export type AwsServiceName = (typeof AWS_SERVICES)[number];
export type ServiceName = (typeof SERVICES)[number];

export interface WireRequest {
  /** Upper case. */
  readonly method: string;
  /** As on the request line, up to `?`, still percent-encoded. */
  readonly path: string;
  /** What follows `?`, still percent-encoded; empty if nothing. */
  readonly query: string;
  /** Names in lower case; a repeated header's values joined with ", " as node:http does. */
  readonly headers: Readonly<Record<string, string>>;
  /** Empty where `stream` is given. */
  readonly body: Buffer;
  /** S3 only: the body as it comes in, however long; to be read once. */
  readonly stream?: AsyncIterable<Buffer>;
}

export interface WireResponse {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
  /** S3 only: goes out in the place of `body`, which is empty; `headers` tell its length. Whoever gets it ends it. */
  readonly stream?: Readable;
}

export interface Route {
  /** The operation's name as the client gave it. Only rest services promise that it exists. */
  readonly action: string;
  /** The API version that the client asked for, if it said so. We answer all of them with the newest. */
  readonly version?: string;
}

/** One service's way of writing requests and replies. Stateless; schemas are compiled at their first use and kept. */
export interface ServiceCodec {
  readonly service: ServiceName;
  /**
   * Which operation is meant.
   * @throws ApiError `MissingAction`, `MalformedQueryString`, `UnknownOperationException`, `MethodNotAllowed`
   */
  route(request: WireRequest): Route;
  /**
   * The operation's input, as the SDK's client was given it. Members that the client did not send are absent.
   * @throws ApiError in the service's own terms: `MissingParameter`, `InvalidParameterValue`, `UnknownParameter` and
   *   `MalformedQueryString` (ec2), `ValidationError` (iam, sts), `SerializationException` and `ValidationException`
   *   (json), `ValidationException` (ebs), `InvalidArgument` and `MalformedXML` (s3)
   */
  decode<Input, Output>(operation: Operation<Input, Output>, request: WireRequest): Input;
  /** Members that are undefined or null are left out; an empty list is written as such. */
  encode<Input, Output>(operation: Operation<Input, Output>, output: Output, requestId: string): WireResponse;
  encodeError(error: ApiError, requestId: string): WireResponse;
}
