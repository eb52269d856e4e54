// The operations table: every action that Ingot answers. It feeds dispatch, IAM's and the audit trail's names,
// `docs/parity.md` and the coverage tests; nothing else lists actions.
import type { ServiceName } from "../protocol/wire.ts";
import { instanceOperations } from "../services/ec2/instances/operations.ts";
import { keyOperations } from "../services/ec2/keys/operations.ts";
import { networkOperations } from "../services/ec2/network/operations.ts";
import type { Operation } from "../services/operation.ts";

/** An action whose types have been left behind: the pipeline hands `run` what `resolve` and the codec have made. */
export type AnyOperation = Operation<string, never, unknown, never>;

export const OPERATIONS: Readonly<Record<ServiceName, Readonly<Record<string, AnyOperation>>>> = {
  ec2: {
    ...instanceOperations,
    ...keyOperations,
    ...networkOperations,
  },
  iam: {},
  sts: {},
  cloudtrail: {},
  ssm: {},
  ebs: {},
};

export const findOperation = (service: ServiceName, action: string): AnyOperation | undefined =>
  Object.hasOwn(OPERATIONS[service], action) ? OPERATIONS[service][action] : undefined;
