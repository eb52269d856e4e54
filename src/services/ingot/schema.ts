// What Ingot answers beyond AWS: the service `ingot`, JSON 1.1 like SSM, target prefix `Ingot`, IAM actions `ingot:…`.
// For the operator (whoever administrates the first account) and for the owners of resources. Members are named as AWS
// names them. Each operation is called by `cli/clients/ingot.ts`, or by anybody who can sign: docs/api.md.
import { bool, integer, listOf, mapOf, operationShape, secret, structure, text, timestamp } from "./shapes.ts";

// Accounts

export const AccountSummary$ = structure(
  "AccountSummary",
  { AccountId: text, Name: text, Email: text, Status: text, CreatedAt: timestamp },
  { Alias: text },
);

/** For once: only a sealed form of the secret is kept. */
export const NewCredentials$ = structure(
  "NewCredentials",
  { AccessKeyId: text, SecretAccessKey: secret },
  { UserName: text },
);

export const CreateAccountRequest$ = structure(
  "CreateAccountRequest",
  { Name: text },
  /** `AccountId`: 12 digits of the operator's choice. */
  { AccountId: text, Email: text },
);
export const CreateAccountResponse$ = structure(
  "CreateAccountResponse",
  { Account: AccountSummary$, Administrator: NewCredentials$ },
  {},
);
/** Makes an account with an administrator. Operator only. */
export const CreateAccount$ = operationShape("CreateAccount", CreateAccountRequest$, CreateAccountResponse$);

export const ListAccountsRequest$ = structure("ListAccountsRequest", {}, { MaxResults: integer, NextToken: text });
export const ListAccountsResponse$ = structure(
  "ListAccountsResponse",
  { Accounts: listOf(AccountSummary$) },
  { NextToken: text },
);
/** All accounts in the order of their ids. Operator only. */
export const ListAccounts$ = operationShape("ListAccounts", ListAccountsRequest$, ListAccountsResponse$);

// Access, explained

export const Statement$ = structure(
  "Statement",
  /** `Policy`: ARN of a managed policy, or the name of an inline one. `Index`: place in the document, from 0. */
  { Policy: text, Index: integer },
  /** `Via`: what the policy hangs on when that is not the principal itself: `group/Builders`. */
  { Via: text, Sid: text },
);

export const NearMiss$ = structure(
  "NearMiss",
  /** `Missed`: `resource` or `conditions`. */
  { Statement: Statement$, Effect: text, Missed: text, Conditions: listOf(text) },
  {},
);

export const LayerExplanation$ = structure(
  "LayerExplanation",
  /** `Layer`: `identity`, `boundary`, `session`, `organization[0]` (the root's level) and so on. */
  { Layer: text, Allows: listOf(Statement$), Denies: listOf(Statement$), Near: listOf(NearMiss$) },
  {},
);

/** What refuses besides policies: a launch permission that is not there, an image that is disabled. */
export const Guard$ = structure("Guard", { Name: text, Reason: text }, { Change: text });

export const ExplainAccessRequest$ = structure(
  "ExplainAccessRequest",
  /** `ec2:RunInstances` */
  { Action: text },
  {
    /** ARN of a user, a role or an account's root. Default: the caller. */
    Principal: text,
    /** ARN, or an id such as `ami-…`. Default: `*`. */
    Resource: text,
    /** Condition keys of the call that is asked about; they go over those that are found. */
    Context: mapOf(text),
  },
);
export const ExplainAccessResponse$ = structure(
  "ExplainAccessResponse",
  {
    Principal: text,
    Action: text,
    Resource: text,
    /** `allowed`, `explicitDeny`, `implicitDeny`, or `guarded`: policies allow it, a guard does not. */
    Verdict: text,
    /** The layer that decided: `identity`, `boundary`, …, `root`, or `guard`. */
    DecidedBy: text,
    Layers: listOf(LayerExplanation$),
    Guards: listOf(Guard$),
    /** Sentences, in the order in which to act on them; empty when it is allowed. */
    Changes: listOf(text),
    /** All condition keys that the decision saw; values of a list are joined by commas. */
    Keys: mapOf(text),
  },
  { Statement: Statement$ },
);
export const ExplainAccess$ = operationShape("ExplainAccess", ExplainAccessRequest$, ExplainAccessResponse$);

export const ImageAccess$ = structure(
  "ImageAccess",
  {
    AccountId: text,
    /** `ec2:RunInstances`, `ec2:CopyImage` */
    Actions: listOf(text),
    /** Why, a sentence per action and way. */
    Through: listOf(text),
  },
  {
    /** ARN of a user, a role or the root. Absent: the account, whose own administrators decide who may use it. */
    Principal: text,
    AccountName: text,
  },
);
export const ListImageAccessRequest$ = structure("ListImageAccessRequest", { ImageId: text }, {});
export const ListImageAccessResponse$ = structure(
  "ListImageAccessResponse",
  { ImageId: text, OwnerId: text, State: text, Public: bool, Access: listOf(ImageAccess$) },
  {},
);
/** Who can launch or copy an image of the caller's account. */
export const ListImageAccess$ = operationShape("ListImageAccess", ListImageAccessRequest$, ListImageAccessResponse$);
