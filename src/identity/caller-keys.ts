// Condition keys that every request has: of the caller, and of the request itself.
import type { ConditionKeys, OpenConditionKeys } from "../model/access.ts";
import { type Caller, principalArn } from "../model/identity/caller.ts";
import type { Subject } from "./policy/principal.ts";

/** What the pipeline knows of a request, whatever it asks. */
export interface RequestFacts {
  readonly now: Date;
  readonly sourceIp: string;
  readonly userAgent: string;
  readonly region: string;
  /** Came over TLS. */
  readonly secure: boolean;
}

export function requestKeys(facts: RequestFacts): ConditionKeys {
  return {
    "aws:CurrentTime": facts.now.toISOString(),
    "aws:EpochTime": String(Math.floor(facts.now.getTime() / 1000)),
    "aws:SourceIp": facts.sourceIp,
    "aws:UserAgent": facts.userAgent,
    "aws:RequestedRegion": facts.region,
    "aws:SecureTransport": String(facts.secure),
    "aws:ViaAWSService": "false",
    // EC2's actions know it by their own name as well.
    "ec2:Region": facts.region,
  };
}

const PRINCIPAL_TYPE = {
  root: "Account",
  user: "User",
  "assumed-role": "AssumedRole",
  "federated-user": "FederatedUser",
} as const;

export function callerKeys(caller: Caller): ConditionKeys {
  const keys: OpenConditionKeys = {
    "aws:PrincipalArn": principalArn(caller),
    "aws:PrincipalAccount": caller.accountId,
    "aws:PrincipalType": PRINCIPAL_TYPE[caller.kind],
    "aws:PrincipalIsAWSService": "false",
    "aws:userid": caller.principalId,
  };
  if (caller.kind === "user") keys["aws:username"] = caller.userName;
  for (const tag in caller.tags) keys[`aws:PrincipalTag/${tag}`] = caller.tags[tag] ?? "";
  const { session, organization } = caller;
  if (organization !== undefined) {
    keys["aws:PrincipalOrgID"] = organization.id;
    keys["aws:PrincipalOrgPaths"] = [organization.path];
  }
  if (session !== undefined) {
    // Present for temporary credentials only, as in AWS: hence `BoolIfExists` in everybody's policies.
    keys["aws:MultiFactorAuthPresent"] = "false";
    keys["aws:TokenIssueTime"] = session.issuedAt.toISOString();
    if (session.sourceIdentity !== undefined) keys["aws:SourceIdentity"] = session.sourceIdentity;
  }
  if (caller.kind === "assumed-role" && caller.instance !== undefined) {
    keys["ec2:SourceInstanceArn"] = caller.instance.instanceArn;
    keys["ec2:RoleDelivery"] = caller.instance.roleDelivery;
  }
  return keys;
}

/** The caller as a resource's policy may name it. */
export function subjectOf(caller: Caller): Subject {
  const { kind, accountId, arn } = caller;
  switch (kind) {
    case "root":
      return { kind, accountId, arn, principalArn: arn, uniqueId: accountId };
    case "user":
      return { kind, accountId, arn, principalArn: arn, uniqueId: caller.userId };
    case "assumed-role":
      return { kind, accountId, arn, principalArn: caller.roleArn, uniqueId: caller.roleId };
    case "federated-user": {
      const { issuer } = caller;
      return issuer.kind === "root"
        ? { kind, accountId, arn, principalArn: `arn:aws:iam::${accountId}:root`, uniqueId: accountId }
        : { kind, accountId, arn, principalArn: issuer.arn, uniqueId: issuer.userId };
    }
  }
}
