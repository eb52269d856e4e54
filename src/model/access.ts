// Permission as a value: what is asked, and the proof that it was granted.

import type { ConditionKey, IamAction } from "./iam-reference.ts";

/** A permission, as AWS's reference names it, or one of Ingot's own. */
export type Action = IamAction | `ingot:${string}`;

/** Values of condition keys, by name (`ec2:Owner`). A list is a multi-valued key. Absent keys are left out. */
export type ConditionKeys = Readonly<OpenConditionKeys>;
/** The same, while they are being put together. */
export type OpenConditionKeys = Partial<Record<ConditionKey, string | readonly string[]>>;

/** One question to the policies: may the caller do `action` to `resource`? */
export interface ResourceCheck<A extends Action = Action> {
  /** `ec2:RunInstances`. */
  readonly action: A;
  /** ARN, or `*` for actions that have no resource. */
  readonly resource: string;
  /** Condition keys of this resource in this call. Keys of the caller and of the request are added by the authoriser. */
  readonly keys: ConditionKeys;
  /** The resource's own policy, where it has one: a role's trust policy. Decides together with the caller's policies. */
  readonly resourcePolicy?: ResourcePolicy;
}

/** A policy that hangs on a resource and names principals. */
export interface ResourcePolicy {
  /** The account that owns the resource. */
  readonly accountId: string;
  /** The document, as JSON text. */
  readonly document: string;
  /** Unique ids of the users and roles that it names, by ARN, from when it was written: a namesake made later is no match. */
  readonly principalIds?: Readonly<Record<string, string>>;
}

declare const granted: unique symbol;
/**
 * Proof that the policies said yes to `Action` (and to all else that the same call asked).
 * Only `identity/authorize.ts` makes one. Whoever writes a row on a client's behalf asks for it.
 */
export interface Grant<A extends Action = Action> {
  readonly [granted]: A;
}
