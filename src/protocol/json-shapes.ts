// JSON ↔ an operation's input and output, for the JSON and rest-JSON services. Unknown members are ignored, as AWS does.

import type { NormalizedSchema } from "@smithy/core/schema";
import { ApiError, type ErrorCode } from "../base/api-error.ts";
import type { MissingName } from "./query-input.ts";
import { readBase64, readEpochSeconds, readUtf8, writeBase64 } from "./scalars.ts";
import { FRACTIONS, kindOf, type Member, membersOf } from "./schema.ts";

/** SSM and CloudTrail have structures that contain themselves; nobody nests them this deep. */
const MAX_DEPTH = 64;

export interface JsonVisit {
  readonly missing: MissingName[];
  /** Of a value that is not what the schema says. */
  readonly code: ErrorCode;
}
export type ReadJson = (value: unknown, visit: JsonVisit, path: string, depth: number) => unknown;
export type WriteJson = (value: unknown) => unknown;

/** @throws ApiError `code` when the bytes are not one JSON object; nothing at all counts as `{}` */
export function parseJsonObject(body: Uint8Array, code: ErrorCode): Readonly<Record<string, unknown>> {
  const text = readUtf8(body);
  if (text === undefined) throw new ApiError(code, "The request body is not UTF-8");
  if (text.trim() === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ApiError(code, "The request body is not valid JSON", { cause });
  }
  if (!isObject(value)) throw new ApiError(code, "The request body is not a JSON object");
  return value;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** As AWS's JSON parsers call what they found. */
function tokenName(value: unknown): string {
  if (value === true) return "TRUE_VALUE";
  if (value === false) return "FALSE_VALUE";
  if (typeof value === "number") return "NUMBER_VALUE";
  if (typeof value === "string") return "STRING_VALUE";
  return Array.isArray(value) ? "START_ARRAY" : "START_OBJECT";
}

function wrong(value: unknown, type: string, visit: JsonVisit, path: string): ApiError {
  return new ApiError(visit.code, `${tokenName(value)} can not be converted to ${type} at '${path}'`);
}

const readers = new WeakMap<object, ReadJson>();

/** @param owner  `Structure.Member`, where the schema is a member's */
export function jsonReader(schema: NormalizedSchema, owner: string): ReadJson {
  switch (kindOf(schema)) {
    case "string":
      return (value, visit, path) => {
        if (typeof value !== "string") throw wrong(value, "a String", visit, path);
        return value;
      };
    case "number": {
      const fractions = FRACTIONS.has(owner);
      return (value, visit, path) => {
        if (typeof value !== "number" || !(fractions || Number.isSafeInteger(value))) {
          throw wrong(value, fractions ? "a Number" : "an Integer", visit, path);
        }
        return value;
      };
    }
    case "boolean":
      return (value, visit, path) => {
        if (typeof value !== "boolean") throw wrong(value, "a Boolean", visit, path);
        return value;
      };
    case "timestamp":
      return (value, visit, path) => {
        const date = typeof value === "number" ? readEpochSeconds(value) : undefined;
        if (date === undefined) throw wrong(value, "a Timestamp", visit, path);
        return date;
      };
    case "blob":
      return (value, visit, path) => {
        const bytes = typeof value === "string" ? readBase64(value) : undefined;
        if (bytes === undefined) throw wrong(value, "a Blob", visit, path);
        return bytes;
      };
    case "list":
      return listReader(schema);
    case "map":
      return mapReader(schema);
    case "struct": {
      const raw = schema.getSchema();
      if (typeof raw !== "object") return () => ({});
      let reader = readers.get(raw);
      if (reader === undefined) {
        reader = structReader(schema);
        readers.set(raw, reader);
      }
      return reader;
    }
  }
}

function listReader(schema: NormalizedSchema): ReadJson {
  const read = jsonReader(schema.getValueSchema(), "");
  return (value, visit, path, depth) => {
    if (!Array.isArray(value)) throw wrong(value, "a List", visit, path);
    const items: readonly unknown[] = value;
    return items.map((item, index) => {
      const itemPath = `${path}.${index + 1}.member`;
      if (item === null) throw new ApiError(visit.code, `NULL_VALUE is not allowed at '${itemPath}'`);
      return read(item, visit, itemPath, depth + 1);
    });
  };
}

function mapReader(schema: NormalizedSchema): ReadJson {
  const read = jsonReader(schema.getValueSchema(), "");
  return (value, visit, path, depth) => {
    if (!isObject(value)) throw wrong(value, "a Map", visit, path);
    const pairs: [string, unknown][] = [];
    for (const [key, item] of Object.entries(value)) {
      if (item !== null) pairs.push([key, read(item, visit, `${path}.${key}.member`, depth + 1)]);
    }
    return Object.fromEntries(pairs);
  };
}

function structReader(schema: NormalizedSchema): ReadJson {
  const fields = fieldReaders(membersOf(schema), schema.getName() ?? "");
  return (value, visit, path, depth) => {
    if (!isObject(value)) throw wrong(value, "a Structure", visit, path);
    if (depth > MAX_DEPTH) throw new ApiError(visit.code, `Nested too deeply at '${path}'`);
    return readFields(fields, value, visit, path, depth);
  };
}

export interface FieldReader {
  readonly member: Member;
  readonly key: string;
  readonly path: string;
  readonly owner: string;
  /** Compiled when first met, so that a structure may contain itself. */
  read: ReadJson | undefined;
}

export function fieldReaders(members: readonly Member[], structName: string): FieldReader[] {
  return members.map((member) => ({
    member,
    key: member.traits.jsonName ?? member.name,
    path: validationName(member.name),
    owner: `${structName}.${member.name}`,
    read: undefined,
  }));
}

/** A member as validation errors name it: `SnapshotId` → `snapshotId`. */
export const validationName = (name: string): string => name.charAt(0).toLowerCase() + name.slice(1);

export function readFields(
  fields: readonly FieldReader[],
  value: Readonly<Record<string, unknown>>,
  visit: JsonVisit,
  path: string,
  depth: number,
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const field of fields) {
    const fieldPath = path === "" ? field.path : `${path}.${field.path}`;
    const item = Object.hasOwn(value, field.key) ? value[field.key] : undefined;
    if (item === undefined || item === null) {
      if (field.member.required) visit.missing.push({ wire: field.key, path: fieldPath });
      continue;
    }
    field.read ??= jsonReader(field.member.schema, field.owner);
    result[field.member.name] = field.read(item, visit, fieldPath, depth + 1);
  }
  return result;
}

const writers = new WeakMap<object, WriteJson>();

/** A value as `JSON.stringify` should see it: dates as seconds, bytes as base64, absent members left out. */
export function jsonWriter(schema: NormalizedSchema): WriteJson {
  switch (kindOf(schema)) {
    case "string":
    case "number":
    case "boolean":
      return (value) => value;
    case "timestamp":
      return (value) => {
        if (!(value instanceof Date)) throw new TypeError(`not a Date: ${String(value)}`);
        return value.getTime() / 1000;
      };
    case "blob":
      return (value) => {
        if (!(value instanceof Uint8Array)) throw new TypeError("not bytes");
        return writeBase64(value);
      };
    case "list": {
      const write = jsonWriter(schema.getValueSchema());
      return (value) => {
        if (!Array.isArray(value)) throw new TypeError(`not a list: ${String(value)}`);
        const items: readonly unknown[] = value;
        return items.filter((item) => item !== undefined && item !== null).map(write);
      };
    }
    case "map": {
      const write = jsonWriter(schema.getValueSchema());
      return (value) => {
        if (!isObject(value)) throw new TypeError(`not a map: ${String(value)}`);
        const pairs = Object.entries(value).filter(([, item]) => item !== undefined && item !== null);
        return Object.fromEntries(pairs.map(([key, item]) => [key, write(item)]));
      };
    }
    case "struct": {
      const raw = schema.getSchema();
      if (typeof raw !== "object") return () => ({});
      let writer = writers.get(raw);
      if (writer === undefined) {
        writer = fieldsWriter(membersOf(schema));
        writers.set(raw, writer);
      }
      return writer;
    }
  }
}

export function fieldsWriter(members: readonly Member[]): WriteJson {
  const fields = members.map((member) => ({
    name: member.name,
    key: member.traits.jsonName ?? member.name,
    schema: member.schema,
    write: undefined as WriteJson | undefined,
  }));
  return (value) => {
    if (!isObject(value)) throw new TypeError(`not a structure: ${String(value)}`);
    const result: Record<string, unknown> = {};
    for (const field of fields) {
      const item = value[field.name];
      if (item === undefined || item === null) continue;
      field.write ??= jsonWriter(field.schema);
      result[field.key] = field.write(item);
    }
    return result;
  };
}
