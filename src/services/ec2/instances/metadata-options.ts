// ModifyInstanceMetadataOptions, and the account's defaults for new instances.
import {
  GetInstanceMetadataDefaults$,
  type GetInstanceMetadataDefaultsResult,
  ModifyInstanceMetadataDefaults$,
  type ModifyInstanceMetadataDefaultsRequest,
  type ModifyInstanceMetadataDefaultsResult,
  ModifyInstanceMetadataOptions$,
  type ModifyInstanceMetadataOptionsRequest,
  type ModifyInstanceMetadataOptionsResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { changeInstance, type InstanceChange } from "../../../model/instance.ts";
import { changeSetting } from "../../../model/settings.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { oneOf } from "../parameters.ts";
import { parseMetadataRequest } from "./launch-request.ts";
import { type MetadataDefaults, metadataDefaults } from "./metadata-defaults.ts";
import { namedInstance } from "./named-instance.ts";
import { metadataOptions } from "./shape.ts";

export const modifyInstanceMetadataOptions = operation({
  action: "ec2:ModifyInstanceMetadataOptions",
  schema: ModifyInstanceMetadataOptions$,
  access: "write",
  async resolve(ctx: RequestContext, input: ModifyInstanceMetadataOptionsRequest) {
    const wanted = parseMetadataRequest(input);
    if (wanted.httpTokens === "optional") {
      const { tokensEnforced } = await metadataDefaults(ctx.database.read, ownerOf(ctx));
      if (tokensEnforced === "enabled") {
        throw new ApiError(
          "UnsupportedOperation",
          "You can't set httpTokens to 'optional' because httpTokensEnforced is enabled for this account.",
        );
      }
    }
    return { ...(await namedInstance(ctx, "ec2:ModifyInstanceMetadataOptions", input.InstanceId)), wanted };
  },
  async run(ctx, _input, { instance, wanted }, grant): Promise<ModifyInstanceMetadataOptionsResult> {
    const change: InstanceChange = {
      ...(wanted.httpTokens === undefined ? {} : { http_tokens: wanted.httpTokens }),
      ...(wanted.httpEndpoint === undefined ? {} : { http_endpoint: wanted.httpEndpoint }),
      ...(wanted.httpHopLimit === undefined ? {} : { http_hop_limit: wanted.httpHopLimit }),
      ...(wanted.metadataTags === undefined ? {} : { metadata_tags: wanted.metadataTags }),
    };
    if (Object.keys(change).length > 0) {
      await ctx.database.transaction((tx) => changeInstance(grant, tx, instance.id, change));
    }
    ctx.parts.host.poke();
    return { InstanceId: instance.id, InstanceMetadataOptions: metadataOptions({ ...instance, ...change }) };
  },
});

export const getInstanceMetadataDefaults = operation({
  action: "ec2:GetInstanceMetadataDefaults",
  schema: GetInstanceMetadataDefaults$,
  access: "read",
  resolve: async () => onAnything("ec2:GetInstanceMetadataDefaults"),
  async run(ctx: RequestContext): Promise<GetInstanceMetadataDefaultsResult> {
    const defaults = await metadataDefaults(ctx.database.read, ownerOf(ctx));
    return {
      AccountLevel: {
        HttpTokens: defaults.httpTokens,
        HttpEndpoint: defaults.httpEndpoint,
        HttpPutResponseHopLimit: defaults.httpHopLimit,
        InstanceMetadataTags: defaults.metadataTags,
        HttpTokensEnforced: defaults.tokensEnforced,
        ManagedBy: "account",
      },
    };
  },
});

/** `no-preference` takes a default away, and so does a hop limit of -1. */
export const modifyInstanceMetadataDefaults = operation({
  action: "ec2:ModifyInstanceMetadataDefaults",
  schema: ModifyInstanceMetadataDefaults$,
  access: "write",
  async resolve(_ctx: RequestContext, input: ModifyInstanceMetadataDefaultsRequest) {
    const given = (value: string | undefined) => (value === "no-preference" ? undefined : value);
    const wanted = parseMetadataRequest({
      HttpTokens: given(input.HttpTokens),
      HttpEndpoint: given(input.HttpEndpoint),
      InstanceMetadataTags: given(input.InstanceMetadataTags),
      HttpPutResponseHopLimit: input.HttpPutResponseHopLimit === -1 ? undefined : input.HttpPutResponseHopLimit,
    });
    const enforced = oneOf(given(input.HttpTokensEnforced), ["enabled", "disabled"], "httpTokensEnforced");
    return { wanted, enforced, ...onAnything("ec2:ModifyInstanceMetadataDefaults") };
  },
  async run(ctx, input, { wanted, enforced }, grant): Promise<ModifyInstanceMetadataDefaultsResult> {
    const owner = ownerOf(ctx);
    await ctx.database.transaction(async (tx) => {
      const before = await metadataDefaults(tx, owner);
      const after: MetadataDefaults = {
        httpTokens: input.HttpTokens === undefined ? before.httpTokens : wanted.httpTokens,
        httpEndpoint: input.HttpEndpoint === undefined ? before.httpEndpoint : wanted.httpEndpoint,
        httpHopLimit: input.HttpPutResponseHopLimit === undefined ? before.httpHopLimit : wanted.httpHopLimit,
        metadataTags: input.InstanceMetadataTags === undefined ? before.metadataTags : wanted.metadataTags,
        tokensEnforced: input.HttpTokensEnforced === undefined ? before.tokensEnforced : enforced,
      };
      await changeSetting(grant, tx, owner, "instance-metadata-defaults", JSON.stringify(after));
    });
    return { Return: true };
  },
});
