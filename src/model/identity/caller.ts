// Who makes a call: all that policies, audit records and answers need to know of the principal, loaded once per request.
import type { AccountId } from "../../base/ids.ts";

/** What callers of every kind have. */
interface CallerBase {
  readonly accountId: AccountId;
  /** The ARN that `GetCallerIdentity` shows: of the user, or of the session (`arn:aws:sts::…:assumed-role/R/S`). */
  readonly arn: string;
  /** `aws:userid` and CloudTrail's `principalId`: `AIDA…`, `AROA…:session`, `ACCOUNT:name`, or the account id for root. */
  readonly principalId: string;
  readonly accessKeyId: string;
  /** `aws:PrincipalTag/*`: the user's or role's tags, overlaid by the session's. */
  readonly tags: Readonly<Record<string, string>>;
  /** Absent for accounts that are in none. */
  readonly organization?: CallerOrganization;
  /** Set for temporary credentials only. */
  readonly session?: CallerSession;
}

/** Where the caller's account stands in its organization. */
export interface CallerOrganization {
  /** `aws:PrincipalOrgID`: `o-…` */
  readonly id: string;
  /** `aws:PrincipalOrgPaths`: `o-…/r-…/ou-…/` */
  readonly path: string;
  /** ARNs of the organization and of every unit above the account. */
  readonly memberOf: readonly string[];
}

/** Temporary credentials: what CloudTrail writes into `sessionContext`. */
export interface CallerSession {
  readonly issuedAt: Date;
  readonly expiresAt: Date;
  /** No MFA devices here: `aws:MultiFactorAuthPresent` is always false. */
  readonly mfa: false;
  /** What the session was limited to, as JSON texts. `null`: not limited; empty: limited to nothing. */
  readonly policies: SessionPolicies | null;
  /** `aws:SourceIdentity`, kept over chained roles. */
  readonly sourceIdentity?: string;
  /** Keys of session tags that a chained role inherits. */
  readonly transitiveTagKeys: readonly string[];
  /** Only the tags that came with the session; `tags` of the caller has the role's too. */
  readonly tags: Readonly<Record<string, string>>;
  /** A role assumed with a role's credentials: such a session lasts an hour at most. */
  readonly chained: boolean;
}

export interface SessionPolicies {
  /** The inline one. */
  readonly document: string | null;
  /** Managed ones, read anew whenever they change. */
  readonly arns: readonly string[];
}

export interface RootCaller extends CallerBase {
  readonly kind: "root";
}

export interface UserCaller extends CallerBase {
  readonly kind: "user";
  readonly userId: string;
  readonly userName: string;
}

export interface AssumedRoleCaller extends CallerBase {
  readonly kind: "assumed-role";
  readonly session: CallerSession;
  readonly roleId: string;
  readonly roleName: string;
  /** With its path. `aws:PrincipalArn` of the session. */
  readonly roleArn: string;
  readonly sessionName: string;
  /** Credentials that IMDS gave to an instance. */
  readonly instance?: InstanceSession;
}

export interface FederatedUserCaller extends CallerBase {
  readonly kind: "federated-user";
  readonly session: CallerSession;
  readonly sessionName: string;
  /** Who called GetFederationToken: its policies bound the session. */
  readonly issuer:
    | { readonly kind: "root" }
    | { readonly kind: "user"; readonly userId: string; readonly userName: string; readonly arn: string };
}

export interface InstanceSession {
  readonly instanceId: string;
  /** `ec2:SourceInstanceArn`. */
  readonly instanceArn: string;
  /** `ec2:RoleDelivery`: the version of IMDS that handed the credentials out. */
  readonly roleDelivery: "1.0" | "2.0";
}

export type Caller = RootCaller | UserCaller | AssumedRoleCaller | FederatedUserCaller;

/** `aws:PrincipalArn`: for a session the role's ARN, not the session's. */
export function principalArn(caller: Caller): string {
  return caller.kind === "assumed-role" ? caller.roleArn : caller.arn;
}
