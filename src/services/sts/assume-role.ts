import {
  AssumeRole$,
  type AssumeRoleRequest,
  AssumeRoleWithSAML$,
  AssumeRoleWithWebIdentity$,
} from "@aws-sdk/client-sts";
import { ApiError } from "../../base/api-error.ts";
import { isAccountId } from "../../base/ids.ts";
import { assumedRoleArn } from "../../identity/authenticate.ts";
import type { Action, ConditionKeys, ResourceCheck } from "../../model/access.ts";
import type { Caller, SessionPolicies } from "../../model/identity/caller.ts";
import { findRole, type IamTags, type Role } from "../../model/identity/entities.ts";
import type { RequestContext } from "../context.ts";
import { required } from "../iam/input.ts";
import { parseTags, requestTagKeys, resourceTagKeys } from "../iam/tags.ts";
import { operation } from "../operation.ts";
import {
  durationOf,
  packedSize,
  policiesExist,
  policyArnsOf,
  sessionNameOf,
  sessionPolicyOf,
} from "./session-limits.ts";

/** Nobody is trusted: what a role that does not exist says, so that nobody learns which do. */
const TRUSTS_NOBODY = JSON.stringify({
  Version: "2012-10-17",
  Statement: {
    Effect: "Deny",
    Principal: "*",
    Action: "sts:AssumeRole",
    Condition: { Bool: { "ingot:Never": "true" } },
  },
});

const CHAINED_SECONDS = 3600;

interface SessionTags {
  /** What the new session carries: inherited ones and the request's. */
  readonly tags: IamTags;
  readonly transitive: readonly string[];
}

/** @throws ApiError `ValidationError` when a tag that came down the chain would be changed */
function sessionTags(caller: Caller, input: AssumeRoleRequest): SessionTags {
  const own = parseTags(input.Tags);
  const inherited: Record<string, string> = {};
  const before = caller.session;
  for (const key of before?.transitiveTagKeys ?? []) {
    const value = before?.tags[key];
    if (value !== undefined) inherited[key] = value;
  }
  const lower = new Set(Object.keys(inherited).map((key) => key.toLowerCase()));
  const clash = Object.keys(own).find((key) => lower.has(key.toLowerCase()));
  if (clash !== undefined) {
    throw new ApiError("ValidationError", `The session tag ${clash} is transitive and cannot be set again.`);
  }
  const transitive = input.TransitiveTagKeys ?? [];
  const stranger = transitive.find((key) => !Object.hasOwn(own, key));
  if (stranger !== undefined) {
    throw new ApiError("ValidationError", `The transitive tag key ${stranger} is not among the session tags.`);
  }
  return { tags: { ...inherited, ...own }, transitive: [...Object.keys(inherited), ...transitive] };
}

async function roleAt(ctx: RequestContext, arn: string): Promise<Role | undefined> {
  const [, account, name] = /^arn:aws:iam::(\d{12}):role\/(?:[\u0021-\u007e]+\/)?([\w+=,.@-]{1,64})$/.exec(arn) ?? [];
  if (account === undefined || name === undefined || !isAccountId(account)) {
    throw new ApiError("ValidationError", `${arn} is invalid`);
  }
  const role = await findRole(ctx.database.read, account, name);
  return role?.arn === arn ? role : undefined;
}

function sourceIdentityOf(caller: Caller, given: string | undefined): string | undefined {
  const before = caller.session?.sourceIdentity;
  if (given === undefined) return before;
  if (before !== undefined && before !== given) {
    throw new ApiError("AccessDenied", "The source identity of a session cannot be changed when roles are chained.");
  }
  if (/^aws:/i.test(given)) throw new ApiError("ValidationError", "A source identity cannot begin with aws:.");
  return sessionNameOf(given, "sourceIdentity", 64);
}

/** The role's trust policy decides, together with the caller's own where it only names the account. */
export const assumeRole = operation({
  action: "sts:AssumeRole",
  schema: AssumeRole$,
  access: "read",
  resolve: async (ctx, input: AssumeRoleRequest) => {
    const { caller } = ctx;
    const roleArn = required(input.RoleArn, "roleArn");
    const sessionName = sessionNameOf(input.RoleSessionName, "roleSessionName", 64);
    const policyDocument = sessionPolicyOf(input.Policy);
    const policyArns = policyArnsOf(input.PolicyArns);
    const durationSeconds = durationOf(input.DurationSeconds, 43_200);
    const { tags, transitive } = sessionTags(caller, input);
    const sourceIdentity = sourceIdentityOf(caller, input.SourceIdentity);
    if (input.ExternalId !== undefined && !/^[\w+=,.@:/-]{2,1224}$/.test(input.ExternalId)) {
      throw new ApiError(
        "ValidationError",
        "1 validation error detected: Value at 'externalId' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@:\\/-]*",
      );
    }
    if (caller.kind === "root") {
      throw new ApiError("AccessDenied", "Roles may not be assumed by root accounts.");
    }
    const role = await roleAt(ctx, roleArn);
    const keys: ConditionKeys = {
      ...resourceTagKeys(role?.tags ?? {}),
      ...requestTagKeys(tags),
      "sts:RoleSessionName": sessionName,
      ...(input.ExternalId === undefined ? {} : { "sts:ExternalId": input.ExternalId }),
      ...(sourceIdentity === undefined ? {} : { "sts:SourceIdentity": sourceIdentity }),
      ...(transitive.length === 0 ? {} : { "sts:TransitiveTagKeys": transitive }),
    };
    const accountId = roleArn.split(":")[4] ?? "";
    const check = (action: Action): ResourceCheck => ({
      action,
      resource: roleArn,
      keys,
      resourcePolicy:
        role === undefined
          ? { accountId, document: TRUSTS_NOBODY }
          : { accountId, document: role.trustPolicy, principalIds: role.trustIds },
    });
    const checks = [check("sts:AssumeRole")];
    if (Object.keys(tags).length > 0) checks.push(check("sts:TagSession"));
    if (sourceIdentity !== undefined) checks.push(check("sts:SetSourceIdentity"));
    return {
      role,
      sessionName,
      policyDocument,
      policyArns,
      durationSeconds,
      tags,
      transitive,
      sourceIdentity,
      checks,
      resources: [{ arn: roleArn, type: "AWS::IAM::Role", accountId }],
      ...(accountId === caller.accountId || role === undefined ? {} : { recipients: [accountId] }),
    };
  },
  run: async (ctx, _input, resolved) => {
    const { role, sessionName, policyDocument, policyArns, tags, transitive, sourceIdentity } = resolved;
    // Not reached without a role: its trust policy allowed.
    if (role === undefined) throw new Error("assume a role that does not exist");
    const chained = ctx.caller.kind === "assumed-role";
    const seconds = resolved.durationSeconds ?? CHAINED_SECONDS;
    if (chained && seconds > CHAINED_SECONDS) {
      throw new ApiError(
        "ValidationError",
        "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
      );
    }
    if (seconds > role.maxSessionSeconds) {
      throw new ApiError(
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
      );
    }
    await policiesExist(ctx.database.read, role.accountId, policyArns);
    const policies: SessionPolicies | null =
      policyDocument === null && policyArns.length === 0 ? null : { document: policyDocument, arns: policyArns };
    const packed = packedSize(policies, tags);
    const issuedAt = ctx.now().getTime();
    const credentials = ctx.parts.identity.sessions.issue({
      accountId: role.accountId,
      principal: { kind: "role", roleId: role.id, sessionName },
      issuedAt,
      expiresAt: issuedAt + seconds * 1000,
      policies,
      tags,
      transitiveTagKeys: transitive,
      chained,
      ...(sourceIdentity === undefined ? {} : { sourceIdentity }),
    });
    return {
      Credentials: {
        AccessKeyId: credentials.accessKeyId,
        SecretAccessKey: credentials.secretAccessKey,
        SessionToken: credentials.sessionToken,
        Expiration: credentials.expiration,
      },
      AssumedRoleUser: {
        AssumedRoleId: `${role.id}:${sessionName}`,
        Arn: assumedRoleArn(role.accountId, role.name, sessionName),
      },
      ...(packed === undefined ? {} : { PackedPolicySize: packed }),
      ...(sourceIdentity === undefined ? {} : { SourceIdentity: sourceIdentity }),
    };
  },
});

/**
 * Who is federated from outside needs a provider, and Ingot keeps none. STS takes these two calls unsigned, as what proves
 * the caller is in them: so whoever makes them hears this first, signed or not.
 */
export function federationRefusal(action: string): ApiError | null {
  const provider = action === WEB_IDENTITY ? "OpenIDConnect" : action === SAML ? "SAML" : null;
  if (provider === null) return null;
  return new ApiError("InvalidIdentityToken", `No ${provider} provider found in your account: none is configured.`);
}
const WEB_IDENTITY = "AssumeRoleWithWebIdentity";
const SAML = "AssumeRoleWithSAML";

const refuseFederation = (action: string) => ({
  resolve: async (_ctx: RequestContext, _input: object): Promise<never> => {
    throw federationRefusal(action);
  },
  run: async (): Promise<never> => {
    throw new Error(`${action} is refused before this`);
  },
});

export const assumeRoleWithWebIdentity = operation({
  action: "sts:AssumeRoleWithWebIdentity",
  schema: AssumeRoleWithWebIdentity$,
  access: "read",
  ...refuseFederation(WEB_IDENTITY),
});

export const assumeRoleWithSAML = operation({
  action: "sts:AssumeRoleWithSAML",
  schema: AssumeRoleWithSAML$,
  access: "read",
  ...refuseFederation(SAML),
});
