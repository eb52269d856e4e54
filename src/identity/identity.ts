import { type Log, silentLog } from "../base/log.ts";
import type { Database } from "../database/database.ts";
import { type CredentialSource, createCredentialSource } from "./authenticate.ts";
import { type AuthorizationMessages, createAuthorizationMessages } from "./authorization-message.ts";
import { type Authorizer, createAuthorizer } from "./authorize.ts";
import { BoundedCache } from "./bounded-cache.ts";
import type { InstanceCredentials } from "./instance-credentials.ts";
import { createLastUsed, type LastUsed } from "./last-used.ts";
import type { MasterKey } from "./master-key.ts";
import { createOrganizations, type Organizations } from "./organizations.ts";
import { createPrincipals, type Principals } from "./principals.ts";
import { createSessions, type Sessions } from "./sessions.ts";

/** Identity, opened over one database: what the pipeline and the actions of IAM and STS reach. */
export interface Identity {
  readonly credentials: CredentialSource;
  readonly authorizer: Authorizer;
  readonly sessions: Sessions;
  readonly messages: AuthorizationMessages;
  readonly principals: Principals;
  readonly organizations: Organizations;
  readonly masterKey: MasterKey;
  /** Credentials handed to instances lately, so that a guest that asks again gets the same. */
  readonly instanceCredentials: BoundedCache<InstanceCredentials>;
  readonly lastUsed: LastUsed;
}

/** Some hundred bytes each. */
const MOST_INSTANCES = 4000;

export function openIdentity(options: {
  readonly database: Database;
  readonly masterKey: MasterKey;
  readonly log?: Log;
}): Identity {
  const { database, masterKey, log = silentLog } = options;
  const principals = createPrincipals(database);
  const organizations = createOrganizations(database, principals);
  const sessions = createSessions(masterKey);
  const messages = createAuthorizationMessages(masterKey);
  return {
    credentials: createCredentialSource({ database, masterKey, principals, organizations, sessions }),
    authorizer: createAuthorizer({ principals, messages, organizations }),
    sessions,
    messages,
    principals,
    organizations,
    masterKey,
    instanceCredentials: new BoundedCache(MOST_INSTANCES),
    lastUsed: createLastUsed(database, log),
  };
}
