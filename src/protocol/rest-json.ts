// rest-JSON (EBS direct): the operation in method and path, members in labels, query, headers and a JSON or raw body.

import { NormalizedSchema } from "@smithy/core/schema";
import { ApiError } from "../base/api-error.ts";
import {
  fieldReaders,
  fieldsWriter,
  type JsonVisit,
  parseJsonObject,
  readFields,
  validationName,
  type WriteJson,
} from "./json-shapes.ts";
import { missingMembers } from "./query.ts";
import type { MissingName } from "./query-input.ts";
import { readBoolean, readNumber, readQuery, readTimestamp, writeTimestamp } from "./scalars.ts";
import { kindOf, type Member, membersOf, type Operation } from "./schema.ts";
import type { Route, ServiceCodec, ServiceName, WireRequest, WireResponse } from "./wire.ts";

interface RestRoute {
  readonly action: string;
  readonly method: string;
  /** A label where it starts with `{`. */
  readonly segments: readonly string[];
}

const splitPath = (path: string): string[] => path.split("/").slice(1);
const invalid = (message: string) => new ApiError("ValidationException", message);

function percentDecode(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(`The ${what} is not percent-encoded UTF-8`);
  }
}

function matches(route: RestRoute, segments: readonly string[]): boolean {
  return (
    route.segments.length === segments.length &&
    route.segments.every((s, i) => (s.startsWith("{") ? segments[i] !== "" : s === segments[i]))
  );
}

/** Query parameters by name. @throws ApiError when one occurs twice */
function queryOf(request: WireRequest): ReadonlyMap<string, string> {
  const pairs = readQuery(request.query);
  if (pairs === undefined) throw invalid("The query string is not percent-encoded UTF-8");
  const query = new Map(pairs);
  if (query.size !== pairs.length) throw invalid("A query parameter occurs twice");
  return query;
}

/** A member that travels as text: in a label, a query parameter or a header. */
function readText(member: Member, text: string): unknown {
  const wrong = (type: string) =>
    invalid(`Value at '${validationName(member.name)}' failed to satisfy constraint: Member must be ${type}`);
  switch (kindOf(member.schema)) {
    case "string":
      return text;
    case "number": {
      const value = readNumber(text, false);
      if (value === undefined) throw wrong("an integer");
      return value;
    }
    case "boolean": {
      const value = readBoolean(text);
      if (value === undefined) throw wrong("a boolean");
      return value;
    }
    case "timestamp": {
      const value = readTimestamp(text);
      if (value === undefined) throw wrong("a timestamp");
      return value;
    }
    default:
      throw new Error(`${member.name} cannot travel as text`);
  }
}

const isBody = ({ traits }: Member): boolean =>
  !traits.httpLabel && traits.httpHeader === undefined && traits.httpQuery === undefined && !traits.httpPayload;

interface InputPlan {
  readonly members: readonly Member[];
  /** Place of each label in the path. */
  readonly labels: ReadonlyMap<string, number>;
  readonly body: ReturnType<typeof fieldReaders>;
}
interface OutputPlan {
  readonly headers: readonly Member[];
  readonly payload: Member | undefined;
  readonly writeBody: WriteJson | undefined;
}

function planInput(operation: Operation<never, never>): InputPlan {
  const schema = NormalizedSchema.of(operation.input);
  const members = membersOf(schema);
  const labels = new Map<string, number>();
  splitPath(operation.http?.path ?? "").forEach((segment, index) => {
    if (segment.startsWith("{")) labels.set(segment.slice(1, -1), index);
  });
  return { members, labels, body: fieldReaders(members.filter(isBody), schema.getName() ?? "") };
}

function planOutput(operation: Operation<never, never>): OutputPlan {
  const members = membersOf(NormalizedSchema.of(operation.output));
  const body = members.filter(isBody);
  return {
    headers: members.filter((member) => member.traits.httpHeader !== undefined),
    payload: members.find((member) => member.traits.httpPayload),
    writeBody: body.length > 0 ? fieldsWriter(body) : undefined,
  };
}

/** @param operations  all that the service has: without them a path says nothing */
export function restJsonCodec(service: ServiceName, operations: readonly Operation<never, never>[]): ServiceCodec {
  const routes: RestRoute[] = operations.map(({ name, http }) => {
    if (http === undefined) throw new Error(`${name} has no HTTP binding`);
    return { action: name, method: http.method, segments: splitPath(http.path) };
  });
  const inputs = new Map<string, InputPlan>();
  const outputs = new Map<string, OutputPlan>();
  const jsonHeaders = (requestId: string) => ({ "x-amzn-requestid": requestId, "content-type": "application/json" });

  return {
    service,

    route(request: WireRequest): Route {
      const segments = splitPath(request.path);
      const route = routes.find((r) => r.method === request.method && matches(r, segments));
      if (route === undefined) {
        throw new ApiError("UnknownOperationException", "No operation of this service has this method and path");
      }
      return { action: route.action };
    },

    decode<Input, Output>(operation: Operation<Input, Output>, request: WireRequest): Input {
      let plan = inputs.get(operation.name);
      if (plan === undefined) {
        plan = planInput(operation as Operation<never, never>);
        inputs.set(operation.name, plan);
      }
      const segments = splitPath(request.path);
      const query = queryOf(request);
      const missing: MissingName[] = [];
      let input: Record<string, unknown> = {};
      if (plan.body.length > 0) {
        const visit: JsonVisit = { missing, code: "ValidationException" };
        input = readFields(plan.body, parseJsonObject(request.body, visit.code), visit, "", 0);
      }
      for (const member of plan.members) {
        const { traits } = member;
        if (traits.httpPayload) {
          input[member.name] = request.body;
          continue;
        }
        let text: string | undefined;
        if (traits.httpLabel) text = percentDecode(segments[plan.labels.get(member.name) ?? -1] ?? "", "path");
        else if (traits.httpHeader !== undefined) text = request.headers[traits.httpHeader.toLowerCase()];
        else if (traits.httpQuery !== undefined) text = query.get(traits.httpQuery);
        else continue;
        if (text === undefined || text === "") {
          if (member.required) missing.push({ wire: member.name, path: validationName(member.name) });
        } else input[member.name] = readText(member, text);
      }
      if (missing.length > 0) throw invalid(missingMembers(missing));
      // Every member was read by the schema of `Input`.
      return input as Input;
    },

    encode<Input, Output>(operation: Operation<Input, Output>, output: Output, requestId: string): WireResponse {
      let plan = outputs.get(operation.name);
      if (plan === undefined) {
        plan = planOutput(operation as Operation<never, never>);
        outputs.set(operation.name, plan);
      }
      const status = operation.http?.status ?? 200;
      const headers: Record<string, string> = jsonHeaders(requestId);
      const value: Readonly<Record<string, unknown>> = Object.fromEntries(Object.entries(output ?? {}));
      for (const member of plan.headers) {
        const item = value[member.name];
        if (item === undefined || item === null || member.traits.httpHeader === undefined) continue;
        headers[member.traits.httpHeader.toLowerCase()] =
          item instanceof Date ? writeTimestamp(item) : headerText(item);
      }
      if (plan.payload !== undefined) {
        const bytes = value[plan.payload.name] ?? Buffer.alloc(0);
        if (!(bytes instanceof Uint8Array)) throw new TypeError(`${operation.name}: ${plan.payload.name} is not bytes`);
        headers["content-type"] = "application/octet-stream";
        return { status, headers, body: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
      }
      return { status, headers, body: Buffer.from(JSON.stringify(plan.writeBody?.(value) ?? {})) };
    },

    encodeError(error: ApiError, requestId: string): WireResponse {
      const body = { ...error.fields, Message: error.message };
      return {
        status: error.httpStatus,
        headers: { ...jsonHeaders(requestId), "x-amzn-errortype": error.code },
        body: Buffer.from(JSON.stringify(body)),
      };
    },
  };
}

/** A header cannot hold a line break, and node:http throws on what is not Latin-1. */
function headerText(value: unknown): string {
  return String(value).replace(/[^\t\x20-\x7e]/g, "?");
}
