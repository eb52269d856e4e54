// "What if": the same evaluator as at the door, over policies that a request brings or that a principal has.
import {
  type EvaluationResult,
  GetContextKeysForCustomPolicy$,
  type GetContextKeysForCustomPolicyRequest,
  GetContextKeysForPrincipalPolicy$,
  type GetContextKeysForPrincipalPolicyRequest,
  type PolicyIdentifier,
  SimulateCustomPolicy$,
  type SimulateCustomPolicyRequest,
  SimulatePrincipalPolicy$,
  type SimulatePrincipalPolicyRequest,
} from "@aws-sdk/client-iam";
import { ApiError } from "../../base/api-error.ts";
import { evaluate, type Layer, type NamedPolicy, questionOf } from "../../identity/evaluate.ts";
import type { Standing } from "../../identity/organizations.ts";
import { compilePolicy, type Question } from "../../identity/policy/compile.ts";
import { contextOf } from "../../identity/policy/context.ts";
import { type DocumentKind, parsePolicy } from "../../identity/policy/document.ts";
import { keysOf } from "../../identity/policy/keys.ts";
import { statementSpans } from "../../identity/policy/positions.ts";
import type { Subject } from "../../identity/policy/principal.ts";
import type { Action, ConditionKeys, OpenConditionKeys } from "../../model/access.ts";
import { type Entity, findEntity, noSuchEntity } from "../../model/identity/entities.ts";
import type { RequestContext } from "../context.ts";
import { onAnything, operation } from "../operation.ts";
import { required } from "./input.ts";
import { pageWithin } from "./paging.ts";
import { policiesInForce, type SourcedPolicy } from "./policy-sources.ts";

type Simulation = Omit<SimulatePrincipalPolicyRequest, "PolicySourceArn"> & { PolicySourceArn?: string | undefined };

/** A policy as the simulator knows it: compiled, and where it came from. */
interface Simulated extends SourcedPolicy {
  readonly named: NamedPolicy;
}

const simulated = (source: SourcedPolicy, kind: DocumentKind): Simulated => ({
  ...source,
  named: { name: source.id, policy: compilePolicy(source.document, kind) },
});

/** Policies that the request brings, named after the list they stand in. */
const brought = (list: readonly string[] | undefined, member: string): Simulated[] =>
  (list ?? []).map((document, at) => simulated({ id: `${member}.${at + 1}`, type: "none", document }, "inline"));

function contextEntries(input: Pick<Simulation, "ContextEntries">): ConditionKeys {
  const keys: Record<string, string | readonly string[]> = {};
  for (const { ContextKeyName: name, ContextKeyValues: values = [], ContextKeyType: type } of input.ContextEntries ??
    []) {
    const key = required(name, "contextKeyName");
    const [first] = values;
    if (first === undefined) continue;
    keys[key] = type?.endsWith("List") === true || values.length > 1 ? values : first;
  }
  return keys;
}

const callerSubject = (arn: string): Subject => {
  const accountId = arn.split(":")[4] ?? "";
  const kind = arn.includes(":assumed-role/")
    ? "assumed-role"
    : arn.includes(":federated-user/")
      ? "federated-user"
      : "user";
  return { kind, accountId, arn, principalArn: arn, uniqueId: arn };
};

function simulate(
  input: Simulation,
  identity: readonly Simulated[],
  boundary: readonly Simulated[],
  subject: Subject,
  keys: ConditionKeys,
  organization: Standing | null,
): EvaluationResult[] {
  const actions = required(input.ActionNames, "actionNames");
  const resources = input.ResourceArns?.length ? input.ResourceArns : ["*"];
  const context = contextOf(keys);
  const asked = new Set([...identity, ...boundary].flatMap(({ document }) => keysOf(parsePolicy(document, "inline"))));
  const missing = [...asked].filter((key) => context.get(key.toLowerCase()) === undefined);
  const resourcePolicy =
    input.ResourcePolicy === undefined
      ? undefined
      : simulated({ id: "ResourcePolicy", type: "resource", document: input.ResourcePolicy }, "resource");
  const owner = input.ResourceOwner === undefined ? undefined : /(\d{12})/.exec(input.ResourceOwner)?.[1];
  const results: EvaluationResult[] = [];
  for (const action of actions) {
    if (!/^[A-Za-z0-9-]+:[A-Za-z0-9]+$/.test(action)) {
      throw new ApiError("InvalidInput", `Invalid Action Name: ${action}. Specify one action without wildcards.`);
    }
    for (const resource of resources) {
      const decision = evaluate(
        {
          subject,
          action,
          resource,
          context,
          resourcePolicy: resourcePolicy && {
            accountId: owner ?? (subject.kind === "service" ? "" : subject.accountId),
            policy: resourcePolicy.named,
          },
        },
        {
          identity: identity.map(({ named }) => named),
          boundary: merged(boundary),
          session: null,
          organization: organization?.policies ?? [],
        },
      );
      const question = questionOf({ action, resource, context });
      const effect = decision.allowed ? "Allow" : decision.reason === "explicitDeny" ? "Deny" : null;
      const layers: Partial<Record<Layer, readonly Simulated[]>> = {
        identity,
        boundary,
        resource: resourcePolicy === undefined ? [] : [resourcePolicy],
      };
      const deciding = decision.layer === "root" ? [] : (layers[decision.layer] ?? []);
      const matched = effect === null ? [] : deciding.flatMap((each) => statements(each, effect, question, subject));
      results.push({
        EvalActionName: action,
        EvalResourceName: resource,
        EvalDecision: decision.reason,
        MatchedStatements: matched,
        MissingContextValues: missing,
        ...(organization === null
          ? {}
          : {
              OrganizationsDecisionDetail: {
                AllowedByOrganizations: organization.policies.every((level) => allows(level, question)),
              },
            }),
        ...(boundary.length === 0
          ? {}
          : {
              PermissionsBoundaryDecisionDetail: {
                AllowedByPermissionsBoundary: allows(
                  boundary.map(({ named }) => named),
                  question,
                ),
              },
            }),
      });
    }
  }
  return results;
}

/** What limits without granting: does it leave this open? */
function allows(limits: readonly NamedPolicy[], question: Question): boolean {
  const matching = limits.flatMap(({ policy }) => policy.statements).filter((each) => each.matches(question));
  return matching.length > 0 && matching.every(({ effect }) => effect === "Allow");
}

/** Statements of one effect that match, and where they stand. */
function statements(
  source: Simulated,
  effect: "Allow" | "Deny",
  question: Question,
  subject: Subject,
): NonNullable<EvaluationResult["MatchedStatements"]> {
  const spans = statementSpans(source.document);
  return source.named.policy.statements
    .filter((each) => each.effect === effect && (each.principals?.(subject) ?? "none") !== null)
    .filter((each) => each.matches(question))
    .map(({ index }) => {
      const span = spans[index];
      return {
        SourcePolicyId: source.id,
        SourcePolicyType: source.type,
        ...(span === undefined
          ? {}
          : {
              StartPosition: { Line: span.start.line, Column: span.start.column },
              EndPosition: { Line: span.end.line, Column: span.end.column },
            }),
      };
    });
}

/** Several boundaries that a request brings count as one, as AWS has it. */
function merged(boundary: readonly Simulated[]): NamedPolicy | null {
  const [only] = boundary;
  if (only === undefined) return null;
  const all = boundary.map(({ named }) => named.policy);
  return {
    name: only.id,
    policy: {
      statements: all.flatMap((each) => each.statements),
      about: (question) => all.flatMap((each) => each.about(question)),
    },
  };
}

export const simulateCustomPolicy = operation({
  action: "iam:SimulateCustomPolicy",
  schema: SimulateCustomPolicy$,
  access: "read",
  resolve: async (_ctx, _input: SimulateCustomPolicyRequest) => onAnything("iam:SimulateCustomPolicy"),
  run: async (ctx, input) => {
    const identity = brought(required(input.PolicyInputList, "policyInputList"), "PolicyInputList");
    const boundary = brought(input.PermissionsBoundaryPolicyInputList, "PermissionsBoundaryPolicyInputList");
    const subject = callerSubject(input.CallerArn ?? ctx.caller.arn);
    // Policies that nobody has belong to no account, so no organization limits them.
    const results = simulate(input, identity, boundary, subject, contextEntries(input), null);
    const [page, more] = pageWithin(numbered(results), input, ({ key }) => key);
    return { EvaluationResults: page.map(({ item }) => item), ...more };
  },
});

/** Results keep the order of the request over pages. */
const numbered = <T>(items: readonly T[]): { key: string; item: T }[] =>
  items.map((item, at) => ({ key: String(at).padStart(6, "0"), item }));

export const simulatePrincipalPolicy = operation({
  action: "iam:SimulatePrincipalPolicy",
  schema: SimulatePrincipalPolicy$,
  access: "read",
  resolve: (ctx, input: SimulatePrincipalPolicyRequest) =>
    resolveSource(ctx, input.PolicySourceArn, "iam:SimulatePrincipalPolicy"),
  run: async (ctx, input, { source, arn }) => {
    if (source === undefined) throw noSuchSource(arn);
    const { identity, boundary } = await policiesInForce(ctx.database.read, source);
    const excluded = input.PolicyExclusionList ?? [];
    const own = identity
      .filter((policy) => !excluded.some((each) => isExcluded(policy, each)))
      .map((each) => simulated(each, "inline"));
    const given = brought(input.PermissionsBoundaryPolicyInputList, "PermissionsBoundaryPolicyInputList");
    const bounds = given.length > 0 || boundary === null ? given : [simulated(boundary, "managed")];
    const subject: Subject =
      input.CallerArn !== undefined
        ? callerSubject(input.CallerArn)
        : {
            kind: source.kind === "role" ? "assumed-role" : "user",
            accountId: source.accountId,
            arn: source.arn,
            principalArn: source.arn,
            uniqueId: source.id,
          };
    const keys = { ...sourceKeys(source), ...contextEntries(input) };
    const all = [...own, ...brought(input.PolicyInputList, "PolicyInputList")];
    const { principals, organizations } = ctx.parts.identity;
    const generation = await principals.generation(source.accountId);
    const standing = generation === null ? null : await organizations.of(source.accountId, generation);
    const results = simulate(input, all, bounds, subject, keys, standing);
    const [page, more] = pageWithin(numbered(results), input, ({ key }) => key);
    return { EvaluationResults: page.map(({ item }) => item), ...more };
  },
});

function isExcluded(policy: SourcedPolicy, named: PolicyIdentifier): boolean {
  if (named.PolicyArn !== undefined) return policy.arn === named.PolicyArn;
  const inline = named.InlinePolicyIdentifier;
  return inline !== undefined && policy.arn === undefined && policy.id.endsWith(`_${inline.PolicyName}`);
}

/** What a request of this principal would carry in any case. Entries of the request go over it. */
function sourceKeys(source: Entity): ConditionKeys {
  const keys: OpenConditionKeys = {
    "aws:PrincipalArn": source.arn,
    "aws:PrincipalAccount": source.accountId,
    "aws:PrincipalType": source.kind === "role" ? "AssumedRole" : "User",
  };
  if (source.kind === "user") {
    keys["aws:username"] = source.name;
    keys["aws:userid"] = source.id;
  }
  for (const [key, value] of Object.entries(source.tags)) keys[`aws:PrincipalTag/${key}`] = value;
  return keys;
}

const noSuchSource = (arn: string): ApiError => {
  const { kind, name } = sourceName(arn);
  return noSuchEntity(kind, name);
};

/** @throws ApiError `InvalidInput` when it is no user, group or role */
function sourceName(arn: string): { kind: "user" | "group" | "role"; name: string } {
  const [, kind, name] =
    /^arn:aws:iam::\d{12}:(user|group|role)\/(?:[\u0021-\u007e]*\/)?([\w+=,.@-]+)$/.exec(arn) ?? [];
  if ((kind !== "user" && kind !== "group" && kind !== "role") || name === undefined) {
    throw new ApiError("InvalidInput", `Invalid Entity Arn: ${arn} does not clearly define entity type and name.`);
  }
  return { kind, name };
}

async function resolveSource(ctx: RequestContext, value: string | undefined, action: Action) {
  const arn = required(value, "policySourceArn");
  const { kind, name } = sourceName(arn);
  const account = arn.split(":")[4];
  const found =
    account === ctx.caller.accountId
      ? await findEntity(ctx.database.read, kind, ctx.caller.accountId, name)
      : undefined;
  const source = found?.arn === arn ? found : undefined;
  return { arn, source, checks: [{ action, resource: arn, keys: {} }] };
}

export const getContextKeysForCustomPolicy = operation({
  action: "iam:GetContextKeysForCustomPolicy",
  schema: GetContextKeysForCustomPolicy$,
  access: "read",
  resolve: async (_ctx, _input: GetContextKeysForCustomPolicyRequest) =>
    onAnything("iam:GetContextKeysForCustomPolicy"),
  run: async (_ctx, input) => ({
    ContextKeyNames: allKeys(required(input.PolicyInputList, "policyInputList")),
  }),
});

export const getContextKeysForPrincipalPolicy = operation({
  action: "iam:GetContextKeysForPrincipalPolicy",
  schema: GetContextKeysForPrincipalPolicy$,
  access: "read",
  resolve: (ctx, input: GetContextKeysForPrincipalPolicyRequest) =>
    resolveSource(ctx, input.PolicySourceArn, "iam:GetContextKeysForPrincipalPolicy"),
  run: async (ctx, input, { source, arn }) => {
    if (source === undefined) throw noSuchSource(arn);
    const { identity } = await policiesInForce(ctx.database.read, source);
    return {
      ContextKeyNames: allKeys([...identity.map(({ document }) => document), ...(input.PolicyInputList ?? [])]),
    };
  },
});

const allKeys = (documents: readonly string[]): string[] => [
  ...new Set(documents.flatMap((document) => keysOf(parsePolicy(document, "inline")))),
];
