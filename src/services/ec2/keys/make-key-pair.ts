// CreateKeyPair and ImportKeyPair: the same row, from a key of ours or of the client's.
import {
  type KeyPair as CreatedKeyPair,
  CreateKeyPair$,
  type CreateKeyPairRequest,
  ImportKeyPair$,
  type ImportKeyPairRequest,
  type ImportKeyPairResult,
} from "@aws-sdk/client-ec2";
import { ApiError } from "../../../base/api-error.ts";
import { newId } from "../../../base/ids.ts";
import type { Grant, ResourceCheck } from "../../../model/access.ts";
import { ec2Arn } from "../../../model/arn.ts";
import { insertKeyPair, type KeyPair, keyPairKeys, parseKeyName } from "../../../model/key-pair.ts";
import { generateKey, type PublicKey, parsePublicKey, type SshKeyType } from "../../../model/ssh-key.ts";
import { requestTagKeys, writeTags } from "../../../model/tags.ts";
import type { RequestContext } from "../../context.ts";
import { operation } from "../../operation.ts";
import { ownerOf } from "../owner.ts";
import { createTagsCheck, parseTagSpecifications, type TagsOnCreate } from "../tags/tag-specifications.ts";

/** Hands out a new key pair; the private half is in the answer and nowhere else. */
export const createKeyPair = operation({
  action: "ec2:CreateKeyPair",
  schema: CreateKeyPair$,
  access: "write",
  async resolve(ctx: RequestContext, input: CreateKeyPairRequest) {
    const name = parseKeyName(input.KeyName);
    const type = parseType(input.KeyType);
    if (input.KeyFormat !== undefined && input.KeyFormat !== "pem") {
      throw new ApiError("UnsupportedOperation", "Private keys are given in the pem format only.");
    }
    return { name, type, ...checksFor(ctx, "CreateKeyPair", name, type, input.TagSpecifications) };
  },
  async run(ctx, _input, { name, type, tags }, grant): Promise<CreatedKeyPair> {
    const key = generateKey(type);
    const row = await keep(ctx, grant, name, key, tags);
    return {
      KeyPairId: row.id,
      KeyName: name,
      KeyFingerprint: row.fingerprint,
      KeyMaterial: key.privateKey,
      Tags: tags.of("key-pair").map((tag) => ({ Key: tag.key, Value: tag.value })),
    };
  },
});

/** Keeps a public key that the client made. */
export const importKeyPair = operation({
  action: "ec2:ImportKeyPair",
  schema: ImportKeyPair$,
  access: "write",
  async resolve(ctx: RequestContext, input: ImportKeyPairRequest) {
    const name = parseKeyName(input.KeyName);
    const key = parsePublicKey(Buffer.from(input.PublicKeyMaterial ?? Buffer.alloc(0)));
    if (key === null) throw new ApiError("InvalidKey.Format", "Key is not in valid OpenSSH public key format");
    return { name, key, ...checksFor(ctx, "ImportKeyPair", name, key.type, input.TagSpecifications) };
  },
  async run(ctx, _input, { name, key, tags }, grant): Promise<ImportKeyPairResult> {
    const row = await keep(ctx, grant, name, key, tags);
    return {
      KeyPairId: row.id,
      KeyName: name,
      KeyFingerprint: row.fingerprint,
      Tags: tags.of("key-pair").map((tag) => ({ Key: tag.key, Value: tag.value })),
    };
  },
});

function checksFor(
  ctx: RequestContext,
  action: "CreateKeyPair" | "ImportKeyPair",
  name: string,
  type: SshKeyType,
  specifications: CreateKeyPairRequest["TagSpecifications"],
) {
  const tags = parseTagSpecifications(specifications, ["key-pair"]);
  const arn = ec2Arn(ctx.region, ctx.caller.accountId, "key-pair", name);
  const keys = { ...keyPairKeys({ name, type, region: ctx.region }, []), ...requestTagKeys(tags.all) };
  const checks: ResourceCheck[] = [
    { action: `ec2:${action}`, resource: arn, keys },
    ...createTagsCheck(action, arn, tags.of("key-pair")),
  ];
  return { tags, checks };
}

async function keep(
  ctx: RequestContext,
  grant: Grant<"ec2:CreateKeyPair" | "ec2:ImportKeyPair">,
  name: string,
  key: PublicKey,
  tags: TagsOnCreate,
): Promise<KeyPair> {
  const owner = ownerOf(ctx);
  const row: KeyPair = {
    id: newId("keyPair"),
    account_id: owner.accountId,
    region: owner.region,
    name,
    type: key.type,
    fingerprint: key.fingerprint,
    public_key: key.line,
    created_at: ctx.now().toISOString(),
  };
  await ctx.database.transaction(async (tx) => {
    await insertKeyPair(grant, tx, row);
    await writeTags(tx, owner, { id: row.id, type: "key-pair" }, tags.of("key-pair"));
  });
  return row;
}

function parseType(type: string | undefined): SshKeyType {
  if (type === undefined || type === "rsa" || type === "ed25519") return type ?? "rsa";
  throw new ApiError("InvalidParameterValue", `Value (${type}) for parameter KeyType is invalid.`);
}
