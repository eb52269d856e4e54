// What AssumeRole and GetFederationToken take alike: durations, session policies, session tags.
import { deflateRawSync } from "node:zlib";
import { ApiError } from "../../base/api-error.ts";
import type { AccountId } from "../../base/ids.ts";
import type { Db } from "../../database/database.ts";
import { awsManagedPolicy } from "../../identity/aws-managed/index.ts";
import { parsePolicy } from "../../identity/policy/document.ts";
import type { SessionPolicies } from "../../model/identity/caller.ts";
import type { IamTags } from "../../model/identity/entities.ts";
import { findManagedPolicy } from "../../model/identity/managed-policies.ts";
import { arnOf, numberWithin } from "../iam/input.ts";

const MOST_POLICY_CHARS = 2048;
const MOST_POLICY_ARNS = 10;
/** Room for policies and tags once packed. AWS tells its use in per cent. */
const PACKED_BYTES = 4096;

/** @throws ApiError `ValidationError` */
export const durationOf = (value: number | undefined, most: number): number | undefined =>
  numberWithin(value, "durationSeconds", 900, most);

/** @throws ApiError `MalformedPolicyDocument`, `ValidationError`, `PackedPolicyTooLarge` */
export function sessionPolicyOf(document: string | undefined): string | null {
  if (document === undefined) return null;
  if (document.length > MOST_POLICY_CHARS) {
    throw new ApiError(
      "ValidationError",
      `1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to ${MOST_POLICY_CHARS}`,
    );
  }
  parsePolicy(document, "session");
  return document;
}

/** @throws ApiError `ValidationError` */
export function policyArnsOf(descriptors: readonly { arn?: string | undefined }[] | undefined): string[] {
  const arns = (descriptors ?? []).map(({ arn }) => arnOf(arn, "policyArns.member.arn"));
  if (arns.length > MOST_POLICY_ARNS) {
    throw new ApiError(
      "ValidationError",
      `1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to ${MOST_POLICY_ARNS}`,
    );
  }
  return arns;
}

/** Managed session policies come from the account of the session. @throws ApiError `ValidationError` */
export async function policiesExist(db: Db, account: AccountId, arns: readonly string[]): Promise<void> {
  for (const arn of arns) {
    if (awsManagedPolicy(arn) === null && (await findManagedPolicy(db, account, arn)) === undefined) {
      throw new ApiError("ValidationError", `Policy ${arn} does not exist or is not attachable.`);
    }
  }
}

/** Per cent of the room that policies and tags take. @throws ApiError `PackedPolicyTooLarge` */
export function packedSize(policies: SessionPolicies | null, tags: IamTags): number | undefined {
  if (policies === null && Object.keys(tags).length === 0) return undefined;
  const percent = Math.ceil((deflateRawSync(JSON.stringify({ policies, tags })).length / PACKED_BYTES) * 100);
  if (percent > 100) {
    throw new ApiError(
      "PackedPolicyTooLarge",
      `Packed size of session policies and tags consumes ${percent}% of allotted space.`,
    );
  }
  return percent;
}

/** A name of a session. @throws ApiError `ValidationError` */
export function sessionNameOf(value: string | undefined, member: string, mostChars: number): string {
  if (value === undefined || !/^[\w+=,.@-]*$/.test(value) || value.length < 2 || value.length > mostChars) {
    const shown = value === undefined ? "null" : `'${value}'`;
    throw new ApiError(
      "ValidationError",
      `1 validation error detected: Value ${shown} at '${member}' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]* and have a length of 2 to ${mostChars}`,
    );
  }
  return value;
}
