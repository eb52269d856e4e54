// The operations table: every action that Ingot answers. It feeds dispatch, IAM's and the audit trail's names,
// `docs/parity.md` and the coverage tests; nothing else lists actions.
import type { Action } from "../model/access.ts";
import type { ServiceName } from "../protocol/wire.ts";
import { cloudtrailOperations } from "../services/cloudtrail/operations.ts";
import { ebsOperations } from "../services/ebs/operations.ts";
import { imageOperations } from "../services/ec2/images/operations.ts";
import { instanceOperations } from "../services/ec2/instances/operations.ts";
import { keyOperations } from "../services/ec2/keys/operations.ts";
import { launchTemplateOperations } from "../services/ec2/launch-templates/operations.ts";
import { networkOperations } from "../services/ec2/network/operations.ts";
import { snapshotOperations } from "../services/ec2/snapshots/operations.ts";
import { tagOperations } from "../services/ec2/tags/operations.ts";
import { transferOperations } from "../services/ec2/transfers/operations.ts";
import { volumeOperations } from "../services/ec2/volumes/operations.ts";
import { iamOperations } from "../services/iam/operations.ts";
import { ingotOperations } from "../services/ingot/operations.ts";
import type { Operation } from "../services/operation.ts";
import { organizationsOperations } from "../services/organizations/operations.ts";
import { s3Operations } from "../services/s3/operations.ts";
import { ssmOperations } from "../services/ssm/operations.ts";
import { stsOperations } from "../services/sts/operations.ts";

/** An action whose types have been left behind: the pipeline hands `run` what `resolve` and the codec have made. */
export type AnyOperation = Operation<Action, never, unknown>;

export const OPERATIONS: Readonly<Record<ServiceName, Readonly<Record<string, AnyOperation>>>> = {
  ec2: {
    ...imageOperations,
    ...instanceOperations,
    ...keyOperations,
    ...launchTemplateOperations,
    ...networkOperations,
    ...snapshotOperations,
    ...tagOperations,
    ...transferOperations,
    ...volumeOperations,
  },
  iam: iamOperations,
  sts: stsOperations,
  cloudtrail: cloudtrailOperations,
  ssm: ssmOperations,
  ebs: ebsOperations,
  organizations: organizationsOperations,
  ingot: ingotOperations,
  s3: s3Operations,
};

export const findOperation = (service: ServiceName, action: string): AnyOperation | undefined =>
  Object.hasOwn(OPERATIONS[service], action) ? OPERATIONS[service][action] : undefined;
