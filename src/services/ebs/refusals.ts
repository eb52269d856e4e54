// What EBS direct refuses with: an exception, and a reason that clients switch on.
import type { ResourceNotFoundExceptionReason, ValidationExceptionReason } from "@aws-sdk/client-ebs";
import { ApiError } from "../../base/api-error.ts";
import type { Region, SnapshotId } from "../../base/ids.ts";
import { snapshotArn } from "../../model/arn.ts";

export const invalid = (reason: ValidationExceptionReason, message: string): ApiError =>
  new ApiError("ValidationException", message, { fields: { Reason: reason } });

export const noSuchSnapshot = (region: Region, id: SnapshotId): ApiError => {
  const reason: ResourceNotFoundExceptionReason = "SNAPSHOT_NOT_FOUND";
  return new ApiError("ResourceNotFoundException", `The snapshot '${id}' does not exist.`, {
    fields: { Reason: reason },
    resourceArn: snapshotArn(region, id),
  });
};
