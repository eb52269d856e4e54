import type { Database } from "../database/database.ts";
import { type CredentialSource, createCredentialSource } from "./authenticate.ts";
import { type AuthorizationMessages, createAuthorizationMessages } from "./authorization-message.ts";
import { type Authorizer, createAuthorizer, noOrganization, type OrganizationPolicies } from "./authorize.ts";
import type { MasterKey } from "./master-key.ts";
import { createPrincipals, type Principals } from "./principals.ts";
import { createSessions, type Sessions } from "./sessions.ts";

/** Identity, opened over one database: what the pipeline and the actions of IAM and STS reach. */
export interface Identity {
  readonly credentials: CredentialSource;
  readonly authorizer: Authorizer;
  readonly sessions: Sessions;
  readonly messages: AuthorizationMessages;
  readonly principals: Principals;
  readonly masterKey: MasterKey;
}

export function openIdentity(options: {
  readonly database: Database;
  readonly masterKey: MasterKey;
  readonly organization?: OrganizationPolicies;
}): Identity {
  const { database, masterKey, organization = noOrganization } = options;
  const principals = createPrincipals(database);
  const sessions = createSessions(masterKey);
  const messages = createAuthorizationMessages(masterKey);
  return {
    credentials: createCredentialSource({ database, masterKey, principals, sessions }),
    authorizer: createAuthorizer({ principals, messages, organization }),
    sessions,
    messages,
    principals,
    masterKey,
  };
}
