// Why, in full: the verdict, what each layer said, which statements came close, and what would have to change. Beyond AWS,
// where the refused get one sentence and a sealed message.

import { type AccountId, isAccountId } from "../base/ids.ts";
import type { Database } from "../database/database.ts";
import type { ConditionKeys, ResourceCheck } from "../model/access.ts";
import type { Caller } from "../model/identity/caller.ts";
import { findEntity } from "../model/identity/entities.ts";
import { callerKeys } from "./caller-keys.ts";
import { type Decision, type MatchedStatement, matchedStatement, type NamedPolicy, questionOf } from "./evaluate.ts";
import type { Identity } from "./identity.ts";
import type { Question } from "./policy/compile.ts";
import { contextOf } from "./policy/context.ts";

export interface NearMiss {
  readonly statement: MatchedStatement;
  readonly effect: "Allow" | "Deny";
  /** What kept it from matching. */
  readonly missed: "resource" | "conditions";
  /** `StringEquals aws:RequestTag/team = red`, for each condition that was not met. */
  readonly conditions: readonly string[];
}

export interface LayerExplanation {
  /** `organization[0]` is the root's level. */
  readonly layer: string;
  readonly allows: readonly MatchedStatement[];
  readonly denies: readonly MatchedStatement[];
  readonly near: readonly NearMiss[];
}

export interface Explanation {
  readonly decision: Decision;
  readonly layers: readonly LayerExplanation[];
  /** Sentences, in the order in which to act on them; empty when it is allowed. */
  readonly toAllow: readonly string[];
  /** All keys that the decision saw. */
  readonly keys: ConditionKeys;
}

/** Explains one check for a caller. The decision is the door's own. */
export async function explain(
  identity: Identity,
  caller: Caller,
  check: ResourceCheck,
  request: ConditionKeys,
): Promise<Explanation> {
  const { authorizer } = identity;
  const answer = await authorizer.authorize(caller, [check], request);
  const decision = await authorizer.decide(caller, check, request);
  const policies = await authorizer.policiesOf(caller);
  const keys = answer.granted ? { ...request, ...callerKeys(caller), ...check.keys } : answer.keys;
  const question = questionOf({ action: check.action, resource: check.resource, context: contextOf(keys) });
  const layers = [
    layer("identity", policies.identity, question),
    ...(policies.boundary === null ? [] : [layer("boundary", [policies.boundary], question)]),
    ...(policies.session === null ? [] : [layer("session", policies.session, question)]),
    ...policies.organization.map((level, at) => layer(`organization[${at}]`, level, question)),
  ];
  return { decision, layers, toAllow: decision.allowed ? [] : changes(check, decision, layers), keys };
}

function layer(name: string, policies: readonly NamedPolicy[], question: Question): LayerExplanation {
  const allows: MatchedStatement[] = [];
  const denies: MatchedStatement[] = [];
  const near: NearMiss[] = [];
  for (const named of policies) {
    for (const statement of named.policy.statements) {
      if (!statement.parts.action(question)) continue;
      const matched = matchedStatement(named, statement);
      if (statement.matches(question)) (statement.effect === "Allow" ? allows : denies).push(matched);
      else {
        const reached = statement.parts.resource(question);
        near.push({
          statement: matched,
          effect: statement.effect,
          missed: reached ? "conditions" : "resource",
          conditions: reached
            ? statement.parts.unmet(question).map((each) => `${each.operator} ${each.key} = ${each.values.join(" | ")}`)
            : [],
        });
      }
    }
  }
  return { layer: name, allows, denies, near };
}

const place = ({ policy, via, sid, index }: MatchedStatement): string =>
  `statement ${sid === null || sid === "" ? index + 1 : `"${sid}"`} of ${policy}${via === undefined ? "" : ` (${via})`}`;

function changes(
  check: ResourceCheck,
  decision: Decision & { readonly allowed: false },
  layers: readonly LayerExplanation[],
): string[] {
  const sentences = layers.flatMap(({ layer: name, denies }) =>
    denies.map((each) => `Remove or narrow ${place(each)}: it denies (${name}).`),
  );
  if (decision.reason === "explicitDeny" && sentences.length === 0) {
    sentences.push(`Remove or narrow ${place(decision.statement)}: it denies (${decision.layer}).`);
  }
  if (decision.layer === "resource" && decision.reason === "implicitDeny") {
    sentences.push(`The policy of ${check.resource} itself must allow it.`);
  }
  for (const { layer: name, allows, near } of layers) {
    if (allows.length > 0) continue;
    const close = near.find((each) => each.effect === "Allow");
    if (close === undefined) {
      sentences.push(`Allow ${check.action} on ${check.resource} in a policy of the ${name} layer: none speaks of it.`);
    } else if (close.missed === "resource") {
      sentences.push(`Let ${place(close.statement)} name ${check.resource} (${name}).`);
    } else {
      sentences.push(`Meet the conditions of ${place(close.statement)} (${name}): ${close.conditions.join("; ")}.`);
    }
  }
  return sentences;
}

/**
 * A caller as a user or role would be with its own credentials, from its ARN: to explain what somebody else may.
 * @returns null when there is none
 */
export async function callerNamed(
  parts: { readonly database: Database; readonly identity: Identity },
  arn: string,
  now: Date,
): Promise<Caller | null> {
  const [, account, kind, name] = /^arn:aws:iam::(\d{12}):(user|role)\/(?:.*\/)?([^/]+)$/.exec(arn) ?? [];
  if (account === undefined || name === undefined || !isAccountId(account)) return rootNamed(arn);
  const entity = await findEntity(parts.database.read, kind === "user" ? "user" : "role", account, name);
  if (entity === undefined || entity.arn !== arn) return null;
  const common = { accountId: account, accessKeyId: "", tags: entity.tags };
  if (entity.kind === "user") {
    return { ...common, kind: "user", arn, principalId: entity.id, userId: entity.id, userName: entity.name };
  }
  const sessionName = "explain";
  return {
    ...common,
    kind: "assumed-role",
    arn: `arn:aws:sts::${account}:assumed-role/${entity.name}/${sessionName}`,
    principalId: `${entity.id}:${sessionName}`,
    roleId: entity.id,
    roleName: entity.name,
    roleArn: arn,
    sessionName,
    session: {
      issuedAt: now,
      expiresAt: new Date(now.getTime() + 3_600_000),
      mfa: false,
      policies: null,
      transitiveTagKeys: [],
      tags: {},
      chained: false,
    },
  };
}

function rootNamed(arn: string): Caller | null {
  const account = /^arn:aws:iam::(\d{12}):root$/.exec(arn)?.[1] as AccountId | undefined;
  return account === undefined
    ? null
    : { kind: "root", accountId: account, arn, principalId: account, accessKeyId: "", tags: {} };
}
