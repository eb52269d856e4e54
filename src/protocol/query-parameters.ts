// `Filter.1.Value.2=x` → a tree. Shared by EC2's and the older query protocol, GET and POST alike.

import { ApiError } from "../base/api-error.ts";
import { readUtf8 } from "./scalars.ts";
import type { WireRequest } from "./wire.ts";

/** The largest real requests (RunInstances with everything) have some hundreds. */
const MAX_PARAMETERS = 10_000;
/** The deepest name in EC2's model has 12 parts. */
const MAX_DEPTH = 32;
const MAX_NAME_LENGTH = 1024;

/** One dotted name, and what was said of it and below it. */
export interface ParameterNode {
  /** In full, as errors name it: `Filter.1.Value.2`; empty for the root. */
  readonly name: string;
  value: string | undefined;
  children: Map<string, ParameterNode> | undefined;
}

const malformed = (why: string) =>
  new ApiError("MalformedQueryString", `The query string contains a syntax error: ${why}`);

function percentDecode(text: string): string {
  const spaced = text.includes("+") ? text.replaceAll("+", " ") : text;
  if (!spaced.includes("%")) return spaced;
  try {
    return decodeURIComponent(spaced);
  } catch {
    throw malformed("a percent-encoding is not UTF-8");
  }
}

function addParameter(root: ParameterNode, name: string, value: string): void {
  let node = root;
  let from = 0;
  let depth = 0;
  while (true) {
    const dot = name.indexOf(".", from);
    const part = dot === -1 ? name.slice(from) : name.slice(from, dot);
    if (part === "" || ++depth > MAX_DEPTH) throw malformed(`'${name}' is not a parameter's name`);
    node.children ??= new Map();
    let child = node.children.get(part);
    if (child === undefined) {
      child = { name: dot === -1 ? name : name.slice(0, dot), value: undefined, children: undefined };
      node.children.set(part, child);
    }
    node = child;
    if (dot === -1) break;
    from = dot + 1;
  }
  // The same pair twice says nothing new (an endpoint URL may carry `Version`); two values for one name do.
  if (node.value !== undefined && node.value !== value) throw malformed(`the parameter '${name}' occurs twice`);
  node.value = value;
}

function addAll(root: ParameterNode, text: string, count: number): number {
  let from = 0;
  while (from < text.length) {
    let end = text.indexOf("&", from);
    if (end === -1) end = text.length;
    if (end > from) {
      if (++count > MAX_PARAMETERS) throw malformed(`more than ${MAX_PARAMETERS} parameters`);
      const pair = text.slice(from, end);
      const equals = pair.indexOf("=");
      const name = percentDecode(equals === -1 ? pair : pair.slice(0, equals));
      if (name.length > MAX_NAME_LENGTH) throw malformed("a parameter's name is too long");
      if (!isSignaturePart(name)) addParameter(root, name, percentDecode(equals === -1 ? "" : pair.slice(equals + 1)));
    }
    from = end + 1;
  }
  return count;
}

/** A presigned URL's own parameters (sigv4.ts reads those) and what signature version 2 left in old clients. */
function isSignaturePart(name: string): boolean {
  return /^X-Amz-/i.test(name) || SIGNATURE_V2.has(name);
}
const SIGNATURE_V2: ReadonlySet<string> = new Set([
  "AWSAccessKeyId",
  "Expires",
  "SecurityToken",
  "Signature",
  "SignatureMethod",
  "SignatureVersion",
  "Timestamp",
]);

const parsed = new WeakMap<WireRequest, ParameterNode>();

/**
 * All parameters of a request, its query string's and its body's. Parsed once per request, however often asked.
 * @throws ApiError `MalformedQueryString`
 */
export function parametersOf(request: WireRequest): ParameterNode {
  let root = parsed.get(request);
  if (root === undefined) {
    root = { name: "", value: undefined, children: undefined };
    const count = addAll(root, request.query, 0);
    const body = readUtf8(request.body);
    if (body === undefined) throw malformed("the body is not UTF-8");
    addAll(root, body.trimEnd(), count);
    parsed.set(request, root);
  }
  return root;
}

/** The value of a parameter without a dot, undefined if absent or empty. */
export function topParameter(root: ParameterNode, name: string): string | undefined {
  return root.children?.get(name)?.value || undefined;
}
