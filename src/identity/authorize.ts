// The one place that says yes. It gathers what bears on the caller, decides every check, and makes the proof that writers
// ask for; or it words the refusal.
import { ApiError, type ErrorCode } from "../base/api-error.ts";
import { isAccountId } from "../base/ids.ts";
import type { Action, ConditionKeys, Grant, ResourceCheck } from "../model/access.ts";
import type { Caller } from "../model/identity/caller.ts";
import type { AuthorizationMessages } from "./authorization-message.ts";
import { callerKeys, subjectOf } from "./caller-keys.ts";
import { type Decision, evaluate, type Layer, type NamedPolicy, type PolicySet, questionOf } from "./evaluate.ts";
import type { Organizations } from "./organizations.ts";
import { compilePolicy } from "./policy/compile.ts";
import { type Context, contextOf, layered } from "./policy/context.ts";
import { splitArn } from "./policy/pattern.ts";
import type { Principals } from "./principals.ts";

/** A check that was refused, and why. */
export interface Refusal {
  readonly granted: false;
  readonly check: ResourceCheck;
  readonly decision: Decision & { readonly allowed: false };
  /** All keys that the decision saw. */
  readonly keys: ConditionKeys;
}

export type Authorization = { readonly granted: true; readonly grant: Grant } | Refusal;

export interface Authorizer {
  /**
   * Decides `checks` in order, until one is refused.
   * @param request  `requestKeys(…)`, and keys that the service adds for all checks
   */
  authorize(caller: Caller, checks: readonly ResourceCheck[], request: ConditionKeys): Promise<Authorization>;
  /**
   * Decides each check by itself, for calls that do what they may and say of the rest why not.
   * @returns a grant of those that are not refused, and for each check in order its refusal or null
   */
  authorizeEach(
    caller: Caller,
    checks: readonly ResourceCheck[],
    request: ConditionKeys,
  ): Promise<{ readonly grant: Grant; readonly refusals: readonly (Refusal | null)[] }>;
  /** One decision, for what is asked beside the door: may the caller see why, which of these may it use. */
  decide(caller: Caller, check: ResourceCheck, request: ConditionKeys): Promise<Decision>;
  /**
   * Does any policy let the caller do `action` to anything at all? For calls that do not come so far as to name a resource.
   * @returns what the client is told when none does
   */
  mayAtAll(service: string, caller: Caller, action: Action): Promise<ApiError | null>;
  /** What bears on a caller: for explanations. */
  policiesOf(caller: Caller): Promise<PolicySet>;
  /** What the client is told: the code and sentence of its service, in EC2 with the encoded message. */
  denial(service: string, caller: Caller, refusal: Refusal): ApiError;
}

/** Everybody may ask these of himself; no policy can take it away. */
const ALWAYS_ALLOWED: ReadonlySet<string> = new Set(["sts:getcalleridentity", "sts:getsessiontoken"]);

/** What a user's own temporary credentials may still ask of STS; and of IAM nothing, for want of MFA. */
const LEFT_TO_SESSION_TOKENS: ReadonlySet<string> = new Set(["sts:assumerole", "sts:getcalleridentity"]);

const EVERYTHING: NamedPolicy = {
  name: "root",
  policy: compilePolicy(
    JSON.stringify({ Version: "2012-10-17", Statement: { Effect: "Allow", Action: "*", Resource: "*" } }),
    "inline",
  ),
};

export function createAuthorizer(parts: {
  readonly principals: Principals;
  readonly messages: AuthorizationMessages;
  readonly organizations: Organizations;
}): Authorizer {
  const { principals, messages, organizations } = parts;

  const policiesOf = async (caller: Caller): Promise<PolicySet> => {
    const account = caller.accountId;
    const generation = await principals.generation(account);
    // Suspended or gone since the signature was checked: nothing grants.
    if (generation === null) return { identity: [], boundary: null, session: [], organization: [] };
    const levels = (await organizations.of(account, generation))?.policies ?? [];
    const limits = caller.session?.policies ?? null;
    const session: NamedPolicy[] | null =
      limits === null ? null : await principals.managed(account, limits.arns, generation);
    const inline = limits?.document ?? null;
    const sessionPolicies =
      session === null || inline === null
        ? session
        : [{ name: "session policy", policy: principals.compile(inline, "session") }, ...session];
    const common = { session: sessionPolicies, organization: levels };
    const owner = policyOwner(caller);
    if (owner === null) return { ...common, identity: [EVERYTHING], boundary: null };
    const record = await principals.find(owner.kind, account, owner.id, generation);
    if (record === null) return { ...common, identity: [], boundary: null };
    return { ...common, identity: record.identity, boundary: record.boundary };
  };

  const decideWith = (caller: Caller, check: ResourceCheck, policies: PolicySet, under: Context): Decision => {
    const action = check.action.toLowerCase();
    if (ALWAYS_ALLOWED.has(action)) return { allowed: true, reason: "allowed", layer: "identity", statement: null };
    if (isBeyondSessionToken(caller, action)) {
      return { allowed: false, reason: "implicitDeny", layer: "session", statement: null };
    }
    if (check.resourcePolicy === undefined && isForeign(caller, check.resource)) {
      return { allowed: false, reason: "implicitDeny", layer: "resource", statement: null };
    }
    const trust = action.startsWith("sts:");
    const resourcePolicy = check.resourcePolicy && {
      accountId: check.resourcePolicy.accountId,
      policy: {
        name: check.resource,
        policy: principals.compile(
          check.resourcePolicy.document,
          trust ? "trust" : "resource",
          check.resourcePolicy.principalIds,
        ),
      },
      required: trust,
    };
    return evaluate(
      {
        subject: subjectOf(caller),
        action,
        resource: check.resource,
        context: layered(contextOf({ ...resourceKeys(check.resource), ...check.keys }), under),
        resourcePolicy,
      },
      policies,
    );
  };

  /** Decides checks of one request, which share what bears on the caller. */
  const judge = async (caller: Caller, request: ConditionKeys): Promise<(check: ResourceCheck) => Refusal | null> => {
    const policies = await policiesOf(caller);
    const shared = { ...request, ...callerKeys(caller) };
    const under = contextOf(shared);
    return (check) => {
      const decision = decideWith(caller, check, policies, under);
      if (decision.allowed) return null;
      const keys = { ...shared, ...resourceKeys(check.resource), ...check.keys };
      return { granted: false, check, decision, keys };
    };
  };

  return {
    policiesOf,
    async authorize(caller, checks, request) {
      if (checks.length === 0) throw new Error("authorise: an action must ask for something");
      const refusalOf = await judge(caller, request);
      for (const check of checks) {
        const refusal = refusalOf(check);
        if (refusal !== null) return refusal;
      }
      return { granted: true, grant: {} as Grant };
    },
    async authorizeEach(caller, checks, request) {
      return { grant: {} as Grant, refusals: checks.map(await judge(caller, request)) };
    },
    async decide(caller, check, request) {
      const under = contextOf({ ...request, ...callerKeys(caller) });
      return decideWith(caller, check, await policiesOf(caller), under);
    },
    async mayAtAll(service, caller, action) {
      const named = action.toLowerCase();
      // What a resource's own policy may grant as well is not the caller's policies' to refuse beforehand.
      if (ALWAYS_ALLOWED.has(named) || named.startsWith("sts:assumerole")) return null;
      const policies = await policiesOf(caller);
      const layer = isBeyondSessionToken(caller, named) ? "session" : lackingLayer(policies, named);
      if (layer === null) return null;
      const check = { action, resource: "*", keys: {} };
      const decision = { allowed: false, reason: "implicitDeny", layer, statement: null } as const;
      return denial(service, caller, { granted: false, check, decision, keys: callerKeys(caller) }, messages);
    },
    denial: (service, caller, refusal) => denial(service, caller, refusal, messages),
  };
}

/** The first layer of which no statement allows the action, whatever the resource and the conditions. */
function lackingLayer(policies: PolicySet, action: string): Layer | null {
  const question = questionOf({ action, resource: "*", context: contextOf({}) });
  const speaks = (layer: readonly NamedPolicy[]): boolean =>
    layer.some(({ policy }) =>
      policy.statements.some(({ effect, parts }) => effect === "Allow" && parts.action(question)),
    );
  if (!policies.organization.every(speaks)) return "organization";
  if (!speaks(policies.identity)) return "identity";
  if (policies.boundary !== null && !speaks([policies.boundary])) return "boundary";
  return policies.session !== null && !speaks(policies.session) ? "session" : null;
}

/** The user or role whose policies speak for the caller; null for root, which needs none. */
function policyOwner(caller: Caller): { readonly kind: "user" | "role"; readonly id: string } | null {
  switch (caller.kind) {
    case "root":
      return null;
    case "user":
      return { kind: "user", id: caller.userId };
    case "assumed-role":
      return { kind: "role", id: caller.roleId };
    case "federated-user":
      return caller.issuer.kind === "root" ? null : { kind: "user", id: caller.issuer.userId };
  }
}

function isBeyondSessionToken(caller: Caller, action: string): boolean {
  if (caller.session === undefined || caller.kind === "assumed-role") return false;
  if (action.startsWith("iam:")) return true;
  if (!action.startsWith("sts:")) return false;
  return caller.kind === "federated-user" || !LEFT_TO_SESSION_TOKENS.has(action);
}

/**
 * A resource of another account, by its ARN. No policy of the caller's own account reaches it: only a policy of its own
 * could. (What is shared by launch permission, images and snapshots, has no account in its ARN.)
 */
function isForeign(caller: Caller, resource: string): boolean {
  const account = splitArn(resource)?.[3] ?? "";
  return isAccountId(account) && account !== caller.accountId;
}

/** `aws:ResourceAccount`, where the ARN tells it. */
function resourceKeys(resource: string): ConditionKeys {
  const account = splitArn(resource)?.[3];
  return account === undefined || account === "" || account === "*" ? {} : { "aws:ResourceAccount": account };
}

const LAYER_NAME: Readonly<Record<Layer, string>> = {
  identity: "identity-based policy",
  resource: "resource-based policy",
  boundary: "permissions boundary",
  session: "session policy",
  organization: "service control policy",
};

/** `… is not authorized to perform: ec2:X on resource: … because no identity-based policy allows the ec2:X action`. */
function refusalSentence(caller: Caller, refusal: Refusal): string {
  const { action, resource } = refusal.check;
  const { layer, reason } = refusal.decision;
  const name = LAYER_NAME[layer];
  const why =
    reason === "explicitDeny"
      ? `with an explicit deny in ${/^[aeiou]/.test(name) ? "an" : "a"} ${name}`
      : `because no ${name} allows the ${action} action`;
  // Where a policy cannot name a resource, AWS names none either.
  const on = resource === "*" ? "" : ` on resource: ${resource}`;
  return `User: ${caller.arn} is not authorized to perform: ${action}${on} ${why}`;
}

function denial(service: string, caller: Caller, refusal: Refusal, messages: AuthorizationMessages): ApiError {
  const sentence = refusalSentence(caller, refusal);
  const options = { resourceArn: refusal.check.resource };
  switch (service) {
    case "ec2":
      return new ApiError(
        "UnauthorizedOperation",
        `You are not authorized to perform this operation. ${sentence}. ` +
          `Encoded authorization failure message: ${messages.encode(caller, refusal)}`,
        options,
      );
    case "ebs":
      return new ApiError("AccessDeniedException", sentence, {
        ...options,
        fields: { Reason: "UNAUTHORIZED_ACCOUNT" },
      });
    default: {
      const code: ErrorCode = PLAIN_DENIAL.has(service) ? "AccessDenied" : "AccessDeniedException";
      return new ApiError(code, sentence, options);
    }
  }
}

/** Services of the query and REST XML protocols; the JSON ones name the exception. */
const PLAIN_DENIAL: ReadonlySet<string> = new Set(["iam", "sts", "s3"]);
