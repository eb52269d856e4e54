// Encryption by default, as far as it can be answered without keys of a client's own: it is off and cannot be switched on.
import {
  DisableEbsEncryptionByDefault$,
  type DisableEbsEncryptionByDefaultRequest,
  type DisableEbsEncryptionByDefaultResult,
  EnableEbsEncryptionByDefault$,
  type EnableEbsEncryptionByDefaultRequest,
  type EnableEbsEncryptionByDefaultResult,
  GetEbsEncryptionByDefault$,
  type GetEbsEncryptionByDefaultRequest,
  type GetEbsEncryptionByDefaultResult,
} from "@aws-sdk/client-ec2";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { notSupported } from "../parameters.ts";

export const getEbsEncryptionByDefault = operation({
  action: "ec2:GetEbsEncryptionByDefault",
  schema: GetEbsEncryptionByDefault$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: GetEbsEncryptionByDefaultRequest) =>
    onAnything("ec2:GetEbsEncryptionByDefault"),
  run: async (): Promise<GetEbsEncryptionByDefaultResult> => ({ EbsEncryptionByDefault: false, SseType: "none" }),
});

export const enableEbsEncryptionByDefault = operation({
  action: "ec2:EnableEbsEncryptionByDefault",
  schema: EnableEbsEncryptionByDefault$,
  access: "write",
  resolve: async (_ctx: RequestContext, _input: EnableEbsEncryptionByDefaultRequest) =>
    onAnything("ec2:EnableEbsEncryptionByDefault"),
  async run(): Promise<EnableEbsEncryptionByDefaultResult> {
    throw notSupported("Encrypted volumes are");
  },
});

export const disableEbsEncryptionByDefault = operation({
  action: "ec2:DisableEbsEncryptionByDefault",
  schema: DisableEbsEncryptionByDefault$,
  access: "write",
  resolve: async (_ctx: RequestContext, _input: DisableEbsEncryptionByDefaultRequest) =>
    onAnything("ec2:DisableEbsEncryptionByDefault"),
  run: async (): Promise<DisableEbsEncryptionByDefaultResult> => ({ EbsEncryptionByDefault: false }),
});
