import { assumeRole, assumeRoleWithSAML, assumeRoleWithWebIdentity } from "./assume-role.ts";
import { getFederationToken, getSessionToken } from "./session-tokens.ts";
import { decodeAuthorizationMessage, getAccessKeyInfo, getCallerIdentity } from "./who-is.ts";

/** The actions of STS that Ingot answers, by name. */
export const stsOperations = {
  AssumeRole: assumeRole,
  AssumeRoleWithSAML: assumeRoleWithSAML,
  AssumeRoleWithWebIdentity: assumeRoleWithWebIdentity,
  DecodeAuthorizationMessage: decodeAuthorizationMessage,
  GetAccessKeyInfo: getAccessKeyInfo,
  GetCallerIdentity: getCallerIdentity,
  GetFederationToken: getFederationToken,
  GetSessionToken: getSessionToken,
} as const;
