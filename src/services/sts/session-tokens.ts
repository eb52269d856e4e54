import {
  GetFederationToken$,
  type GetFederationTokenRequest,
  GetSessionToken$,
  type GetSessionTokenRequest,
} from "@aws-sdk/client-sts";
import { ApiError } from "../../base/api-error.ts";
import { federatedUserArn } from "../../identity/authenticate.ts";
import type { SessionCredentials } from "../../identity/sessions.ts";
import type { ResourceCheck } from "../../model/access.ts";
import type { Caller, RootCaller, SessionPolicies, UserCaller } from "../../model/identity/caller.ts";
import { parseTags, requestTagKeys } from "../iam/tags.ts";
import { onAnything, operation } from "../operation.ts";
import {
  durationOf,
  packedSize,
  policiesExist,
  policyArnsOf,
  sessionNameOf,
  sessionPolicyOf,
} from "./session-limits.ts";

const DEFAULT_SECONDS = 43_200;
const MOST_SECONDS = 129_600;
/** Root's sessions are kept short. */
const MOST_ROOT_SECONDS = 3600;

/** Only long-term keys may ask. @throws ApiError `AccessDenied` */
function longTerm(caller: Caller, action: string): RootCaller | UserCaller {
  if (caller.session !== undefined || caller.kind === "assumed-role" || caller.kind === "federated-user") {
    throw new ApiError("AccessDenied", `Cannot call ${action} with session credentials`);
  }
  return caller;
}

function secondsOf(caller: Caller, value: number | undefined): number {
  const seconds = durationOf(value, MOST_SECONDS) ?? DEFAULT_SECONDS;
  return caller.kind === "root" ? Math.min(seconds, MOST_ROOT_SECONDS) : seconds;
}

const shown = (credentials: SessionCredentials) => ({
  AccessKeyId: credentials.accessKeyId,
  SecretAccessKey: credentials.secretAccessKey,
  SessionToken: credentials.sessionToken,
  Expiration: credentials.expiration,
});

/** The caller's own permissions for a while, without IAM and most of STS. */
export const getSessionToken = operation({
  action: "sts:GetSessionToken",
  schema: GetSessionToken$,
  access: "read",
  resolve: async (ctx, input: GetSessionTokenRequest) => {
    const caller = longTerm(ctx.caller, "GetSessionToken");
    if (input.SerialNumber !== undefined || input.TokenCode !== undefined) {
      throw new ApiError(
        "AccessDenied",
        "MultiFactorAuthentication failed, unable to validate MFA code: there is no such device.",
      );
    }
    return { ...onAnything("sts:GetSessionToken"), caller, seconds: secondsOf(caller, input.DurationSeconds) };
  },
  run: async (ctx, _input, { caller, seconds }) => {
    const issuedAt = ctx.now().getTime();
    const credentials = ctx.parts.identity.sessions.issue({
      accountId: caller.accountId,
      principal: caller.kind === "root" ? { kind: "root" } : { kind: "user", userId: caller.userId },
      issuedAt,
      expiresAt: issuedAt + seconds * 1000,
      policies: null,
      tags: {},
      transitiveTagKeys: [],
      chained: false,
    });
    return { Credentials: shown(credentials) };
  },
});

/** A session for somebody outside: what its policies allow of what the caller may; nothing without a policy. */
export const getFederationToken = operation({
  action: "sts:GetFederationToken",
  schema: GetFederationToken$,
  access: "read",
  resolve: async (ctx, input: GetFederationTokenRequest) => {
    const caller = longTerm(ctx.caller, "GetFederationToken");
    const name = sessionNameOf(input.Name, "name", 32);
    const tags = parseTags(input.Tags);
    const policies: SessionPolicies = { document: sessionPolicyOf(input.Policy), arns: policyArnsOf(input.PolicyArns) };
    const resource = federatedUserArn(caller.accountId, name);
    const keys = requestTagKeys(tags);
    const tagging: ResourceCheck[] =
      Object.keys(tags).length === 0 ? [] : [{ action: "sts:TagSession", resource, keys }];
    return {
      caller,
      name,
      tags,
      policies,
      seconds: secondsOf(caller, input.DurationSeconds),
      checks: [{ action: "sts:GetFederationToken", resource, keys }, ...tagging],
    };
  },
  run: async (ctx, _input, { caller, name, tags, policies, seconds }) => {
    const { accountId } = caller;
    await policiesExist(ctx.database.read, accountId, policies.arns);
    const packed = packedSize(policies, tags);
    const issuedAt = ctx.now().getTime();
    const credentials = ctx.parts.identity.sessions.issue({
      accountId,
      principal: {
        kind: "federated",
        sessionName: name,
        ...(caller.kind === "root" ? {} : { userId: caller.userId }),
      },
      issuedAt,
      expiresAt: issuedAt + seconds * 1000,
      policies,
      tags,
      transitiveTagKeys: [],
      chained: false,
    });
    return {
      Credentials: shown(credentials),
      FederatedUser: { FederatedUserId: `${accountId}:${name}`, Arn: federatedUserArn(accountId, name) },
      ...(packed === undefined ? {} : { PackedPolicySize: packed }),
    };
  },
});
