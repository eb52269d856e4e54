import {
  DecodeAuthorizationMessage$,
  type DecodeAuthorizationMessageRequest,
  GetAccessKeyInfo$,
  type GetAccessKeyInfoRequest,
  GetCallerIdentity$,
} from "@aws-sdk/client-sts";
import { ApiError } from "../../base/api-error.ts";
import { accountOfAccessKey } from "../../model/identity/ids.ts";
import { required } from "../iam/input.ts";
import { onAnything, operation } from "../operation.ts";

/** Needs no permission, and no policy can deny it. */
export const getCallerIdentity = operation({
  action: "sts:GetCallerIdentity",
  schema: GetCallerIdentity$,
  access: "read",
  resolve: async () => onAnything("sts:GetCallerIdentity"),
  run: async ({ caller }) => ({ UserId: caller.principalId, Account: caller.accountId, Arn: caller.arn }),
});

/** The account is written in the key's id, whether or not there is such a key. */
export const getAccessKeyInfo = operation({
  action: "sts:GetAccessKeyInfo",
  schema: GetAccessKeyInfo$,
  access: "read",
  resolve: async (_ctx, input: GetAccessKeyInfoRequest) => ({
    ...onAnything("sts:GetAccessKeyInfo"),
    keyId: required(input.AccessKeyId, "accessKeyId"),
  }),
  run: async (_ctx, _input, { keyId }) => {
    const account = accountOfAccessKey(keyId);
    if (account === null) throw new ApiError("ValidationError", `Invalid AccessKeyId: ${keyId}`);
    return { Account: account };
  },
});

/** Opens what a refusal of EC2 carried: only messages of the caller's own account. */
export const decodeAuthorizationMessage = operation({
  action: "sts:DecodeAuthorizationMessage",
  schema: DecodeAuthorizationMessage$,
  access: "read",
  resolve: async (_ctx, input: DecodeAuthorizationMessageRequest) => ({
    ...onAnything("sts:DecodeAuthorizationMessage"),
    message: required(input.EncodedMessage, "encodedMessage"),
  }),
  run: async (ctx, _input, { message }) => {
    const decoded = ctx.parts.identity.messages.decode(ctx.caller.accountId, message);
    if (decoded === null) {
      throw new ApiError(
        "InvalidAuthorizationMessageException",
        "The message is not one of this account's encoded authorization failure messages, or it was changed.",
      );
    }
    return { DecodedMessage: decoded };
  },
});
