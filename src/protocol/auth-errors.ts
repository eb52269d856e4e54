// What each service says when it does not accept who a client claims to be. The same failure has a name per protocol:
//
//                        ec2                         iam, sts                    cloudtrail, ssm, ebs                 s3
//   missing              MissingAuthenticationToken  MissingAuthenticationToken  MissingAuthenticationTokenException  AccessDenied
//   malformed            IncompleteSignature         IncompleteSignature         IncompleteSignatureException         AuthorizationHeaderMalformed
//   wrong key            AuthFailure                 InvalidClientTokenId        UnrecognizedClientException          InvalidAccessKeyId
//   wrong signature      AuthFailure                 SignatureDoesNotMatch       InvalidSignatureException            SignatureDoesNotMatch
//   too old, too early   RequestExpired              SignatureDoesNotMatch       InvalidSignatureException            AccessDenied, RequestTimeTooSkewed
//   session over         RequestExpired              ExpiredToken                ExpiredTokenException                ExpiredToken
//
// EC2 answers AuthFailure both for a key that nobody has and for a wrong secret, and never says which.

import { ApiError, type ErrorCode } from "../base/api-error.ts";
import type { SignatureFault, SignatureReason } from "./sigv4.ts";
import type { ServiceName } from "./wire.ts";

/** Faults of the credentials themselves, found when the key or the token is looked up. */
export type CredentialReason = "unknown-key" | "inactive-key" | "invalid-token" | "expired-token";

type Reason = SignatureReason | CredentialReason;
type Family = "ec2" | "query" | "json" | "s3";

const FAMILY: Readonly<Record<ServiceName, Family>> = {
  ec2: "ec2",
  iam: "query",
  sts: "query",
  cloudtrail: "json",
  ssm: "json",
  ebs: "json",
  organizations: "json",
  ingot: "json",
  s3: "s3",
};

const CODES: Readonly<Record<Reason, Readonly<Record<Family, ErrorCode>>>> = {
  missing: {
    ec2: "MissingAuthenticationToken",
    query: "MissingAuthenticationToken",
    json: "MissingAuthenticationTokenException",
    s3: "AccessDenied",
  },
  malformed: {
    ec2: "IncompleteSignature",
    query: "IncompleteSignature",
    json: "IncompleteSignatureException",
    s3: "AuthorizationHeaderMalformed",
  },
  scope: {
    ec2: "AuthFailure",
    query: "SignatureDoesNotMatch",
    json: "InvalidSignatureException",
    s3: "AuthorizationHeaderMalformed",
  },
  expired: {
    ec2: "RequestExpired",
    query: "SignatureDoesNotMatch",
    json: "InvalidSignatureException",
    s3: "AccessDenied",
  },
  skew: {
    ec2: "RequestExpired",
    query: "SignatureDoesNotMatch",
    json: "InvalidSignatureException",
    s3: "RequestTimeTooSkewed",
  },
  "unsigned-header": {
    ec2: "AuthFailure",
    query: "SignatureDoesNotMatch",
    json: "InvalidSignatureException",
    s3: "AccessDenied",
  },
  "payload-mismatch": {
    ec2: "AuthFailure",
    query: "SignatureDoesNotMatch",
    json: "InvalidSignatureException",
    s3: "XAmzContentSHA256Mismatch",
  },
  "signature-mismatch": {
    ec2: "AuthFailure",
    query: "SignatureDoesNotMatch",
    json: "InvalidSignatureException",
    s3: "SignatureDoesNotMatch",
  },
  "unknown-key": {
    ec2: "AuthFailure",
    query: "InvalidClientTokenId",
    json: "UnrecognizedClientException",
    s3: "InvalidAccessKeyId",
  },
  "inactive-key": {
    ec2: "AuthFailure",
    query: "InvalidClientTokenId",
    json: "UnrecognizedClientException",
    s3: "InvalidAccessKeyId",
  },
  "invalid-token": {
    ec2: "AuthFailure",
    query: "InvalidClientTokenId",
    json: "UnrecognizedClientException",
    s3: "InvalidToken",
  },
  "expired-token": { ec2: "RequestExpired", query: "ExpiredToken", json: "ExpiredTokenException", s3: "ExpiredToken" },
};

const EC2_REFUSAL = "AWS was not able to validate the provided access credentials";
const INVALID_TOKEN = "The security token included in the request is invalid.";
const EXPIRED_TOKEN = "The security token included in the request is expired";

/** A request that is not signed, not well, not now, or not by that key. */
export function signatureError(service: ServiceName, { reason, detail }: SignatureFault): ApiError {
  const code = CODES[reason][FAMILY[service]];
  if (code === "AuthFailure") {
    // A wrong secret is told no more than a wrong key; what the client's signer does wrong may be said.
    return new ApiError(code, reason === "signature-mismatch" ? EC2_REFUSAL : `${EC2_REFUSAL}: ${detail}`);
  }
  return new ApiError(code, code === "RequestExpired" ? `Request has expired. ${detail}` : detail);
}

/** A key that nobody has, that is switched off, or whose session is not valid or over. */
export function credentialError(service: ServiceName, reason: CredentialReason): ApiError {
  const code = CODES[reason][FAMILY[service]];
  if (code === "AuthFailure") return new ApiError(code, EC2_REFUSAL);
  if (code === "InvalidAccessKeyId") {
    return new ApiError(code, "The AWS Access Key Id you provided does not exist in our records.");
  }
  if (code === "RequestExpired") return new ApiError(code, "Request has expired.");
  return new ApiError(code, reason === "expired-token" ? EXPIRED_TOKEN : INVALID_TOKEN);
}
