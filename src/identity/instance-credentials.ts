// What IMDS hands to a guest: a session of its role, named by the instance.
import { ApiError } from "../base/api-error.ts";
import { accountId } from "../base/ids.ts";
import type { Database } from "../database/database.ts";
import { findRole } from "../model/identity/entities.ts";
import { evaluate } from "./evaluate.ts";
import type { Identity } from "./identity.ts";
import { contextOf } from "./policy/context.ts";

export interface InstanceCredentials {
  readonly roleId: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly issuedAt: Date;
  readonly expiresAt: Date;
}

const LIFETIME_MS = 6 * 3_600_000;
/** SDKs fetch anew a quarter of an hour before the end; by then there must be others to fetch. */
const ROTATE_BEFORE_MS = 3_600_000;

/**
 * Credentials of the role, with at least an hour to go; the same ones until then.
 * @throws ApiError `AccessDenied` when the role is gone, or its trust policy does not let ec2.amazonaws.com assume it
 */
export async function issueInstanceCredentials(
  parts: { readonly database: Database; readonly identity: Identity },
  instance: {
    readonly instanceId: string;
    readonly accountId: string;
    readonly region: string;
    readonly roleArn: string;
  },
  delivery: "1.0" | "2.0",
  now: Date,
): Promise<InstanceCredentials> {
  const { database, identity } = parts;
  const { instanceId, region, roleArn } = instance;
  const account = accountId(instance.accountId);
  const refuse = (why: string): ApiError =>
    new ApiError("AccessDenied", `EC2 cannot assume the role ${roleArn} for ${instanceId}: ${why}.`);
  const role = await findRole(database.read, account, roleArn.slice(roleArn.lastIndexOf("/") + 1));
  if (role === undefined || role.arn !== roleArn) throw refuse("there is no such role");
  const instanceArn = `arn:aws:ec2:${region}:${account}:instance/${instanceId}`;
  const decision = evaluate(
    {
      subject: { kind: "service", service: "ec2.amazonaws.com" },
      action: "sts:AssumeRole",
      resource: role.arn,
      context: contextOf({
        "aws:CurrentTime": now.toISOString(),
        "aws:EpochTime": String(Math.floor(now.getTime() / 1000)),
        "aws:PrincipalIsAWSService": "true",
        "aws:PrincipalServiceName": "ec2.amazonaws.com",
        "aws:SourceAccount": account,
        "aws:SourceArn": instanceArn,
        "aws:ResourceAccount": account,
        "sts:RoleSessionName": instanceId,
      }),
      resourcePolicy: {
        accountId: account,
        policy: { name: role.arn, policy: identity.principals.compile(role.trustPolicy, "trust", role.trustIds) },
        required: true,
      },
    },
    { identity: [], boundary: null, session: null, organization: [] },
  );
  if (!decision.allowed) throw refuse("its trust policy does not allow it");

  const key = `${instanceId} ${delivery}`;
  const kept = identity.instanceCredentials.get(key);
  if (kept?.roleId === role.id && kept.expiresAt.getTime() - now.getTime() > ROTATE_BEFORE_MS) return kept;
  const issued = identity.sessions.issue({
    accountId: account,
    principal: {
      kind: "role",
      roleId: role.id,
      sessionName: instanceId,
      instance: { instanceId, instanceArn, roleDelivery: delivery },
    },
    issuedAt: now.getTime(),
    expiresAt: now.getTime() + LIFETIME_MS,
    policies: null,
    tags: {},
    transitiveTagKeys: [],
    chained: false,
  });
  const credentials: InstanceCredentials = {
    roleId: role.id,
    accessKeyId: issued.accessKeyId,
    secretAccessKey: issued.secretAccessKey,
    sessionToken: issued.sessionToken,
    issuedAt: now,
    expiresAt: issued.expiration,
  };
  identity.instanceCredentials.set(key, credentials);
  return credentials;
}
