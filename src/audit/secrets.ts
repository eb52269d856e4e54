// What never gets into a record.
import type { NormalizedSchema } from "@smithy/core/schema";

/** Stands in a record where a secret was. Rules and readers know this text from CloudTrail. */
export const REMOVED = "<sensitiveDataRemoved>";

/** Secrets that the schemas do not mark. `NextToken` and `ClientToken` are none. */
const SECRET = new Set([
  "BlockToken",
  "EncodedMessage",
  "DecodedMessage",
  "FirstBlockToken",
  "KeyMaterial",
  "Password",
  "PasswordData",
  "PrivateKey",
  "SAMLAssertion",
  "SecondBlockToken",
  "SecretAccessKey",
  "SessionToken",
  "TokenCode",
  "UefiData",
  "UploadPolicySignature",
  "UserData",
  "WebIdentityToken",
]);

/** Is this member's content kept out of records, whatever it is? */
export const isSecret = (name: string, schema: NormalizedSchema): boolean =>
  SECRET.has(name) || schema.getMergedTraits().sensitive === 1;
