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

// Audit, beyond CloudTrail

export const FoundResource$ = structure("FoundResource", { ResourceType: text, ResourceName: text, Arn: text }, {});
export const FoundEvent$ = structure(
  "FoundEvent",
  {
    EventId: text,
    EventName: text,
    EventSource: text,
    EventTime: timestamp,
    Region: text,
    ReadOnly: bool,
    Resources: listOf(FoundResource$),
    /** The CloudTrail record, JSON text. */
    Record: text,
  },
  { UserName: text, AccessKeyId: text },
);
export const FindEventsRequest$ = structure(
  "FindEventsRequest",
  {},
  {
    /** Default: all Regions. */
    Region: text,
    /** `Management` or `Data`. Default: both. */
    Category: text,
    EventId: text,
    EventName: text,
    EventSource: text,
    ReadOnly: bool,
    UserName: text,
    AccessKeyId: text,
    ResourceType: text,
    /** An id, a name or an ARN. */
    ResourceName: text,
    /** Both inclusive. */
    StartTime: timestamp,
    EndTime: timestamp,
    MaxResults: integer,
    NextToken: text,
  },
);
export const FindEventsResponse$ = structure(
  "FindEventsResponse",
  { Events: listOf(FoundEvent$) },
  { NextToken: text },
);
/** Events of the caller's account that meet every condition, newest first, however old. */
export const FindEvents$ = operationShape("FindEvents", FindEventsRequest$, FindEventsResponse$);

export const HistoryEntry$ = structure(
  "HistoryEntry",
  {
    Time: timestamp,
    /** How often, without anything else in between. */
    Times: integer,
    EventId: text,
    EventName: text,
    Region: text,
    /** `alice`, `builder/i-0123…`, `root`. */
    Who: text,
    AccountId: text,
    SourceIpAddress: text,
    /** The rest of a sentence that begins with who. */
    Did: text,
  },
  /** `Until`: of the last of several. `ErrorCode`: it was tried, and refused. */
  { Until: timestamp, ErrorCode: text },
);
export const GetImageHistoryRequest$ = structure("GetImageHistoryRequest", { ImageId: text }, {});
export const GetImageHistoryResponse$ = structure(
  "GetImageHistoryResponse",
  /** Oldest first. `Truncated`: the oldest are left out. */
  { ImageId: text, Entries: listOf(HistoryEntry$), Truncated: bool },
  {},
);
/** An image's life as the caller's account has seen it: who made it, changed, shared, launched, copied it. */
export const GetImageHistory$ = operationShape("GetImageHistory", GetImageHistoryRequest$, GetImageHistoryResponse$);

export const EventDamage$ = structure("EventDamage", { Sequence: integer, What: text }, {});
export const MissingDigest$ = structure("MissingDigest", { TrailArn: text, Bucket: text, Key: text, What: text }, {});
export const VerifyEventsRequest$ = structure(
  "VerifyEventsRequest",
  {},
  /** A place in the chain that was noted earlier, such as a digest's `ingotAuditChain`. */
  { Sequence: integer, Hash: text },
);
export const VerifyEventsResponse$ = structure(
  "VerifyEventsResponse",
  {
    Events: integer,
    First: integer,
    HeadSequence: integer,
    HeadHash: text,
    /** Empty: the events are as they were written. */
    Damage: listOf(EventDamage$),
    /** The newest digest of a trail, which no other digest would miss. */
    MissingDigests: listOf(MissingDigest$),
  },
  {},
);
/** Hashes the event table anew. Operator only. */
export const VerifyEvents$ = operationShape("VerifyEvents", VerifyEventsRequest$, VerifyEventsResponse$);

export const DeliverTrailsRequest$ = structure(
  "DeliverTrailsRequest",
  {},
  /** Digests too, for whatever time has passed since the last ones. */
  { Digests: bool },
);
export const DeliverTrailsResponse$ = structure("DeliverTrailsResponse", {}, {});
/** Delivers what trails owe now instead of at the next interval. Operator only. */
export const DeliverTrails$ = operationShape("DeliverTrails", DeliverTrailsRequest$, DeliverTrailsResponse$);
