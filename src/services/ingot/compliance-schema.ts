// Which images are in use that should not be, and which are kept that nobody uses.
import { bool, integer, listOf, type Of, operationShape, structure, text, timestamp } from "./shapes.ts";

export type { Of };

export const InstanceCompliance$ = structure(
  "InstanceCompliance",
  {
    InstanceId: text,
    AccountId: text,
    Region: text,
    State: text,
    LaunchTime: timestamp,
    ImageId: text,
    /**
     * `old` (older than MaxImageAgeDays), `deprecated`, `not-allowed` (by the account's Allowed AMIs, whether they are
     * enabled or in audit mode), `disabled`, `deregistered`, `gone` (nothing is known of it any more). Empty: none.
     */
    Problems: listOf(text),
  },
  { ImageName: text, ImageOwnerId: text, ImageAgeDays: integer },
);
export const UnusedImage$ = structure(
  "UnusedImage",
  {
    ImageId: text,
    AccountId: text,
    Region: text,
    Name: text,
    CreatedAt: timestamp,
    /** Since the last launch, by any account; since it was made where there was none. */
    IdleDays: integer,
    /** Accounts and groups that it is shared with. */
    SharedWith: integer,
  },
  { LastLaunchedTime: timestamp },
);
export const GetComplianceReportRequest$ = structure(
  "GetComplianceReportRequest",
  {},
  {
    /** Images that nothing has launched for so long. Default: 90. */
    UnusedDays: integer,
    /** Default: 90. */
    MaxImageAgeDays: integer,
    /** Default: all. */
    Region: text,
    /** Operator only. */
    AllAccounts: bool,
  },
);
export const GetComplianceReportResponse$ = structure(
  "GetComplianceReportResponse",
  {
    /** Alive ones, those of the oldest images first. */
    Instances: listOf(InstanceCompliance$),
    /** The longest idle first; none that an instance is of. */
    UnusedImages: listOf(UnusedImage$),
  },
  {},
);
/** As of now. Cost: all instances and images of the account are read. */
export const GetComplianceReport$ = operationShape(
  "GetComplianceReport",
  GetComplianceReportRequest$,
  GetComplianceReportResponse$,
);
