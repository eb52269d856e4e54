import { DeleteKeyPair$, type DeleteKeyPairRequest, type DeleteKeyPairResult } from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { ec2Arn } from "../../../model/arn.ts";
import { deleteKeyPairRow, keyPairById, keyPairByName, keyPairKeys } from "../../../model/key-pair.ts";
import { dropTags, tagsOf } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";

/** Forgets a key pair. Instances that were launched with it keep it. As EC2: a name that nobody has is a success. */
export const deleteKeyPair = operation({
  action: "ec2:DeleteKeyPair",
  schema: DeleteKeyPair$,
  access: "write",
  async resolve(ctx: RequestContext, input: DeleteKeyPairRequest) {
    const { KeyName: name, KeyPairId: id } = input;
    if (name === undefined && id === undefined) {
      throw new ApiError("MissingParameter", "The request must contain either keyName or keyPairId");
    }
    const db = ctx.database.read;
    const found =
      id === undefined ? await keyPairByName(db, ownerOf(ctx), name ?? "") : await keyPairById(db, ownerOf(ctx), id);
    const arn = ec2Arn(ctx.region, ctx.caller.accountId, "key-pair", found?.name ?? name ?? "*");
    const tags = found === undefined ? undefined : await tagsOf(db, ctx.caller.accountId, [found.id]);
    const keys = found === undefined ? {} : keyPairKeys(found, tags?.get(found.id) ?? []);
    return { found, checks: [{ action: "ec2:DeleteKeyPair", resource: arn, keys }] };
  },
  async run(ctx, input, { found }, grant): Promise<DeleteKeyPairResult> {
    if (found === undefined) return { Return: true };
    await ctx.database.transaction(async (tx) => {
      await deleteKeyPairRow(grant, tx, found.id);
      await dropTags(tx, [found.id]);
    });
    return { Return: true, ...(input.KeyPairId === undefined ? {} : { KeyPairId: found.id }) };
  },
});
