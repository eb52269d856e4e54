// What may be done to snapshots.
import { copySnapshot } from "./copy-snapshot.ts";
import { createSnapshot, createSnapshots } from "./create-snapshot.ts";
import { deleteSnapshot } from "./delete-snapshot.ts";
import { describeSnapshots } from "./describe-snapshots.ts";
import {
  disableEbsEncryptionByDefault,
  enableEbsEncryptionByDefault,
  getEbsEncryptionByDefault,
} from "./ebs-encryption-by-default.ts";
import { describeSnapshotAttribute, modifySnapshotAttribute, resetSnapshotAttribute } from "./snapshot-attribute.ts";
import {
  disableSnapshotBlockPublicAccess,
  enableSnapshotBlockPublicAccess,
  getSnapshotBlockPublicAccessState,
} from "./snapshot-block-public-access.ts";
import { describeLockedSnapshots, lockSnapshot, unlockSnapshot } from "./snapshot-lock.ts";

export const snapshotOperations = {
  CopySnapshot: copySnapshot,
  CreateSnapshot: createSnapshot,
  CreateSnapshots: createSnapshots,
  DeleteSnapshot: deleteSnapshot,
  DescribeLockedSnapshots: describeLockedSnapshots,
  DescribeSnapshotAttribute: describeSnapshotAttribute,
  DescribeSnapshots: describeSnapshots,
  DisableEbsEncryptionByDefault: disableEbsEncryptionByDefault,
  DisableSnapshotBlockPublicAccess: disableSnapshotBlockPublicAccess,
  EnableEbsEncryptionByDefault: enableEbsEncryptionByDefault,
  EnableSnapshotBlockPublicAccess: enableSnapshotBlockPublicAccess,
  GetEbsEncryptionByDefault: getEbsEncryptionByDefault,
  GetSnapshotBlockPublicAccessState: getSnapshotBlockPublicAccessState,
  LockSnapshot: lockSnapshot,
  ModifySnapshotAttribute: modifySnapshotAttribute,
  ResetSnapshotAttribute: resetSnapshotAttribute,
  UnlockSnapshot: unlockSnapshot,
};
