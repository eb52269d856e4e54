import { ListPublicKeys$, type ListPublicKeysRequest, type ListPublicKeysResponse } from "@aws-sdk/client-cloudtrail";
import { ApiError } from "../../base/api-error.ts";
import type { RequestContext } from "../context.ts";
import { onAnything, operation } from "../operation.ts";

/**
 * The keys that digests of this time were signed with. One key signs for all Regions and accounts of a server.
 * A digest is proven with the key of its fingerprint: `Value` is PKCS #1 DER.
 */
export const listPublicKeys = operation({
  action: "cloudtrail:ListPublicKeys",
  schema: ListPublicKeys$,
  access: "read",
  resolve: async (_ctx: RequestContext, _input: ListPublicKeysRequest) => onAnything("cloudtrail:ListPublicKeys"),
  async run(ctx, input): Promise<ListPublicKeysResponse> {
    if (input.NextToken !== undefined && input.NextToken !== "") {
      throw new ApiError("InvalidTokenException", "The token is invalid, or was not given for this request.");
    }
    const to = input.EndTime ?? ctx.now();
    const from = input.StartTime ?? to;
    if (from > to) throw new ApiError("InvalidTimeRangeException", "The start time is after the end time.");
    const keys = await ctx.parts.trails.publicKeys(from, to);
    return {
      PublicKeyList: keys.map(({ fingerprint, der, validFrom, validTo }) => ({
        Fingerprint: fingerprint,
        Value: der,
        ValidityStartTime: validFrom,
        ValidityEndTime: validTo,
      })),
    };
  },
});
