// Findings of the detections, and the rules behind them.
import { bool, integer, listOf, mapOf, type Of, operationShape, structure, text, timestamp } from "./shapes.ts";

export type { Of };

export const Finding$ = structure(
  "Finding",
  {
    FindingId: text,
    /** Empty: of calls that nobody was proven to make. */
    AccountId: text,
    Region: text,
    RuleId: text,
    Title: text,
    /** `informational`, `low`, `medium`, `high`, `critical`. */
    Level: text,
    /** What tells it from others of its rule: fields of the record, and their values. */
    Subject: mapOf(text),
    /** `open`, `acknowledged`, `closed`, `suppressed`. */
    State: text,
    /** How many; the first hundred are kept with it. */
    EventCount: integer,
    FirstEventTime: timestamp,
    LastEventTime: timestamp,
    NextSteps: listOf(text),
  },
  { Note: text, SuppressionId: text, ChangedBy: text },
);

export const FindingEvent$ = structure(
  "FindingEvent",
  { EventId: text, EventName: text, EventTime: timestamp, Who: text, SourceIpAddress: text },
  /** The CloudTrail record, JSON text; absent once retention has dropped it. */
  { Record: text },
);

export const ListFindingsRequest$ = structure(
  "ListFindingsRequest",
  {},
  {
    /** Default: `open` and `acknowledged`. */
    States: listOf(text),
    /** At least so grave. */
    Level: text,
    RuleId: text,
    /** Of all accounts, and of calls that nobody was proven to make. Operator only. */
    AllAccounts: bool,
    MaxResults: integer,
    NextToken: text,
  },
);
export const ListFindingsResponse$ = structure(
  "ListFindingsResponse",
  { Findings: listOf(Finding$) },
  { NextToken: text },
);
/** Newest first. Events that ended before the call have been judged. */
export const ListFindings$ = operationShape("ListFindings", ListFindingsRequest$, ListFindingsResponse$);

export const GetFindingRequest$ = structure("GetFindingRequest", { FindingId: text }, {});
export const GetFindingResponse$ = structure(
  "GetFindingResponse",
  { Finding: Finding$, Events: listOf(FindingEvent$) },
  {},
);
export const GetFinding$ = operationShape("GetFinding", GetFindingRequest$, GetFindingResponse$);

export const UpdateFindingRequest$ = structure(
  "UpdateFindingRequest",
  { FindingId: text },
  /** `State`: `open`, `acknowledged` or `closed`. */
  { State: text, Note: text },
);
export const UpdateFindingResponse$ = structure("UpdateFindingResponse", { Finding: Finding$ }, {});
export const UpdateFinding$ = operationShape("UpdateFinding", UpdateFindingRequest$, UpdateFindingResponse$);

export const SuppressFindingRequest$ = structure(
  "SuppressFindingRequest",
  { FindingId: text, Reason: text },
  {
    /** Names of its subject that others must share. Default: all of them; empty: every finding of the rule. */
    Fields: listOf(text),
    /** Default: for ever. */
    ExpiresAt: timestamp,
  },
);
export const SuppressFindingResponse$ = structure("SuppressFindingResponse", { SuppressionId: text }, {});
/** No more findings like this one; those that are open become suppressed. */
export const SuppressFinding$ = operationShape("SuppressFinding", SuppressFindingRequest$, SuppressFindingResponse$);

export const FindingSuppression$ = structure(
  "FindingSuppression",
  { SuppressionId: text, RuleId: text, Subject: mapOf(text), Reason: text, CreatedBy: text, CreatedAt: timestamp },
  { ExpiresAt: timestamp },
);
export const ListFindingSuppressionsRequest$ = structure("ListFindingSuppressionsRequest", {}, {});
export const ListFindingSuppressionsResponse$ = structure(
  "ListFindingSuppressionsResponse",
  { Suppressions: listOf(FindingSuppression$) },
  {},
);
export const ListFindingSuppressions$ = operationShape(
  "ListFindingSuppressions",
  ListFindingSuppressionsRequest$,
  ListFindingSuppressionsResponse$,
);

export const DeleteFindingSuppressionRequest$ = structure(
  "DeleteFindingSuppressionRequest",
  { SuppressionId: text },
  {},
);
export const DeleteFindingSuppressionResponse$ = structure("DeleteFindingSuppressionResponse", {}, {});
export const DeleteFindingSuppression$ = operationShape(
  "DeleteFindingSuppression",
  DeleteFindingSuppressionRequest$,
  DeleteFindingSuppressionResponse$,
);

export const DetectionRule$ = structure(
  "DetectionRule",
  {
    RuleId: text,
    Title: text,
    Description: text,
    Level: text,
    Tags: listOf(text),
    FalsePositives: listOf(text),
    NextSteps: listOf(text),
    /** `event` or `correlation`. */
    Kind: text,
    /** False: only counted by correlations. */
    MakesFindings: bool,
  },
  {},
);
export const ListDetectionRulesRequest$ = structure("ListDetectionRulesRequest", {}, {});
export const ListDetectionRulesResponse$ = structure(
  "ListDetectionRulesResponse",
  { Rules: listOf(DetectionRule$) },
  {},
);
export const ListDetectionRules$ = operationShape(
  "ListDetectionRules",
  ListDetectionRulesRequest$,
  ListDetectionRulesResponse$,
);
