import { DescribeKeyPairs$, type DescribeKeyPairsRequest, type DescribeKeyPairsResult } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { type KeyPair, keyPairNotFound, keyPairsOf } from "../../../model/key-pair.ts";
import { tagsOf } from "../../../model/tags.ts";
import { compileFilters, type FilterTable, type Tag } from "../../../protocol/filters.ts";
import type { RequestContext } from "../../context.ts";
import { onAnything, operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";

interface Shown {
  readonly keyPair: KeyPair;
  readonly tags: readonly Required<Tag>[];
}

const FILTERS: FilterTable<Shown> = {
  values: {
    "key-pair-id": ({ keyPair }) => keyPair.id,
    "key-name": ({ keyPair }) => keyPair.name,
    fingerprint: ({ keyPair }) => keyPair.fingerprint,
  },
  tags: ({ tags }) => tags,
};

export const describeKeyPairs = operation({
  action: "ec2:DescribeKeyPairs",
  schema: DescribeKeyPairs$,
  access: "read",
  resolve: async () => onAnything("ec2:DescribeKeyPairs"),
  async run(ctx: RequestContext, input: DescribeKeyPairsRequest): Promise<DescribeKeyPairsResult> {
    const filters = compileFilters(input.Filters, FILTERS);
    const all = await keyPairsOf(ctx.database.read, ownerOf(ctx));
    for (const name of input.KeyNames ?? []) {
      if (!all.some((keyPair) => keyPair.name === name)) throw keyPairNotFound(name);
    }
    for (const id of input.KeyPairIds ?? []) {
      if (!all.some((keyPair) => keyPair.id === id)) {
        throw new ApiError("InvalidKeyPair.NotFound", `The key pair ID '${id}' does not exist`);
      }
    }
    const named = all.filter(
      (keyPair) =>
        (input.KeyNames === undefined || input.KeyNames.includes(keyPair.name)) &&
        (input.KeyPairIds === undefined || input.KeyPairIds.includes(keyPair.id)),
    );
    const tags = await tagsOf(
      ctx.database.read,
      ctx.caller.accountId,
      named.map((keyPair) => keyPair.id),
    );
    const shown = named.map((keyPair) => ({
      keyPair,
      tags: (tags.get(keyPair.id) ?? []).map((tag) => ({ Key: tag.key, Value: tag.value })),
    }));
    return {
      KeyPairs: shown.filter(filters.matches).map(({ keyPair, tags: own }) => ({
        KeyPairId: keyPair.id,
        KeyName: keyPair.name,
        KeyType: keyPair.type,
        KeyFingerprint: keyPair.fingerprint,
        CreateTime: new Date(keyPair.created_at),
        Tags: own,
        ...(input.IncludePublicKey === true ? { PublicKey: keyPair.public_key } : {}),
      })),
    };
  },
});
