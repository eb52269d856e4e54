// What IAM keeps elsewhere and nobody can make here: passwords, MFA devices, certificates, identity providers. Clients ask
// for them before they delete a user (Terraform, `aws iam` scripts) and in audits, and "there are none" is the truth.
import {
  GetAccountPasswordPolicy$,
  GetLoginProfile$,
  type GetLoginProfileRequest,
  ListMFADevices$,
  type ListMFADevicesRequest,
  ListOpenIDConnectProviders$,
  type ListOpenIDConnectProvidersRequest,
  ListSAMLProviders$,
  type ListSAMLProvidersRequest,
  ListServerCertificates$,
  type ListServerCertificatesRequest,
  ListServiceSpecificCredentials$,
  type ListServiceSpecificCredentialsRequest,
  ListSigningCertificates$,
  type ListSigningCertificatesRequest,
  ListSSHPublicKeys$,
  type ListSSHPublicKeysRequest,
  ListVirtualMFADevices$,
  type ListVirtualMFADevicesRequest,
} from "@aws-sdk/client-iam";
import type { StaticOperationSchema } from "@smithy/types";
import { ApiError } from "../../base/api-error.ts";
import type { Action } from "../../model/access.ts";
import { onAnything, operation } from "../operation.ts";
import { existing, ownUserName, resolveEntity } from "./entity.ts";

/** A list of things of one user, who must exist. */
const noneOfUser = <const A extends Action, I extends { UserName?: string | undefined }, O>(
  action: A,
  schema: StaticOperationSchema,
  _input: (input: I) => void,
  none: O,
) =>
  operation({
    action,
    schema,
    access: "read",
    resolve: (ctx, input: I) => resolveEntity(ctx, "user", ownUserName(ctx, input.UserName), action),
    run: async (_ctx, _in, resolved) => {
      existing("user", resolved);
      return none;
    },
  });

const none = <const A extends Action, I, O>(
  action: A,
  schema: StaticOperationSchema,
  _input: (input: I) => void,
  answer: O,
) =>
  operation({
    action,
    schema,
    access: "read",
    resolve: async (_ctx, _in: I) => onAnything(action),
    run: async () => answer,
  });

export const listMFADevices = noneOfUser("iam:ListMFADevices", ListMFADevices$, (_: ListMFADevicesRequest) => {}, {
  MFADevices: [],
  IsTruncated: false,
});
export const listSSHPublicKeys = noneOfUser(
  "iam:ListSSHPublicKeys",
  ListSSHPublicKeys$,
  (_: ListSSHPublicKeysRequest) => {},
  { SSHPublicKeys: [], IsTruncated: false },
);
export const listSigningCertificates = noneOfUser(
  "iam:ListSigningCertificates",
  ListSigningCertificates$,
  (_: ListSigningCertificatesRequest) => {},
  { Certificates: [], IsTruncated: false },
);
export const listServiceSpecificCredentials = noneOfUser(
  "iam:ListServiceSpecificCredentials",
  ListServiceSpecificCredentials$,
  (_: ListServiceSpecificCredentialsRequest) => {},
  { ServiceSpecificCredentials: [] },
);
export const listVirtualMFADevices = none(
  "iam:ListVirtualMFADevices",
  ListVirtualMFADevices$,
  (_: ListVirtualMFADevicesRequest) => {},
  { VirtualMFADevices: [], IsTruncated: false },
);
export const listServerCertificates = none(
  "iam:ListServerCertificates",
  ListServerCertificates$,
  (_: ListServerCertificatesRequest) => {},
  { ServerCertificateMetadataList: [], IsTruncated: false },
);
export const listSAMLProviders = none(
  "iam:ListSAMLProviders",
  ListSAMLProviders$,
  (_: ListSAMLProvidersRequest) => {},
  { SAMLProviderList: [] },
);
export const listOpenIDConnectProviders = none(
  "iam:ListOpenIDConnectProviders",
  ListOpenIDConnectProviders$,
  (_: ListOpenIDConnectProvidersRequest) => {},
  { OpenIDConnectProviderList: [] },
);

/** Nobody has a password here. */
export const getLoginProfile = operation({
  action: "iam:GetLoginProfile",
  schema: GetLoginProfile$,
  access: "read",
  resolve: (ctx, input: GetLoginProfileRequest) =>
    resolveEntity(ctx, "user", ownUserName(ctx, input.UserName), "iam:GetLoginProfile"),
  run: async (_ctx, _input, resolved): Promise<never> => {
    const { name } = existing("user", resolved);
    throw new ApiError("NoSuchEntity", `Login Profile for User ${name} cannot be found.`);
  },
});

export const getAccountPasswordPolicy = operation({
  action: "iam:GetAccountPasswordPolicy",
  schema: GetAccountPasswordPolicy$,
  access: "read",
  resolve: async () => onAnything("iam:GetAccountPasswordPolicy"),
  run: async (ctx): Promise<never> => {
    throw new ApiError("NoSuchEntity", `The Password Policy with domain name ${ctx.caller.accountId} cannot be found.`);
  },
});
