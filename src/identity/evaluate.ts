// The decision, as AWS makes it, and why. Pure: policies and keys in, verdict out.
//
//   explicit deny in any layer
//   → organization policies: every level must allow
//   → resource policy, which may grant by itself (to a user or a session that it names)
//   → identity policies ∪ resource policy → permissions boundary → session policies: all that are present must allow
//
// For a resource of another account, its policy and the caller's own must both allow.
import type { CompiledPolicy, Question, Statement } from "./policy/compile.ts";
import type { Context } from "./policy/context.ts";
import { splitArn } from "./policy/pattern.ts";
import type { Naming, Subject } from "./policy/principal.ts";

export type Layer = "identity" | "resource" | "boundary" | "session" | "organization";

/** A policy and how to tell it from others. */
export interface NamedPolicy {
  /** ARN of a managed policy, or the name of an inline one. */
  readonly name: string;
  /** What it hangs on when that is not the principal itself: `group/Builders`. */
  readonly via?: string;
  readonly policy: CompiledPolicy;
}

/** Everything that bears on one principal. Absent layers (null) do not limit. */
export interface PolicySet {
  readonly identity: readonly NamedPolicy[];
  readonly boundary: NamedPolicy | null;
  readonly session: readonly NamedPolicy[] | null;
  /** Service control policies, one list per level from the organization's root to the account. */
  readonly organization: readonly (readonly NamedPolicy[])[];
}

export interface MatchedStatement {
  readonly policy: string;
  readonly via?: string;
  readonly sid: string | null;
  /** Place in the policy's document, from 0. */
  readonly index: number;
}

export type Decision =
  | {
      readonly allowed: true;
      readonly reason: "allowed";
      /** `root`: root users need no policy. */
      readonly layer: Layer | "root";
      readonly statement: MatchedStatement | null;
    }
  | {
      readonly allowed: false;
      readonly reason: "explicitDeny";
      readonly layer: Layer;
      readonly statement: MatchedStatement;
    }
  /** No statement of this layer, which had to allow, does. */
  | { readonly allowed: false; readonly reason: "implicitDeny"; readonly layer: Layer; readonly statement: null };

export interface Asked {
  readonly subject: Subject;
  /** `ec2:RunInstances`, in any case. */
  readonly action: string;
  /** ARN or `*`. */
  readonly resource: string;
  readonly context: Context;
  readonly resourcePolicy?: AskedResourcePolicy | undefined;
}

/** The resource's own policy and its owner, where there is one. */
export interface AskedResourcePolicy {
  readonly accountId: string;
  readonly policy: NamedPolicy;
  /** It must allow even within the account, as a role's trust policy must: others only add to what identities may. */
  readonly required?: boolean;
}

interface Verdict {
  deny: MatchedStatement | null;
  allow: MatchedStatement | null;
}

/** Decides one question. Cost: a few tests per statement that speaks of the action's service. */
export function evaluate(asked: Asked, policies: PolicySet): Decision {
  const question = questionOf(asked);
  const { subject } = asked;
  const identity = verdictOf(policies.identity, question);
  const boundary = policies.boundary === null ? null : verdictOf([policies.boundary], question);
  const session = policies.session === null ? null : verdictOf(policies.session, question);
  const levels = policies.organization.map((level) => verdictOf(level, question));
  const resource = resourceVerdict(asked, question);

  const organizationDeny = levels.find((level) => level.deny !== null)?.deny ?? null;
  const denies: readonly [Layer, MatchedStatement | null | undefined][] = [
    ["organization", organizationDeny],
    ["resource", resource?.deny],
    ["identity", identity.deny],
    ["boundary", boundary?.deny],
    ["session", session?.deny],
  ];
  for (const [layer, statement] of denies) {
    if (statement) return { allowed: false, reason: "explicitDeny", layer, statement };
  }
  if (levels.some((level) => level.allow === null)) return implicitly("organization");

  if (subject.kind === "service") {
    return resource?.allow
      ? { allowed: true, reason: "allowed", layer: "resource", statement: resource.allow }
      : implicitly("resource");
  }

  const crosses = asked.resourcePolicy !== undefined && asked.resourcePolicy.accountId !== subject.accountId;
  const mustAllow = crosses || asked.resourcePolicy?.required === true;
  if (mustAllow && !resource?.allow) return implicitly("resource");
  const granted = crosses || !resource?.allow ? null : { naming: resource.naming, statement: resource.allow };

  // A session that is named by its own ARN needs nothing else. A user named by ARN, and whoever is let in with everybody,
  // needs nothing but its session's leave. A role named by ARN stays within its boundary too.
  if (granted?.naming === "session") {
    return { allowed: true, reason: "allowed", layer: "resource", statement: granted.statement };
  }
  const direct = granted?.naming === "principal" || granted?.naming === "anyone";
  const unbounded = granted?.naming === "anyone" || (direct && subject.kind === "user");
  if (subject.kind !== "root") {
    if (identity.allow === null && !direct) return implicitly("identity");
    if (boundary !== null && boundary.allow === null && !unbounded) return implicitly("boundary");
  }
  if (session !== null && session.allow === null) return implicitly("session");
  if (identity.allow !== null)
    return { allowed: true, reason: "allowed", layer: "identity", statement: identity.allow };
  if (direct && granted) return { allowed: true, reason: "allowed", layer: "resource", statement: granted.statement };
  return { allowed: true, reason: "allowed", layer: "root", statement: null };
}

const implicitly = (layer: Layer): Decision => ({ allowed: false, reason: "implicitDeny", layer, statement: null });

export function questionOf(asked: Pick<Asked, "action" | "resource" | "context">): Question {
  return {
    action: asked.action.toLowerCase(),
    resource: asked.resource,
    resourceParts: splitArn(asked.resource),
    context: asked.context,
  };
}

function verdictOf(policies: readonly NamedPolicy[], question: Question): Verdict {
  const verdict: Verdict = { deny: null, allow: null };
  for (const named of policies) {
    for (const statement of named.policy.about(question)) {
      // Once something allows, only a deny can change the answer.
      if (statement.effect === "Allow" && verdict.allow !== null) continue;
      if (!statement.holds(question)) continue;
      const matched = matchedStatement(named, statement);
      if (statement.effect === "Deny") {
        verdict.deny = matched;
        return verdict;
      }
      verdict.allow = matched;
    }
  }
  return verdict;
}

export const matchedStatement = (named: NamedPolicy, statement: Statement): MatchedStatement => ({
  policy: named.name,
  ...(named.via === undefined ? {} : { via: named.via }),
  sid: statement.sid,
  index: statement.index,
});

const CLOSER: Readonly<Record<Exclude<Naming, null>, number>> = { session: 3, principal: 2, anyone: 1, account: 0 };

function resourceVerdict(asked: Asked, question: Question): (Verdict & { naming: Exclude<Naming, null> }) | null {
  if (asked.resourcePolicy === undefined) return null;
  const named = asked.resourcePolicy.policy;
  const verdict: Verdict & { naming: Exclude<Naming, null> } = { deny: null, allow: null, naming: "account" };
  for (const statement of named.policy.about(question)) {
    const naming = statement.principals?.(asked.subject) ?? null;
    if (naming === null || !statement.holds(question)) continue;
    if (statement.effect === "Deny") verdict.deny ??= matchedStatement(named, statement);
    else if (verdict.allow === null || CLOSER[naming] > CLOSER[verdict.naming]) {
      verdict.allow = matchedStatement(named, statement);
      verdict.naming = naming;
    }
  }
  return verdict;
}
