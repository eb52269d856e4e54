// rest-XML (S3): the operation in method, path, query and headers; members in labels, query, headers and an XML or raw body.
//
// Bodies of objects are never held: a decoded input has a `Payload` for its `Body`, an output gives a `Readable`.
import { Readable } from "node:stream";
import { NormalizedSchema } from "@smithy/core/schema";
import { ApiError } from "../base/api-error.ts";
import { addressOf } from "./s3-address.ts";
import { routeOf } from "./s3-routes.ts";
import {
  readBoolean,
  readHttpDate,
  readNumber,
  readQuery,
  readTimestamp,
  readUtf8,
  writeHttpDate,
  writeTimestampMs,
} from "./scalars.ts";
import { kindOf, type Member, membersOf, type Operation } from "./schema.ts";
import type { Route, ServiceCodec, WireRequest, WireResponse } from "./wire.ts";
import { readXml, type XmlElement } from "./xml-input.ts";
import { escapeXml, outputWriters } from "./xml-output.ts";

const NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";
const XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n';
/** Smithy's numbers for how a timestamp is written where it is not the place's default. */
const DATE_TIME = 5;
const HTTP_DATE = 6;

const invalid = (message: string, fields: Readonly<Record<string, string>> = {}) =>
  new ApiError("InvalidArgument", message, { fields });
const malformedXml = () =>
  new ApiError(
    "MalformedXML",
    "The XML you provided was not well-formed or did not validate against our published schema",
  );

const writerOf = outputWriters({ writeTimestamp: writeTimestampMs });

/** Does the operation's body go on and on? Then `request.body` must be handed to `decode` as a stream. */
export function takesStream(operation: Pick<Operation<never, never>, "input">): boolean {
  return membersOf(NormalizedSchema.of(operation.input)).some(isStream);
}

const isStream = ({ schema, traits }: Member): boolean => Boolean(traits.httpPayload) && schema.isBlobSchema();

type ReadText = (text: string) => unknown;

interface InputPlan {
  readonly bucket: boolean;
  readonly key: boolean;
  readonly headers: readonly { readonly member: Member; readonly header: string; readonly read: ReadText }[];
  readonly query: readonly { readonly member: Member; readonly name: string; readonly read: ReadText }[];
  readonly prefixed: { readonly member: Member; readonly prefix: string } | undefined;
  readonly payload: Member | undefined;
}

interface OutputPlan {
  readonly headers: readonly { readonly member: Member; readonly header: string }[];
  readonly prefixed: { readonly member: Member; readonly prefix: string } | undefined;
  readonly payload: Member | undefined;
  /** Of the document, where there is one. */
  readonly root: string | undefined;
}

const inputs = new Map<string, InputPlan>();
const outputs = new Map<string, OutputPlan>();

function planInput(operation: Operation<never, never>): InputPlan {
  const members = membersOf(NormalizedSchema.of(operation.input));
  const labels = new Set(members.filter(({ traits }) => traits.httpLabel).map(({ name }) => name));
  const prefixed = members.find(({ traits }) => traits.httpPrefixHeaders !== undefined);
  return {
    bucket: labels.has("Bucket"),
    key: labels.has("Key"),
    headers: members.flatMap((member) => {
      const header = member.traits.httpHeader?.toLowerCase();
      return header === undefined ? [] : [{ member, header, read: textReader(member, HTTP_DATE) }];
    }),
    query: members.flatMap((member) => {
      const name = member.traits.httpQuery;
      return name === undefined ? [] : [{ member, name, read: textReader(member, DATE_TIME) }];
    }),
    prefixed: prefixed && { member: prefixed, prefix: prefixed.traits.httpPrefixHeaders ?? "" },
    payload: members.find(({ traits }) => traits.httpPayload),
  };
}

function planOutput(operation: Operation<never, never>): OutputPlan {
  const schema = NormalizedSchema.of(operation.output);
  const members = membersOf(schema);
  const payload = members.find(({ traits }) => traits.httpPayload);
  const prefixed = members.find(({ traits }) => traits.httpPrefixHeaders !== undefined);
  const inDocument = members.some(
    ({ traits }) => traits.httpHeader === undefined && traits.httpPrefixHeaders === undefined,
  );
  const named = payload ?? { schema, traits: schema.getMergedTraits() };
  const isDocument = payload === undefined ? inDocument : payload.schema.isStructSchema();
  return {
    headers: members.flatMap((member) => {
      const header = member.traits.httpHeader?.toLowerCase();
      return header === undefined ? [] : [{ member, header }];
    }),
    prefixed: prefixed && { member: prefixed, prefix: prefixed.traits.httpPrefixHeaders ?? "" },
    payload,
    root: isDocument ? (named.traits.xmlName ?? named.schema.getName()) : undefined,
  };
}

function textReader(member: Member, dates: number): ReadText {
  const wrong = (type: string, text: string) =>
    invalid(`Provided ${member.name} not ${type}`, {
      ArgumentName: member.traits.httpQuery ?? member.traits.httpHeader ?? member.name,
      ArgumentValue: text.slice(0, 256),
    });
  const strictly = (read: (text: string) => unknown, type: string) => (text: string) => {
    const value = read(text);
    if (value === undefined) throw wrong(type, text);
    return value;
  };
  switch (kindOf(member.schema)) {
    case "string":
      return (text) => text;
    case "number":
      return strictly((text) => readNumber(text, false), "an integer");
    case "boolean":
      return strictly(readBoolean, "a boolean");
    case "timestamp":
      return strictly(dateFormat(member.schema, dates) === HTTP_DATE ? readHttpDate : readTimestamp, "a date");
    case "list":
      return (text) => text.split(",").map((item) => item.trim());
    default:
      throw new Error(`${member.name} cannot travel as text`);
  }
}

function dateFormat(schema: NormalizedSchema, fallback: number): number {
  const raw = schema.getSchema();
  return raw === DATE_TIME || raw === HTTP_DATE ? raw : fallback;
}

type ReadElement = (element: XmlElement) => unknown;
const structReaders = new WeakMap<object, ReadElement>();

function elementReader(schema: NormalizedSchema): ReadElement {
  switch (kindOf(schema)) {
    case "struct": {
      const raw = schema.getSchema();
      if (typeof raw !== "object") return () => ({});
      let reader = structReaders.get(raw);
      if (reader === undefined) {
        reader = structReader(schema);
        structReaders.set(raw, reader);
      }
      return reader;
    }
    case "list": {
      const item = schema.getValueSchema();
      const name = item.getMergedTraits().xmlName ?? "member";
      const read = elementReader(item);
      return (element) => element.children.filter((child) => child.name === name).map(read);
    }
    case "string":
      return ({ text }) => text;
    case "number":
      return strictElement((text) => readNumber(text, false));
    case "boolean":
      return strictElement(readBoolean);
    case "timestamp":
      return strictElement(dateFormat(schema, DATE_TIME) === HTTP_DATE ? readHttpDate : readTimestamp);
    default:
      throw new Error(`no XML for the schema ${schema.getName(true)}`);
  }
}

const strictElement =
  (read: (text: string) => unknown): ReadElement =>
  ({ text }) => {
    const value = read(text.trim());
    if (value === undefined) throw malformedXml();
    return value;
  };

function structReader(schema: NormalizedSchema): ReadElement {
  const fields = membersOf(schema).map((member) => {
    const flat = Boolean(member.traits.xmlFlattened) && kindOf(member.schema) === "list";
    const read = elementReader(flat ? member.schema.getValueSchema() : member.schema);
    return { ...member, tag: member.traits.xmlName ?? member.name, flat, read };
  });
  return (element) => {
    const struct: Record<string, unknown> = {};
    for (const { name, tag, flat, read, required } of fields) {
      const found = element.children.filter((child) => child.name === tag);
      if (found.length === 0 ? required : found.length > 1 && !flat) throw malformedXml();
      const [first] = found;
      if (first !== undefined) struct[name] = flat ? found.map(read) : read(first);
    }
    return struct;
  };
}

/** The document of a body, read as `member` says. Its root may have any name, as S3 takes it. */
function readDocument(member: Member, body: Buffer): unknown {
  if (kindOf(member.schema) === "string") {
    const text = readUtf8(body);
    if (text === undefined) throw invalid("The request body is not UTF-8");
    return text;
  }
  if (body.length === 0) {
    if (member.required) throw missingBody();
    return undefined;
  }
  const text = readUtf8(body);
  const root = text === undefined ? undefined : readXml(text);
  if (root === undefined) throw malformedXml();
  return elementReader(member.schema)(root);
}

const missingBody = () => new ApiError("MalformedXML", "Request body is empty");

/** What a presigned URL carries in its query because its user can set no headers; never a checksum of what is yet to come. */
function presignedHeaders(query: readonly [string, string][]): Record<string, string> {
  const headers: Record<string, string> = {};
  if (!query.some(([name]) => /^(x-amz-signature|AWSAccessKeyId)$/i.test(name))) return headers;
  for (const [name, value] of query) {
    const lower = name.toLowerCase();
    if (lower.startsWith("x-amz-") && (!lower.startsWith("x-amz-checksum-") || lower === "x-amz-checksum-mode")) {
      headers[lower] = value;
    }
  }
  return headers;
}

function writeHeader(member: Member, value: unknown): string {
  if (value instanceof Date) {
    return dateFormat(member.schema, HTTP_DATE) === HTTP_DATE ? writeHttpDate(value) : writeTimestampMs(value);
  }
  return headerText(value);
}

/** A header cannot hold a line break, and node:http throws on what is not Latin-1. */
const headerText = (value: unknown): string => String(value).replace(/[^\t\x20-\x7e\x80-\xff]/g, "?");

export const restXmlCodec: ServiceCodec = {
  service: "s3",

  route: (request: WireRequest): Route => ({ action: routeOf(request) }),

  decode<Input, Output>(operation: Operation<Input, Output>, request: WireRequest): Input {
    let plan = inputs.get(operation.name);
    if (plan === undefined) {
      plan = planInput(operation as Operation<never, never>);
      inputs.set(operation.name, plan);
    }
    const { bucket, key } = addressOf(request);
    const pairs = readQuery(request.query) ?? [];
    const query = new Map(pairs);
    const headers = { ...presignedHeaders(pairs), ...request.headers };
    const input: Record<string, unknown> = {};
    if (plan.bucket) input.Bucket = bucket ?? "";
    if (plan.key) input.Key = key ?? "";
    for (const { member, name, read } of plan.query) {
      const text = query.get(name);
      if (text !== undefined && (text !== "" || kindOf(member.schema) === "string")) input[member.name] = read(text);
      else if (member.required)
        throw invalid(`This operation needs the query parameter ${name}`, { ArgumentName: name });
    }
    for (const { member, header, read } of plan.headers) {
      const text = headers[header];
      if (text !== undefined && text !== "") input[member.name] = read(text);
      else if (member.required) throw invalid(`This operation needs the header ${header}`, { ArgumentName: header });
    }
    if (plan.prefixed !== undefined) {
      const { prefix, member } = plan.prefixed;
      const found = Object.entries(headers).filter(([name]) => name.startsWith(prefix));
      if (found.length > 0) {
        input[member.name] = Object.fromEntries(found.map(([name, value]) => [name.slice(prefix.length), value]));
      }
    }
    if (plan.payload !== undefined) {
      const value = isStream(plan.payload) ? request.stream : readDocument(plan.payload, request.body);
      if (value !== undefined) input[plan.payload.name] = value;
    }
    // Every member was read by the schema of `Input`.
    return input as Input;
  },

  encode<Input, Output>(operation: Operation<Input, Output>, output: Output, requestId: string): WireResponse {
    let plan = outputs.get(operation.name);
    if (plan === undefined) {
      plan = planOutput(operation as Operation<never, never>);
      outputs.set(operation.name, plan);
    }
    const value: Readonly<Record<string, unknown>> = Object.fromEntries(Object.entries(output ?? {}));
    const headers: Record<string, string> = { "x-amz-request-id": requestId };
    for (const { member, header } of plan.headers) {
      const item = value[member.name];
      if (item !== undefined && item !== null) headers[header] = writeHeader(member, item);
    }
    if (plan.prefixed !== undefined) {
      const { member, prefix } = plan.prefixed;
      for (const [name, text] of Object.entries(value[member.name] ?? {})) headers[prefix + name] = headerText(text);
    }
    // A part of an object is HTTP's Partial Content.
    const status = value.ContentRange === undefined ? (operation.http?.status ?? 200) : 206;
    const reply = (body: Buffer): WireResponse => ({ status, headers, body });
    const payload = plan.payload === undefined ? undefined : value[plan.payload.name];
    if (plan.payload !== undefined && isStream(plan.payload)) {
      return payload instanceof Readable ? { ...reply(Buffer.alloc(0)), stream: payload } : reply(Buffer.alloc(0));
    }
    if (typeof payload === "string") {
      headers["content-type"] = "application/json";
      return reply(Buffer.from(payload));
    }
    if (plan.root === undefined) return reply(Buffer.alloc(0));
    headers["content-type"] = "application/xml";
    // GetBucketLocation's document is its one member alone.
    const content =
      operation.name === "GetBucketLocation"
        ? escapeXml(String(value.LocationConstraint ?? ""))
        : writerOf((plan.payload ?? { schema: operation.output }).schema as typeof operation.output)(
            plan.payload === undefined ? value : (payload ?? {}),
          );
    return reply(Buffer.from(`${XML_HEAD}<${plan.root} xmlns="${NAMESPACE}">${content}</${plan.root}>`));
  },

  encodeError(error: ApiError, requestId: string): WireResponse {
    const headers: Record<string, string> = { "x-amz-request-id": requestId };
    if (error.httpStatus === 304) {
      // Not Modified is told in headers alone.
      for (const [name, value] of Object.entries(error.fields)) headers[name.toLowerCase()] = headerText(value);
      return { status: 304, headers, body: Buffer.alloc(0) };
    }
    headers["content-type"] = "application/xml";
    const fields = Object.entries(error.fields).map(([name, value]) => `<${name}>${escapeXml(value)}</${name}>`);
    const body =
      `<Code>${escapeXml(error.code)}</Code><Message>${escapeXml(error.message)}</Message>${fields.join("")}` +
      `<RequestId>${escapeXml(requestId)}</RequestId><HostId>${escapeXml(requestId)}</HostId>`;
    return { status: error.httpStatus, headers, body: Buffer.from(`${XML_HEAD}<Error>${body}</Error>`) };
  },
};
