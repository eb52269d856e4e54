// Policy documents: read and checked when they are written, with IAM's messages, and the place in the document after them.
//
// Checks run over the whole document in order; the first failure is told. Nothing that passes here can fail to compile.
import { ApiError } from "../../base/api-error.ts";
import { isOperator } from "./conditions.ts";
import { hasForeignCharacter, isList, isObject, type Json, type JsonObject, parseJson } from "./json.ts";

/** What a document is for: it decides which elements it may have. */
export type DocumentKind =
  /** On a user, group or role, by itself. */
  | "inline"
  /** A managed policy, which also serves as a boundary. */
  | "managed"
  /** Who may assume a role. */
  | "trust"
  | "session"
  /** A service control policy. */
  | "organization"
  /** On a resource other than a role: names principals and resources. */
  | "resource";

export interface PolicyDocument {
  readonly version: "2012-10-17" | "2008-10-17";
  readonly statements: readonly StatementDocument[];
}

export interface StatementDocument {
  readonly sid: string | null;
  readonly effect: "Allow" | "Deny";
  readonly actions: Patterns;
  /** `null` in trust policies: the role itself. */
  readonly resources: Patterns | null;
  /** `null` in policies of identities. */
  readonly principals: PrincipalsDocument | null;
  readonly conditions: readonly ConditionDocument[];
}

/** `negated`: NotAction, NotResource. Never empty. */
export interface Patterns {
  readonly negated: boolean;
  readonly patterns: readonly string[];
}

export interface PrincipalsDocument {
  readonly negated: boolean;
  readonly entries: readonly PrincipalEntry[];
}

export type PrincipalType = "AWS" | "Service" | "Federated" | "CanonicalUser";
export interface PrincipalEntry {
  readonly type: PrincipalType;
  /** `*`, an account id, an ARN, a unique id, or a service's name. */
  readonly value: string;
}

export interface ConditionDocument {
  readonly operator: string;
  readonly key: string;
  readonly values: readonly string[];
}

const STATEMENT_ELEMENTS: ReadonlySet<string> = new Set([
  "Sid",
  "Effect",
  "Action",
  "NotAction",
  "Resource",
  "NotResource",
  "Principal",
  "NotPrincipal",
  "Condition",
]);
const TRUST_ACTIONS: ReadonlySet<string> = new Set([
  "sts:assumerole",
  "sts:assumerolewithsaml",
  "sts:assumerolewithwebidentity",
  "sts:tagsession",
  "sts:setsourceidentity",
  "sts:setcontext",
]);
const PARTITIONS: ReadonlySet<string> = new Set(["aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "*"]);

function malformed(message: string, place: string): never {
  throw new ApiError("MalformedPolicyDocument", place === "" ? message : `${message} (at ${place})`);
}
const syntax = (place: string, reason: string): never => malformed(`Syntax errors in policy. ${reason}.`, place);

/**
 * Reads and checks a document.
 * @throws ApiError `MalformedPolicyDocument`
 */
export function parsePolicy(text: string, kind: DocumentKind): PolicyDocument {
  let root: Json;
  try {
    root = parseJson(text);
  } catch (error) {
    return syntax("", error instanceof Error ? error.message : "Not JSON");
  }
  if (hasForeignCharacter(root)) return malformed("The policy contains characters that are not valid.", "");
  if (!isObject(root)) return syntax("", "A policy is a JSON object");
  for (const name of Object.keys(root)) {
    if (name !== "Version" && name !== "Id" && name !== "Statement") syntax(name, "There is no such element");
  }
  const version = parseVersion(root.Version, kind);
  if (root.Id !== undefined && typeof root.Id !== "string") syntax("Id", "A string is expected");
  const list = isList(root.Statement) ? root.Statement : root.Statement === undefined ? [] : [root.Statement];
  if (list.length === 0) syntax("Statement", "A policy has at least one statement");
  const statements = list.map((statement, at) => {
    const place = isList(root.Statement) ? `Statement[${at}]` : "Statement";
    return isObject(statement) ? parseStatement(statement, kind, place) : syntax(place, "An object is expected");
  });
  const sids = statements.map(({ sid }) => sid).filter((sid) => sid !== null && sid !== "");
  const repeated = sids.find((sid, at) => sids.indexOf(sid) !== at);
  if (repeated !== undefined) {
    malformed("Statement IDs (SID) in a single policy must be unique.", `Sid ${repeated}`);
  }
  return { version, statements };
}

function parseVersion(version: Json | undefined, kind: DocumentKind): PolicyDocument["version"] {
  if (version === "2012-10-17") return version;
  const old = version === undefined || version === "2008-10-17";
  if (!old) syntax("Version", 'The version is "2012-10-17" or "2008-10-17"');
  if (kind === "managed" || kind === "organization") {
    malformed("Policy document must be version 2012-10-17 or greater.", "Version");
  }
  return "2008-10-17";
}

function parseStatement(statement: JsonObject, kind: DocumentKind, place: string): StatementDocument {
  for (const name of Object.keys(statement)) {
    if (!STATEMENT_ELEMENTS.has(name)) syntax(`${place}.${name}`, "There is no such element");
  }
  const { Sid: sid = null, Effect: effect } = statement;
  if (sid !== null && typeof sid !== "string") return syntax(`${place}.Sid`, "A string is expected");
  // Only resource policies may have other characters in it.
  if (sid !== null && kind !== "resource" && kind !== "trust" && !/^[0-9A-Za-z]*$/.test(sid)) {
    malformed(
      "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
      `${place}.Sid`,
    );
  }
  if (effect === undefined) malformed("Missing required field Effect", place);
  if (effect !== "Allow" && effect !== "Deny") return malformed(`Invalid effect: ${show(effect)}`, `${place}.Effect`);
  return {
    sid,
    effect,
    principals: parsePrincipals(statement, kind, place),
    actions: parseActions(statement, kind, place),
    resources: parseResources(statement, kind, place),
    conditions: parseConditions(statement.Condition, `${place}.Condition`),
  };
}

const show = (value: Json | undefined): string => (typeof value === "string" ? value : JSON.stringify(value)) ?? "";

/** One of `X` and `NotX`: which, its place, and its value as a list. */
function either(statement: JsonObject, name: string, place: string): { negated: boolean; place: string; list: Json[] } {
  const negated = statement[`Not${name}`] !== undefined;
  if (negated && statement[name] !== undefined) syntax(place, `${name} and Not${name} exclude each other`);
  const value = statement[negated ? `Not${name}` : name];
  const list = value === undefined ? [] : isList(value) ? [...value] : [value];
  return { negated, place: `${place}.${negated ? "Not" : ""}${name}`, list };
}

const strings = (list: readonly Json[], place: string): string[] =>
  list.map((item, at) =>
    typeof item === "string" ? item : syntax(list.length > 1 ? `${place}[${at}]` : place, "A string is expected"),
  );

function parseActions(statement: JsonObject, kind: DocumentKind, at: string): Patterns {
  const { negated, place, list } = either(statement, "Action", at);
  if (list.length === 0) {
    malformed(kind === "trust" ? "Missing required field Action" : "Policy statement must contain actions.", at);
  }
  const patterns = strings(list, place);
  for (const action of patterns) {
    const trusted = TRUST_ACTIONS.has(action.toLowerCase()) || action === "sts:*" || action === "*";
    if (kind === "trust" && !trusted) {
      malformed("AssumeRole policy may only specify STS AssumeRole actions.", place);
    }
    if (action === "*") continue;
    const [vendor = "", name, ...rest] = action.split(":");
    if (name === undefined || vendor === "") {
      malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.", place);
    }
    if (rest.length > 0) malformed("Actions/Condition can contain only one colon.", place);
    if (!/^[A-Za-z0-9-]+$/.test(vendor) && action !== "*:*") malformed(`Vendor ${vendor} is not valid`, place);
    if (!/^[A-Za-z0-9*?-]+$/.test(name ?? "")) syntax(place, `"${action}" is not the name of an action`);
  }
  return { negated, patterns };
}

function parseResources(statement: JsonObject, kind: DocumentKind, at: string): Patterns | null {
  const { negated, place, list } = either(statement, "Resource", at);
  if (kind === "trust") {
    if (list.length > 0) malformed(`Has prohibited field ${negated ? "NotResource" : "Resource"}`, at);
    return null;
  }
  if (list.length === 0) malformed("Policy statement must contain resources.", at);
  const patterns = strings(list, place);
  for (const resource of patterns) {
    if (resource === "*") continue;
    if (!resource.startsWith("arn:")) malformed(`Resource ${resource} must be in ARN format or "*".`, place);
    const parts = resource.split(":");
    const partition = parts[1] ?? "";
    if (!PARTITIONS.has(partition) && !/[*?$]/.test(partition)) {
      malformed(`Partition "${partition}" is not valid for resource "${resource}".`, place);
    }
    if (parts.length < 6 && !resource.includes("*")) {
      malformed(`Resource ${resource} must be in ARN format or "*".`, place);
    }
    if (parts[2] === "iam" && parts[3] !== "" && parts[3] !== "*" && parts.length >= 6) {
      malformed(`IAM resource ${resource} cannot contain region information.`, place);
    }
  }
  return { negated, patterns };
}

function parsePrincipals(statement: JsonObject, kind: DocumentKind, at: string): PrincipalsDocument | null {
  const negated = statement.NotPrincipal !== undefined;
  const principal = negated ? statement.NotPrincipal : statement.Principal;
  if (kind !== "trust" && kind !== "resource") {
    if (principal !== undefined) malformed("Policy document should not specify a principal.", at);
    return null;
  }
  if (principal === undefined) return malformed("Missing required field Principal", at);
  if (negated && statement.Principal !== undefined) syntax(at, "Principal and NotPrincipal exclude each other");
  // "Not these" with Allow would be everybody else in the world: IAM takes it for Deny only.
  if (negated && statement.Effect === "Allow") {
    malformed("Allow with NotPrincipal is not allowed.", `${at}.NotPrincipal`);
  }
  const place = `${at}.${negated ? "NotPrincipal" : "Principal"}`;
  if (principal === "*") return { negated, entries: [{ type: "AWS", value: "*" }] };
  if (!isObject(principal)) return malformed(`Invalid principal in policy: ${show(principal)}`, place);
  const entries: PrincipalEntry[] = [];
  for (const [type, value] of Object.entries(principal)) {
    if (type !== "AWS" && type !== "Service" && type !== "Federated" && type !== "CanonicalUser") {
      return malformed(`Invalid principal in policy: "${type}":${JSON.stringify(value)}`, place);
    }
    for (const text of strings(isList(value) ? value : [value], `${place}.${type}`)) {
      if (!isPrincipal(type, text)) malformed(`Invalid principal in policy: "${type}":"${text}"`, place);
      entries.push({ type, value: text });
    }
  }
  if (entries.length === 0) malformed("Missing required field Principal cannot be empty!", place);
  return { negated, entries };
}

function isPrincipal(type: PrincipalType, value: string): boolean {
  if (value === "*") return true;
  switch (type) {
    case "AWS":
      // No wildcard names part of an account.
      return (
        /^\d{12}$/.test(value) ||
        /^(AIDA|AROA)[A-Z0-9]{12,}$/.test(value) ||
        /^arn:aws:iam::\d{12}:(root|(user|role)\/[\x21-\x29\x2b-\x3e\x40-\x7e]+)$/.test(value) ||
        /^arn:aws:sts::\d{12}:(assumed-role|federated-user)\/[\w+=,.@/-]+$/.test(value)
      );
    case "Service":
      return /^[a-z0-9.-]+\.(amazonaws\.com(\.cn)?|aws\.internal|api\.aws)$/.test(value);
    case "Federated":
      return /^arn:aws:iam::\d{12}:(saml|oidc)-provider\/\S+$/.test(value) || /^[a-z0-9.-]+$/.test(value);
    case "CanonicalUser":
      return /^[0-9a-f]{64}$/.test(value);
  }
}

function parseConditions(condition: Json | undefined, place: string): ConditionDocument[] {
  if (condition === undefined) return [];
  if (!isObject(condition)) return syntax(place, "An object is expected");
  const conditions: ConditionDocument[] = [];
  for (const [operator, keys] of Object.entries(condition)) {
    if (!isOperator(operator)) malformed(`Invalid Condition type : ${operator}.`, place);
    if (!isObject(keys)) return syntax(`${place}.${operator}`, "An object is expected");
    for (const [key, value] of Object.entries(keys)) {
      const at = `${place}.${operator}.${key}`;
      if (!/^[A-Za-z0-9-]+:./.test(key)) {
        malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.", at);
      }
      const list = isList(value) ? value : [value];
      const values = list.map((item) =>
        typeof item === "string" || typeof item === "number" || typeof item === "boolean"
          ? String(item)
          : syntax(at, "A string, a number or true or false is expected"),
      );
      conditions.push({ operator, key, values });
    }
  }
  return conditions;
}
