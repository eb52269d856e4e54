// How an action of the API is declared. The pipeline (`server/pipeline.ts`) does the rest: it authenticates, decodes by the
// schema, opens the audit entry, asks `resolve` what is touched, authorises every check, answers a DryRun, runs, encodes.
import type { StaticOperationSchema } from "@smithy/types";
import type { Action, ConditionKeys, Grant, ResourceCheck } from "../model/access.ts";
import type { RequestContext } from "./context.ts";

/** What the pipeline must know before it may run the action. */
export interface Resolution {
  /** Every check must be granted; in the order in which a client hears of the first refusal. Never empty. */
  readonly checks: readonly ResourceCheck[];
  /**
   * `resolve` has decided each item by itself (`authorizeEach`), and `run` tells each refusal beside what it did: the call
   * as a whole is not refused.
   */
  readonly grant?: Grant;
  /** Resources for the audit record. Default: the ARNs of `checks`. */
  readonly resources?: readonly AuditedResource[];
  /** Accounts besides the caller's that get the event too: the owner of a shared image that is used. */
  readonly recipients?: readonly string[];
}

export interface AuditedResource {
  readonly arn: string;
  /** CloudFormation's name for the type: `AWS::EC2::Ami`. */
  readonly type: string;
  readonly accountId: string;
}

/**
 * An action.
 * @typeParam A  the permission that it is named after, `ec2:DeregisterImage`
 * @typeParam I  the SDK's input type
 * @typeParam O  the SDK's output type (members that the wire does not carry, such as `$metadata`, are not asked for)
 * @typeParam R  what `resolve` has loaded, handed to `run`
 */
export interface Operation<A extends Action, I, O, R extends Resolution = Resolution> {
  /** IAM's name for it. `resolve` asks for this permission, and mostly for others besides. */
  readonly action: A;
  /** The SDK's operation schema: `DeregisterImage$`. Names the action and drives codec and audit. */
  readonly schema: StaticOperationSchema;
  /** Writes get a durable audit entry before they run; reads are recorded before they are answered. */
  readonly access: "read" | "write";
  /** Loads what the call names and says what it needs permission for. Changes nothing. Runs before authorisation. */
  resolve(ctx: RequestContext, input: I): Promise<R>;
  run(ctx: RequestContext, input: I, resolved: R, grant: Grant<A>): Promise<O>;
}

/** Declares an action; only ties the types together. */
export const operation = <const A extends Action, I, O, R extends Resolution>(
  declaration: Operation<A, I, O, R>,
): Operation<A, I, O, R> => declaration;

/** A resolution for actions without resources, as nearly all Describes are. */
export const onAnything = (action: Action, keys: ConditionKeys = {}): Resolution => ({
  checks: [{ action, resource: "*", keys }],
});
