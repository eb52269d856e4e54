// The role that ImportImage, ImportSnapshot and ExportImage reach a bucket by: `vmimport`, unless the call names another.
// As on EC2 it has to exist, to trust vmie.amazonaws.com, and to be allowed what is done to the bucket. It is asked when
// the task is made; a task that is under way is not asked again.
import { ApiError } from "../../../base/api-error.ts";
import { accountId } from "../../../base/ids.ts";
import { requestKeys } from "../../../identity/caller-keys.ts";
import { evaluate } from "../../../identity/evaluate.ts";
import { contextOf } from "../../../identity/policy/context.ts";
import type { ConditionKeys, ResourceCheck } from "../../../model/access.ts";
import type { Caller } from "../../../model/identity/caller.ts";
import { findRole, type Role } from "../../../model/identity/entities.ts";
import type { RequestContext } from "../../context.ts";

const DEFAULT_ROLE = "vmimport";
const SERVICE = "vmie.amazonaws.com";
/** What the service says when it assumes the role: AWS's own trust policy for it asks for this. */
const EXTERNAL_ID = "vmimport";
const SESSION_MS = 3_600_000;

export interface ServiceRole {
  /** For a role that the call names: may the caller hand it to the service? */
  readonly checks: readonly ResourceCheck[];
  /** @throws ApiError `InvalidParameter` unless the role may do it */
  must(check: ResourceCheck, what: string): Promise<void>;
}

/** @throws ApiError `InvalidParameter` when there is no such role, or it does not trust the service */
export async function serviceRole(ctx: RequestContext, name: string | undefined): Promise<ServiceRole> {
  const account = accountId(ctx.caller.accountId);
  const roleName = name === undefined || name === "" ? DEFAULT_ROLE : name;
  const role = await findRole(ctx.database.read, account, roleName);
  if (role === undefined || !trusts(ctx, role)) {
    throw new ApiError(
      "InvalidParameter",
      `The service role ${roleName} provided does not exist or does not have sufficient permissions`,
    );
  }
  const caller = sessionOf(ctx, role);
  return {
    checks:
      name === undefined || name === ""
        ? []
        : [{ action: "iam:PassRole", resource: role.arn, keys: { "iam:PassedToService": SERVICE } }],
    async must(check, what) {
      const decision = await ctx.parts.identity.authorizer.decide(caller, check, keysOf(ctx));
      if (decision.allowed) return;
      throw new ApiError(
        "InvalidParameter",
        `${what} The service role ${roleName} is not allowed ${check.action} on ${check.resource}.`,
      );
    },
  };
}

function trusts(ctx: RequestContext, role: Role): boolean {
  const account = accountId(ctx.caller.accountId);
  const { principals } = ctx.parts.identity;
  const decision = evaluate(
    {
      subject: { kind: "service", service: SERVICE },
      action: "sts:AssumeRole",
      resource: role.arn,
      context: contextOf({
        "aws:CurrentTime": ctx.now().toISOString(),
        "aws:EpochTime": String(Math.floor(ctx.now().getTime() / 1000)),
        "aws:PrincipalIsAWSService": "true",
        "aws:PrincipalServiceName": SERVICE,
        "aws:SourceAccount": account,
        "aws:ResourceAccount": account,
        "sts:ExternalId": EXTERNAL_ID,
      }),
      resourcePolicy: {
        accountId: account,
        policy: { name: role.arn, policy: principals.compile(role.trustPolicy, "trust", role.trustIds) },
        required: true,
      },
    },
    { identity: [], boundary: null, session: null, organization: [] },
  );
  return decision.allowed;
}

/** The session that the service would have, for the authoriser's question. Nothing is issued. */
function sessionOf(ctx: RequestContext, role: Role): Caller {
  const account = accountId(ctx.caller.accountId);
  const now = ctx.now();
  const { organization } = ctx.caller;
  return {
    kind: "assumed-role",
    accountId: account,
    arn: `arn:aws:sts::${account}:assumed-role/${role.name}/${EXTERNAL_ID}`,
    principalId: `${role.id}:${EXTERNAL_ID}`,
    accessKeyId: "",
    tags: role.tags,
    ...(organization === undefined ? {} : { organization }),
    roleId: role.id,
    roleName: role.name,
    roleArn: role.arn,
    sessionName: EXTERNAL_ID,
    session: {
      issuedAt: now,
      expiresAt: new Date(now.getTime() + SESSION_MS),
      mfa: false,
      policies: null,
      transitiveTagKeys: [],
      tags: {},
      chained: false,
    },
  };
}

const keysOf = (ctx: RequestContext): ConditionKeys => ({
  ...requestKeys({ now: ctx.now(), sourceIp: SERVICE, userAgent: SERVICE, region: ctx.region, secure: true }),
  "aws:ViaAWSService": "true",
});
