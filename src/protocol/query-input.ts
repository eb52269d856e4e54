// Query parameters → an operation's input. Each schema becomes a closure, once; the two dialects differ in names and in
// what is said to a client who errs:
//
//            member's name                     list item   empty text                  unknown name
//   ec2      ec2QueryName ?? Cap(xmlName ?? n) Key.N       absent (see MEANT_EMPTY)    refused
//   query    xmlName ?? n                      Key.member.N  empty string, empty list  ignored

import { NormalizedSchema } from "@smithy/core/schema";
import type { $SchemaRef } from "@smithy/types";
import type { ApiError } from "../base/api-error.ts";
import type { ParameterNode } from "./query-parameters.ts";
import { readBase64, readBoolean, readNumber, readTimestamp } from "./scalars.ts";
import { FRACTIONS, kindOf, type Member, membersOf } from "./schema.ts";

/** Lists are compacted in the order of their indexes; nobody means to send more items than this. */
const MAX_INDEX = 10_000;

export interface QueryDialect {
  memberName(member: Member): string;
  /** Between a list's name and its items' indexes; undefined where nothing is. */
  listItem(item: NormalizedSchema): string | undefined;
  /** Does an empty value say nothing? */
  readonly emptyIsAbsent: boolean;
  /** What else a parameter at the top may be called, beside the schema's names. */
  isTolerated(name: string): boolean;
  /** @returns undefined where unknown parameters are ignored */
  unknown(name: string): ApiError | undefined;
  missing(names: readonly MissingName[]): ApiError;
  wrong(name: string, value: string, why: string): ApiError;
}

export interface MissingName {
  /** As on the wire, in full: `TagSpecification.1.ResourceType`. */
  readonly wire: string;
  /** As the validation errors of the newer services say it: `tags.1.member.key`. */
  readonly path: string;
}

/** An empty value that means something in EC2: clear the text, take this device away, the tag with an empty value. */
const MEANT_EMPTY: ReadonlySet<string> = new Set([
  "AttributeValue.Value",
  "BlockDeviceMapping.NoDevice",
  "InstanceBlockDeviceMappingSpecification.NoDevice",
  "LaunchTemplateBlockDeviceMappingRequest.NoDevice",
  "SecureBlobAttributeValue.Value",
  "Tag.Value",
]);

interface Visit {
  readonly missing: MissingName[];
}
type Decode = (node: ParameterNode, visit: Visit, path: string) => unknown;

export type InputDecoder = (root: ParameterNode) => Record<string, unknown>;

/** Reads whole inputs in one dialect. Compiles each structure at its first use. */
export function inputDecoders(dialect: QueryDialect): (input: $SchemaRef) => InputDecoder {
  const structs = new WeakMap<object, Decode>();
  const inputs = new WeakMap<object, InputDecoder>();
  const noMembers = compileMembers([]);

  function compileText<T>(read: (text: string) => T | undefined, why: string): Decode {
    return (node, _visit, _path) => {
      refuseChildren(node);
      const text = node.value;
      if (text === undefined) return undefined;
      if (text === "" && dialect.emptyIsAbsent) return undefined;
      const value = read(text);
      if (value === undefined) throw dialect.wrong(node.name, text, why);
      return value;
    };
  }

  const readString: Decode = (node) => {
    refuseChildren(node);
    if (node.value !== undefined && UNWRITABLE.test(node.value)) {
      throw dialect.wrong(node.name, node.value.replace(UNWRITABLE, "\u{fffd}"), "Control characters are not allowed");
    }
    return node.value;
  };

  function refuseChildren(node: ParameterNode): void {
    const child = node.children?.values().next().value;
    if (child === undefined) return;
    const error = dialect.unknown(child.name);
    if (error !== undefined) throw error;
  }

  /** @param owner  `Structure.Member`, where the schema is a member's */
  function compile(schema: NormalizedSchema, owner: string): Decode {
    switch (kindOf(schema)) {
      case "string":
        return readString;
      case "number": {
        const fractions = FRACTIONS.has(owner);
        return compileText(
          (text) => readNumber(text, fractions),
          fractions ? "Must be a number" : "Must be an integer",
        );
      }
      case "boolean":
        return compileText(readBoolean, "Must be true or false");
      case "timestamp":
        return compileText(readTimestamp, "Must be an ISO 8601 date and time");
      case "blob":
        return MEANT_EMPTY.has(owner)
          ? (node) => readBlob(node)
          : (node) => (node.value === "" && dialect.emptyIsAbsent ? undefined : readBlob(node));
      case "list":
        return compileList(schema);
      case "map":
        return compileMap(schema);
      case "struct":
        return compileStruct(schema);
    }
  }

  function readBlob(node: ParameterNode): Buffer | undefined {
    refuseChildren(node);
    if (node.value === undefined) return undefined;
    const bytes = readBase64(node.value);
    if (bytes === undefined) throw dialect.wrong(node.name, node.value, "Must be base64");
    return bytes;
  }

  /** Items in the order of their indexes: gaps are closed, as clients that filter their lists leave some. */
  function itemsOf(node: ParameterNode, infix: string | undefined): ParameterNode[] | undefined {
    if (node.value !== undefined && node.value !== "") {
      throw dialect.wrong(node.name, node.value, `Must be a list, such as ${node.name}.${infix ? `${infix}.` : ""}1`);
    }
    const parent = infix === undefined ? node : node.children?.get(infix);
    if (parent?.children === undefined) return node.value === "" && !dialect.emptyIsAbsent ? [] : undefined;
    const indexed: [number, ParameterNode][] = [];
    for (const [key, child] of parent.children) {
      const index = /^\d{1,5}$/.test(key) ? Number(key) : Number.POSITIVE_INFINITY;
      if (index > MAX_INDEX) throw dialect.wrong(child.name, child.value ?? "", "Not a list's index");
      indexed.push([index, child]);
    }
    indexed.sort(([a], [b]) => a - b);
    for (let i = 1; i < indexed.length; i++) {
      const [index, child] = indexed[i]!;
      if (index === indexed[i - 1]![0]) throw dialect.wrong(child.name, child.value ?? "", "An index occurs twice");
    }
    return indexed.map(([, child]) => child);
  }

  function compileList(schema: NormalizedSchema): Decode {
    const item = schema.getValueSchema();
    const infix = dialect.listItem(item);
    const kind = kindOf(item);
    const decode = compile(item, "");
    return (node, visit, path) => {
      const items = itemsOf(node, infix);
      return items?.map((child, index) => {
        const value = decode(child, visit, `${path}.${index + 1}.member`);
        if (value !== undefined) return value;
        // An item that says nothing keeps its place: dropping it could turn "only these" into "all".
        if (kind === "struct") return {};
        if (kind === "list") return [];
        throw dialect.wrong(child.name, "", "Must not be empty");
      });
    };
  }

  function compileMap(schema: NormalizedSchema): Decode {
    const keyName = schema.getKeySchema().getMergedTraits().xmlName ?? "key";
    const valueName = schema.getValueSchema().getMergedTraits().xmlName ?? "value";
    const decodeValue = compile(schema.getValueSchema(), "");
    return (node, visit, path) => {
      const entries = itemsOf(node, "entry");
      if (entries === undefined) return undefined;
      const pairs = entries.map((entry): [string, unknown] => {
        const key = entry.children?.get(keyName)?.value;
        const value = entry.children?.get(valueName);
        if (key === undefined || value === undefined) {
          throw dialect.wrong(entry.name, "", `Must have a ${keyName} and a ${valueName}`);
        }
        return [key, decodeValue(value, visit, `${path}.${key}`)];
      });
      return Object.fromEntries(pairs);
    };
  }

  function compileMembers(
    members: readonly Member[],
    structName = "",
  ): (node: ParameterNode, visit: Visit, path: string) => Record<string, unknown> {
    interface Entry {
      readonly member: string;
      readonly wire: string;
      readonly path: string;
      readonly required: boolean;
      readonly dropEmpty: boolean;
      decode: Decode | undefined;
      readonly compile: () => Decode;
    }
    const entries: Entry[] = members.map((m) => ({
      member: m.name,
      wire: dialect.memberName(m),
      path: m.name.charAt(0).toLowerCase() + m.name.slice(1),
      required: m.required,
      dropEmpty: dialect.emptyIsAbsent && kindOf(m.schema) === "string" && !MEANT_EMPTY.has(`${structName}.${m.name}`),
      decode: undefined,
      compile: () => compile(m.schema, `${structName}.${m.name}`),
    }));
    const byWire = new Map(entries.map((entry) => [entry.wire, entry]));
    const required = entries.filter((entry) => entry.required);
    return (node, visit, path) => {
      const result: Record<string, unknown> = {};
      if (node.children !== undefined) {
        for (const [wire, child] of node.children) {
          const entry = byWire.get(wire);
          if (entry === undefined) {
            if (node.name === "" && dialect.isTolerated(wire)) continue;
            const error = dialect.unknown(child.name);
            if (error !== undefined) throw error;
            continue;
          }
          entry.decode ??= entry.compile();
          const value = entry.decode(child, visit, path === "" ? entry.path : `${path}.${entry.path}`);
          if (value !== undefined && !(value === "" && entry.dropEmpty)) result[entry.member] = value;
        }
      }
      for (const entry of required) {
        if (result[entry.member] === undefined) {
          visit.missing.push({
            wire: node.name === "" ? entry.wire : `${node.name}.${entry.wire}`,
            path: path === "" ? entry.path : `${path}.${entry.path}`,
          });
        }
      }
      return result;
    };
  }

  function compileStruct(schema: NormalizedSchema): Decode {
    const key = schema.getSchema();
    if (typeof key !== "object") return () => undefined;
    let decode = structs.get(key);
    if (decode === undefined) {
      const decodeMembers = compileMembers(membersOf(schema), schema.getName());
      decode = (node, visit, path) => {
        if (node.value !== undefined && node.value !== "") {
          throw dialect.wrong(node.name, node.value, "Must be a structure");
        }
        const missingBefore = visit.missing.length;
        const value = decodeMembers(node, visit, path);
        if (dialect.emptyIsAbsent && isEmpty(value) && saysNothing(node)) {
          visit.missing.length = missingBefore;
          return undefined;
        }
        return value;
      };
      structs.set(key, decode);
    }
    return decode;
  }

  return (input) => {
    const schema = NormalizedSchema.of(input);
    const key = schema.getSchema();
    if (typeof key !== "object") return (root) => noMembers(root, { missing: [] }, "");
    let decoder = inputs.get(key);
    if (decoder === undefined) {
      const decodeMembers = compileMembers(membersOf(schema), schema.getName());
      decoder = (root) => {
        const visit: Visit = { missing: [] };
        const result = decodeMembers(root, visit, "");
        if (visit.missing.length > 0) throw dialect.missing(visit.missing);
        return result;
      };
      inputs.set(key, decoder);
    }
    return decoder;
  };
}

function isEmpty(value: object): boolean {
  for (const _ in value) return false;
  return true;
}

/** No text anywhere at or below. */
function saysNothing(node: ParameterNode): boolean {
  if (node.value !== undefined && node.value !== "") return false;
  if (node.children !== undefined) for (const child of node.children.values()) if (!saysNothing(child)) return false;
  return true;
}

/** What XML 1.0 cannot say back. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNWRITABLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;
