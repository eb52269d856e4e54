// From a checked document to its fast form. A statement is a row of tests over one question; a policy remembers which of its
// statements name an action, so that the others cost nothing when it is asked for again.
import { type ConditionTest, compileCondition } from "./conditions.ts";
import type { Context } from "./context.ts";
import {
  type ConditionDocument,
  type DocumentKind,
  type Patterns,
  parsePolicy,
  type StatementDocument,
} from "./document.ts";
import { type ArnParts, type ArnPattern, arnPattern, type Glob, glob } from "./pattern.ts";
import { compilePrincipals, type PrincipalTest } from "./principal.ts";

/** Lists of a few statements each, per policy. */
const MOST_ACTIONS_KEPT = 512;

/** One question, prepared once for all statements. */
export interface Question {
  /** Lower case, `ec2:runinstances`. */
  readonly action: string;
  readonly resource: string;
  /** `splitArn(resource)`. */
  readonly resourceParts: ArnParts | null;
  readonly context: Context;
}

export interface Statement {
  /** Place in the document, from 0. */
  readonly index: number;
  readonly sid: string | null;
  readonly effect: "Allow" | "Deny";
  /** `null` in policies of identities. */
  readonly principals: PrincipalTest | null;
  /** Action, resource and conditions. */
  matches(question: Question): boolean;
  /** Resource and conditions, of a statement that is known to name the action. */
  holds(question: Question): boolean;
  /** For explanations, never on a request's path. */
  readonly parts: StatementParts;
}

/** The tests of a statement one by one. */
export interface StatementParts {
  action(question: Question): boolean;
  resource(question: Question): boolean;
  /** Conditions that this question does not meet. */
  unmet(question: Question): readonly ConditionDocument[];
}

export interface CompiledPolicy {
  readonly statements: readonly Statement[];
  /** Those that name the question's action, in order. */
  about(question: Question): readonly Statement[];
}

/**
 * Parses, checks and compiles.
 * @param principalIds  see `ResourcePolicy.principalIds`
 * @throws ApiError `MalformedPolicyDocument`
 */
export function compilePolicy(
  text: string,
  kind: DocumentKind,
  principalIds?: Readonly<Record<string, string>>,
): CompiledPolicy {
  const document = parsePolicy(text, kind);
  const variables = document.version === "2012-10-17";
  const statements = document.statements.map((statement, index) =>
    compileStatement(statement, index, variables, principalIds),
  );
  const byAction = new Map<string, readonly Statement[]>();
  return {
    statements,
    about(question) {
      const { action } = question;
      let about = byAction.get(action);
      if (about === undefined) {
        about = statements.filter((statement) => statement.parts.action(question));
        // The actions that are answered are known and few; simulations may ask for any.
        if (byAction.size >= MOST_ACTIONS_KEPT) byAction.clear();
        byAction.set(action, about);
      }
      return about;
    },
  };
}

function compileStatement(
  document: StatementDocument,
  index: number,
  variables: boolean,
  principalIds: Readonly<Record<string, string>> | undefined,
): Statement {
  const action = actionTest(document.actions);
  const resource = document.resources === null ? () => true : resourceTest(document.resources, variables);
  const conditions = document.conditions.map(({ operator, key, values }) =>
    compileCondition(operator, key, values, variables),
  );
  const met = conditionsTest(conditions);
  return {
    index,
    sid: document.sid,
    effect: document.effect,
    principals: document.principals === null ? null : compilePrincipals(document.principals, principalIds),
    matches: (question) => action(question.action) && resource(question) && met(question.context),
    holds: (question) => resource(question) && met(question.context),
    parts: {
      action: (question) => action(question.action),
      resource,
      unmet: ({ context }) => document.conditions.filter((_, at) => conditions[at]?.(context) === false),
    },
  };
}

function conditionsTest(conditions: readonly ConditionTest[]): ConditionTest {
  const [only, second] = conditions;
  if (only === undefined) return () => true;
  if (second === undefined) return only;
  return (context) => conditions.every((condition) => condition(context));
}

function actionTest({ negated, patterns }: Patterns): (action: string) => boolean {
  const whole = new Set<string>();
  const globs: Glob[] = [];
  for (const text of patterns) {
    const lower = text === "*:*" ? "*" : text.toLowerCase();
    if (/[*?]/.test(lower)) globs.push(glob(lower));
    else whole.add(lower);
  }
  if (globs.some((each) => each.everything)) return () => !negated;
  const named = (action: string): boolean => {
    if (whole.has(action)) return true;
    for (const each of globs) if (each.matches(action)) return true;
    return false;
  };
  return negated ? (action) => !named(action) : named;
}

function resourceTest({ negated, patterns }: Patterns, variables: boolean): (question: Question) => boolean {
  if (patterns.includes("*")) return () => !negated;
  const compiled = patterns.map((text) => arnPattern(text, variables));
  if (!negated) {
    return (question) => {
      for (const each of compiled) if (names(each, question) === true) return true;
      return false;
    };
  }
  // A variable without a value in NotResource must not widen it to everything: the statement does not apply.
  return (question) => compiled.every((each) => names(each, question) === false);
}

/** `null`: a variable has no value. */
function names(pattern: ArnPattern, question: Question): boolean | null {
  const fixed = pattern.fixed ?? pattern.resolve(question.context);
  return fixed === null ? null : fixed.matches(question.resource, question.resourceParts);
}
