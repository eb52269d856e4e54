// `userIdentity` of a record: who called, in CloudTrail's words.
import type { Caller } from "../model/identity/caller.ts";
import type { JsonObject } from "./json.ts";
import { awsTime } from "./times.ts";

/** Of a caller whose signature was proven. */
export function userIdentity(caller: Caller): JsonObject {
  const base = {
    principalId: caller.principalId,
    arn: caller.arn,
    accountId: caller.accountId,
    accessKeyId: caller.accessKeyId,
  };
  switch (caller.kind) {
    case "root":
      return { type: "Root", ...base, ...sessionContext(caller, {}) };
    case "user":
      return { type: "IAMUser", ...base, userName: caller.userName, ...sessionContext(caller, {}) };
    case "assumed-role":
      return {
        type: "AssumedRole",
        ...base,
        ...sessionContext(caller, {
          type: "Role",
          principalId: caller.roleId,
          arn: caller.roleArn,
          accountId: caller.accountId,
          userName: caller.roleName,
        }),
      };
    case "federated-user":
      return {
        type: "FederatedUser",
        ...base,
        ...sessionContext(
          caller,
          caller.issuer.kind === "root"
            ? {
                type: "Root",
                principalId: caller.accountId,
                arn: `arn:aws:iam::${caller.accountId}:root`,
                accountId: caller.accountId,
              }
            : {
                type: "IAMUser",
                principalId: caller.issuer.userId,
                arn: caller.issuer.arn,
                accountId: caller.accountId,
                userName: caller.issuer.userName,
              },
        ),
      };
  }
}

function sessionContext(caller: Caller, sessionIssuer: JsonObject): JsonObject {
  const session = caller.session;
  if (session === undefined) return {};
  const instance = caller.kind === "assumed-role" ? caller.instance : undefined;
  return {
    sessionContext: {
      ...(Object.keys(sessionIssuer).length > 0 ? { sessionIssuer } : {}),
      attributes: { creationDate: awsTime(session.issuedAt), mfaAuthenticated: String(session.mfa) },
      ...(session.sourceIdentity === undefined ? {} : { sourceIdentity: session.sourceIdentity }),
      ...(instance === undefined ? {} : { ec2RoleDelivery: instance.roleDelivery }),
    },
  };
}

/**
 * The same caller as another account's record shows it: enough to say who it was, and none of its keys.
 * AWS gives the principal id alone; the ARN is there too because the owner of a shared image asks for a name.
 */
export const foreignIdentity = (caller: Caller): JsonObject => ({
  type: "AWSAccount",
  principalId: caller.principalId,
  accountId: caller.accountId,
  arn: caller.arn,
});

/** Of a call that was refused before anybody was proven. The key id is what the request claimed. */
export const unprovenIdentity = (accessKeyId: string | undefined): JsonObject => ({
  type: "Unknown",
  ...(accessKeyId === undefined ? {} : { accessKeyId }),
});

/** `Username` of LookupEvents: a user's name, a session's name, `root`. */
export function lookupUserName(caller: Caller): string {
  switch (caller.kind) {
    case "root":
      return "root";
    case "user":
      return caller.userName;
    case "assumed-role":
    case "federated-user":
      return caller.sessionName;
  }
}
